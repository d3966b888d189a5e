"""The miniature CLIP with a vision transformer: what it is taught, what of it learns, what is shipped."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.testing import assert_close

from datasets.pretraining.captions import captioned_pictures
from methods.layers.clip.config import NANO_VIT, ClipConfig
from methods.layers.clip.model import load_clip
from methods.layers.clip.nano import restore_clip_nano
from methods.layers.weights.files import SHIPPED
from methods.miniatures.clip import encode_pictures, noun_embeddings, whole_view, zero_shot
from methods.miniatures.clip_vit import TEACHER, TaughtClip, pretraining_loss
from methods.miniatures.training import shipped_card


@pytest.fixture(scope="module")
def network() -> TaughtClip:
    torch.manual_seed(0)
    return TaughtClip().train()


def test_the_image_encoder_alone_learns(network: TaughtClip) -> None:
    drawn = captioned_pictures(seed=0, start=0, count=8)
    images = torch.from_numpy(drawn.images).float() / 255
    before = [p.clone() for p in network.teacher.state_dict().values()]
    torch.manual_seed(0)
    loss = pretraining_loss(
        network, images, torch.from_numpy(drawn.styles), torch.from_numpy(drawn.nouns), 0.5
    )
    loss.backward()
    assert torch.isfinite(loss)
    learn = {name for name, p in network.named_parameters() if p.grad is not None}
    assert learn == {name for name, p in network.named_parameters() if p.requires_grad}
    assert all(name.startswith(("model.visual.", "heads.")) for name in learn)
    assert {"model.visual.proj", "model.visual.positional_embedding", "heads.0.weight"} <= learn
    assert all(torch.equal(p, q) for p, q in zip(before, network.teacher.state_dict().values()))
    network.zero_grad()


def test_the_teachers_features_are_those_of_its_embedding(network: TaughtClip) -> None:
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    whole, (second, third) = network.eval().taught(images)
    assert second.shape[-2:] == (8, 8)
    assert third.shape[-2:] == (4, 4)
    expected = torch.nn.functional.normalize(network.teacher.encode_image(images), dim=-1)
    assert_close(whole, expected)


def test_its_texts_are_the_teachers_and_what_is_shipped_restores_it(
    network: TaughtClip, tmp_path: Path
) -> None:
    path = tmp_path / "clip_vit.safetensors"
    save_file({k: v.contiguous() for k, v in network.shipped().items()}, path)
    assert path.stat().st_size < 2_000_000
    model, teacher = restore_clip_nano(path, NANO_VIT), restore_clip_nano(TEACHER)
    with torch.inference_mode():
        assert_close(noun_embeddings(model), noun_embeddings(teacher))
        images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        network.eval()
        assert_close(
            encode_pictures(model, images), encode_pictures(network.model, images), atol=5e-3, rtol=0.0
        )


def test_a_picture_is_the_mean_of_its_patches() -> None:
    clip = load_clip(ClipConfig(NANO_VIT, "none"))
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    visual = clip.model.visual
    with torch.inference_mode():
        tokens = visual.ln_post(visual.transformer(visual._embeds(images)))
        assert_close(visual(images), tokens[:, 1:].mean(1) @ visual.proj)


def test_the_shipped_model_is_the_recorded_one() -> None:
    path, card = SHIPPED / "clip_vit.safetensors", shipped_card("clip_vit")
    assert card is not None
    assert hashlib.sha256(path.read_bytes()).hexdigest() == card["sha256"]
    world = captioned_pictures(seed=99, start=0, count=64)
    view = whole_view(torch.from_numpy(world.images).float() / 255, torch.from_numpy(world.nouns))
    with torch.inference_mode():
        hits, named = zero_shot(restore_clip_nano(path, NANO_VIT), view)
    assert abs(float(hits.sum() / named.sum()) - card["score"]) < 0.15
