"""The plan of which images to label, kept beside the run: what was masked before it, and the order of the rest.

The plan is made once and stays: images are drawn with its probabilities, and other ones would make the estimates wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmark.selection.sampling import fixed_numbers, joined
from benchmark.selection.sampling import order as ordered
from datasets.base import DataError
from results.csv_cells import read_csv, to_csv

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Order:
    """The order of N images, and which of those with a mask count.

    places: positions of the images that had no mask when the plan was made, in the order in which to label
    drawn: (N,) bool, masked before the plan or at the beginning of the order; probability: (N,) of being so
    certain: (N,) bool, images whose truth is known in any case
    left_out: images whose mask does not count: an earlier one of the order has none
    """

    size: np.ndarray
    before: np.ndarray
    certain: np.ndarray
    places: np.ndarray
    drawn: np.ndarray
    probability: np.ndarray
    left_out: tuple[str, ...]

    @property
    def counting(self) -> int:
        """Masks that an interval rests on: those of images that were drawn."""
        return int((self.drawn & ~self.certain).sum())

    def reached(self, n: int) -> np.ndarray:
        """(N,) probabilities of having a mask once the first n of the order do."""
        open_ = ~self.certain
        found = np.ones(len(self.size))
        found[open_] = joined(self.size[open_], int(self.before[open_].sum()), n)
        return found


def read_or_plan(
    path: Path, images: Sequence[str], size: np.ndarray, masked: np.ndarray, certain: np.ndarray
) -> Order:
    """The plan that is kept, or a new one, which is kept; size: (N,) of a new plan; masked, certain: (N,) bool.

    Masks that a new plan finds are taken for those of images drawn at random. Raises DataError for other images' plan.
    """
    import pandas as pd

    before = masked
    if path.is_file():
        size, before = _read(path, images)
    else:
        table = pd.DataFrame({"image": list(images), "size": size, "before": masked.astype(int)})
        to_csv(table, path)
    places = ordered(size, fixed_numbers(images))
    places = places[~before[places] & ~certain[places]]
    reached = int(np.argmin(np.append(masked[places], False)))
    drawn = masked & (before | certain)
    drawn[places[:reached]] = True
    left_out = tuple(images[n] for n in places[reached:] if masked[n])
    found = Order(size, before, certain, places, drawn, np.ones(len(size)), left_out)
    return replace(found, probability=found.reached(reached))


def _read(path: Path, images: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    try:
        table = read_csv(path, ["size", "before"])
        if table["image"].tolist() != list(images):
            raise ValueError("of other images")
        size, before = table["size"].to_numpy(float), table["before"].to_numpy(float) > 0
        if not (np.isfinite(size) & (size > 0)).all():
            raise ValueError("a size is not above 0")
        return size, before
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{path}: no plan for these images ({error}); remove it for a new one, for which all images that have a mask "
            "have to be drawn at random"
        ) from error


def next_images(order: Order, images: Sequence[str], masked: np.ndarray, upto: int) -> pd.DataFrame:
    """Images without a mask in the order of the plan.

    Columns: place, image, size (1: as likely as the average), and probability: of having a mask once the first `upto`
    of this table do
    """
    import pandas as pd

    waiting = order.places[~masked[order.places]]
    probability = order.reached(len(order.places) - len(waiting) + min(upto, len(waiting)))
    return pd.DataFrame(
        {
            "place": np.arange(1, len(waiting) + 1),
            "image": [images[n] for n in waiting],
            "size": order.size[waiting].round(4),
            "probability": probability[waiting].round(6),
        }
    )
