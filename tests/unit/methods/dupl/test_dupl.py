"""DuPL against its reference: discrepancy, thresholds, labels, noise filter, losses of the decoders."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from sklearn.mixture import GaussianMixture
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from datasets.base import IGNORE
from methods.dupl.config import PRESETS, DuplWeights, NoiseConfig, ThresholdConfig
from methods.dupl.labels import decoder_labels, falling_threshold, noise_probability, two_means, without_noise
from methods.dupl.losses import consistency_loss, discrepancy_loss
from methods.layers.gaussian_mixture import Mixture, fit_two_gaussians, lower_posterior
from methods.layers.token_losses import token_labels
from methods.toco.labels import threshold_labels
from methods.toco.losses import balanced_segmentation_loss
from tests.conftest import golden

VOC_FINAL = 0.55


def _tensors(name: str) -> dict[str, torch.Tensor]:
    """Arrays of a golden file; labels as int64."""
    arrays = {key: torch.from_numpy(value) for key, value in golden(name).items()}
    return {key: a.long() if a.dtype == torch.uint8 else a for key, a in arrays.items()}


def _close(found: torch.Tensor, expected: torch.Tensor, relative: float = 1e-4) -> None:
    assert_close(found, expected, rtol=0, atol=relative * float(expected.abs().max()))


def _inside(boxes: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """(B, H, W) bool of boxes (B, 4), as rows and columns from and to."""
    top, bottom, left, right = boxes.T[:, :, None, None]
    rows, columns = torch.arange(height)[None, :, None], torch.arange(width)[None, None, :]
    return (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)


# --- reference --------------------------------------------------------------------------------------------


def test_golden_discrepancy() -> None:
    g = _tensors("dupl_discrepancy")
    first, second = g["features1"].requires_grad_(), g["features2"].requires_grad_()
    loss = discrepancy_loss(first, second)
    _close(loss, g["loss"])
    loss.backward()
    for features, expected in ((first, g["grad1"]), (second, g["grad2"])):
        assert features.grad is not None
        _close(features.grad, expected, 1e-3)


def test_golden_threshold() -> None:
    g = _tensors("dupl_threshold")
    kept = g["target"] == g["start"]
    high = float(g["start"][0])
    found = torch.stack(
        [
            torch.where(kept, high, falling_threshold(i, 2000, 20000, high, VOC_FINAL))
            for i in g["voc_iterations"].tolist()
        ]
    )
    _close(found, g["voc_thresholds"], 1e-6)
    _close((g["image_labels"] * found[:, None]).amax(2), g["image_thresholds"], 1e-6)
    coco = [falling_threshold(i, 12000, 80000, 0.65, 0.55) for i in g["coco_iterations"].tolist()]
    _close(torch.tensor(coco), g["coco_thresholds"], 1e-6)


def test_golden_labels() -> None:
    g = _tensors("dupl_labels")
    cams = g["cams"] * g["image_labels"][:, :, None, None]
    inside = _inside(g["boxes"], 9, 10)
    low, high = float(g["low"]), g["high_per_image"][:, None, None]
    fixed = torch.where(inside, token_labels(cams, low, float(g["high"])), IGNORE)
    assert torch.equal(fixed, g["labels_fixed"])
    dynamic = torch.where(inside, token_labels(cams, low, high), IGNORE)
    assert torch.equal(dynamic, g["labels_dynamic"])
    assert not torch.equal(fixed, dynamic)
    assert torch.equal(threshold_labels(cams, float(g["background"])), g["labels_plain"])


def test_golden_decoder_labels() -> None:
    g = _tensors("dupl_decoder_labels")
    cams = g["cams"] * g["image_labels"][:, :, None, None]
    inside = _inside(g["boxes"], 32, 40)
    found = decoder_labels(g["images"], cams, inside, float(g["low"]), g["high_per_image"])
    assert (found != g["labels"]).float().mean() < 0.002


def test_golden_noise_filter_from_its_parameters() -> None:
    g = _tensors("dupl_noise_filter")
    losses = cross_entropy(g["logits"], g["labels"], ignore_index=IGNORE, reduction="none")
    _close(losses, g["losses"])
    images = g["fitted_images"]
    valid = torch.ones(len(images), dtype=torch.bool)
    mixture = Mixture(g["means"], g["variances"], g["mixing"], valid)
    noise = 1 - lower_posterior(losses[images].flatten(1), mixture).view_as(losses[images])
    _close(noise, g["noise_probability"], 1e-3)
    labels = g["labels"].clone()
    apart = (g["means"][:, 1] - g["means"][:, 0] > 1)[:, None, None]
    labels[images] = torch.where(apart & (noise > 0.95) & (labels[images] != 0), IGNORE, labels[images])
    assert torch.equal(labels, g["filtered"])


def test_golden_noise_filter() -> None:
    g = _tensors("dupl_noise_filter")
    found = without_noise(g["logits"], g["labels"], NoiseConfig())
    assert (found != g["filtered"]).float().mean() < 0.01
    changed = (found != g["labels"]).flatten(1).any(1)
    assert changed.tolist() == [True, False, False, True]
    images = g["fitted_images"]
    losses, labels = g["losses"][images].flatten(1), g["labels"][images].flatten(1)
    fitted = (labels != 0) & (labels != IGNORE) & (losses > 0.1)
    mixture = fit_two_gaussians(losses, fitted, two_means(losses, fitted), 10, 1e-2, 5e-4)
    _close(mixture.means, g["means"], 1e-3)
    _close(mixture.variances, g["variances"], 1e-3)
    _close(mixture.weights, g["mixing"], 1e-3)


def test_golden_segmentation_loss() -> None:
    g = _tensors("dupl_seg_loss")
    _close(balanced_segmentation_loss(g["logits"], g["labels"]), g["loss"])
    without = balanced_segmentation_loss(g["logits"], g["labels_without_background"])
    _close(without, g["loss_without_background"])


def test_golden_consistency() -> None:
    g = _tensors("dupl_consistency")
    confidence = float(g["confidence"])
    first = consistency_loss(g["strong_logits1"], g["logits1"], g["labels2"], confidence)
    second = consistency_loss(g["strong_logits2"], g["logits2"], g["labels1"], confidence)
    _close(first, g["loss1"])
    _close(second, g["loss2"])
    _close(first + second, g["loss"])


# --- properties -------------------------------------------------------------------------------------------


def test_discrepancy_of_equal_students_is_finite_in_both_forms() -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 6, 3, 4)
    assert_close(discrepancy_loss(features, features), torch.tensor(4.0))
    assert_close(discrepancy_loss(features, -features), torch.tensor(0.0), rtol=0, atol=1e-5)
    alike, opposed = (discrepancy_loss(features, sign * features, "logarithm") for sign in (1, -1))
    assert alike.isfinite()
    assert alike > opposed


def test_two_groups_of_losses_start_where_scikit_learns_means_are() -> None:
    torch.manual_seed(1)
    values = torch.cat([0.4 + 0.1 * torch.randn(700), 2.5 + 0.4 * torch.randn(500)])[None].abs()
    start = two_means(values, torch.ones_like(values, dtype=torch.bool))
    mixture = fit_two_gaussians(values, None, start, 10, 1e-2, 5e-4)
    theirs = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=0)
    theirs.fit(values[0, :, None].numpy())
    expected = torch.from_numpy(theirs.means_[:, 0]).float().sort().values
    assert_close(mixture.means[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("guarded", [False, True])
def test_very_small_losses_are_noise_unless_guarded(guarded: bool) -> None:
    torch.manual_seed(2)
    trusted, noise = 0.6 + 0.03 * torch.randn(900), 2.6 + 0.8 * torch.randn(400)
    losses = torch.cat([trusted, noise.clamp_min(1.2), torch.full((50,), 0.001)])[None]
    settings = NoiseConfig(above_lower_mean=guarded)
    found = noise_probability(losses, torch.ones_like(losses, dtype=torch.bool), settings)
    assert (found[0, :900] < 0.95).float().mean() > 0.9
    assert (found[0, 900:1300] > 0.95).all()
    assert bool((found[0, 1300:] > 0.95).all()) is not guarded
    few = replace(settings, least=1350)
    assert not noise_probability(losses, torch.ones_like(losses, dtype=torch.bool), few).any()


def test_without_objects_or_losses_nothing_is_filtered() -> None:
    logits = torch.zeros(2, 3, 4, 4)
    labels = torch.zeros(2, 4, 4, dtype=torch.int64)
    labels[1] = IGNORE
    assert torch.equal(without_noise(logits, labels, NoiseConfig(least=0)), labels)


def test_consistency_without_sure_pixels_is_zero_and_has_a_gradient() -> None:
    strong = torch.zeros(1, 3, 2, 2, requires_grad=True)
    labels = torch.full((1, 4, 4), IGNORE)
    loss = consistency_loss(strong, torch.zeros(1, 3, 4, 4), labels, 0.9)
    assert loss == 0
    loss.backward()
    assert strong.grad is not None


def test_settings_that_contradict_each_other_are_named() -> None:
    config = replace(PRESETS["nano"], thresholds=ThresholdConfig(low=0.6, final=0.5))
    assert [where for where, _ in config.conflicts()] == ["thresholds"]
    config = replace(PRESETS["nano"], phases=replace(PRESETS["nano"].phases, trust=0.1))
    assert [where for where, _ in config.conflicts()] == ["phases"]
    config = replace(PRESETS["nano"], weights=DuplWeights(segmentation=0.0))
    assert [where for where, _ in config.conflicts()] == ["weights"]
    assert not [preset for preset, each in PRESETS.items() if list(each.conflicts())]
