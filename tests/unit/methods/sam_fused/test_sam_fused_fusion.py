"""SAM-fused pseudo-labels: the reliability of SAM's masks, and what the fusion network learns from and yields."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.testing import assert_close

from datasets.base import IGNORE, Sample, TrainingView
from datasets.recipe import Recipe
from methods.artifacts import Cam, CamReader, write_cams
from methods.base import Shared
from methods.sam_fused import METHOD
from methods.sam_fused.config import LEARNED, PRESETS, FusionConfig, FusionStageConfig, RuleConfig
from methods.sam_fused.fusion import (
    Evidence,
    EvidenceReader,
    FusionNetwork,
    fused_labels,
    fusion_batches,
    fusion_loss,
    inputs_seen,
)
from methods.sam_fused.reliability import entropy, mean_mask, reliability
from methods.sam_fused.rules import fused_by_rule, relevant_segments

# --- reliability ------------------------------------------------------------------------------------------


@given(st.integers(1, 12), st.integers(0, 99))
def test_entropy_is_low_where_views_agree(views: int, seed: int) -> None:
    masks = torch.rand(views, 2, 5, 7, generator=torch.Generator().manual_seed(seed)) > 0.5
    mean = mean_mask(masks)
    found = entropy(mean)
    agree = (mean == 0) | (mean == 1)
    assert (found[agree] == 0).all()
    assert (found[~agree] > 0).all()
    m = mean[~agree].double()
    assert_close(found[~agree].double(), -m * m.log() - (1 - m) * (1 - m).log(), atol=1e-6, rtol=1e-5)
    weight = reliability(mean)
    assert weight.shape == (5, 7)
    assert weight.min() >= 0
    assert (weight[agree.all(0)] == 1).all()


def test_half_of_the_views_is_no_evidence_and_no_class_is_certain() -> None:
    assert entropy(torch.tensor(0.5)).item() == pytest.approx(math.log(2))
    assert reliability(torch.tensor([0.5, 1.0])[:, None, None]).item() == pytest.approx(0, abs=1e-6)
    assert (reliability(torch.zeros(0, 3, 4)) == 1).all()


# --- fusion -----------------------------------------------------------------------------------------------

STAGE = FusionStageConfig(FusionConfig(width=8, layers=2), 0.4, 0.5)


def evidence_reader(folder, stage: FusionStageConfig = STAGE) -> EvidenceReader:
    """Image "one": class 1 of three, P1 in its left two thirds, P2 in its middle third; "none": no class."""
    first, second = np.zeros((1, 6, 9), np.float16), np.zeros((1, 6, 9), np.float16)
    first[:, :, :6], second[:, :, 3:6] = 0.9, 1.0
    second[:, :2, 3:6] = 0.75
    nothing = Cam(np.zeros((0, 6, 9), np.float16), (), (6, 9))
    (folder / "p1").mkdir(), (folder / "p2").mkdir()
    write_cams(folder / "p1" / "s.safetensors", {"one": Cam(first, (1,), (6, 9)), "none": nothing})
    write_cams(folder / "p2" / "s.safetensors", {"one": Cam(second, (1,), (6, 9)), "none": nothing})
    return EvidenceReader(CamReader(folder / "p1"), CamReader(folder / "p2"), 3, stage)


def test_evidence_holds_labels_where_both_agree(tmp_path) -> None:
    reader = evidence_reader(tmp_path)
    maps, labels, weights = reader["one"]
    assert (labels[0, :, :6] == 2).all()
    assert torch.equal(labels[1] == 2, torch.arange(9).expand(6, 9).div(3, rounding_mode="floor") == 1)
    assert (labels[:, :, 6:] == 0).all()
    assert not weights[0].any()
    assert not weights[1, :, :3].any()
    assert (weights[1, 2:, 3:] == 1).all()
    assert maps.shape == (7, 6, 9)
    assert_close(maps[1, :, :6], torch.full((6, 6), 0.9), atol=1e-3, rtol=0)
    assert (maps[4, 2:, 3:6] == 1).all()
    assert maps[[0, 2, 3, 5]].sum() == 0
    quarter = 1 - float(entropy(torch.tensor(0.75))) / math.log(2)
    assert maps[6, 0, 4].item() == pytest.approx(quarter, abs=1e-5)
    assert torch.equal(weights[1, :2, 3:6], maps[6, :2, 3:6])
    assert maps[6, 3, 4].item() == 1
    maps, labels, weights = reader["none"]
    assert (labels == 0).all()
    assert (maps[-1] == weights[1]).all()
    assert (weights[1] == 1).all()


@pytest.mark.parametrize("masked", [(True, True), (True, False), (False, False)])
def test_nothing_is_learned_of_an_image_with_a_class_without_a_mask(tmp_path, masked) -> None:
    maps = np.stack([np.full((6, 9), 0.9 * has, np.float16) for has in masked])
    cams, masks = (tmp_path / "cams.safetensors", tmp_path / "masks" / "s.safetensors")
    masks.parent.mkdir()
    write_cams(cams, {"one": Cam(maps, (0, 2), (6, 9))})
    write_cams(masks, {"one": Cam(maps, (0, 2), (6, 9))})
    evidence = EvidenceReader(CamReader(tmp_path), CamReader(masks.parent), 3, STAGE)["one"]
    assert bool(evidence.maps[-1].any()) == all(masked)
    loss = fusion_loss(torch.randn(1, 4, 6, 9), evidence.labels[None], evidence.weights[None])
    assert bool(loss > 0) == all(masked)


def test_labels_of_a_square_stay_where_their_evidence_is(tmp_path) -> None:
    class Numbered:
        """Every pixel's label is its number, and so is its evidence."""

        def __getitem__(self, sample_id: str) -> Evidence:
            numbers = torch.arange(6 * 9).view(6, 9)
            return Evidence(numbers[None].float(), numbers[None], torch.ones(1, 6, 9))

    config = FusionConfig(train=replace(FusionConfig().train, batch_size=16, recipe=Recipe(crop=7)))
    source = fusion_batches([Sample("one", tmp_path, ())], Numbered(), config, 0, torch.device("cpu"))
    (batch,) = source(0, 1)
    labels, inside = batch.dense_maps["labels"][:, 0], batch.dense_maps["weights"][:, 0] > 0
    assert inside[:, :6].all()  # one row more than the image has
    assert not inside[:, 6].any()
    assert torch.equal(batch.images[:, 0][inside], labels[inside].float())
    steps = labels[:, 0, 1] - labels[:, 0, 0]
    assert set(steps.tolist()) == {1, -1}  # some are mirrored, some are not


