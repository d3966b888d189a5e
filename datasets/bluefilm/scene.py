"""One picture of `bluefilm`: a film, perhaps a defect of one class, light and camera, and the exact mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datasets.bluefilm.defects import DEFECTS, Defect
from datasets.bluefilm.surface import Surface, illuminate, photograph, stretch
from datasets.drawing.primitives import Draws, to_uint8

SIZES = ((72, 96), (84, 84), (96, 72), (66, 90))
"""Sizes (height, width) in pixels of pictures whose longest side may be 96."""
_SIZE_WEIGHTS = (0.4, 0.25, 0.2, 0.15)

_MIN_PIXELS = 90
"""Smallest defect, in pixels of a 96-pixel picture: a label is never a matter of a few pixels."""
_ATTEMPTS = 20


@dataclass(frozen=True)
class Picture:
    """`image` (H, W, 3) and `mask` (H, W): 0 = background, i + 1 = class i; both uint8."""

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]

    @property
    def labels(self) -> tuple[int, ...]:
        """Defect classes (from 0) that are visible."""
        return tuple(int(v) - 1 for v in np.unique(self.mask) if v > 0)


def render(seed: int, split: int, index: int, size: int = 96, good: bool = False) -> Picture:
    """Draws picture `index` of a split (0 = train, 1 = val); the same arguments give the same pixels.

    size: longest side that a picture may have, pixels; good: of the split's defect-free pictures instead
    """
    draws = Draws(seed, split, 2 if good else 1, index)
    scale = size / 96.0
    height, width = (round(side * scale) for side in SIZES[draws.choice(_SIZE_WEIGHTS)])
    surface = stretch(draws, height, width, scale)
    mask = np.zeros((height, width), np.uint8)
    defect = None
    if not good:
        kind = defect_class(seed, split, index)
        defect = _visible(draws, surface, kind)
        surface.height += defect.relief
        mask[defect.inside] = kind + 1
    canvas = illuminate(draws, surface)
    if defect is not None:
        defect.paint(canvas)
    canvas = photograph(draws, canvas)
    return Picture(np.ascontiguousarray(to_uint8(canvas).transpose(1, 2, 0)), mask)


def defect_class(seed: int, split: int, index: int) -> int:
    """Classes come in shuffled blocks of four, so that every class has its share of every split."""
    block, position = divmod(index, len(DEFECTS))
    return Draws(seed, split, 0, block).permutation(len(DEFECTS))[position]


def _visible(draws: Draws, surface: Surface, kind: int) -> Defect:
    """The first defect drawn that shows enough pixels in the frame, or the last one."""
    for _ in range(_ATTEMPTS):
        defect = DEFECTS[kind](draws, surface)
        if defect.inside.sum() >= _MIN_PIXELS * surface.scale**2:
            break
    return defect
