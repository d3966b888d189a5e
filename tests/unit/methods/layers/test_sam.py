"""SAM over batches of images and views: loading, registries, masks of prompts, and its full-size network."""

from __future__ import annotations

import sys
from functools import partial
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file
from segment_anything import SamPredictor
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch.testing import assert_close

from benchmark.profiling.complexity import complexity
from datasets.base import TrainingView
from datasets.recipe import IMAGENET
from methods.base import MethodError, NotRunnable
from methods.layers.sam.config import NANO, REGISTERED, SamConfig, require_covered
from methods.layers.sam.model import (
    NO_POINT,
    decode,
    decode_by_length,
    encode,
    load_sam,
    masks_of_views,
    normalisation_of,
)
from methods.layers.sam.nano import FRAME, build_sam_nano, shipped_state
from methods.layers.sam.views import Frame, View, placed, placed_points, placed_size, restored


@pytest.fixture(scope="module")
def sam() -> Sam:
    torch.manual_seed(3)
    return build_sam_nano().eval().requires_grad_(False)


def prompts(seed: int = 0, images: int = 2, height: int = 45, width: int = 60) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(images, 3, 4, 2, generator=generator) * torch.tensor([width, height])
    labels = torch.tensor([1, 1, 0, -1]).repeat(images, 3, 1)
    return torch.randn(images, 3, height, width, generator=generator), points.floor(), labels


@pytest.mark.parametrize("fillers", [True, False])
def test_masks_of_views_are_those_of_one_view_at_a_time(sam: Sam, fillers: bool) -> None:
    images, points, labels = prompts()
    views = [View(), View(True, 1, 0.5), View(False, 2, 2.0)]
    found = masks_of_views(sam, images, points, labels, views, frames=4, fills=2.0, fillers=fillers)
    assert found.shape == (3, 2, 3, 45, 60)
    assert found.dtype == torch.bool
    small = [view for view in views if view.scale < 2]
    alone = masks_of_views(sam, images, points, labels, small, frames=4, fills=2.0, fillers=fillers)
    assert torch.equal(alone, found[[view.scale < 2 for view in views]])
    frame = Frame(FRAME, 2.0)
    for view, masks in zip(views, found):
        for image, places, marks, own in zip(images, points, labels, masks):
            embedding = encode(sam, placed(image[None], view, frame))
            there = placed_points(places[None], (45, 60), view, frame)
            logits = (decode if fillers else decode_by_length)(sam, embedding, there, marks[None]).logits
            whole = torch.nn.functional.interpolate(logits, (FRAME, FRAME), mode="bilinear")
            expected = restored(whole, (45, 60), view, frame)[0]
            assert ((expected > 0) == own)[expected.abs() > 1e-4].all()


