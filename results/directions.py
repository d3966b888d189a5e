"""Whether what a paper's table says holds here: its best row against each other row, over images and seeds.

A difference is taken within each seed, so that what two rows share (data order, often a whole training) drops out.
Its variance is that over images, by the bootstrap (`results.significance`), plus that over seeds (`difference_noise`). A
direction is tested where the paper's own difference is at least `POINT`, or where it is claimed without a number.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datasets.base import DataError
from results.csv_cells import read_csv, to_csv
from results.significance import Sampled, SeedNoise, score_of

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
    NOT_REPRODUCED: f"it lies below 0, or holds 0 and no effect of {POINT:g} point (of claims without a number: it lies "
    "below 0)",
    INCONCLUSIVE: "it holds 0 and effects of a point (of claims without a number: it holds 0), or there is none",
    RANGE: f"the paper's rows are less than {POINT:g} point apart: both spreads are given, nothing is tested",
    NOT_RUN: "one of the two rows has no score",
}
DIRECTIONS_FOLDER = "directions"


@dataclass(frozen=True)
class Scored:
    """A row's score in one column, in points (hundredths; for mIoU, percent).

    printed: None where the paper prints none; doubt: why that number cannot be what it is printed as
    sampled: M = 1; None where it has no score, and `reason` says why. Without resamples (`resamples` is empty: a
             metric that is not bootstrapped) there are only seeds to judge by
    """

    label: str
    printed: float | None
    sampled: Sampled | None = None
    reason: str = ""
    doubt: str = ""


@dataclass(frozen=True)
class Direction:
    """One comparison. Of a `RANGE`, `row` names the first and last of its rows, and differences are spreads.

    better, row: the table's best row, and the one it is compared with
    paper, difference, low, high: better - row (turned round where less is better) in points: the paper's (NaN where it
                 prints none), ours and its 95 % interval
    n: number of seeds; diagnosis: why it does not reproduce, in words, where somebody has found out
    place: "<data set>-<scale>"
    conditions: settings given on the command line that decide numbers; "" if there were none
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
    place: str = ""
    conditions: str = ""


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
    tested = _tested(experiment, column, best, [(row, effects[row.label]) for row in far], sign)
    return [*tested, *([_range(experiment, column, close)] if len(close) > 1 else [])]


def claims(
    experiment: str,
    column: str,
    better: Scored,
    others: Sequence[tuple[Scored, str]],
    less_is_better: bool = False,
) -> list[Direction]:
    """Where a paper says that one cell is better than others and prints no difference in a column: each comparison.

    others: cells that it should be better than, each with where the paper says so; of numbers that are printed apart
    (in two columns) the difference is given
    """
    sign = -1 if less_is_better else 1
    effects = [
        np.nan
        if better.printed is None or other.printed is None
        else round(sign * (better.printed - other.printed), 6)
        for other, _ in others
    ]
    pairs = [(other, effect) for (other, _), effect in zip(others, effects, strict=True)]
    tested = _tested(experiment, column, better, pairs, sign)
    return [
        replace(found, reason="; ".join(filter(None, (f"claimed in {source}", found.reason))))
        for found, (_, source) in zip(tested, others, strict=True)
    ]


def _tested(
    experiment: str, column: str, best: Scored, others: Sequence[tuple[Scored, float]], sign: int
) -> list[Direction]:
    """`best` against each other cell; others: with the paper's difference, NaN where it prints none."""
    differences = [_difference(best, row, sign) for row, _ in others]
    noise = _noise_of(best, [(row, found) for (row, _), found in zip(others, differences) if found])
    tested = []
    for (row, effect), found in zip(others, differences, strict=True):
        doubts = [f"the paper's {each.label} is doubtful: {each.doubt}" for each in (best, row) if each.doubt]
        empty = Direction(experiment, column, best.label, row.label, effect,
                          np.nan, np.nan, np.nan, 0, NOT_RUN)  # fmt: skip
        if found is None:
            tested.append(replace(empty, reason=_why_missing(best, row)))
            continue
        estimate = score_of(found, noise)
        mean, low, high = (float(value[0]) for value in (estimate.mean, estimate.low, estimate.high))
        bootstrapped = all(scored.sampled and scored.sampled.resamples for scored in (best, row))
        over_seeds = bool(noise.freedom[0])
        if not bootstrapped and not over_seeds:
            reason = "; ".join(["one seed, and this metric has no bootstrap: no interval", *doubts])
            tested.append(replace(empty, difference=mean, n=estimate.n, verdict=INCONCLUSIVE, reason=reason))
            continue
        basis = [] if bootstrapped and over_seeds else [f"over {'images' if bootstrapped else 'seeds'} alone"]
        tested.append(
            replace(
                empty,
                difference=mean,
                low=low,
                high=high,
                n=estimate.n,
                verdict=verdict(low, high, 0.0 if np.isnan(effect) else POINT),
                reason="; ".join([*basis, *doubts]),
            )
        )
    return tested


