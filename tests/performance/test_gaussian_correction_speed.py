"""Gaussian correction in batches against a scikit-learn fit an image and Python loops over pixels, in one run."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from sklearn.mixture import GaussianMixture

from datasets.base import IGNORE
from methods.refiners.gc.config import CorrectionConfig
from methods.refiners.gc.correction import correct_by_neighbours, gaussian_correction

MAPS, SIDE, CELL, CHANNELS = 16, 448, 16, 64
BATCH = 8
FITTED, LOOPED = 2, 4000
"""Images that the reference fits and pixels that it corrects; the rest of its time is extrapolated."""
SETTINGS = CorrectionConfig(similarity=0.9)


def example(batch: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Labels, CAMs (B, 1, 448, 448) with a blurred object on a noisy ground, features of 28 x 28 cells."""
    source = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.linspace(-1, 1, SIDE), torch.linspace(-1, 1, SIDE), indexing="ij")
    object_ = torch.sigmoid(8 * (0.6 - (x * x + 1.5 * y * y).sqrt()))
    cams = 0.15 + 0.7 * object_ + 0.06 * torch.randn(batch, 1, SIDE, SIDE, generator=source)
    cams = cams.clamp(0, 1)
    labels = (cams[:, 0] > 0.5).long()
    grid = SIDE // CELL
    features = torch.randn(batch, CHANNELS, 1, 1, generator=source)
    features = features + 0.3 * torch.randn(batch, CHANNELS, grid, grid, generator=source)
    return labels, cams, features


def fit_one(confidence: np.ndarray) -> np.ndarray:
    values = confidence.reshape(-1, 1)
    inside = values[:, 0] > SETTINGS.min_confidence
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mixture = GaussianMixture(2, random_state=0).fit(values[inside])
    noise = mixture.predict_proba(values)[:, mixture.means_[:, 0].argmin()]
    return (noise * inside).reshape(confidence.shape)


def correct_pixels(
    labels: np.ndarray, noise: np.ndarray, features: np.ndarray, pixels: np.ndarray
) -> np.ndarray:
    """Pixel by pixel, as the paper tells it; features (h, w, D)."""
    result = labels.copy()
    for y, x in pixels:
        if noise[y, x] > SETTINGS.high or SETTINGS.low < noise[y, x] < SETTINGS.high:
            here = features[y // CELL, x // CELL]
            similarities, neighbours = [], []
            for dy, dx in ((-CELL, 0), (CELL, 0), (0, -CELL), (0, CELL)):
                i, j = y + dy, x + dx
                if 0 <= i < SIDE and 0 <= j < SIDE:
                    there = features[i // CELL, j // CELL]
                    similarities.append(here @ there / (np.linalg.norm(here) * np.linalg.norm(there)))
                    neighbours.append(labels[i, j])
            if min(similarities) < SETTINGS.similarity:
                result[y, x] = 0
            elif noise[y, x] > SETTINGS.high:
                result[y, x] = IGNORE
            else:
                result[y, x] = neighbours[int(np.argmax(similarities))]
    return result


def test_correction_in_batches_against_a_fit_and_a_loop_an_image(
    record_property: Callable[[str, object], None],
) -> None:
    own = 0.0
    for number in range(MAPS // BATCH):
        inputs = example(BATCH, number)
        began = time.perf_counter()
        gaussian_correction(*inputs, SETTINGS)
        own += time.perf_counter() - began

    inputs = example(FITTED, 0)
    labels, cams, features = (t.numpy() for t in inputs)
    began = time.perf_counter()
    noises = [fit_one(cam[0]) for cam in cams]
    fitting = (time.perf_counter() - began) / FITTED
    pixels = np.random.default_rng(0).integers(0, SIDE, (LOOPED, 2))
    channels_last = features[0].transpose(1, 2, 0)
    began = time.perf_counter()
    looped = correct_pixels(labels[0], noises[0], channels_last, pixels)
    looping = (time.perf_counter() - began) * SIDE * SIDE / LOOPED
    reference = MAPS * (fitting + looping)
    record_property(
        f"Gaussian correction of {MAPS} maps of {SIDE}x{SIDE}: seconds of a fit and a loop an image / ours",
        f"{reference / own:.0f}x",
    )
    noise = torch.from_numpy(np.stack(noises)).to(inputs[1].dtype)
    corrected = correct_by_neighbours(inputs[0], noise, inputs[2], SETTINGS)[0].numpy()
    at = tuple(pixels.T)
    changed, unlike = (int((looped[at] != other[at]).sum()) for other in (labels[0], corrected))
    # The loop compares cells; similarities between their middles are interpolated in batches.
    assert unlike < 0.1 * changed
