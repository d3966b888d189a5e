"""What entries cost: figures of `profile` where a run has them, and the seconds its stages took."""

from __future__ import annotations

import pandas as pd

from results.aggregate import KEYS

PROFILED = {
    "macs_g": "MACs (G)",
    "macs_attention_g": "with attention (G)",
    "parameters_m": "Params (M)",
    "images_per_second": "images/s",
    "memory_mb": "memory (MB)",
}
"""Metrics of the records of stage "profile" and their headings."""
TIME = "minutes"
"""Column of the time that all of an entry's stages took, mean over seeds."""


def complexity(records: pd.DataFrame) -> pd.DataFrame:
    """`KEYS`, `variant` (what the figures cover), `PROFILED` and `TIME`; NaN where nothing was measured.

    An entry has one row a variant of its profile, and one with variant "" if it has none. Stages that several
    entries share count for each of them.
    """
    profile = records[(records["stage"] == "profile") & records["metric"].isin(list(PROFILED))]
    wide = profile.pivot_table(index=[*KEYS, "variant"], columns="metric", values="value", aggfunc="mean")
    wide = wide.reindex(columns=list(PROFILED)).reset_index()
    seconds = records[records["metric"] == "seconds"].groupby([*KEYS, "seed"], sort=False)["value"].sum()
    minutes = (seconds.groupby(KEYS, sort=False).mean() / 60).rename(TIME).reset_index()
    table = minutes.merge(wide, on=KEYS, how="outer", sort=False)
    table["variant"] = table["variant"].fillna("")
    columns: pd.DataFrame = table[[*KEYS, "variant", *PROFILED, TIME]]
    return columns
