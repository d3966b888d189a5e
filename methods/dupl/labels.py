"""Labels that the students teach each other with: the threshold that falls, and the filter of noise."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from datasets.base import IGNORE
from methods.dupl.config import NoiseConfig
from methods.layers.cam import resize
from methods.layers.gaussian_mixture import Start, fit_two_gaussians, lower_posterior
from methods.toco.labels import par_labels

EM_ITERATIONS = 10
EM_TOLERANCE = 1e-2
EM_REGULARISATION = 5e-4
"""How scikit-learn's mixture is called in the reference code."""
SPLITS = 20
"""Rounds of two-means in one dimension, after which the border between the means stands still."""


def falling_threshold(iteration: int, start: int, iterations: int, high: float, final: float) -> float:
    """β_h at an iteration: `high` up to `start`, from there on a cosine to `final` at the last of `iterations`."""
    last = max(1, iterations - start - 1)
    progress = min(1.0, max(0, iteration - start) / last)
    return high + (final - high) * (1 - math.cos(math.pi * progress)) / 2


@torch.no_grad()
def decoder_labels(
    images: torch.Tensor, cam: torch.Tensor, valid: torch.Tensor, low: float, high: torch.Tensor
) -> torch.Tensor:
    """ToCo's labels refined by PAR, each image with a threshold of its own: (B, H, W) int64, 255 ignored.

    images: (B, 3, H, W); cam: (B, C, h, w) in [0, 1], zero for absent classes; high: (B,)
    valid:  (B, H, W) bool, False in the padding around an image, which is ignored
    """
    labels = par_labels(images, resize(cam, (images.shape[-2], images.shape[-1])), low, high)
    return torch.where(valid, labels, IGNORE)


@torch.no_grad()
def without_noise(logits: torch.Tensor, labels: torch.Tensor, settings: NoiseConfig) -> torch.Tensor:
    """Labels (B, H, W) of which those are 255 that their own student's logits (B, C + 1, H, W) say are noise."""
    losses = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none").flatten(1)
    objects = ((labels != 0) & (labels != IGNORE)).flatten(1)
    noise = noise_probability(losses, objects, settings).view_as(labels)
    return torch.where((noise > settings.posterior) & (labels != 0), IGNORE, labels)


def noise_probability(losses: torch.Tensor, objects: torch.Tensor, settings: NoiseConfig) -> torch.Tensor:
    """Probability of every pixel that its loss is of the component with the larger mean; 0 in images without noise.

    losses: (B, N); objects: (B, N) bool, of whose losses above the floor the mixture is
    """
    fitted = objects & (losses > settings.floor)
    mixture = fit_two_gaussians(
        losses, fitted, two_means(losses, fitted), EM_ITERATIONS, EM_TOLERANCE, EM_REGULARISATION
    )
    noisy = (fitted.sum(1) > settings.least) & mixture.valid
    noisy &= mixture.means[:, 1] - mixture.means[:, 0] > settings.separation
    noise = torch.where(noisy[:, None], 1 - lower_posterior(losses, mixture), 0)
    return torch.where(losses > mixture.means[:, :1], noise, 0) if settings.above_lower_mean else noise


def two_means(values: torch.Tensor, mask: torch.Tensor) -> Start:
    """Groups of two-means in every row (B, N), of the values that `mask` (B, N) has: where scikit-learn's EM starts."""
    counts = mask.to(values.dtype)
    border = _mean(values, counts)
    for _ in range(SPLITS):
        upper = counts * (values > border)
        border = (_mean(values, counts - upper) + _mean(values, upper)) / 2
    groups = counts - upper, upper
    means = [_mean(values, group) for group in groups]
    variances = [
        _mean((values - mean).square(), group) + EM_REGULARISATION for mean, group in zip(means, groups)
    ]
    weights = [_mean(group, counts) for group in groups]
    return Start(*(torch.cat(parts, 1) for parts in (means, variances, weights)))


def _mean(values: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Mean of each row's values, weighted: (B, N) and (B, N) -> (B, 1); 0 where nothing counts."""
    return (values * counts).sum(1, keepdim=True) / counts.sum(1, keepdim=True).clamp_min(1)
