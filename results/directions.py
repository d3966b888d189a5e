"""Whether what a paper's table says holds here: its best row against each other row, over images and seeds.

A difference is taken within each seed, so that what two rows share (data order, often a whole training) drops out.
Its variance is that over images, by the bootstrap, plus that over seeds, pooled over the differences of one column
(`results.significance`). A direction is tested where the paper's own difference is at least `POINT`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datasets.base import DataError
from results.significance import Sampled, score_of, seed_noise

if TYPE_CHECKING:
    import pandas as pd

POINT = 1.0
"""Smallest effect in a paper, in points, whose direction is tested."""
REPRODUCED = "reproduced"
NOT_REPRODUCED = "not reproduced"
INCONCLUSIVE = "inconclusive"
RANGE = "range"
NOT_RUN = "not run"
VERDICTS = {
    REPRODUCED: "the 95 % interval of the difference lies above 0",
    NOT_REPRODUCED: f"it lies below 0, or holds 0 and no effect of {POINT:g} point",
    INCONCLUSIVE: "it holds both 0 and effects of a point",
    RANGE: f"the paper's rows are less than {POINT:g} point apart: both spreads are given, nothing is tested",
    NOT_RUN: "one of the two rows has no score",
}
DIRECTIONS_FOLDER = "directions"


@dataclass(frozen=True)
class Scored:
    """A row's score in one column, in points (hundredths; for mIoU, percent).

    printed: None where the paper prints none
    sampled: M = 1; None where it has no score, and `reason` says why. Without resamples (`resamples` is empty: a
             metric that is not bootstrapped) there are only seeds to judge by
    """

    label: str
    printed: float | None
    sampled: Sampled | None = None
    reason: str = ""


@dataclass(frozen=True)
class Direction:
    """One comparison. Of a `RANGE`, `row` names the first and last of its rows, and differences are spreads.

    better, row: the table's best row, and the one it is compared with
    paper, difference, low, high: better - row (turned round where less is better) in points: the paper's, ours and
                 its 95 % interval
    n: number of seeds; diagnosis: why it does not reproduce, in words, where somebody has found out
    """

    experiment: str
    column: str
    better: str
    row: str
    paper: float
    difference: float
    low: float
    high: float
    n: int
    verdict: str
    reason: str = ""
    diagnosis: str = ""


def directions(
    experiment: str, column: str, rows: Sequence[Scored], less_is_better: bool = False
) -> list[Direction]:
    """Every comparison of one column: those tested in the table's order, then the range of those too close."""
    sign = -1 if less_is_better else 1
    printed = {row.label: row.printed for row in rows if row.printed is not None}
    rows = [row for row in rows if row.label in printed]
    if len(rows) < 2:
        return []
    best = max(rows, key=lambda row: (sign * printed[row.label], row.sampled is not None))
    effects = {row.label: round(sign * (printed[best.label] - printed[row.label]), 6) for row in rows}
    far = [row for row in rows if effects[row.label] >= POINT]
    close = [row for row in rows if effects[row.label] < POINT]
    differences = {row.label: _difference(best, row, sign) for row in far}
    noise = seed_noise([found for found in differences.values() if found is not None])
    tested = []
    for row in far:
        empty = Direction(experiment, column, best.label, row.label, effects[row.label],
                          np.nan, np.nan, np.nan, 0, NOT_RUN)  # fmt: skip
        found = differences[row.label]
        if found is None:
            tested.append(replace(empty, reason=_why_missing(best, row)))
            continue
        estimate = score_of(found, noise)
        mean, low, high = (float(value[0]) for value in (estimate.mean, estimate.low, estimate.high))
        bootstrapped = all(scored.sampled and scored.sampled.resamples for scored in (best, row))
        if not bootstrapped and estimate.n < 2:
            reason = "one seed, and this metric has no bootstrap: no interval"
            tested.append(replace(empty, difference=mean, n=1, verdict=INCONCLUSIVE, reason=reason))
            continue
        reason = "" if estimate.n > 1 else "over images alone"
        tested.append(
            replace(
                empty,
                difference=mean,
                low=low,
                high=high,
                n=estimate.n,
                verdict=verdict(low, high),
                reason=reason if bootstrapped else "over seeds alone",
            )
        )
    return [*tested, *([_range(experiment, column, close)] if len(close) > 1 else [])]


