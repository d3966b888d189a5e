"""Made-up images of which everything is known, to draw few from."""

from __future__ import annotations

import numpy as np

from benchmark.selection.estimates import Areas


def population(seed: int, images: int = 300, classes: int = 3, told: float = 0.8) -> tuple[Areas, Areas]:
    """Two artifacts' areas, and those against a stand-in that follows the truth as far as `told`."""
    rng = np.random.default_rng(seed)
    truth = rng.gamma(2.0, 1.0, (images, classes)) * (rng.random((images, classes)) < 0.7)
    truth[:, 0] += 2
    quality = rng.normal(0, 1, (2, images, 1))
    noise = rng.normal(0, 1, (2, images, 1))

    def against(shift: np.ndarray, level: float) -> Areas:
        recall = 1 / (1 + np.exp(-(level + shift)))
        both = truth * recall
        return Areas(both, truth + 0.2 * truth * (1 - recall), np.broadcast_to(truth, both.shape))

    seen = told * quality + np.sqrt(1 - told**2) * noise
    return against(quality, 0.5), against(seen, 1.5)
