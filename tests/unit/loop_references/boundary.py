"""Boundary counts, pixel by pixel, with augmenting paths for the matching."""

from __future__ import annotations

import math

import numpy as np

Pixel = tuple[int, ...]


def boundary_counts_loop(truth: np.ndarray, prediction: np.ndarray, tolerance: float) -> list[int]:
    """The definition: matched, true, matched, predicted boundary pixels of one image."""
    height, width = truth.shape
    radius = max(1.0, tolerance * math.sqrt(height**2 + width**2))
    pixels = list(np.ndindex(height, width))

    def near(a: Pixel, b: Pixel) -> bool:
        return (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 <= radius**2

    filled = {}
    for at in pixels:
        candidates = [other for other in pixels if truth[other] != 255 and near(at, other)]
        nearest = sorted(
            candidates,
            key=lambda p: ((p[0] - at[0]) ** 2 + (p[1] - at[1]) ** 2, p[0] - at[0], p[1] - at[1]),
        )
        filled[at] = int(truth[nearest[0]]) if nearest else 255

    def edges(labels: dict[Pixel, int]) -> list[Pixel]:
        found: list[Pixel] = []
        for y, x in pixels:
            around = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
            known = [p for p in around if p in filled and filled[p] != 255]
            if filled[y, x] != 255 and any(labels[p] != labels[y, x] for p in known):
                found.append((y, x))
        return found

    true = edges(filled)
    predicted = edges({at: 0 if prediction[at] == 255 else int(prediction[at]) for at in pixels})
    partner: dict[Pixel, Pixel] = {}

    def augment(at: Pixel, seen: set[Pixel]) -> bool:
        """Match a true pixel, moving others to other partners where that makes room."""
        for other in predicted:
            if near(at, other) and other not in seen:
                seen.add(other)
                if other not in partner or augment(partner[other], seen):
                    partner[other] = at
                    return True
        return False

    matched = sum(augment(at, set()) for at in true)
    return [matched, len(true), matched, len(predicted)]
