"""Semantic modulation and MCTformer's refinement: limits, symmetries, settings, the stages they declare."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models.vision_transformer import VisionTransformer
from torch.testing import assert_close

from datasets.base import TrainingView
from datasets.files.images import read_map
from datasets.limits import first_fault
from datasets.loading.loader import ImageBatch
from methods.base import Kind, MethodError, Shared, part
from methods.layers.cam import min_max, resize
from methods.layers.config import CamInferenceConfig, TrainConfig
from methods.layers.networks.vit import Attention, MultiClassTokenViT, Observer
from methods.layers.optim import parameter_groups
from methods.mctformer import METHOD as MCTFORMER
from methods.mctformer.cam import cam_stages
from methods.mctformer.config import AttentionConfig
from methods.mctformer.network import MctformerNetwork, Output, classification_losses
from methods.pictures import contact_sheet, pictures
from methods.semantic_modulation import METHOD
from methods.semantic_modulation.config import ModulatedCamConfig, ModulationConfig
from methods.semantic_modulation.modulation import modulate
from methods.semantic_modulation.network import ModulatedNetwork, modulated_cams

VIEW = TrainingView("toy", ("a", "b"), {"train": (), "val": ()})
ATTENTION = AttentionConfig(class_to_patch_layers=2)


def attention(
    seed: int, batch: int = 2, classes: int = 3, patches: int = 10
) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    class_to_patch = torch.rand(batch, classes, patches, generator=draw)
    return class_to_patch, torch.rand(batch, patches, patches, generator=draw).softmax(-1)


@pytest.fixture(scope="module")
def network() -> MctformerNetwork:
    torch.manual_seed(0)
    size = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 3, "num_heads": 2, "num_classes": 0}
    return MctformerNetwork(MultiClassTokenViT(VisionTransformer(**size, dynamic_img_size=True), 3)).eval()


@given(st.integers(0, 10**6), st.floats(0, 3))
@settings(max_examples=20)
def test_all_patches_related_adds_the_mean_of_the_row(seed: int, strength: float) -> None:
    class_to_patch, patch_to_patch = attention(seed)
    expected = class_to_patch + strength * class_to_patch.mean(-1, keepdim=True)
    assert_close(modulate(class_to_patch, patch_to_patch, 1.0, strength), expected)


@given(st.integers(0, 10**6), st.floats(0.01, 1), st.booleans())
@settings(max_examples=20)
def test_the_order_of_patches_does_not_matter(seed: int, ratio: float, include_self: bool) -> None:
    class_to_patch, patch_to_patch = attention(seed)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(seed))
    ours = modulate(
        class_to_patch[..., order], patch_to_patch[:, order][..., order], ratio, 1.2, include_self
    )
    assert_close(ours, modulate(class_to_patch, patch_to_patch, ratio, 1.2, include_self)[..., order])


@given(st.integers(0, 10**6), st.floats(0.01, 1), st.floats(0, 3))
@settings(max_examples=20)
def test_only_the_ranking_of_affinities_counts_and_classes_are_apart(
    seed: int, ratio: float, strength: float
) -> None:
    class_to_patch, patch_to_patch = attention(seed)
    ours = modulate(class_to_patch, patch_to_patch, ratio, strength)
    assert_close(modulate(class_to_patch, 3 * patch_to_patch.sqrt() + 1, ratio, strength), ours)
    assert_close(modulate(class_to_patch[:, 1:2], patch_to_patch, ratio, strength), ours[:, 1:2])


def test_the_most_similar_patches_are_averaged() -> None:
    class_to_patch = torch.tensor([[[1.0, 2.0, 4.0, 8.0]]])
    patch_to_patch = torch.tensor(
        [[[9.0, 5.0, 1.0, 0.0], [0.0, 9.0, 5.0, 1.0], [1.0, 0.0, 9.0, 5.0], [5.0, 1.0, 0.0, 9.0]]]
    )
    with_itself = modulate(class_to_patch, patch_to_patch, 0.5, 2.0)
    assert_close(with_itself, torch.tensor([[[1 + 3.0, 2 + 6.0, 4 + 12.0, 8 + 9.0]]]))
    without = modulate(class_to_patch, patch_to_patch, 0.25, 2.0, include_self=False)
    assert_close(without, torch.tensor([[[1 + 4.0, 2 + 8.0, 4 + 16.0, 8 + 2.0]]]))


def test_the_axis_of_the_ranking() -> None:
    """Patch 0 attends to 1 most; 2 attends to 0 most; given and received together are most with 3."""
    class_to_patch = torch.tensor([[[0.0, 1.0, 10.0, 100.0]]])
    patch_to_patch = torch.tensor(
        [[[0.0, 5.0, 1.0, 4.0], [0.0, 0.0, 0.0, 0.0], [5.0, 0.0, 0.0, 0.0], [4.0, 0.0, 0.0, 0.0]]]
    )
    for axis, added in (("rows", 1.0), ("columns", 10.0), ("symmetric", 100.0)):
        modulated = modulate(class_to_patch, patch_to_patch, 0.25, 1.0, include_self=False, axis=axis)
        assert modulated[0, 0, 0].item() == added
    both = modulate(class_to_patch, patch_to_patch.transpose(1, 2), 0.25, 1.0, axis="columns")
    assert torch.equal(both, modulate(class_to_patch, patch_to_patch, 0.25, 1.0))


@torch.inference_mode()
def test_the_settings_axis_reaches_the_ranking(network) -> None:
    images = torch.randn(1, 3, 32, 32)
    cams = {
        axis: modulated_cams(network, images, ATTENTION, ModulationConfig(ratio=0.2, ranking_axis=axis)).final
        for axis in ("rows", "columns", "symmetric")
    }
    assert not torch.equal(cams["rows"], cams["columns"])
    assert not torch.equal(cams["rows"], cams["symmetric"])
    assert torch.equal(
        cams["rows"], modulated_cams(network, images, ATTENTION, ModulationConfig(ratio=0.2)).final
    )


@torch.inference_mode()
def test_strength_zero_is_the_baseline_and_modulates_nothing(
    network, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = torch.randn(2, 3, 24, 40)
    expected = cam_stages(network, images, ATTENTION)
    barely = modulated_cams(network, images, ATTENTION, ModulationConfig(strength=1e-30))
    for ours, baseline in zip(barely, expected, strict=True):
        assert_close(ours, baseline)
    monkeypatch.setattr("methods.semantic_modulation.network.modulate", None)
    none = modulated_cams(network, images, ATTENTION, ModulationConfig(strength=0.0))
    for ours, baseline in zip(none, expected, strict=True):
        assert torch.equal(ours, baseline)


@torch.inference_mode()
def test_modulation_adds_its_factor_times_the_original(network) -> None:
    """Eq. 4 and 5 are linear in the attention, and at ρ = 1 the factor is one number a class."""
    images = torch.randn(1, 3, 32, 32)
    plain = cam_stages(network, images, ATTENTION)
    for ranking in ("summed", "each_layer"):
        cams = modulated_cams(network, images, ATTENTION, ModulationConfig(1.0, 1.2, ranking))
        assert torch.equal(cams.original, plain.original)
        assert torch.equal(cams.affinity, plain.affinity)
        difference = cams.modulated - plain.modulated
        strong = plain.original > 0.05
        share = (difference / plain.original)[strong]
        per_class = torch.where(strong, difference / plain.original.clamp_min(1e-6), torch.nan)
        for c in range(3):
            values = per_class[0, c][strong[0, c]]
            assert values.numel() == 0 or (values.max() - values.min()).item() < 1e-4 * share.max()


@torch.inference_mode()
def test_the_side_of_the_affinity_product(network) -> None:
    images = torch.randn(1, 3, 32, 32)
    maps = {}
    network(images, range(3), lambda layer, a: maps.__setitem__(layer, a.patch_to_patch()))
    affinity = sum(maps.values())[0]
    for side, matrix in (("left", affinity), ("right", affinity.T)):
        cams = cam_stages(network, images, replace(ATTENTION, patch_to_patch_side=side))
        flat = cams.modulated[0].flatten(1)
        assert_close(cams.final[0].flatten(1), (matrix @ flat.T).T)


@torch.inference_mode()
def test_any_size_and_no_rectification(network) -> None:
    cams = cam_stages(network, torch.randn(1, 3, 30, 45), replace(ATTENTION, rectify=False))
    assert cams.final.shape == (1, 3, 4, 6)
    assert cams.original.min() < 0
    assert cam_stages(network, torch.randn(1, 3, 30, 45), ATTENTION).original.min() == 0


@torch.inference_mode()
def test_more_layers_than_there_are(network) -> None:
    with pytest.raises(MethodError, match="class_to_patch_layers=4: the transformer has 3 layers"):
        cam_stages(network, torch.zeros(1, 3, 32, 32), AttentionConfig(class_to_patch_layers=4))


def test_min_max() -> None:
    maps = torch.tensor([[[2.0, 4.0], [3.0, 2.5]], [[1.0, 1.0], [1.0, 1.0]]])
    assert_close(min_max(maps), torch.tensor([[[0.0, 1.0], [0.5, 0.25]], [[0.0, 0.0], [0.0, 0.0]]]))


def test_losses_are_multi_label_soft_margins() -> None:
    scores, maps = torch.randn(2, 3), torch.randn(2, 3, 4, 5)
    labels = torch.tensor([[1.0, 0, 1], [0, 0, 1]])
    losses = classification_losses(Output(scores, maps), labels)

    def by_hand(logits: torch.Tensor) -> torch.Tensor:
        p = logits.sigmoid()
        return -(labels * p.log() + (1 - labels) * (1 - p).log()).mean(1).mean()

    assert_close(losses["class_tokens"], by_hand(scores))
    assert_close(losses["patches"], by_hand(maps.mean((2, 3))))


def test_tokens_and_positions_do_not_decay(network) -> None:
    groups = parameter_groups(network, [network.head], TrainConfig(weight_decay=0.05))
    free = {id(p) for g in groups if g["weight_decay"] == 0 for p in g["params"]}
    named = dict(network.named_parameters())
    assert all(id(named[f"vit.{n}"]) in free for n in ("class_tokens", "class_positions", "patch_positions"))
    assert id(named["head.weight"]) not in free


@pytest.mark.parametrize("scale", ["nano", "small", "paper"])
def test_both_entries_share_their_training(scale: str) -> None:
    stages = [m.stages(m.presets[scale], VIEW, Shared()) for m in (MCTFORMER, METHOD)]
    assert stages[0][0] == stages[1][0]
    assert [s.name for s in stages[0]] == [s.name for s in stages[1]]


def test_every_cam_is_scored_under_its_own_name_and_the_final_one_goes_on() -> None:
    stages = METHOD.stages(METHOD.presets["nano"], VIEW, Shared())
    cams = {s.name: s.scored_as for s in stages if s.yields == Kind.CAM}
    assert cams == {"cam": None, "cam_original": "cam_original", "cam_modulated": "cam_modulated"}
    (labels,) = (s for s in stages if s.yields == Kind.PSEUDO_LABEL)
    assert set(labels.inputs.values()) == {"cam", "affinity"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modulation": ModulationConfig(ranking="best")}, "ranking=best: there are summed, each_layer"),
        (
            {"modulation": ModulationConfig(ranking_axis="diagonal")},
            "axis=diagonal: there are rows, columns, symmetric",
        ),
        ({"modulation": ModulationConfig(ratio=0.0)}, "modulation.ratio=0.0: must be in (0, 1]"),
        ({"modulation": ModulationConfig(strength=-1.0)}, "modulation.strength=-1.0: must be at least 0"),
        ({"attention": AttentionConfig(patch_to_patch_side="top")}, "side=top: there are left, right"),
        ({"intermediate": ("cam", "first")}, "intermediate[0]=cam: there are original, affinity, modulated"),
    ],
)
def test_settings_out_of_range(change: dict, message: str) -> None:
    fault = first_fault(replace(METHOD.presets["nano"], **change))
    assert fault is not None
    assert fault.endswith(message)


@torch.inference_mode()
@pytest.mark.parametrize("modulation", [0.0, 1.2])
def test_scales_count_alike_and_one_scale_is_left_as_it_is(
    network, monkeypatch: pytest.MonkeyPatch, modulation: float
) -> None:
    """Where attention is even and the patch CAM 1 everywhere, no map depends on the image's size."""

    def even(tokens: int) -> torch.Tensor:
        return torch.full((1, 1, tokens, tokens), 1 / tokens)

    def forward(images: torch.Tensor, layers: Collection[int], observe: Observer) -> Output:
        height, width = (side // 8 for side in images.shape[-2:])
        for layer in layers:
            observe(layer, Attention(even(3 + height * width), 3, height * width))
        return Output(torch.zeros(1, 3), torch.ones(1, 3, height, width))

    monkeypatch.setattr(network, "forward", forward)
    changed = replace(METHOD.presets["nano"].modulation, strength=modulation)
    base = part(ModulatedCamConfig, METHOD.presets["nano"], attention=ATTENTION, modulation=changed)
    several = replace(base, inference=CamInferenceConfig(scales=(0.5, 1.0, 2.0)))
    ours = ModulatedNetwork(network.vit)
    monkeypatch.setattr(ours, "forward", forward)
    sizes = [torch.zeros(1, 3, side, side) for side in (64, 128, 256)]
    small, middle, large = (ours.refined(images, several).final.mean().item() for images in sizes)
    assert small == pytest.approx(middle, rel=0.1) == pytest.approx(large, rel=0.1)
    raw = [ours.refined(images, base).final.mean().item() for images in sizes]
    assert raw[0] / raw[2] == pytest.approx(16, rel=0.1), "a map of one scale is as it was"
    whole = ours.refined(sizes[1], several)
    for name in ("original", "affinity"):
        assert torch.equal(getattr(whole, name), getattr(ours.refined(sizes[1], base), name))


def test_attention_before_and_after_modulation_is_kept_of_the_images_that_reports_show(
    network: MctformerNetwork, tmp_path: Path
) -> None:
    """Fig. 1: of each, the present classes beside each other, every map from 0 to 1."""
    settings = part(ModulatedCamConfig, replace(METHOD.presets["nano"], attention=ATTENTION))
    modulated = ModulatedNetwork(network.vit)
    modulated.load_state_dict(network.state_dict())
    modulated.eval()
    labels = torch.tensor([[1.0, 0, 1], [1, 1, 1], [0, 0, 0]])
    batch = ImageBatch(("a", "hidden", "empty"), torch.randn(3, 3, 32, 48), labels, (32, 48))
    context = SimpleNamespace(output=tmp_path)
    with torch.inference_mode():
        modulated._picture(context, batch, {"a", "empty"}, settings)  # type: ignore[arg-type]
        before = cam_stages(network, batch.images[:1], ATTENTION).class_to_patch
        after = modulated.refined(batch.images[:1], settings).class_to_patch
    assert not torch.allclose(min_max(before), min_max(after))
    found = pictures(tmp_path, "a")
    titles = ("class-to-patch attention, as it is", "class-to-patch attention, modulated")
    assert tuple(found) == titles
    assert not pictures(tmp_path, "hidden")
    assert not pictures(tmp_path, "empty")
    for title, maps in zip(titles, (before, after)):
        sheet = contact_sheet(resize(min_max(maps), (32, 48))[0, [0, 2]])
        assert_close(read_map(found[title].path), (sheet * 255).round().to(torch.uint8))
    assert not network.attention(batch.images[:1], settings).keys() & set(titles)
