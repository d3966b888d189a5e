"""What networks cost: profiles beside a run, one folder for each hardware, and the table made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from results.aggregate import KEYS
from results.io import RECORDS_FILE, StoredRuns, read_run

FOLDER = "profile"
"""Folder in a run's that holds profiles, each in a folder of its own of the same layout as a run's."""
STAGE = "profile"
"""`stage` of a profile's records; `variant` says network and what is covered, `key` joins with the run's stages."""
COUNTS = "counts"
"""Stands for the hardware of a profile that measured nothing."""
METRICS = (
    "macs_g",                  # 10^9 multiply-accumulates an image, over linear and convolution layers
    "macs_attention_g",        # with the products of attention and other products of activations
    "parameters_m",            # 10^6
    "seconds",                 # median of a pass of one image
    "seconds_iqr",             # its interquartile range over the repeats
    "images_per_second",       # one image at a time
    "images_per_second_best",  # at the batch size below
    "best_batch",
    "host_memory_mb",          # the network, and what the first pass added to the process, 10^6 bytes
    "device_memory_mb",        # peak of the tensors on the CUDA device
)  # fmt: skip
"""Metrics of a profile's records; those that were not measured have no record."""


def read_profiles(run_dir: Path) -> list[StoredRuns]:
    """The profiles in a run's folder, in the order of their folders' names."""
    return [read_run(file.parent) for file in sorted(run_dir.glob(f"{FOLDER}/*/{RECORDS_FILE}"))]


def complexity_table(profiles: Sequence[StoredRuns]) -> pd.DataFrame:
    """One row for each (profile, method, forward pass), as they were measured.

    Columns: `KEYS`; `title`, `reported_as` (its name in `results.reported`); `hardware`, `device`, `precision`;
    `stage`; `network`, `covers`, `size` ("448x448", height first), `weights`, `repeats`, `reason` (why there is no
    time); `METRICS`, NaN where not measured.
    """
    rows = [row for profile in profiles for row in _rows(profile)]
    described = (
        "title",
        "reported_as",
        "hardware",
        "device",
        "precision",
        "stage",
        "network",
        "covers",
        "size",
        "weights",
    )
    return pd.DataFrame(rows, columns=[*KEYS, *described, "repeats", "reason", *METRICS])


def _rows(profile: StoredRuns) -> list[dict[str, Any]]:
    records = profile.records[profile.records["stage"] == STAGE]
    values = {
        (str(method), str(key)): dict(zip(group["metric"], group["value"]))
        for (method, key), group in records.groupby(["method", "key"], sort=False)
    }
    return [
        {name: run[name] for name in KEYS}
        | {"title": run["method_info"].get("title", run["method"])}
        | {"reported_as": run["method_info"].get("reported_as", "")}
        | {name: run["provenance"].get(name, "") for name in ("device", "precision")}
        | {"hardware": run["provenance"].get("hardware_name", "")}
        | {name: forward_pass[name] for name in ("network", "covers", "weights", "repeats", "reason")}
        | {"stage": forward_pass["name"], "size": f"{forward_pass['height']}x{forward_pass['width']}"}
        | values.get((run["method"], forward_pass["key"]), {})
        for run in profile.runs
        for forward_pass in run["stages"]
    ]