def test_each_view_is_encoded_once_and_all_prompts_are_decoded_together(
    sam: Sam, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    decoded: list[int] = []
    encoder, transformer = sam.image_encoder.forward, sam.mask_decoder.transformer.forward
    monkeypatch.setattr(sam.image_encoder, "forward", lambda x: encoded.append(len(x)) or encoder(x))
    monkeypatch.setattr(
        sam.mask_decoder.transformer, "forward", lambda *a: decoded.append(len(a[0])) or transformer(*a)
    )
    images, points, labels = prompts()
    masks_of_views(sam, images, points, labels, [View(turns=t) for t in range(4)], frames=4, fills=1.0)
    assert encoded == [4, 4]
    assert decoded == [12, 12]


def masks_in(sam: Sam, precision: str, device: str = "cpu") -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Masks of views, and what the prompt encoder made of the points on the way."""
    images, points, labels = (part.to(device) for part in prompts(height=96, width=96))
    seen: list[torch.Tensor] = []
    hook = sam.prompt_encoder.register_forward_hook(lambda module, given, out: seen.append(out[0]))
    try:
        views = [View(), View(True, 1, 0.5)]
        return masks_of_views(sam, images, points, labels, views, 4, 1.0, precision), seen
    finally:
        hook.remove()


def require_only_the_encoder_is_rounded(sam: Sam, device: str) -> None:
    embedded: list[torch.Tensor] = []
    hook = sam.image_encoder.register_forward_hook(lambda module, given, out: embedded.append(out))
    exact, points = masks_in(sam, "float32", device)
    rounded, of_rounded = masks_in(sam, "bfloat16", device)
    hook.remove()
    assert not torch.equal(*embedded)
    assert [p.dtype for p in of_rounded] == [torch.float32]
    assert torch.equal(points[0], of_rounded[0])
    shared, either = (exact & rounded).sum((-1, -2)), (exact | rounded).sum((-1, -2))
    assert exact.any()
    assert (shared / either.clamp(min=1)).mean() > 0.97


def test_points_stay_exact_where_the_encoder_is_rounded(sam: Sam, monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPU's precision, on a CPU."""
    monkeypatch.setattr(
        "methods.layers.sam.model._autocast",
        lambda device, precision: torch.autocast("cpu", torch.bfloat16, enabled=precision != "float32"),
    )
    require_only_the_encoder_is_rounded(sam, "cpu")


@pytest.mark.gpu
def test_points_stay_exact_on_a_gpu() -> None:
    torch.manual_seed(3)
    sam = build_sam_nano().eval().requires_grad_(False)
    require_only_the_encoder_is_rounded(sam.cuda(), "cuda")


def test_a_prompt_without_a_positive_point_has_no_mask(sam: Sam) -> None:
    images, points, labels = prompts()
    labels[0, 1] = torch.tensor([0, 0, -1, -1])
    labels[1, 2] = -1
    found = masks_of_views(sam, images, points, labels, [View()], frames=8, fills=1.0)
    assert not found[0, 0, 1].any()
    assert not found[0, 1, 2].any()
    assert found.any()


def test_fillers_do_not_move_the_points(sam: Sam) -> None:
    """A prompt's fillers change its mask little, and never stand for a point at the corner."""
    images, points, labels = prompts()
    points[:, :, 3] = 0
    elsewhere = points.clone()
    elsewhere[:, :, 3] = 40
    frames = placed(images, View(), Frame(FRAME))
    embeddings = encode(sam, frames)
    assert_close(
        decode(sam, embeddings, points, labels).logits, decode(sam, embeddings, elsewhere, labels).logits
    )


def test_images_are_normalised_as_sam_was_trained() -> None:
    assert normalisation_of(build_sam_nano()).mean == pytest.approx(IMAGENET.mean)
    assert normalisation_of(build_sam_nano()).std == pytest.approx(IMAGENET.std)


def test_weights_are_loaded_and_frozen(tmp_path) -> None:
    torch.manual_seed(5)
    model = build_sam_nano()
    save_file(shipped_state(model), tmp_path / "sam.safetensors")
    loaded = load_sam(SamConfig(NANO, "none"), tmp_path / "sam.safetensors")
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    wanted = model.mask_decoder.mask_tokens.weight.half().float()
    assert_close(loaded.mask_decoder.mask_tokens.weight, wanted)


def test_registries_of_other_packages_by_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("other_sam")
    package.registry = {"vit_t": lambda checkpoint: build_sam_nano()}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "other_sam", package)
    assert isinstance(load_sam(SamConfig("vit_t", "none", "other_sam:registry"), None), Sam)
    with pytest.raises(MethodError, match="other_sam:registry has vit_t"):
        load_sam(SamConfig("vit_b", "none", "other_sam:registry"), None)
    with pytest.raises(MethodError, match="is not there"):
        load_sam(SamConfig("vit_t", "none", "no_such_package:registry"), None)
    with pytest.raises(MethodError, match="is not there"):
        load_sam(SamConfig("vit_t", "none", "other_sam"), None)
    package.odd = {"vit_t": lambda checkpoint: torch.nn.Module()}  # type: ignore[attr-defined]
    with pytest.raises(MethodError, match="is not segment_anything's Sam"):
        load_sam(SamConfig("vit_t", "none", "other_sam:odd"), None)


def test_the_miniature_covers_generated_pictures_only() -> None:
    drawn, photographs = (TrainingView("some", (), {}, generated=g) for g in (True, False))
    require_covered("method.sam_fused.sam", SamConfig(NANO, "nano/sam"), drawn)
    require_covered("method.sam_fused.sam", SamConfig("vit_b", "sam/sam_vit_b_01ec64"), photographs)
    with pytest.raises(NotRunnable, match="generated pictures only, not some's; needs a SAM"):
        require_covered("method.sam_fused.sam", SamConfig(NANO, "nano/sam"), photographs)
    for config, message in (
        (
            SamConfig("vit_q", "none"),
            r"^method\.sam_fused\.sam\.name=vit_q: segment_anything has default, vit_h",
        ),
        (
            SamConfig("vit_t", "none", "no_such_package:registry"),
            "there is no package 'no_such_package'; install",
        ),
        (
            SamConfig("vit_t", "none", ":registry"),
            "there is no package ''; install it, or write package:attribute",
        ),
    ):
        with pytest.raises(MethodError, match=message):
            require_covered("method.sam_fused.sam", config, photographs)


