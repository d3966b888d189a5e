"""What of a paper's table holds here, and how much of it: its best row against each other row, over images and seeds.

A difference is taken within each seed, so that what two rows share (data order, often a whole training) drops out. Its
variance is that over images, by the bootstrap, plus that of the pair's own differences from seed to seed over their
number, shrunk a little (`results.intervals.PRIOR`) towards what is typical of the folder's comparisons of the same score:
a noisy row hardly widens the interval of other pairs, and a pair that happens to agree on its few seeds is not taken to
have no noise. Two tables that show one comparison so show one interval. A difference is held against the paper's where
that is at least `smallest_effect`, or where it is claimed without a number; of one seed nothing is concluded.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import scipy.special

from datasets.base import DataError
from results.aggregate import as_rows
from results.csv_cells import read_csv, to_csv
from results.intervals import LEVEL, Sampled, SeedNoise, estimate, holm, image_variance

if TYPE_CHECKING:
    import pandas as pd

POINT = 1.0
"""Smallest effect in a paper, in points of mIoU, IoU or accuracy, that is held against ours."""
SMALLEST_EFFECTS = {
    "confusion_ratio": 5.0,
    "boundary_recall": 2.0,
    "boundary_precision": 2.0,
    "boundary_f1": 2.0,
}
"""The same by other metrics, in hundredths: papers print ratios of pixels, which have no upper end, in hundredths, of
which one is rounding; scores of boundaries are of few pixels, and twice a point is asked of them."""
REPRODUCED = "reproduced"
SMALLER = "smaller than half"
REVERSED = "reversed"
INCONCLUSIVE = "inconclusive"
RANGE = "range"
NOT_RUN = "not run"
VERDICTS = {
    REPRODUCED: "the 95 % interval of the difference lies above 0, also after Holm's correction over the table, and "
    "reaches half of the paper's effect",
    SMALLER: 'it ends below half of the paper\'s effect; "sign sure": it lies above 0, also after the correction',
    REVERSED: "it lies below 0, also after the correction",
    INCONCLUSIVE: "anything else, and what has one seed: there is no verdict",
    RANGE: f"the paper's rows are less than {POINT:g} point apart (ratios {SMALLEST_EFFECTS['confusion_ratio']:g} "
    f"hundredths, boundaries {SMALLEST_EFFECTS['boundary_f1']:g} points): both spreads are given, nothing is tested",
    NOT_RUN: "one of the two rows has no score",
}
MISSED = (SMALLER, REVERSED)
"""Verdicts that ask for a diagnosis."""
SIGN_SURE = "sign sure"
ONE_SEED = "one seed: not tested"
DIRECTIONS_FOLDER = "directions"


def smallest_effect(metric: str) -> float:
    """In hundredths, of a metric as the records call it."""
    return SMALLEST_EFFECTS.get(metric, POINT)


@dataclass(frozen=True)
class Scored:
    """A row's score in one column, in points (hundredths; for mIoU, percent).

    printed: None where the paper prints none; doubt: why that number cannot be what it is printed as
    sampled: M = 1; None where it has no score, and `reason` says why. Without resamples (`resamples` is empty: a
             metric that is not bootstrapped) its variance over images is not known, see `floor_of`
    score:   what is scored, "stage:metric:class"; threshold: the rule by which a CAM's was chosen, "" for no CAM
    made_of: what the values were computed from, so that the same comparison is known again in another table
    """

    label: str
    printed: float | None
    sampled: Sampled | None = None
    reason: str = ""
    doubt: str = ""
    score: str = ""
    threshold: str = ""
    made_of: str = ""

    @property
    def is_scored(self) -> bool:
        return self.sampled is not None and not all(np.isnan(v).all() for v in self.sampled.values.values())


@dataclass(frozen=True)
class Direction:
    """One comparison. Of a `RANGE`, `row` names the first and last of its rows, and differences are spreads.

    better, row: the table's best row, and the one it is compared with
    paper, difference, low, high: better - row (turned round where less is better) in points: the paper's (NaN where it
                 prints none), ours and its 95 % interval, which is over images only where n is 1
    share, share_low, share_high: of the paper's difference, 1: all of it
    p, p_holm:   two-sided, and adjusted over the comparisons of its table
    images, seeds: variance of the difference over images, and of one seed's difference over seeds
    n: number of seeds; threshold: at which the CAMs were scored ("" where none were)
    score: what is compared; same: equal where two tables show one comparison
    diagnosis: why it falls short, in words, where somebody has found out
    place: "<data set>-<scale>"
    conditions: settings given on the command line that decide numbers; "" if there were none

    `judged` fills in what a folder's comparisons say of each: low to verdict.
    """

    experiment: str
    column: str
    better: str
    row: str
    paper: float
    difference: float = np.nan
    images: float = np.nan
    seeds: float = np.nan
    n: int = 0
    threshold: str = ""
    score: str = ""
    same: str = ""
    low: float = np.nan
    high: float = np.nan
    share: float = np.nan
    share_low: float = np.nan
    share_high: float = np.nan
    p: float = np.nan
    p_holm: float = np.nan
    verdict: str = ""
    reason: str = ""
    diagnosis: str = ""
    place: str = ""
    conditions: str = ""


SAME = 1e-8
"""Variance over seeds, in points squared, below which differences are the same but for rounding."""
_JUDGED = ("low", "high", "share", "share_low", "share_high", "p", "p_holm")
_NUMBERS = ("paper", "difference", "images", "seeds", *_JUDGED)


def directions(
    experiment: str,
    column: str,
    rows: Sequence[Scored],
    less_is_better: bool = False,
    smallest: float = POINT,
) -> list[Direction]:
    """Every comparison of one column: those to test in the table's order, then the range of those too close.

    Rows are held against the best in the paper of those that have a score; better ones are not run.
    """
    sign = -1 if less_is_better else 1
    printed = {row.label: row.printed for row in rows if row.printed is not None}
    rows = [row for row in rows if row.label in printed]
    if len(rows) < 2:
        return []
    top = max(rows, key=lambda row: sign * printed[row.label])
    best = max(rows, key=lambda row: (row.is_scored, sign * printed[row.label]))
    effects = {row.label: round(sign * (printed[best.label] - printed[row.label]), 6) for row in rows}
    said = f"the paper's best row, {top.label}, was not run" if effects[top.label] < 0 else ""
    found = []
    for row in rows:
        effect = effects[row.label]
        if effect <= -smallest:
            found.append(_compared(experiment, column, row, best, -effect, sign))
        elif effect >= smallest:
            compared = _compared(experiment, column, best, row, effect, sign)
            found.append(replace(compared, reason="; ".join(filter(None, (said, compared.reason)))))
    close = [row for row in rows if abs(effects[row.label]) < smallest]
    return [*found, *([_range(experiment, column, close)] if len(close) > 1 else [])]


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
    found = []
    for other, source in others:
        known = better.printed is not None and other.printed is not None
        effect = round(sign * (better.printed - other.printed), 6) if known else np.nan  # type: ignore[operator]
        compared = _compared(experiment, column, better, other, effect, sign)
        found.append(
            replace(compared, reason="; ".join(filter(None, (f"claimed in {source}", compared.reason))))
        )
    return found


def _compared(experiment: str, column: str, best: Scored, row: Scored, effect: float, sign: int) -> Direction:
    """`best` - `row` with the parts of its variance, not judged yet; effect: the paper's, NaN where it prints none."""
    found = _difference(best, row, sign)
    doubts = [f"the paper's {each.label} is doubtful: {each.doubt}" for each in (best, row) if each.doubt]
    empty = Direction(
        experiment, column, best.label, row.label, effect,
        threshold=_threshold(best, row), score=" - ".join(dict.fromkeys((best.score, row.score)))
    )  # fmt: skip
    if found is None:
        return replace(empty, verdict=NOT_RUN, reason=_why_missing(best, row))
    bootstrapped = all(scored.sampled and scored.sampled.resamples for scored in (best, row))
    n = len(found.values)
    floor = floor_of(row.score)
    images = float(image_variance(found.mean_resamples)[0]) if bootstrapped else floor**2 if n > 1 else np.nan
    basis = [] if n > 1 else [ONE_SEED]
    if not bootstrapped:
        basis.append(
            f"not bootstrapped: its standard error over images is taken to be {floor:g}"
            if n > 1
            else "this metric has no bootstrap: no interval"
        )
    elif n == 1:
        basis.append("interval over images only")
    ends = [scored.made_of for scored in (best, row)]
    return replace(
        empty,
        difference=float(found.mean[0]),
        images=images,
        seeds=float(found.noise.variance[0]) if n > 1 else np.nan,
        n=n,
        same=hashlib.sha256("|".join(ends).encode()).hexdigest()[:12] if all(ends) else "",
        reason="; ".join([*basis, *doubts]),
    )


