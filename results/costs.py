"""What a run's entries cost: counts of their networks, speed, time and memory, measured while running or by `profile`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from results.aggregate import KEYS, as_rows
from results.io import StoredRuns

NETWORKS = {"cam": "cam", "segmentation": "prediction"}
"""Prefix of the columns of a network -> kind of what its stage yields."""
COUNTED = ("macs_g", "macs_attention_g", "parameters_m")
"""Columns of a network, see `results.complexity.METRICS`."""
MEASURED = (*(f"{network}_images_per_second" for network in NETWORKS), "inference_host_memory_mb",
            "inference_device_memory_mb")  # fmt: skip
"""Columns that a profile measures, too; `<name>_by` says who did."""
RUN, PROFILE = "run", "profile"
"""Who measured: a run in passing, or `profile`, repeatedly and with nothing beside it."""

_MEMORY = ("host_memory_mb", "device_memory_mb")
_COLUMNS = (
    *(f"{network}_{column}" for network in NETWORKS for column in (*COUNTED, "images_per_second")),
    "training_minutes", "inference_host_memory_mb", "inference_device_memory_mb",
    *(f"{name}_by" for name in MEASURED), "image_size", "machine", "profile_machine",
)  # fmt: skip


def costs(stored: StoredRuns, profiles: pd.DataFrame) -> pd.DataFrame:
    """One row an entry that has any cost. profiles: the `complexity_table` of the profiles beside the run.

    Columns: `KEYS`; and, NaN or "" where nothing is known:

    cam_, segmentation_ with each of `COUNTED`: of the network that makes the CAM or the prediction, for one image of
        `image_size` ("96x96", height first) as its stage passes it
    cam_, segmentation_images_per_second: the images of the stage's splits by its seconds, mean over seeds; of a
        profile, one image at a time. None of a stage that was resumed: its seconds are those of the last part
    inference_host_memory_mb, inference_device_memory_mb: highest peak of these two stages; of a profile, of a pass
    <column of `MEASURED`>_by: `RUN` or `PROFILE`, whose figures replace the run's
    training_minutes: of all trainings of one seed, mean over seeds; none of a resumed one
    minutes: of all stages of one seed and their scoring, mean over seeds; stages that entries share count for each
    host_memory_mb, device_memory_mb: highest peak of all stages and their scoring
    machine: that ran the stages, and threads a stage; profile_machine: that of the profile
    """
    entries: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for run in stored.runs:
        if run["seed"] >= 0:
            entries.setdefault(tuple(run[key] for key in KEYS), []).append(run)
    profiled: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in as_rows(profiles):
        profiled.setdefault(tuple(row[key] for key in KEYS), []).append(row)
    rows = [
        dict(zip(KEYS, entry)) | _of_runs(runs, profiled.get(entry, ())) for entry, runs in entries.items()
    ]
    table = pd.DataFrame(rows, columns=[*KEYS, *_COLUMNS]).merge(
        _of_records(stored.records), on=KEYS, how="outer"
    )
    texts = [c for c in _COLUMNS if c.endswith(("_by", "machine", "_size"))]
    numbers = table.columns.difference([*KEYS, *texts])
    table[texts] = table[texts].fillna("")
    table[numbers] = table[numbers].astype(float)
    return table[table[numbers].notna().any(axis=1)].reset_index(drop=True)


def _of_records(records: pd.DataFrame) -> pd.DataFrame:
    """`minutes` and the highest peaks of all stages. Records of runs without stages' memory have none."""
    own = records[records["seed"] >= 0]
    seconds = own[own["metric"] == "seconds"].groupby([*KEYS, "seed"], sort=False)["value"].sum()
    table = (seconds.groupby(KEYS, sort=False).mean() / 60).rename("minutes").reset_index()
    for metric in _MEMORY:
        peak = own[own["metric"] == metric].groupby(KEYS, sort=False)["value"].max().rename(metric)
        table = table.merge(peak.reset_index(), on=KEYS, how="left")
    return table


