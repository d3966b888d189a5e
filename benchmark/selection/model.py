"""The model from evidence to mIoU: a ridge on a few features that may only raise it, with conformal intervals.

It predicts the logit of the mIoU. Intervals come from its errors on data sets that it was not fitted on. With one data
set there is none to leave out: then methods are left out, and its errors say less of other data.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.special import expit, logit

from benchmark.selection.candidates import SPLITS
from benchmark.selection.features import FEATURES
from datasets.base import DataError
from datasets.files.sealed import read_sealed, sealed

if TYPE_CHECKING:
    import pandas as pd

ALPHA = 1.0
"""Of the ridge, whose rows count together as many as there are artifacts, and whose features have unit variance."""
LEVEL = 0.95
ENTRY = ["split", "kind", "entry", "method"]
ARTIFACT = [*ENTRY, "seed", "key"]
KINDS = [kind.value for kind in SPLITS]
SHIPPED = Path(__file__).with_name("calibration.json")
VERSION = 1
"""Of the features and of the file."""
RATIOS = ("plain", "evidence", "pair_plain", "pair_evidence")
"""Of single maps and of differences of two: the spread of influences on the true mIoU, whole and regressed on those on
the mIoU against the consensus, over the spread of the latter."""


@dataclass(frozen=True)
class Term:
    """A feature in the model. mean, scale: it is standardised by; low, high: its range at the thresholds chosen."""

    coefficient: float
    mean: float
    scale: float
    low: float
    high: float


@dataclass(frozen=True)
class Model:
    terms: Mapping[str, Term]
    intercept: float

    def predict(self, table: pd.DataFrame) -> np.ndarray:
        """(N,) logits of the mIoU; a feature that there is none of counts as usual."""
        total = np.full(len(table), self.intercept)
        for name, term in self.terms.items():
            standard = (table[name].to_numpy(float) - term.mean) / term.scale
            total += term.coefficient * np.nan_to_num(standard, nan=0.0, posinf=0.0, neginf=0.0)
        return total


@dataclass(frozen=True)
class Calibration:
    """A fitted model with the half-width of its intervals, in logits.

    level: share of new artifacts that the intervals promise to cover: `LEVEL`, or what so few errors can promise
    residuals: number of errors that the intervals come from; left_out: what was left out for each, "data" or "method"
    spread: `RATIOS`, the largest of the data sets; None where it is not known
    sources: of each run folder: data, methods, seeds, commits, images; evaluation: rows of `evaluate.evaluate`
    """

    model: Model
    half_width: float
    level: float
    residuals: int
    left_out: str
    spread: Mapping[str, float] | None = None
    sources: Sequence[Mapping[str, Any]] = ()
    evaluation: Sequence[Mapping[str, Any]] = ()

    def interval(self, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(low, high) of the mIoU for predicted logits."""
        return expit(predicted - self.half_width), expit(predicted + self.half_width)

    def unlike(self, row: Mapping[str, Any]) -> list[str]:
        """Features of a chosen row that are further outside of the calibrated range than a quarter of it."""
        found = []
        for name, term in self.model.terms.items():
            slack = (term.high - term.low) / 4
            if row[name] < term.low - slack or row[name] > term.high + slack:
                found.append(
                    f"{FEATURES[name]}: {row[name]:.2f}, calibrated on {term.low:.2f} to {term.high:.2f}"
                )
        return found

    def write(self, path: Path) -> None:
        document = {"version": VERSION, **asdict(self)}
        path.write_text(json.dumps(sealed(_rounded(document)), indent=1, allow_nan=False) + "\n")


def read_calibration(path: Path) -> Calibration:
    """What `Calibration.write` wrote. Raises DataError."""
    try:
        document = read_sealed(path)
        if document.pop("version") != VERSION:
            raise ValueError("another version's")
        model = document.pop("model")
        terms = {name: Term(**term) for name, term in model["terms"].items()}
        if not terms.keys() <= FEATURES.keys():
            raise ValueError("its features are not this version's")
        found = Calibration(Model(terms, model["intercept"]), **document)
        _check(found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: no calibration of this version ({error}); write one with "
            f"`calibrate RUN_FOLDER... --output {shlex.quote(str(path))}`"
        ) from error
    return found


def _check(found: Calibration) -> None:
    """ValueError unless everything that is calculated with, or said, is of its type and in its range."""
    numbers: list[Any] = [found.model.intercept, found.half_width, found.level]
    numbers += [number for term in found.model.terms.values() for number in astuple(term)]
    measured = [
        value
        for row in found.evaluation
        for name, value in row.items()
        if name not in ("data", "run", "kind", "left out")
    ]
    numbers += [value for value in measured if value is not None]
    if found.spread is not None:
        numbers += [found.spread[name] for name in RATIOS]
    if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
        raise ValueError("something is no number")
    if (
        not all(t.scale > 0 for t in found.model.terms.values())
        or found.half_width < 0
        or not 0 < found.level < 1
    ):
        raise ValueError("a number is out of range")
    if not all(isinstance(source["data"], str) for source in found.sources):
        raise ValueError("its sources have no names")