def floor_of(score: str) -> float:
    """Standard error over images, in points, that a difference has where the metric of a "stage:metric:class" is not
    bootstrapped: half of the smallest effect, so that what is smaller than that effect is never told from 0."""
    return smallest_effect([*score.split(":"), ""][1]) / 2


def _threshold(*rows: Scored) -> str:
    return ", ".join(dict.fromkeys(row.threshold for row in rows if row.threshold))


def judged(found: Sequence[Direction]) -> list[Direction]:
    """Intervals, p-values and verdicts of all comparisons of a folder, whose noise is pooled by what they score."""
    tested = [
        (at, each) for at, each in enumerate(found) if np.isfinite(each.difference) and each.verdict != RANGE
    ]
    known: dict[tuple[str, ...], dict[str, Direction]] = {}
    for at, each in tested:
        known.setdefault(_pool(each), {})[each.same or str(at)] = each
    pooled = {of: pooled_noise(list(own.values())) for of, own in known.items()}
    result = [each if each.verdict in (RANGE, NOT_RUN) else replace(each, diagnosis="") for each in found]
    tables: dict[tuple[str, ...], list[int]] = {}
    for at, each in tested:
        result[at] = _with_interval(each, pooled[_pool(each)])
        tables.setdefault((each.experiment, each.place, each.conditions), []).append(at)
    for table in tables.values():
        adjusted = holm(np.array([result[at].p for at in table]))
        for at, p in zip(table, adjusted, strict=True):
            each = result[at]
            said = verdict(each.low, each.high, each.paper, p) if each.n > 1 else INCONCLUSIVE
            unsure = each.n > 1 and said in (INCONCLUSIVE, SMALLER) and not p < LEVEL and each.p < LEVEL
            remarks = [
                each.reason,
                SIGN_SURE if said == SMALLER and each.low > 0 and p < LEVEL else "",
                "differs from 0 by itself, not after Holm's correction" if unsure else "",
            ]
            result[at] = replace(
                each,
                p_holm=float(p),
                verdict=said,
                reason="; ".join(filter(None, remarks)),
                diagnosis=each.diagnosis if said in MISSED else "",
            )
    return result


