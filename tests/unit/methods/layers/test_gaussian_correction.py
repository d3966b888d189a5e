"""Gaussian correction: EM against scikit-learn, degenerate images, the rules against loops, the refiner."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.mixture import GaussianMixture

from datasets.base import IGNORE, Sample, TrainingView
from datasets.files.images import read_labels
from datasets.limits import first_fault
from datasets.recipe import IMAGENET
from methods.artifacts import label_map_path
from methods.base import Artifact, Kind
from methods.layers.gaussian_mixture import Start, fit_two_gaussians, lower_posterior
from methods.refiners import PSA, refiner_stages
from methods.refiners.config import RefinerConfig
from methods.refiners.gc.config import CorrectionConfig, GcConfig
from methods.refiners.gc.correction import (
    CHANGES,
    changes,
    correct_by_neighbours,
    gaussian_correction,
    neighbour_similarities,
    noise_probability,
)
from methods.refiners.gc.stages import write_corrected
from tests.helpers.refining import CAM, LABELS, check_label_maps, context, run_refiner

SETTINGS = CorrectionConfig()

# --- EM ---------------------------------------------------------------------------------------------------


def images(count: int = 100, pixels: int = 400) -> tuple[np.ndarray, np.ndarray, Start]:
    """Confidences in [0, 1] of two overlapping kinds of pixels, which of them count, and where EM starts."""
    source = np.random.default_rng(0)
    share = source.uniform(0.2, 0.8, (count, 1))
    centres = np.stack([source.uniform(0.05, 0.4, count), source.uniform(0.5, 0.95, count)], 1)
    widths = source.uniform(0.03, 0.15, (count, 2))
    kind = (source.random((count, pixels)) > share).astype(int)
    rows = np.arange(count)[:, None]
    values = centres[rows, kind] + widths[rows, kind] * source.standard_normal((count, pixels))
    mask = source.random((count, pixels)) < 0.8
    start = [
        source.uniform(0.1, 0.9, (count, 2)),
        source.uniform(0.01, 0.1, (count, 2)),
        np.ones((count, 2)) / 2,
    ]
    return values.clip(0, 1), mask, Start(*(torch.from_numpy(s) for s in start))


def sklearns(values: np.ndarray, start: Start, row: int) -> GaussianMixture:
    mixture = GaussianMixture(
        2,
        means_init=start.means[row, :, None].numpy(),
        weights_init=start.weights[row].numpy(),
        precisions_init=(1 / start.variances[row])[:, None, None].numpy(),
        init_params="random",
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some have not converged after all iterations, as ours
        return mixture.fit(values[:, None])


def test_em_is_scikit_learns_from_the_same_start():
    values, mask, start = images()
    found = fit_two_gaussians(torch.from_numpy(values), torch.from_numpy(mask), start)
    noise = lower_posterior(torch.from_numpy(values), found)
    assert found.valid.all()
    for row in range(len(values)):
        expected = sklearns(values[row, mask[row]], start, row)
        order = expected.means_[:, 0].argsort()
        for ours, theirs in (
            (found.means, expected.means_[:, 0]),
            (found.variances, expected.covariances_[:, 0, 0]),
            (found.weights, expected.weights_),
        ):
            np.testing.assert_allclose(ours[row].numpy(), theirs[order], rtol=1e-4, atol=1e-6)
        posterior = expected.predict_proba(values[row, :, None])[:, order[0]]
        np.testing.assert_allclose(noise[row].numpy(), posterior, atol=1e-4)


def test_single_precision_is_close():
    values, mask, start = images()
    exact = fit_two_gaussians(torch.from_numpy(values), torch.from_numpy(mask), start)
    single = fit_two_gaussians(
        torch.from_numpy(values).float(), torch.from_numpy(mask), Start(*(s.float() for s in start))
    )
    for ours, theirs in zip(single[:3], exact[:3]):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-3, atol=1e-4)


def camlike(count: int, side: int = 448) -> torch.Tensor:
    """CAMs (B, side * side), float32 in [0, 1]: blurred objects on a noisy ground, a twentieth of the pixels 0."""
    source = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.linspace(-1, 1, side), torch.linspace(-1, 1, side), indexing="ij")
    radius = torch.rand(count, 1, 1, generator=source) * 0.4 + 0.4
    objects = torch.sigmoid(8 * (radius - (x * x + 1.5 * y * y).sqrt()))
    noise = torch.randn(count, side, side, generator=source)
    return (0.1 + 0.75 * objects + 0.08 * noise).clamp(0, 1).flatten(1)


def default_start(values: np.ndarray) -> Start:
    """Moments of the values (N,) up to their mean and above it, with scikit-learn's regularisation."""
    parts = (values[values <= values.mean()], values[values > values.mean()])
    moments = [[[f(part) for part in parts]] for f in (np.mean, lambda v: np.var(v) + 1e-6, len)]
    means, variances, sizes = (torch.tensor(m, dtype=torch.float64) for m in moments)
    return Start(means, variances, sizes / len(values))