def test_fusion_batches_are_the_same_whoever_asks(tmp_path) -> None:
    config = FusionConfig(train=replace(FusionConfig().train, batch_size=3))
    config = replace(config, train=replace(config.train, recipe=replace(config.train.recipe, crop=8)))
    samples = [Sample(i, tmp_path, ()) for i in ("one", "none")]
    source = fusion_batches(samples, evidence_reader(tmp_path), config, 4, torch.device("cpu"))
    whole = list(source(0, 4))
    (again,) = source(2, 3)
    assert again.ids == whole[2].ids
    assert torch.equal(again.images, whole[2].images)
    assert whole[0].images.shape == (3, 7, 8, 8)
    assert not torch.equal(whole[0].images, whole[1].images)
    assert not whole[0].dense_maps["weights"][:, :, 6:].any()  # below the image
    assert (whole[0].images[:, :, 6:] == 0).all()


def test_fusion_learns_each_label_by_its_weight() -> None:
    logits = torch.zeros(1, 3, 2, 2)
    logits[0, 1, 0, 0] = 9.0
    labels = torch.tensor([[[[2, 0], [0, 1]], [[1, 1], [2, 0]]]])
    weights = torch.tensor([[[[0.0, 0.0], [0.0, 0.25]], [[1.0, 0.0], [0.5, 0.0]]]])
    first, second = (
        torch.nn.functional.cross_entropy(logits, labels[:, n], reduction="none")[0] for n in (0, 1)
    )
    expected = (second[0, 0] + 0.5 * second[1, 0] + 0.25 * first[1, 1]) / 1.75
    assert_close(fusion_loss(logits, labels, weights), expected)
    assert fusion_loss(logits, labels, torch.zeros_like(weights)).item() == 0


