"""Made-up accepted bundles: a made-up run with a form and a verification that nobody made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from results.io import read_run, write_run
from results.submissions import ENTRY, Submission, entry_text, read_submission
from tests.helpers.synthetic_runs import synthetic_run

CHECKS = [{"what": "the code is a known version", "faults": [], "notes": ["made with an installed version"]}]


def made_up_submission(
    folder: Path,
    who: str = "A. Researcher",
    level: str = "consistent",
    hostile: str = "",
    raised: float = 0.0,
) -> Submission:
    """Write an accepted bundle's folder. raised: added to every score, to tell submitters of one run apart"""
    stored = read_run(synthetic_run(folder, seeds=2, hostile=hostile))
    runs = [run for run in stored.runs if run["status"] == "done"]
    records: pd.DataFrame = stored.records[stored.records["seed"] >= 0]
    records = records.assign(value=records["value"] + raised * (records["metric"] == "miou"))
    write_run(folder, records, [run | {"panels": []} for run in runs])
    form = {
        "submitter": who + hostile,
        "affiliation": hostile,
        "contact": hostile,
        "hardware": "a GPU" + hostile,
    }
    form |= {"paper": "https://example.org/" + hostile, "code": "javascript:alert(1)", "masks_used": hostile}
    parts: dict[str, Any] = {
        "form": form | {"hours": 2.5, "remarks": hostile},
        "bundle": {"sha256": "ab" * 32, "bytes": 1_200_000, "address": "https://example.org/run.zip"},
        "verification": {
            "level": level,
            "checks": CHECKS,
            "version": "0.2" + hostile,
            "date": "2025-03-04T10:00:00",
        },
        "dataset": {"name": "shapes", "splits": {"val": {"images": 200, "list": "cd" * 32}}},
        "counts": {},
        "maps": {},
    }
    (folder / ENTRY).write_text(entry_text(parts), encoding="utf-8")
    return read_submission(folder)