def test_single_precision_of_a_whole_cam_is_scikit_learns():
    """200 704 values a row, from the default start: parameters and posterior to 1e-4.

    What float32's sums leave was measured as 4e-7 at most; other machines add in another order.
    """
    values = camlike(2)
    mask = values > SETTINGS.min_confidence
    found = fit_two_gaussians(values, mask)
    noise = lower_posterior(values, found)
    assert found.valid.all()
    for row in range(len(values)):
        counted = values[row][mask[row]].double().numpy()
        assert len(counted) > 100_000
        expected = sklearns(counted, default_start(counted), 0)
        for ours, theirs in (
            (found.means, expected.means_[:, 0]),
            (found.variances, expected.covariances_[:, 0, 0]),
            (found.weights, expected.weights_),
        ):
            np.testing.assert_allclose(ours[row].numpy(), theirs, rtol=1e-4)
        posterior = expected.predict_proba(counted[:, None])[:, 0]
        np.testing.assert_allclose(noise[row][mask[row]].numpy(), posterior, atol=1e-4)


@pytest.mark.gpu
def test_gpu_fits_and_corrects_as_the_cpu_does():
    values = camlike(2)
    on_cpu, on_gpu = fit_two_gaussians(values), fit_two_gaussians(values.cuda())
    assert torch.equal(on_gpu.valid.cpu(), on_cpu.valid)
    for ours, theirs in zip(on_gpu[:3], on_cpu[:3]):
        torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-4, atol=0)
    source = torch.Generator().manual_seed(0)
    cams = values.view(2, 1, 448, 448).double()  # no pixel is as near to a threshold as rounding moves it
    labels = (cams[:, 0] > 0.3).long() + (cams[:, 0] > 0.6)
    features = 1 + torch.randn(2, 8, 28, 28, generator=source, dtype=torch.float64)
    for chosen in (SETTINGS, replace(SETTINGS, scope="class"), replace(SETTINGS, posterior="capped")):
        expected = gaussian_correction(labels, cams, features, chosen)
        found = gaussian_correction(labels.cuda(), cams.cuda(), features.cuda(), chosen)
        assert set(changes(labels, expected).unique().tolist()) == {0, 1, 2, 3}
        assert torch.equal(found.cpu(), expected)


def test_rows_do_not_see_each_other_nor_what_is_masked():
    values, mask, _ = (torch.from_numpy(a) if isinstance(a, np.ndarray) else a for a in images(6))
    together = fit_two_gaussians(values, mask)
    moved = torch.where(mask, values, 17.0)
    for row in range(6):
        alone = fit_two_gaussians(moved[row : row + 1], mask[row : row + 1])
        for ours, theirs in zip(alone, together):
            torch.testing.assert_close(ours[0], theirs[row])


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_the_lower_component_is_first_and_its_posterior_a_probability(seed):
    values = torch.rand(3, 50, generator=torch.Generator().manual_seed(seed))
    found = fit_two_gaussians(values)
    assert (found.means[:, 0] <= found.means[:, 1]).all()
    assert ((found.weights.sum(1) - 1).abs() < 1e-5).all()
    posterior = lower_posterior(values, found)
    assert ((posterior >= 0) & (posterior <= 1)).all()


DEGENERATE = {
    "nothing": torch.zeros(1, 2, 8, 8),
    "equal": torch.full((1, 2, 8, 8), 0.6),
    "one pixel": F.pad(torch.ones(1, 2, 1, 1), (4, 3, 4, 3)),
    "two equal pixels": F.pad(torch.full((1, 2, 1, 2), 0.5), (4, 2, 4, 3)),
    "almost equal": 0.5 + 1e-7 * torch.rand(1, 2, 8, 8, generator=torch.Generator().manual_seed(0)),
}