def difference_noise(rows: Sequence[Mapping[int, float]]) -> SeedNoise:
    """Variance over seeds of a difference of two rows within a seed, from all rows of a comparison: values by seed.

    Differences from one best row share its noise, so that K of them on n seeds hold less than K (n - 1) independent
    deviations (6 on 3 seeds: about 5.3, not 12). The rows themselves do not: a row's score is taken to be the row's,
    plus the seed's, plus noise of its own, as in a two-way analysis of variance without replicates. The residual mean
    square of K + 1 rows on n seeds has K n - K = K (n - 1) degrees of freedom and estimates the variance of that noise;
    a difference has twice as much. For two rows it is the paired t test.

    The noise is taken to be alike for all rows: rows do not have the seeds (two or three) for one estimate each. Where
    it is not, intervals of the steadier rows are too wide and those of the others too narrow. Seeds that some rows lack
    cost freedom only: the model is fitted by least squares to what there is.
    """
    cells = [(k, seed, value) for k, row in enumerate(rows) for seed, value in row.items()]
    nothing = SeedNoise(np.zeros(1), np.zeros(1, int))
    if not cells:
        return nothing
    row, seed, values = (np.array(part) for part in zip(*cells))
    design = np.column_stack([row[:, None] == np.unique(row), seed[:, None] == np.unique(seed)]).astype(float)
    centred = values - values.mean()
    fitted, _, rank, _ = np.linalg.lstsq(design, centred, rcond=None)
    freedom = len(cells) - int(rank)
    if not freedom:
        return nothing
    squares = np.sum((centred - design @ fitted) ** 2)
    return SeedNoise(np.array([2 * squares / freedom]), np.array([freedom]))


def _noise_of(best: Scored, compared: Sequence[tuple[Scored, Sampled]]) -> SeedNoise:
    """`difference_noise` of a best row and those compared with it, each on the seeds of its comparison."""
    rows = [
        {s: float(row.sampled.values[s][0]) for s in found.values} for row, found in compared if row.sampled
    ]
    shared = {s for row in rows for s in row}
    own = {s: float(v[0]) for s, v in best.sampled.values.items() if s in shared} if best.sampled else {}
    return difference_noise([own, *rows])


def verdict(low: float, high: float, smallest: float = POINT) -> str:
    """What the interval of a difference that should be positive says; smallest: effect that refutes by its absence,
    0 where the paper gives no size."""
    if low > 0:
        return REPRODUCED
    return NOT_REPRODUCED if high < smallest else INCONCLUSIVE


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
        if all(np.isnan(value).all() for value in scored.sampled.values.values()):
            return f"{scored.label}: not a number on any seed (nothing in the data that it counts)"
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


def write_directions(folder: Path, name: str, found: Sequence[Direction]) -> Path:
    """Write an experiment's comparisons beside its table, in place of earlier ones; name: `experiments.file_name`."""
    import pandas as pd

    path = folder / DIRECTIONS_FOLDER / f"{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    columns = [field.name for field in fields(Direction)]
    to_csv(pd.DataFrame([asdict(each) for each in found], columns=columns), temporary)
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
            table = read_csv(path, numbers)
            if "place" not in table:  # of a version that did not tell them apart
                table["place"] = ""
            parts.append(table[columns].astype(dict.fromkeys(numbers, float) | {"n": int}))
        except (ValueError, KeyError) as error:
            raise DataError(
                f"{path}: no comparisons of an experiment ({error}); delete it and run the experiment again"
            ) from error
    filled = [part for part in parts if not part.empty]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=columns)
