"""Class activation maps that locate nothing: empty or constant ones."""

from __future__ import annotations

import numpy as np

from methods.artifacts import Cam

FLAT = 0.05
"""Range of values below which a map is called constant: it locates nothing."""
NOTED = 0.1
"""Share of the maps from which on empty or constant ones are noted; some images have a class that is not found."""


def flat_maps(cam: Cam) -> np.ndarray:
    """(3,) numbers of maps: all, those that are 0 everywhere, and others that hardly vary."""
    if not cam.classes:
        return np.zeros(3, np.int64)
    flat = cam.maps.reshape(len(cam.classes), -1).astype(np.float32)
    empty = flat.max(1) == 0
    constant = ~empty & (np.ptp(flat, 1) < FLAT)
    return np.array([len(flat), empty.sum(), constant.sum()])


def flatness(maps: np.ndarray) -> list[str]:
    """Notes on maps that locate nothing, where they are many."""
    total, empty, constant = (int(count) for count in maps)
    found = {
        "empty (0 everywhere)": empty,
        f"nearly constant (their values differ by less than {FLAT:g})": constant,
    }
    return [
        f"{count:,} of {total:,} maps are {what}, so they locate nothing"
        for what, count in found.items()
        if total and count >= NOTED * total
    ]