@pytest.mark.parametrize("scope", ["image", "class"])
@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_images_keep_their_labels(name, scope):
    cams = DEGENERATE[name]
    labels = torch.randint(0, 3, (1, 8, 8), generator=torch.Generator().manual_seed(0))
    chosen = replace(SETTINGS, scope=scope)
    assert noise_probability(cams, chosen).isfinite().all()
    features = torch.randn(1, 4, 8, 8)
    assert torch.equal(gaussian_correction(labels, cams, features, chosen), labels)


def test_an_empty_component_is_no_mixture():
    start = Start(torch.tensor([[0.5, 90.0]]), torch.tensor([[0.1, 1e-3]]), torch.tensor([[0.5, 0.5]]))
    found = fit_two_gaussians(torch.rand(1, 40), start=start)
    assert not found.valid.any()
    assert all(part.isfinite().all() for part in found[:3])
    assert (lower_posterior(torch.rand(1, 40), found) == 0).all()


def test_a_degenerate_image_does_not_disturb_the_others():
    torch.manual_seed(0)
    good = torch.cat([0.2 + 0.05 * torch.randn(1, 1, 16, 8), 0.8 + 0.05 * torch.randn(1, 1, 16, 8)], 3)
    cams = torch.cat([good, torch.zeros_like(good), torch.full_like(good, 0.4)])
    torch.testing.assert_close(noise_probability(cams, SETTINGS)[:1], noise_probability(good, SETTINGS))


def test_noise_is_the_low_part_and_pixels_outside_have_none():
    torch.manual_seed(0)
    cams = torch.zeros(1, 1, 16, 24)
    cams[..., 8:16] = 0.2 + 0.03 * torch.randn(16, 8)
    cams[..., 16:] = 0.8 + 0.03 * torch.randn(16, 8)
    noise = noise_probability(cams, SETTINGS)
    assert (noise[..., :8] == 0).all()
    assert noise[..., 8:16].min() > 0.99
    assert noise[..., 16:].max() < 0.01
    valid = torch.ones(1, 16, 24, dtype=torch.bool)
    valid[:, :4] = False
    assert (noise_probability(cams, SETTINGS, valid)[:, :4] == 0).all()
    everything = noise_probability(cams, replace(SETTINGS, min_confidence=-1.0))
    assert everything[..., :8].min() > 0.99


def test_a_peak_is_noise_as_printed_and_not_where_the_posterior_is_capped():
    """A broad lower and a narrow upper component: the lower one's tail is what lies above both."""
    torch.manual_seed(0)
    lower, upper = 0.25 + 0.2 * torch.randn(7000), 0.75 + 0.05 * torch.randn(3000)
    values = torch.cat([lower, upper, torch.tensor([0.75, 1.0])])
    cams = values.view(1, 1, 1, -1)
    everything = replace(SETTINGS, min_confidence=-1.0, tolerance=1e-5, max_iterations=500)
    literal, capped = (
        noise_probability(cams, replace(everything, posterior=p))[0, 0] for p in ("literal", "capped")
    )
    assert literal[-2] < 0.05
    assert literal[-1] > 0.95
    assert capped[-1] < 0.05
    inside = values > -1
    upper_mean = fit_two_gaussians(values[None], inside[None], None, 500, 1e-5).means[0, 1]
    assert torch.equal(capped[values <= upper_mean], literal[values <= upper_mean])
    assert capped[values > upper_mean].unique().numel() == 1
    above = values > 0.3  # the lower component's mean
    assert (capped[above][values[above].argsort()].diff() <= 1e-6).all()  # the higher, the cleaner


def test_each_class_has_its_own_mixture():
    torch.manual_seed(0)
    cams = torch.zeros(1, 2, 16, 32)
    for column, (k, centre) in enumerate(((0, 0.5), (0, 0.9), (1, 0.1), (1, 0.5))):
        cams[:, k, :, 8 * column : 8 * column + 8] = centre + 0.02 * torch.randn(16, 8)
    noise = noise_probability(cams, replace(SETTINGS, scope="class"))
    parts = [noise[..., 8 * c : 8 * c + 8].mean().item() for c in range(4)]
    assert parts == pytest.approx([1, 0, 1, 0], abs=0.01)


