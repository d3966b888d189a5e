"""SAM-fused pseudo-labels: the reliability of SAM's masks, and what the fusion network learns from and yields."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from datasets.base import IGNORE, Sample
from datasets.recipe import Recipe
from methods.artifacts import Cam, CamReader, write_cams
from methods.sam_fused.config import FusionConfig, FusionStageConfig
from methods.sam_fused.fusion import (
    Evidence,
    EvidenceReader,
    FusionNetwork,
    fused_labels,
    fusion_batches,
    fusion_loss,
)
from methods.sam_fused.reliability import entropy, mean_mask, reliability

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
    maps, labels = reader["one"]
    assert (labels[:, 3:6] == 2).all()
    assert (labels[:, :3] == IGNORE).all()
    assert (labels[:, 6:] == 0).all()
    assert maps.shape == (7, 6, 9)
    assert_close(maps[1, :, :6], torch.full((6, 6), 0.9), atol=1e-3, rtol=0)
    assert (maps[4, 2:, 3:6] == 1).all()
    assert maps[[0, 2, 3, 5]].sum() == 0
    quarter = 1 - float(entropy(torch.tensor(0.75))) / math.log(2)
    assert maps[6, 0, 4].item() == pytest.approx(quarter, abs=1e-5)
    assert maps[6, 3, 4].item() == 1
    maps, labels = reader["none"]
    assert (labels == 0).all()
    assert (maps[-1] == 1).all()


@pytest.mark.parametrize("masked", [(True, True), (True, False), (False, False)])
def test_nothing_is_learned_of_an_image_with_a_class_without_a_mask(tmp_path, masked) -> None:
    maps = np.stack([np.full((6, 9), 0.9 * has, np.float16) for has in masked])
    cams, masks = (tmp_path / "cams.safetensors", tmp_path / "masks" / "s.safetensors")
    masks.parent.mkdir()
    write_cams(cams, {"one": Cam(np.zeros_like(maps), (0, 2), (6, 9))})
    write_cams(masks, {"one": Cam(maps, (0, 2), (6, 9))})
    evidence = EvidenceReader(CamReader(tmp_path), CamReader(masks.parent), 3, STAGE)["one"]
    assert bool(evidence.maps[-1].any()) == all(masked)
    loss = fusion_loss(torch.randn(1, 4, 6, 9), evidence.maps[None], torch.zeros(1, 6, 9, dtype=torch.long))
    assert bool(loss > 0) == all(masked)


def test_labels_of_a_square_stay_where_their_evidence_is(tmp_path) -> None:
    class Numbered:
        """Every pixel's label is its number, and so is its evidence."""

        def __getitem__(self, sample_id: str) -> Evidence:
            numbers = torch.arange(6 * 9).view(6, 9)
            return Evidence(numbers[None].float(), numbers)

    config = FusionConfig(train=replace(FusionConfig().train, batch_size=16, recipe=Recipe(crop=7)))
    source = fusion_batches([Sample("one", tmp_path, ())], Numbered(), config, 0, torch.device("cpu"))
    (batch,) = source(0, 1)
    labels = batch.dense_maps["labels"]
    inside = labels != IGNORE
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
    labels = whole[0].dense_maps["labels"]
    assert (labels[:, 6:] == IGNORE).all()  # below the image
    assert (whole[0].images[:, :, 6:] == 0).all()


def test_fusion_learns_from_reliable_agreeing_pixels_alone() -> None:
    logits = torch.zeros(1, 3, 2, 2)
    logits[0, 1, 0, 0] = 9.0
    maps = torch.ones(1, 5, 2, 2)
    labels = torch.tensor([[[1, IGNORE], [2, 0]]])
    maps[0, -1, 1] = torch.tensor([0.5, 0.0])
    each = torch.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")[0]
    expected = (each[0, 0] + 0.5 * each[1, 0]) / 1.5
    assert_close(fusion_loss(logits, maps, labels), expected)
    assert fusion_loss(logits, maps, torch.full_like(labels, IGNORE)).item() == 0


def test_absent_classes_are_never_fused() -> None:
    logits = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(0))
    labels = fused_labels(logits, (2,))
    assert set(labels.unique().tolist()) == {0, 3}
    assert torch.equal(labels == 3, logits[3] > logits[0])
    assert not fused_labels(logits, ()).any()


def test_fusion_finds_what_both_show(tmp_path) -> None:
    """Trained on the agreeing thirds, the network reproduces them."""
    torch.manual_seed(0)
    maps, labels = evidence_reader(tmp_path)["one"]
    network = FusionNetwork(3, STAGE.fusion)
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.02)
    for _ in range(40):
        loss = fusion_loss(network(maps[None]), maps[None], labels[None])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    fused = fused_labels(network(maps[None])[0], (1,)).long()
    agreed = labels != IGNORE
    assert (fused[agreed] == labels[agreed]).all()
