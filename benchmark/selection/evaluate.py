"""How well the choices are: on each data set, with a model that was fitted without it, against simple rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import kendalltau

from benchmark.selection.candidates import Found
from benchmark.selection.model import (
    ARTIFACT,
    ENTRY,
    Calibration,
    calibrate,
    choose,
    errors_of,
    fit,
    folds,
    width_and_level,
)
from datasets.base import DataError
from methods.base import Kind
from results.io import read_run

if TYPE_CHECKING:
    import pandas as pd

COMMON = 0.5
"""The common threshold that choices are compared with."""
RULES = ("model", "product", "fixed", "common", "random")
"""Ways to choose a threshold: by the model, by the product of four factors, the method's own, `COMMON`, any."""


def with_truth(table: pd.DataFrame, found: Found) -> pd.DataFrame:
    """Rows of `features` with the mIoU that the run's records have of them: truth, and of CAMs fixed and oracle.

    Rows without one are left out. Raises DataError where nothing was scored.
    """
    import pandas as pd

    records = read_run(found.folder).records
    scored = records[(records["metric"] == "miou") & (records["class_name"] == "")]
    curve = scored[scored["variant"].isin(["curve", ""])].assign(
        threshold=lambda rows: rows["threshold"].where(rows["variant"] == "curve").round(2)
    )
    curve = curve.drop_duplicates(["key", "threshold"])[["key", "threshold", "value"]]
    known = table.assign(threshold=table["threshold"].round(2)).merge(
        curve.rename(columns={"value": "truth"}), on=["key", "threshold"]
    )
    if known.empty:
        raise DataError(
            f"{found.folder}: its maps were not scored, for want of masks; give runs on data that have some"
        )
    for name in ("fixed", "oracle"):
        of_key = scored[scored["variant"] == name].drop_duplicates("key").set_index("key")["value"]
        known[name] = pd.to_numeric(known["key"].map(of_key)).astype(float)
    known["oracle"] = known["oracle"].fillna(known["truth"])
    return known


def evaluate(table: pd.DataFrame) -> pd.DataFrame:
    """Regrets, ranks and coverage by run folder and kind of map, in percent points of mIoU.

    table: as `model.calibrate` takes it, with run (folder), fixed, oracle and product
    Each row was predicted by a model without its data set; with one data set, without its method.
    units: artifacts; threshold: of CAMs, the mean over artifacts of the oracle's mIoU less that at the threshold chosen;
    method: best entry's mIoU less that of the entry ranked first (by the model, or on average at random), each at its
    chosen threshold; tau: Kendall's, of predicted and true mIoU of the entries; coverage: share of the artifacts whose
    mIoU is inside the interval; width: the intervals' mean; level: what they promise to cover
    Intervals come from errors on data sets that were left out, as those of the final calibration do: of two data sets,
    from those on the other by a model of this one alone, as no third is there.
    """
    import pandas as pd

    by, parts = folds(table)
    predicted = []
    for rest, own in parts:
        try:
            calibration = _without(rest, own, by)
        except DataError:  # what is left is one method: it predicts, but has no intervals
            continue
        logits = calibration.model.predict(own)
        low, high = calibration.interval(logits)
        predicted.append(own.assign(predicted=logits, low=low, high=high, level=calibration.level))
    if not predicted:
        raise DataError("two methods on one data set evaluate nothing; give run folders of several data sets")
    rows = [
        {"data": data, "run": run, "kind": kind, "left out": by, **_measured(group)}
        for (data, run, kind), group in pd.concat(predicted).groupby(["data", "run", "kind"])
    ]
    return pd.DataFrame(rows)


def _without(rest: pd.DataFrame, own: pd.DataFrame, by: str) -> Calibration:
    """What predicts the rows of `own`."""
    if by == "method" or rest["data"].nunique() > 1:
        return calibrate(rest)
    half_width, level = width_and_level([errors := errors_of(own, rest)])
    return Calibration(fit(rest), half_width, level, len(errors), by)


def _measured(group: pd.DataFrame) -> dict[str, float]:
    chosen = choose(group, "predicted", ARTIFACT)
    found: dict[str, float] = {"units": len(chosen), "entries": chosen["entry"].nunique()}
    if (group["kind"] == Kind.CAM).all():
        for rule in RULES:
            found[f"threshold: {rule}"] = 100 * _regret(group, chosen, rule)
    entries = chosen.groupby(ENTRY)[["predicted", "truth"]].mean()
    first = entries["truth"].iloc[int(np.argmax(entries["predicted"]))]
    found["method: model"] = 100 * float(entries["truth"].max() - first)
    found["method: random"] = 100 * float(entries["truth"].max() - entries["truth"].mean())
    found["tau"] = (
        float(kendalltau(entries["predicted"], entries["truth"]).statistic) if len(entries) > 1 else np.nan
    )
    found["coverage"] = float(chosen["truth"].between(chosen["low"], chosen["high"]).mean())
    found["width"] = 100 * float((chosen["high"] - chosen["low"]).mean())
    found["level"] = float(chosen["level"].min())
    return found


def _regret(group: pd.DataFrame, chosen: pd.DataFrame, rule: str) -> float:
    if rule == "model":
        rows = chosen
    elif rule == "product":
        rows = choose(group, "product", ARTIFACT)
    elif rule == "common":
        rows = group[group["threshold"] == COMMON]
    elif rule == "fixed":
        rows = chosen.assign(truth=chosen["fixed"])
    else:
        rows = group
    return float((rows["oracle"] - rows["truth"]).mean())