# --- rules ------------------------------------------------------------------------------------------------


def by_loops(labels, noise, features, settings: CorrectionConfig) -> torch.Tensor:
    """Eq. 18 to 21, pixel by pixel, features at the labels' size."""
    result = labels.clone()
    batch, height, width = labels.shape
    for b in range(batch):
        for y in range(height):
            for x in range(width):
                g = float(noise[b, y, x])
                if not (g > settings.high or settings.low < g < settings.high):
                    continue
                around = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
                around = [(i, j) for i, j in around if 0 <= i < height and 0 <= j < width]
                cosines = [
                    float(torch.cosine_similarity(features[b, :, y, x], features[b, :, i, j], 0))
                    for i, j in around
                ]
                if min(cosines) < settings.similarity:
                    result[b, y, x] = 0
                elif g > settings.high:
                    result[b, y, x] = IGNORE
                else:
                    result[b, y, x] = labels[(b, *around[int(np.argmax(cosines))])]
    return result


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.integers(2, 9), st.integers(2, 9), st.floats(-0.9, 0.95))
def test_rules_are_those_of_the_paper(seed, height, width, similarity):
    source = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (2, height, width), generator=source)
    noise = torch.rand(2, height, width, generator=source)
    features = torch.randn(2, 3, height, width, generator=source, dtype=torch.float64)
    chosen = replace(SETTINGS, similarity=similarity)
    expected = by_loops(labels, noise, features, chosen)
    assert torch.equal(correct_by_neighbours(labels, noise, features, chosen), expected)


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(2, 6), st.tuples(*[st.integers(0, 3)] * 4))
def test_an_image_in_a_padding_is_corrected_as_it_is_without(seed, height, width, padding):
    source = torch.Generator().manual_seed(seed)
    cams, features = (
        torch.rand(2, 3, height, width, generator=source, dtype=torch.float64) for _ in range(2)
    )
    labels = torch.randint(0, 4, (2, height, width), generator=source)
    expected = gaussian_correction(labels, cams, features, SETTINGS)
    wide = [F.pad(maps, padding, value=1) for maps in (labels, cams, features)]
    valid = F.pad(torch.ones(2, height, width, dtype=torch.bool), padding)
    found = gaussian_correction(*wide, SETTINGS, valid)
    assert torch.equal(found[valid], expected.flatten())


def test_a_pixel_that_is_surely_clean_keeps_its_label():
    labels = torch.randint(0, 4, (1, 6, 6))
    features = torch.randn(1, 3, 6, 6)
    assert torch.equal(correct_by_neighbours(labels, torch.full((1, 6, 6), 0.2), features, SETTINGS), labels)


def test_coarse_features_have_neighbours_one_cell_apart():
    """Two cells of 4 x 4 pixels, alike: the uncertain half takes the labels four pixels to the right."""
    labels = torch.zeros(1, 4, 8, dtype=torch.int64)
    labels[..., 4:] = torch.tensor([1, 2, 3, 4])
    noise = torch.zeros(1, 4, 8)
    noise[..., :4] = 0.5
    features = torch.ones(1, 2, 1, 2)
    corrected = correct_by_neighbours(labels, noise, features, SETTINGS)
    assert corrected[0, 0].tolist() == [1, 2, 3, 4, 1, 2, 3, 4]
    features[0, 1, 0, 1] = -1
    assert correct_by_neighbours(labels, noise, features, SETTINGS)[0, 0].tolist() == [0] * 4 + [1, 2, 3, 4]


@pytest.mark.parametrize(("size", "cells"), [((10, 10), (1, 1)), ((3, 3), (2, 2))])
def test_an_uncertain_pixel_without_a_neighbour_inside_keeps_its_label(size, cells):
    """Every pixel of a single cell; the middle of three pixels, whose neighbours are two away."""
    labels = torch.randint(0, 200, (2, *size), generator=torch.Generator().manual_seed(0))
    noise = torch.full((2, *size), 0.5)
    corrected = correct_by_neighbours(labels, noise, torch.ones(2, 3, *cells), SETTINGS)
    alone = torch.zeros(size, dtype=torch.bool)
    alone[(slice(None), slice(None)) if cells == (1, 1) else (1, 1)] = True
    assert torch.equal(corrected[:, alone], labels[:, alone])
    assert not (corrected == labels)[:, ~alone].any()


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (5, 1)])
def test_a_single_row_or_column_of_cells(size):
    assert neighbour_similarities(torch.randn(1, 3, *size)).shape == (1, 4, *size)
    labels, noise = torch.ones(1, 10, 10, dtype=torch.int64), torch.full((1, 10, 10), 0.5)
    same = torch.ones(1, 3, *size)
    assert torch.equal(correct_by_neighbours(labels, noise, same, SETTINGS), labels)