def test_where_p1_has_no_weight_it_changes_no_bit() -> None:
    """What is learned where both agree is what it would be if P1 and the rest of P2 were not there."""
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 3, 16, 16, generator=draw)
    labels = torch.randint(3, (4, 2, 16, 16), generator=draw)
    same = labels[:, 0] == labels[:, 1]
    weight = torch.rand(4, 16, 16, generator=draw) * same
    alone, both = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    each = torch.nn.functional.cross_entropy(
        alone, labels[:, 1].where(same, IGNORE), ignore_index=IGNORE, reduction="none"
    )
    expected = (each * weight).sum() / weight.sum()
    found = fusion_loss(both, labels, torch.stack([torch.zeros_like(weight), weight], 1))
    expected.backward(), found.backward()
    assert torch.equal(found, expected)
    assert torch.equal(both.grad, alone.grad)


def test_absent_classes_are_never_fused() -> None:
    logits = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(0))
    labels = fused_labels(logits, (2,))
    assert set(labels.unique().tolist()) == {0, 3}
    assert torch.equal(labels == 3, logits[3] > logits[0])
    assert not fused_labels(logits, ()).any()


def test_fusion_finds_what_both_show(tmp_path) -> None:
    """Trained on the agreeing thirds, the network reproduces them."""
    torch.manual_seed(0)
    maps, labels, weights = evidence_reader(tmp_path)["one"]
    network = FusionNetwork(3, STAGE.fusion)
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.02)
    for _ in range(40):
        loss = fusion_loss(network(maps[None]), labels[None], weights[None])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    fused = fused_labels(network(maps[None])[0], (1,)).long()
    agreed = weights[1] > 0
    assert (fused[agreed] == labels[1][agreed]).all()


# --- readings of the fusion -------------------------------------------------------------------------------


@pytest.mark.parametrize("learns", LEARNED)
def test_readings_differ_in_whose_labels_are_learned(tmp_path, learns) -> None:
    stage = replace(STAGE, fusion=replace(STAGE.fusion, learns=learns))
    maps, labels, weights = evidence_reader(tmp_path, stage)["one"]
    r, same = maps[-1], (labels[0] == labels[1]).float()
    assert 0 < same.mean() < 1
    assert 0 < r[0, 4] < 1
    expected = {
        "agreement": (0 * r, r * same),
        "sam": (0 * r, r),
        "reliable": (1 - r, r),
        "both": (0 * r + 1, r),
    }
    assert_close(weights, torch.stack(expected[learns]))


@pytest.mark.parametrize("learns", LEARNED)
def test_without_the_entropy_all_of_p2_counts_the_same_but_what_sam_was_not_asked_for(
    tmp_path, learns
) -> None:
    stage = replace(STAGE, fusion=replace(STAGE.fusion, learns=learns, weighted=False))
    evidence = evidence_reader(tmp_path, stage)["one"]
    assert set(evidence.weights[1].unique().tolist()) <= {0.0, 1.0}
    assert 0 < evidence.maps[-1, 0, 4] < 1  # the network sees it all the same
    folder = tmp_path / "no mask"
    folder.mkdir()
    write_cams(folder / "s.safetensors", {"one": Cam(np.zeros((1, 6, 9), np.float16), (1,), (6, 9))})
    assert not EvidenceReader(CamReader(tmp_path / "p1"), CamReader(folder), 3, stage)["one"].weights[1].any()