def verdict(low: float, high: float) -> str:
    """What the interval of a difference that should be positive says."""
    if low > 0:
        return REPRODUCED
    return NOT_REPRODUCED if high < POINT else INCONCLUSIVE


def _difference(best: Scored, row: Scored, sign: int) -> Sampled | None:
    """best - row by seed, over the seeds that both have; None where there is none, or the images differ."""
    a, b = best.sampled, row.sampled
    if a is None or b is None or a.images != b.images:
        return None
    seeds = [s for s in a.values if s in b.values and not np.isnan(a.values[s] - b.values[s]).any()]
    if not seeds:
        return None
    nothing = np.zeros((2, 1))
    both = a.resamples and b.resamples
    return Sampled(
        {s: sign * (a.values[s] - b.values[s]) for s in seeds},
        {s: sign * (a.resamples[s] - b.resamples[s]) if both else nothing for s in seeds},
        a.images,
    )


def _why_missing(best: Scored, row: Scored) -> str:
    for scored in (row, best):
        if scored.sampled is None:
            return f"{scored.label}: {scored.reason}" if scored is best else scored.reason
    return "no seed has both scores on the same images"


def _range(experiment: str, column: str, rows: Sequence[Scored]) -> Direction:
    """Rows that the paper has too close together to test."""
    printed = [row.printed for row in rows if row.printed is not None]
    means = {row.label: float(np.nanmean(row.sampled.mean)) for row in rows if row.sampled is not None}
    label = f"{rows[0].label} … {rows[-1].label}" if len(rows) > 2 else " / ".join(row.label for row in rows)
    text = f"{len(rows)} rows: paper {min(printed):.2f} to {max(printed):.2f}"
    text += f", here {min(means.values()):.2f} to {max(means.values()):.2f}" if means else ", none run here"
    if means and len(means) < len(rows):
        text += f" ({len(means)} of them)"
    seeds = [len(row.sampled.values) for row in rows if row.sampled is not None]
    spread = max(means.values()) - min(means.values()) if len(means) > 1 else np.nan
    paper = round(max(printed) - min(printed), 6)
    return Direction(
        experiment, column, "", label, paper, spread, np.nan, np.nan, min(seeds, default=0), RANGE, text
    )


def write_directions(folder: Path, experiment: str, found: Sequence[Direction]) -> Path:
    """Write an experiment's comparisons beside its table, in place of earlier ones."""
    import pandas as pd

    path = folder / DIRECTIONS_FOLDER / f"{experiment.replace('/', '-')}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    columns = [field.name for field in fields(Direction)]
    pd.DataFrame([asdict(each) for each in found], columns=columns).to_csv(temporary, index=False)
    temporary.replace(path)
    return path


def read_directions(folder: Path) -> pd.DataFrame:
    """The comparisons of all experiments of a folder, fields of `Direction` as columns. Raises DataError."""
    import pandas as pd

    columns = [field.name for field in fields(Direction)]
    numbers = ["paper", "difference", "low", "high"]
    parts = []
    for path in sorted((folder / DIRECTIONS_FOLDER).glob("*.csv")):
        try:
            table = pd.read_csv(path, keep_default_na=False, na_values={name: [""] for name in numbers})
            parts.append(table[columns].astype(dict.fromkeys(numbers, float) | {"n": int}))
        except (ValueError, KeyError) as error:
            raise DataError(
                f"{path}: no comparisons of an experiment ({error}); delete it and run the experiment again"
            ) from error
    filled = [part for part in parts if not part.empty]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=columns)
