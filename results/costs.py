"""What a run's entries took: time and memory of their stages, and the parameters of their networks."""

from __future__ import annotations

import pandas as pd

from results.aggregate import KEYS
from results.complexity import complexity_table, read_profiles
from results.io import Run

_MEMORY = ("host_memory_mb", "device_memory_mb")


def costs(run: Run) -> pd.DataFrame:
    """`KEYS`; `minutes` of all stages of one seed and their scoring (mean over seeds); `host_memory_mb`
    and `device_memory_mb`, their peaks; `parameters_m`, the sum over an entry's networks. NaN where nothing was measured.

    Stages that several entries share count for each of them. Records of runs without stages' memory have none.
    """
    own = run.records[run.records["seed"] >= 0]
    seconds = own[own["metric"] == "seconds"].groupby([*KEYS, "seed"], sort=False)["value"].sum()
    table = (seconds.groupby(KEYS, sort=False).mean() / 60).rename("minutes").reset_index()
    for metric in _MEMORY:
        peak = own[own["metric"] == metric].groupby(KEYS, sort=False)["value"].max().rename(metric)
        table = table.merge(peak.reset_index(), on=KEYS, how="left")
    profile = complexity_table(read_profiles(run.path)).drop_duplicates([*KEYS, "network"])
    parameters = profile.groupby(KEYS, sort=False)["parameters_m"].sum(min_count=1)
    joined: pd.DataFrame = table.merge(parameters.reset_index(), on=KEYS, how="left")
    return joined
