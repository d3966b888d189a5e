"""Grad-CAM on a frozen CLIP and affinity by its attention, against CLIP-ES's reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from open_clip.transformer import VisionTransformer
from torch.testing import assert_close

from methods.base import MethodError
from methods.layers.cam import resize
from methods.layers.clip.affinity import boxes, mean_attention, spread, transition
from methods.layers.clip.config import AffinityConfig, ClipConfig
from methods.layers.clip.model import load_clip
from methods.layers.clip.patches import (
    encode_patches,
    require_patches,
    softmax_grad_cam,
    text_directions,
    to_unit,
    whole_patches,
)
from methods.layers.clip.words import Texts
from tests.conftest import golden


def _tensors(name: str) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(np.asarray(value)) for key, value in golden(name).items()}


def _encoder(g: dict[str, torch.Tensor]) -> VisionTransformer:
    """One block of CLIP's with the golden file's weights."""
    from open_clip.transformer import QuickGELU

    grid = g["grid"].tolist()
    visual = VisionTransformer(
        [8 * side for side in grid], 8, 32, 1, int(g["heads"]), 4.0, output_dim=20, act_layer=QuickGELU
    )
    block = visual.transformer.resblocks[0]
    block.load_state_dict({k.removeprefix("weight:"): v for k, v in g.items() if k.startswith("weight:")})
    visual.ln_post.load_state_dict({"weight": g["ln_post_weight"], "bias": g["ln_post_bias"]})
    visual.proj.data = g["proj"]
    return visual.eval()


@pytest.fixture(scope="module")
def miniature() -> Any:
    return load_clip(ClipConfig("clip_vit_nano", "none"))


def test_golden_grad_cam() -> None:
    g = _tensors("clip_es_gradcam")
    grid = (int(g["grid"][0]), int(g["grid"][1]))
    found = softmax_grad_cam(
        _encoder(g),
        g["tokens"][None],
        grid,
        g["text_features"],
        g["logit_scale"],
        torch.ones(1, 3, dtype=torch.bool),
    )
    assert_close(found.probabilities[0], g["probabilities"], rtol=1e-4, atol=1e-6)
    assert_close(found.attention[0], g["attention"][1:, 1:], rtol=1e-4, atol=1e-6)
    assert_close(found.maps[0], g["cams"], rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", ["clip_es_caa", "clip_es_caa_coco"])
def test_golden_affinity(name: str) -> None:
    g = _tensors(name)
    config = AffinityConfig(threshold=round(float(g["threshold"]), 3))
    attention = [layer[None, 1:, 1:] for layer in g["attention"]]
    maps = g["cams"][None]
    assert torch.equal(boxes(maps, config.threshold, config.whole_boxes)[0], g["box_mask"].float())
    refined = spread(maps, mean_attention(attention, config.blocks), config)
    assert_close(refined[0], g["refined"], rtol=1e-4, atol=1e-6)
    if "image_size" in g:
        size = (int(g["image_size"][0]), int(g["image_size"][1]))
        assert_close(resize(to_unit(refined), size)[0], g["refined_resized"], rtol=0, atol=1e-4)


def test_whole_boxes_reach_the_border() -> None:
    maps = torch.zeros(1, 2, 4, 5)
    maps[0, 0, 3, 4], maps[0, 1, 0, 1] = 1.0, 1.0
    assert boxes(maps, 0.4, False)[0, 0].sum() == 0
    assert boxes(maps, 0.4, True)[0, 0].nonzero().tolist() == [[3, 4]]
    assert boxes(maps, 0.4, False)[0, 1].nonzero().tolist() == [[0, 1]]


def test_the_affinity_is_symmetric_and_near_stochastic() -> None:
    weights = torch.rand(2, 6, 6, generator=torch.Generator().manual_seed(0)).double() + 0.1
    found = transition(weights, 30, 0)
    assert_close(found, found.transpose(1, 2))
    assert_close(found.sum(1), torch.ones(2, 6, dtype=torch.double), rtol=0, atol=1e-6)
    assert_close(transition(weights, 3, 1), transition(weights, 3, 0) @ transition(weights, 3, 0))


def test_images_of_a_batch_have_classes_of_their_own(miniature: Any) -> None:
    """The maps of an image do not depend on the others of its batch, whose classes differ in number."""
    visual = require_patches("method.x.clip", miniature)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, 64, 80, generator=generator)
    texts = torch.nn.functional.normalize(torch.randn(6, 64, generator=generator), dim=1)
    present = torch.tensor([[True, False, True, False], [False, True, False, False]])
    scale = torch.tensor(20.0)
    patches = encode_patches(visual, images, 4, outputs=True)
    assert patches.grid == (8, 10)
    assert [tuple(a.shape) for a in patches.attention] == [(2, 80, 80)] * 3
    assert [tuple(o.shape) for o in patches.outputs] == [(2, 96, 8, 10)] * 5
    together = softmax_grad_cam(visual, patches.tokens, patches.grid, texts, scale, present)
    assert (together.maps.amax((2, 3)) > 0).equal(present)
    assert_close(together.probabilities.sum(1), torch.ones(2))
    assert (together.probabilities[:, :4] > 0).equal(present)
    for n in range(2):
        alone = encode_patches(visual, images[n : n + 1], 4)
        maps = softmax_grad_cam(visual, alone.tokens, alone.grid, texts, scale, present[n : n + 1]).maps
        assert_close(maps[0], together.maps[n], rtol=0, atol=1e-3)


def test_the_feature_of_patches_is_the_miniatures_own(miniature: Any) -> None:
    """At its own size: no position is resampled, and the softmax is of the encoder's own cosines."""
    visual = require_patches("method.x.clip", miniature)
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    texts = miniature.encode_texts(
        ["a clean origami train.", "a clean origami boat.", "a clean origami sky."]
    )
    patches = encode_patches(visual, images, 1)
    found = softmax_grad_cam(
        visual, patches.tokens, patches.grid, texts, torch.tensor(10.0), torch.ones(1, 2, dtype=torch.bool)
    )
    expected = (10 * miniature.encode_normalised(images) @ texts.T).softmax(1)
    assert_close(found.probabilities, expected, rtol=1e-4, atol=1e-5)


def test_gradients_are_found_in_inference_mode(miniature: Any) -> None:
    visual = require_patches("method.x.clip", miniature)
    with torch.inference_mode():
        images = whole_patches(visual, torch.randn(1, 3, 60, 70))
        assert images.shape == (1, 3, 64, 72)
        texts = text_directions(miniature, Texts(("train",), (), ("sky", "grass"), ("a photo of {}.", "{}.")))
        assert_close(texts.norm(dim=1), torch.ones(3))
        patches = encode_patches(visual, images, 4)
        maps = softmax_grad_cam(
            visual,
            patches.tokens,
            patches.grid,
            texts,
            torch.tensor(10.0),
            torch.ones(1, 1, dtype=torch.bool),
        ).maps
    assert maps.max() > 0.99


def test_an_encoder_without_patches_is_refused_in_one_line() -> None:
    with pytest.raises(MethodError, match="no plain vision transformer") as refused:
        require_patches("method.clip_es.clip", load_clip(ClipConfig("clip_nano", "none")))
    assert "\n" not in str(refused.value)