def _pool(each: Direction) -> tuple[str, ...]:
    return each.place, each.conditions, each.score, each.threshold


def pooled_noise(found: Sequence[Direction]) -> SeedNoise:
    """Typical variance of differences over seeds, with all their degrees of freedom.

    The geometric mean (of logarithms corrected as by Smyth 2004, sec. 6.2), where that is below the arithmetic one:
    settings of one network differ by hundredths of a point from seed to seed, methods by points, and the mean would give
    the former the noise of the latter. Differences that are the same on all seeds, but for rounding, are left out.
    """
    several = [(each.n - 1, each.seeds) for each in found if each.n > 1]
    freedom, variance = (
        (np.array(column, float) for column in zip(*several)) if several else (np.zeros(1),) * 2
    )
    typical = (freedom * variance).sum() / max(freedom.sum(), 1)
    if (differ := variance > SAME).any():
        half = freedom[differ] / 2
        logarithms = np.log(variance[differ]) - scipy.special.digamma(half) + np.log(half)
        typical = min(typical, np.exp(np.average(logarithms, weights=half)))
    return SeedNoise(np.array([typical]), np.array([int(freedom.sum())]))


def _with_interval(each: Direction, pooled: SeedNoise) -> Direction:
    own = SeedNoise(np.array([each.seeds if each.n > 1 else 0.0]), np.array([each.n - 1])).shrunk(pooled)
    found = estimate(
        np.array([each.difference]), np.array([each.images]), own.variance / each.n,
        np.asarray(own.freedom, float), each.n
    )  # fmt: skip
    low, high, p = (float(value[0]) for value in (found.low, found.high, found.p))
    size = each.paper if each.paper > 0 else np.nan
    return replace(
        each,
        low=low,
        high=high,
        p=p,
        share=each.difference / size,
        share_low=low / size,
        share_high=high / size,
    )


