"""Mixtures of two one-dimensional Gaussians, one for each row of a batch, fitted by EM on the device.

The steps, the regularisation and the stopping rule are scikit-learn's (`sklearn.mixture.GaussianMixture`), so that
from the same start both arrive at the same parameters.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F

MIN_SPREAD = 1e-4
"""Standard deviation of a row's values below which there is nothing to tell apart."""


class Mixture(NamedTuple):
    """means, variances, weights: (B, 2), the component with the lower mean first.

    valid: (B,) bool; False where the row has no mixture (too few or all-equal values, an empty component): its
           parameters are finite, but mean nothing
    """

    means: torch.Tensor
    variances: torch.Tensor
    weights: torch.Tensor
    valid: torch.Tensor


class Start(NamedTuple):
    """means, variances, weights: (B, 2), from which EM starts."""

    means: torch.Tensor
    variances: torch.Tensor
    weights: torch.Tensor


def fit_two_gaussians(
    values: torch.Tensor,
    mask: torch.Tensor | None = None,
    start: Start | None = None,
    max_iterations: int = 100,
    tolerance: float = 1e-3,
    regularisation: float = 1e-6,
) -> Mixture:
    """EM of a two-component mixture in every row (Eq. 12 to 16 of DSKD-GC).

    values: (B, N), finite; mask: (B, N) bool, which of them count (None: all)
    start:  None: the rows are split at their mean
    max_iterations: of EM; tolerance: a row ends when its mean log-likelihood changes by less
    regularisation: added to the variances
    """
    counts = torch.ones_like(values) if mask is None else mask.to(values.dtype)
    total = counts.sum(1, keepdim=True)
    mean = _dot(counts, values) / total.clamp_min(1)
    spread = _dot(counts, (values - mean).square()) / total.clamp_min(1)
    enough = (total[:, 0] >= 2) & (spread[:, 0] > MIN_SPREAD**2)
    if start is None:
        above = counts * (values > mean)
        means, variances = mean.expand(-1, 2), spread.expand(-1, 2)
        start = _maximisation(values, counts, above, total, means, variances, regularisation)
    parameters = start
    bound = values.new_full((len(values),), -torch.inf)
    running = enough.clone()
    for _ in range(max_iterations):
        upper, likelihood = _expectation(values, counts, total, parameters)
        updated = _maximisation(
            values, counts, upper, total, parameters.means, parameters.variances, regularisation
        )
        parameters = Start(*(torch.where(running[:, None], n, o) for n, o in zip(updated, parameters)))
        running = running & ~((likelihood - bound).abs() < tolerance)
        bound = likelihood
        if not running.any():
            break
    return _sorted(parameters, enough, total)


def lower_posterior(values: torch.Tensor, mixture: Mixture) -> torch.Tensor:
    """Probability (B, N) that a value comes from the component with the lower mean (Eq. 17); 0 where not valid."""
    low, high = _log_densities(values, Start(*mixture[:3]))
    return torch.sigmoid(low - high) * mixture.valid[:, None]


def _dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Sums over each row, (B, N) and (B, N) -> (B, 1), without their products in memory."""
    return torch.linalg.vecdot(a, b)[:, None]


def _log_densities(values: torch.Tensor, parameters: Start) -> tuple[torch.Tensor, torch.Tensor]:
    """log(weight * density) of both components, each (B, N)."""
    constant = parameters.weights.log() - 0.5 * (2 * math.pi * parameters.variances).log()
    scale = -0.5 / parameters.variances
    first, second = (
        (values - parameters.means[:, k : k + 1])
        .square_()
        .mul_(scale[:, k : k + 1])
        .add_(constant[:, k : k + 1])
        for k in (0, 1)
    )
    return first, second


def _expectation(
    values: torch.Tensor, counts: torch.Tensor, total: torch.Tensor, parameters: Start
) -> tuple[torch.Tensor, torch.Tensor]:
    """Responsibilities of the second component, (B, N) and 0 outside the mask, and the mean log-likelihood (B,)."""
    first, second = _log_densities(values, parameters)
    difference = second.sub_(first)
    likelihood = _dot(counts, first.add_(F.softplus(difference))) / total.clamp_min(1)
    return difference.sigmoid_().mul_(counts), likelihood[:, 0]


def _maximisation(
    values: torch.Tensor,
    counts: torch.Tensor,
    upper: torch.Tensor,
    total: torch.Tensor,
    means: torch.Tensor,
    variances: torch.Tensor,
    regularisation: float,
) -> Start:
    """Parameters from the second component's responsibilities `upper` (B, N).

    Moments are taken about the previous means (B, 2), which keeps the digits that E[x^2] - E[x]^2 would lose.
    """
    found: list[tuple[torch.Tensor, ...]] = []
    for k, responsibility in enumerate((counts - upper, upper)):
        size = responsibility.sum(1, keepdim=True) + 10 * torch.finfo(values.dtype).eps
        centred = values - means[:, k : k + 1]
        shift = _dot(responsibility, centred) / size
        square = _dot(responsibility, centred.square_()) / size
        variance = (square - shift.square()).clamp_min(0) + regularisation
        found.append((means[:, k : k + 1] + shift, variance, size / total.clamp_min(1)))
    mean, variance, weight = (torch.cat(parts, 1) for parts in zip(*found))
    return Start(mean, variance, weight / weight.sum(1, keepdim=True))


def _sorted(parameters: Start, enough: torch.Tensor, total: torch.Tensor) -> Mixture:
    means, variances, weights = parameters
    order = means.argsort(1)
    means, variances, weights = (p.gather(1, order) for p in (means, variances, weights))
    finite = torch.stack([p.isfinite().all(1) for p in (means, variances, weights)]).all(0)
    # A component of less than one value is empty: it says nothing about the others.
    occupied = (weights * total).amin(1) >= 1
    distinct = means[:, 1] - means[:, 0] > MIN_SPREAD
    valid = enough & finite & occupied & distinct
    harmless = Start(torch.zeros_like(means), torch.ones_like(means), torch.full_like(means, 0.5))
    means, variances, weights = (
        torch.where(valid[:, None], p, h) for p, h in zip((means, variances, weights), harmless)
    )
    return Mixture(means, variances, weights, valid)
