"""Which images to label: an order of which every beginning is a random sample with known probabilities.

Sequential Poisson sampling (Ohlsson, Sequential Poisson Sampling, Journal of Official Statistics 14, 1998): each image
has a random number u in (0, 1), fixed by its name, and comes in the order of u / size. The first n are then drawn with
probabilities that are n · size over the sum of sizes, in good approximation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from benchmark.selection.estimates import Areas, linearised

UNIFORM = 0.5
"""Part of the sizes that is the same for all images: none is drawn less than half as often as at random."""


def sizes(stand_in: Areas, combine: np.ndarray) -> np.ndarray:
    """(N,) with mean 1: how much an image is expected to say, from what is known without masks.

    The best probabilities are proportional to the standard deviation of an image's influence (Neyman). That is guessed
    by the influence on the mIoU against the stand-in, root mean square over entries; half of each size is the same for
    all images, since the guess may be wrong.
    """
    influence = linearised(stand_in, np.ones((1, stand_in.both.shape[1])), combine).influence[0]
    guess = np.sqrt((influence**2).mean(0))
    mean = guess.mean()
    return UNIFORM + (1 - UNIFORM) * (guess / mean if mean > 0 else np.ones_like(guess))


def fixed_numbers(images: Sequence[str]) -> np.ndarray:
    """(N,) in (0, 1), one for each name, the same whenever they are asked for."""
    digests = [hashlib.sha256(f"label next: {image}".encode()).digest() for image in images]
    return (np.array([int.from_bytes(digest[:6], "big") for digest in digests]) + 0.5) / 2.0**48


def order(size: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Positions in the order in which to label; numbers: (..., N) in (0, 1)."""
    return np.argsort(numbers / size, axis=-1, kind="stable")


def inclusion(size: np.ndarray, n: int) -> np.ndarray:
    """(N,) probabilities of being among the first n of the order, with sum n; large sizes are certain."""
    found = np.zeros(len(size))
    certain = np.zeros(len(size), bool)
    n = min(n, len(size))
    while n > certain.sum():
        rest = np.where(certain, 0.0, size)
        found = np.where(certain, 1.0, (n - certain.sum()) * rest / max(rest.sum(), 1e-300))
        if not (found > 1 + 1e-12).any():
            return np.minimum(found, 1.0)
        certain |= found >= 1
    return np.where(certain, 1.0, found)


def joined(size: np.ndarray, random: int, n: int) -> np.ndarray:
    """(N,) probabilities of having a mask: drawn at random before, or else among the first n in the order of the rest.

    random: number of images that were drawn at random before the order was made
    """
    images = len(size)
    first = random / images
    if not n or random >= images:
        return np.full(images, max(first, 1e-12))
    # the rest's sizes are, on average over what was drawn before, this part of all
    of_rest = np.minimum(inclusion(size, min(images, round(n / (1 - first)))), 1.0)
    return np.asarray(first + (1 - first) * of_rest)