def test_the_network_may_see_labels_and_the_picture(tmp_path) -> None:
    pixels = np.arange(6 * 9 * 3, dtype=np.uint8).reshape(6, 9, 3)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    config = replace(STAGE.fusion, sees="labels", picture=True)
    stage = replace(STAGE, fusion=config)
    evidence_reader(tmp_path)
    cams, masks = CamReader(tmp_path / "p1"), CamReader(tmp_path / "p2")
    maps, labels, _ = EvidenceReader(cams, masks, 3, stage, {"one": tmp_path / "one.png"})["one"]
    assert len(maps) == inputs_seen(3, config) == 10
    for place, own in ((0, labels[0]), (3, labels[1])):
        assert torch.equal(maps[place : place + 3], torch.stack([own == c + 1 for c in range(3)]).float())
    assert_close(maps[7:] * 255, torch.from_numpy(pixels).permute(2, 0, 1).float())
    assert FusionNetwork(3, config)(maps[None]).shape == (1, 4, 6, 9)


# --- rules ------------------------------------------------------------------------------------------------

P1 = np.array([[2, 2, 2, 0, 0, 0], [2, 2, 0, 0, 0, 1]], np.uint8)
P2 = np.array([[0, 2, 2, 0, 2, 2], [0, 0, 2, 0, 0, 0]], np.uint8)


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("intersection", [[0, 2, 2, 0, 0, 0], [0, 0, 0, 0, 0, 0]]),
        ("union", [[2, 2, 2, 0, 2, 2], [2, 2, 2, 0, 0, 1]]),
        ("segments", [[0, 2, 2, 0, 0, 0], [0, 0, 2, 0, 0, 1]]),
        ("mean", [[0, 2, 2, 0, 0, 0], [0, 0, 2, 0, 0, 0]]),
    ],
)
def test_rules_fuse_without_a_network(by: str, expected: list[list[int]]) -> None:
    """Thresholds .3 and .5; CAMs are .4 where they are P1's, masks .7: together .8 is passed by both alone or by 1."""
    first, second = (torch.from_numpy(np.stack([labels == 1, labels == 2])) for labels in (P1, P2))
    second = second * 0.7
    second[1, 1, 2] = 1.0
    found = fused_by_rule(first * 0.4, second, (0, 1), (2, 6), RuleConfig(by, 0.3, 0.5))
    assert found.dtype == torch.uint8
    assert found.tolist() == expected
    nothing = torch.zeros(0, 2, 6)
    assert not fused_by_rule(nothing, nothing, (), (2, 6), RuleConfig(by, 0.3, 0.5)).any()


def test_a_segment_is_relevant_from_half_of_it_on() -> None:
    p1 = np.array([[1, 1, 0, 0]], np.uint8)
    assert relevant_segments(p1, np.array([[1, 1, 1, 1]], np.uint8), (0,)).tolist() == [[1, 1, 1, 1]]
    assert relevant_segments(p1, np.array([[0, 1, 1, 1]], np.uint8), (0,)).tolist() == p1.tolist()
    assert not relevant_segments(np.zeros_like(p1), p1, (0,)).any()


def test_a_rule_needs_no_training_and_no_settings_of_one() -> None:
    config = replace(PRESETS["nano"], fusion=replace(PRESETS["nano"].fusion, by="union"))
    view = TrainingView("bluefilm", ("a",), {"train": (), "val": ()}, generated=True)
    wider = replace(config, fusion=replace(config.fusion, width=64))
    stages, again = (METHOD.stages(c, view, Shared()) for c in (config, wider))
    assert "fusion" not in {stage.name for stage in stages}
    (own,), (other,) = ([s for s in each if s.name == "pseudo_label"] for each in (stages, again))
    assert (
        own.settings
        == other.settings
        == RuleConfig("union", config.background_threshold, config.mask_threshold)
    )