def verdict(low: float, high: float, paper: float, p: float) -> str:
    """What the interval of a difference that should be positive says; paper: its size there, NaN where it gives none
    (nor is one that is not positive); p: adjusted over the table."""
    if high < 0 and p < LEVEL:
        return REVERSED
    if paper > 0 and high < paper / 2:
        return SMALLER
    return REPRODUCED if low > 0 and p < LEVEL else INCONCLUSIVE


def _difference(best: Scored, row: Scored, sign: int) -> Sampled | None:
    """best - row by seed, over the seeds that both have; None where there is none, or the images differ."""
    a, b = best.sampled, row.sampled
    if a is None or b is None or a.images != b.images:
        return None
    seeds = [s for s in a.values if s in b.values and not np.isnan(a.values[s] - b.values[s]).any()]
    if not seeds:
        return None
    both = a.resamples and b.resamples
    return Sampled(
        {s: sign * (a.values[s] - b.values[s]) for s in seeds},
        {s: sign * (a.resamples[s] - b.resamples[s]) for s in seeds} if both else {},
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
    threshold = _threshold(*(row for row in rows if row.sampled is not None))
    return Direction(
        experiment, column, "", label, paper, difference=spread, n=min(seeds, default=0), threshold=threshold,
        verdict=RANGE, reason=text
    )  # fmt: skip


def write_directions(folder: Path, name: str, found: Sequence[Direction]) -> Path:
    """Write an experiment's comparisons beside its table, in place of earlier ones; name: `experiments.file_name`.

    They are judged when they are read, together with the others of the folder.
    """
    import pandas as pd

    path = folder / DIRECTIONS_FOLDER / f"{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    columns = [field.name for field in fields(Direction) if field.name not in _JUDGED]
    to_csv(pd.DataFrame([asdict(each) for each in found], columns=columns), temporary)
    temporary.replace(path)
    return path


def read_directions(folder: Path) -> pd.DataFrame:
    """The comparisons of all experiments of a folder, judged, fields of `Direction` as columns. Raises DataError."""
    import pandas as pd

    columns = [field.name for field in fields(Direction) if field.name not in _JUDGED]
    numbers = [name for name in _NUMBERS if name not in _JUDGED]
    found: list[Direction] = []
    for path in sorted((folder / DIRECTIONS_FOLDER).glob("*.csv")):
        try:
            table = read_csv(path, numbers)[columns].astype({"n": int})
        except (ValueError, KeyError) as error:
            raise DataError(
                f"{path}: no comparisons of an experiment ({error}); delete it and run the experiment again"
            ) from error
        found += [Direction(**row) for row in as_rows(table)]
    return pd.DataFrame(
        [asdict(each) for each in judged(found)], columns=[field.name for field in fields(Direction)]
    )