def _of_runs(runs: Sequence[dict[str, Any]], profiled: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """An entry's figures, of its runs and of the rows of profiles."""
    stages = {network: [s for run in runs for s in _makers(run, kind)] for network, kind in NETWORKS.items()}
    everything = [stage for found in stages.values() for stage in found]
    figures: dict[str, Any] = {"training_minutes": _mean(map(_training_minutes, runs))}
    sizes = []
    for network, found in stages.items():
        if counts := next((s["counts"] for s in found if s.get("counts")), None):
            figures |= {f"{network}_{column}": counts[column] for column in COUNTED}
            sizes.append(f"{counts['height']}x{counts['width']}")
            # of files that came from anywhere, or a method without a network, it would say nothing
            figures[f"{network}_images_per_second"] = _images_per_second(found)
    for memory in _MEMORY:
        figures[f"inference_{memory}"] = max((s[memory] for s in everything if memory in s), default=math.nan)
    machines = dict.fromkeys(_machine(s) for run in runs for s in run["stages"] if s.get("machine"))
    figures |= {f"{name}_by": RUN for name in MEASURED if math.isfinite(figures.get(name, math.nan))}
    names = {network: found[-1]["name"] for network, found in stages.items() if found}
    alone, machine = _of_profiles(profiled, names, [s["machine"] for s in everything if s.get("machine")])
    figures |= alone | {f"{name}_by": PROFILE for name in MEASURED if name in alone}
    sizes += [row["size"] for row in profiled if row["stage"] in names.values() and not sizes]
    return figures | {
        "image_size": ", ".join(dict.fromkeys(sizes)),
        "machine": "; ".join(machines),
        "profile_machine": machine,
    }


def _makers(run: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    """The stage that makes the board's artifact of a kind, the last such one, or none."""
    return [s for s in run["stages"] if s["kind"] == kind and s.get("shown", True)][-1:]


def _images_per_second(stages: Iterable[Mapping[str, Any]]) -> float:
    whole = [stage for stage in stages if stage.get("images") and not stage.get("resumed")]
    seconds = sum(stage["seconds"] for stage in whole)
    return sum(stage["images"] for stage in whole) / seconds if seconds else math.nan


def _training_minutes(run: Mapping[str, Any]) -> float:
    """Of a seed that is done. A stage has trained that took steps; what it says when resumed is of its last part."""
    trained = [s for s in run["stages"] if "step_seconds" in s]
    resumed = any(s["kind"] == "weights" and s.get("resumed") for s in run["stages"])
    if run["status"] != "done" or resumed or not trained:
        return math.nan
    return float(sum(stage["seconds"] for stage in trained)) / 60


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return float(np.mean(known)) if known else math.nan


def _machine(stage: Mapping[str, Any]) -> str:
    threads = stage.get("threads")
    said = f", {threads} thread{'s' if threads != 1 else ''} a stage" if threads else ""
    return f"{stage['machine']}{said}"


def _of_profiles(
    rows: Iterable[Mapping[str, Any]], names: Mapping[str, str], machines: Sequence[str]
) -> tuple[dict[str, float], str]:
    """An entry's figures from the profiles beside a run, and the hardware they were measured on, "" for none.

    What was measured is of one profile: one on the run's own machine before others. What was counted is of any.
    names: network -> its stage's name
    """
    # the last forward pass with a network is the most complete: with the CRF, where the stage has one
    forward_passes: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        for network, name in names.items():
            if row["stage"] == name and math.isfinite(row["parameters_m"]):
                forward_passes.setdefault(row["hardware"], {})[network] = row
    counted: dict[str, float] = {}
    measured: list[tuple[str, dict[str, float]]] = []
    for hardware, found in forward_passes.items():
        figures = {f"{network}_images_per_second": row["images_per_second"] for network, row in found.items()}
        for memory in _MEMORY:
            known = [row[memory] for row in found.values() if math.isfinite(row[memory])]
            figures[f"inference_{memory}"] = max(known, default=math.nan)
        if kept := {name: value for name, value in figures.items() if math.isfinite(value)}:
            measured.append((hardware, kept))
        counted |= {
            f"{network}_{column}": row[column] for network, row in found.items() for column in COUNTED
        }
    measured.sort(key=lambda one: not any(one[0].startswith(machine) for machine in machines))
    hardware, figures = measured[0] if measured else ("", {})
    return counted | figures, hardware