# --- refiner ----------------------------------------------------------------------------------------------

REFINER = RefinerConfig("gc", psa=PSA["nano"])


def test_the_refiner_scores_the_uncorrected_labels_under_their_own_name():
    plain, corrected = refiner_stages(REFINER, CAM)
    assert (plain.name, plain.scored_as) == ("pseudo_label_uncorrected", "pseudo_label_uncorrected")
    assert (corrected.name, corrected.scored_as) == ("pseudo_label", None)
    assert corrected.pretrained == ("nano/resnet38d_nano",)
    assert corrected.settings.background_threshold == 0.3
    assert [s.inputs for s in (plain, corrected)] == [{"cam": "cam"}] * 2


def test_psas_other_settings_do_not_change_the_correction():
    other = replace(REFINER, psa=replace(REFINER.psa, logt=1))
    assert refiner_stages(REFINER, CAM) == refiner_stages(other, CAM)


def test_settings_that_make_no_correction():
    assert first_fault(CorrectionConfig(scope="pixel")) == "scope=pixel: there are image, class"
    assert first_fault(CorrectionConfig(posterior="cap")) == (
        "posterior=cap: did you mean 'capped'? there are literal, capped"
    )
    reversed_thresholds = GcConfig(correction=CorrectionConfig(low=0.9))
    assert "low=0.9 must" in str(first_fault(reversed_thresholds))
    assert "high=0.85" in str(first_fault(reversed_thresholds))


@pytest.mark.parametrize("name", ["gc", "par"])
def test_labels_have_their_images_size_and_classes(tmp_path: Path, name: str):
    run = run_refiner(replace(REFINER, name=name), tmp_path)
    check_label_maps(run["pseudo_label"], {IGNORE})
    assert (read_labels(label_map_path(run["pseudo_label"], "3")) == 0).all()  # it has no class


def test_labels_to_correct_may_be_made_by_another_refinement(tmp_path: Path):
    """Numbers of the image's own maps, whose classes they become; no pixel is in a mixture, so nothing is corrected."""
    run_refiner(REFINER, tmp_path)
    samples = tuple(
        Sample(str(i), tmp_path / "images" / f"{i}.png", classes) for i, classes in enumerate(LABELS)
    )
    view = TrainingView("test", ("a", "b", "c"), {"train": samples, "val": ()})
    seen = []

    def refined(images: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
        seen.append((images.shape[-2:], maps.shape[-2:]))
        numbers = torch.zeros(len(maps), *maps.shape[-2:], dtype=torch.int64)
        numbers[:, 0], numbers[:, 1] = IGNORE, 1
        numbers[:, 2] = maps.shape[1]
        return numbers

    cams = Artifact(tmp_path / "cam", "", Kind.CAM)
    write_corrected(
        context(view, {"cam": cams}, tmp_path / "own"),
        lambda images: torch.ones(len(images), 2, 4, 4),
        IMAGENET,
        replace(SETTINGS, min_confidence=1.0),
        0.3,
        2,
        refined,
    )
    assert all(image == maps for image, maps in seen)
    rows = [read_labels(label_map_path(tmp_path / "own", str(i)))[:4, 0].tolist() for i in range(4)]
    # The first shares its batch with one of two classes.
    assert rows == [[IGNORE, 2, 0, 0], [IGNORE, 1, 3, 0], [IGNORE, 1, 3, 0], [IGNORE, 0, 0, 0]]


def test_changes_say_what_became_of_each_label():
    before = torch.tensor([[0, 1, 2, 1, IGNORE, 2]])
    after = torch.tensor([[0, 1, 0, IGNORE, IGNORE, 1]])
    assert [CHANGES[kind] for kind in changes(before, after)[0].tolist()] == [
        "unchanged",
        "unchanged",
        "to background",
        "to ignored",
        "unchanged",
        "to another class",
    ]