def _rounded(value: Any) -> Any:
    """JSON-ready, numbers to six digits, NaN as null."""
    if isinstance(value, Mapping):
        return {str(key): _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def fit(table: pd.DataFrame) -> Model:
    """The model of rows with `FEATURES`, `truth` (mIoU), `data` and `key`; data sets count alike, and so do artifacts."""
    from sklearn.linear_model import Ridge

    values = table[list(FEATURES)].to_numpy(float)
    known = np.isfinite(values)
    mean = np.where(known, values, 0).sum(0) / np.maximum(known.sum(0), 1)
    spread = np.sqrt(np.where(known, (values - mean) ** 2, 0).sum(0) / np.maximum(known.sum(0), 1))
    scale = np.where(spread > 1e-9, spread, 1.0)
    weight = 1 / table.groupby(["data", "key"])["truth"].transform("size").to_numpy(float)
    weight /= table.groupby("data")["key"].transform("nunique").to_numpy(float)
    weight *= table["key"].nunique() / weight.sum()
    target = logit(table["truth"].to_numpy(float).clip(0.005, 0.995))
    ridge = Ridge(alpha=ALPHA, positive=True)
    ridge.fit(np.where(known, (values - mean) / scale, 0), target, sample_weight=weight)
    terms = {
        name: Term(float(c), float(m), float(s), math.nan, math.nan)
        for name, c, m, s, any_known in zip(FEATURES, ridge.coef_, mean, scale, known.any(0))
        if any_known
    }
    model = Model(terms, float(ridge.intercept_))
    chosen = choose(table.assign(predicted=model.predict(table)), "predicted", ["data", *ARTIFACT])
    ranged = {}
    for name, term in terms.items():
        at = chosen[name].dropna() if chosen[name].notna().any() else table[name].dropna()
        ranged[name] = replace(term, low=float(at.min()), high=float(at.max()))
    return Model(ranged, model.intercept)


def choose(table: pd.DataFrame, column: str, of: Sequence[str]) -> pd.DataFrame:
    """The row of each artifact or entry where a column is highest, the lowest threshold of equals."""
    ordered = table.sort_values("threshold", kind="stable")
    best = ordered.groupby(list(of), sort=False)[column].transform("max")
    # `of` has no NaN; a column that is NaN everywhere chooses the lowest threshold
    kept = ordered[(ordered[column] == best) | best.isna()]
    return kept.drop_duplicates(list(of)).sort_index()


class Fold(NamedTuple):
    """What is fitted, and what is left out: a data set's or a method's rows."""

    rest: pd.DataFrame
    own: pd.DataFrame


def folds(table: pd.DataFrame) -> tuple[str, Iterator[Fold]]:
    """What is left out, "data" or, where there is one data set, "method"; and each in turn. Raises DataError."""
    by = "data" if table["data"].nunique() > 1 else "method"
    names = sorted(table[by].unique())
    if len(names) < 2:
        raise DataError("one method on one data set calibrates nothing; give run folders of several")
    return by, (Fold(table[table[by] != name], table[table[by] == name]) for name in names)


def calibrate(table: pd.DataFrame) -> Calibration:
    """Model and intervals of rows with `FEATURES`, `truth`, `data` and `ARTIFACT`'s columns. Raises DataError."""
    by, parts = folds(table)
    errors = [errors_of(rest, own) for rest, own in parts]
    if by == "method":  # a method has too few for a quantile of its own
        errors = [np.concatenate(errors)]
    half_width, level = width_and_level(errors)
    return Calibration(fit(table), half_width, level, sum(map(len, errors)), by)


def errors_of(rest: pd.DataFrame, own: pd.DataFrame) -> np.ndarray:
    """(N,) errors in logits at the thresholds that a model of the rest chooses for the artifacts of `own`."""
    chosen = choose(own.assign(predicted=fit(rest).predict(own)), "predicted", ["data", *ARTIFACT])
    return np.abs(chosen["predicted"] - logit(chosen["truth"].clip(0.005, 0.995))).to_numpy(float)


def width_and_level(errors: Sequence[np.ndarray]) -> tuple[float, float]:
    """Half-width of the intervals, the worst data set's, and the lowest level that any data set's errors can promise.

    Errors within a data set depend on each other, so that pooling them would promise too much. Of n errors the largest
    is passed by a further one with probability 1 / (n + 1): fewer than 19 promise less than 95 %.
    """
    level = min(LEVEL, *(len(each) / (len(each) + 1) for each in errors))
    return max(conformal_quantile(each, LEVEL) for each in errors), level


def selected(table: pd.DataFrame, known: Calibration | None) -> pd.DataFrame:
    """Each entry's threshold, one for all its seeds, and its rank among those of its kind; sorted by kind and rank.

    table: rows of `features`; known: None chooses and ranks by `product`, and predicts nothing
    Columns: `ENTRY`, seeds (number), threshold, rank, predicted, low and high (mIoU), `FEATURES` and product.
    """
    by = "product" if known is None else "predicted"
    scored = table if known is None else table.assign(predicted=known.model.predict(table))
    values = [*FEATURES, "product", *([] if known is None else ["predicted"])]
    groups = scored.groupby([*ENTRY, "threshold"], dropna=False)
    means = groups[values].mean().assign(seeds=groups["seed"].nunique()).reset_index()
    chosen = choose(means, by, ENTRY)
    chosen["rank"] = (
        chosen.groupby("kind")[by].rank(ascending=False, method="min", na_option="bottom").astype(int)
    )
    if known is not None:
        chosen["low"], chosen["high"] = known.interval(chosen["predicted"].to_numpy())
        chosen["predicted"] = expit(chosen["predicted"])
    order = [kind for kind in KINDS if kind in set(chosen["kind"])]
    chosen = chosen.assign(place=chosen["kind"].map(order.index)).sort_values(
        ["place", "rank"], kind="stable"
    )
    shown = [*ENTRY, "seeds", "threshold", "rank", *(["predicted", "low", "high"] if known else [])]
    return chosen[[*shown, *FEATURES, "product"]].reset_index(drop=True)


def conformal_quantile(errors: np.ndarray, level: float) -> float:
    """The error that a further one stays below with probability `level`; the largest where there are too few to say."""
    rank = math.ceil((len(errors) + 1) * level)
    return float(np.sort(errors)[min(rank, len(errors)) - 1])