def test_the_names_that_are_planned_with_are_segment_anythings() -> None:
    from segment_anything import sam_model_registry

    assert set(REGISTERED) == set(sam_model_registry)


def test_the_size_of_vit_b() -> None:
    """segment_anything's own ViT-B from its registry, counted without computing anything."""
    with torch.device("meta"):
        model = load_sam(SamConfig("vit_b", "none"), None)
        picture = torch.empty(1, 3, 1024, 1024)
        counted = complexity(model.image_encoder, lambda: encode(model, picture))
    assert counted.parameters == pytest.approx(89.67e6, rel=1e-3)
    assert counted.layer_macs == pytest.approx(368.7e9, rel=1e-3)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(93.74e6, rel=1e-3)


@pytest.mark.slow
def test_the_full_vit_b_decodes_prompts() -> None:
    """The same network with random weights, through this path on a CPU."""
    sam = load_sam(SamConfig("vit_b", "none"), None)
    images, points, labels = prompts(images=1, height=63, width=100)
    labels[0, 2] = -1
    found = masks_of_views(sam, images, points, labels, [View(True, 1, 0.5)], frames=1, fills=0.5)
    assert found.shape == (1, 1, 3, 63, 100)
    assert not found[0, 0, 2].any()


def random_vit_b(side: int, width: int, depth: int, heads: int, everywhere: tuple[int, ...]) -> Sam:
    """segment_anything's classes as its `_build_sam` puts vit_b together, smaller, with random weights."""
    torch.manual_seed(11)
    cells = side // 16
    return (
        Sam(
            ImageEncoderViT(
                img_size=side,
                patch_size=16,
                embed_dim=width,
                depth=depth,
                num_heads=heads,
                mlp_ratio=4,
                out_chans=256,
                norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
                qkv_bias=True,
                use_rel_pos=True,
                global_attn_indexes=everywhere,
                window_size=min(14, cells // 2),
            ),
            PromptEncoder(256, (cells, cells), (side, side), mask_in_chans=16),
            MaskDecoder(
                transformer_dim=256,
                transformer=TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8),
            ),
        )
        .eval()
        .requires_grad_(False)
    )


@torch.no_grad()
def test_masks_are_sam_predictors_for_the_same_clicks() -> None:
    """Per view, also one that fills half of the frame; prompts of one to six points, decoded together with fillers."""
    side = 128
    sam = random_vit_b(side, width=96, depth=2, heads=4, everywhere=(1,))
    source = torch.Generator().manual_seed(1)
    size = (side * 3 // 4, side)
    picture = torch.randint(0, 256, (1, 3, *size), generator=source).float()
    images = (picture - sam.pixel_mean) / sam.pixel_std
    points = torch.rand(1, 4, 6, 2, generator=source) * torch.tensor([size[1], size[0]])
    labels = torch.tensor(
        [[[1, -1, -1, 0, 0, 0], [1, -1, -1, -1, -1, -1], [1, 1, 1, 0, 0, 0], [1, 1, -1, 0, -1, -1]]]
    )
    frame, differ = Frame(side), False
    for view in (View(), View(True, 0, 1.0), View(False, 1, 0.5)):
        there = placed_points(points, size, view, frame)
        embeddings = encode(sam, placed(images, view, frame))
        logits, quality = decode_by_length(sam, embeddings, there, labels)
        filled = decode(sam, embeddings, there, labels).logits
        predictor = SamPredictor(sam)
        predictor.features, predictor.is_image_set = embeddings, True
        predictor.input_size, predictor.original_size = placed_size(size, view, frame), size
        if view == View():
            predictor.set_torch_image(picture, size)
            assert_close(predictor.features, embeddings, rtol=0, atol=1e-4)
            found = masks_of_views(sam, images, points, labels, [view], frames=1, fills=1.0)[0, 0]
        for row in range(4):
            kept = labels[0, row] != NO_POINT
            clicks = (there[:, row, kept], labels[:, row, kept])
            whole, score, low = predictor.predict_torch(*clicks, multimask_output=False, return_logits=True)
            assert_close(logits[0, row], low[0, 0], rtol=0, atol=1e-4)
            assert_close(quality[0, row], score[0, 0], rtol=0, atol=1e-4)
            differ |= not torch.allclose(filled[0, row], low[0, 0], rtol=0, atol=1e-4)
            if view == View():
                wanted = whole[0, 0]
                assert (found[row] == (wanted > 0))[wanted.abs() > 1e-4].all()
    assert differ


def test_the_miniature_alone_was_taught_with_fillers() -> None:
    assert SamConfig(NANO, "nano/sam").fillers
    assert not SamConfig("vit_b").fillers
