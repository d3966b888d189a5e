"""Take a run's tables of papers' experiments into results/measured, in place of earlier ones of the same experiments.

    python scripts/keep_measured.py results/runs/shapes-nano-paper shapes-nano

Diagnoses are today's; what falls short of half of the paper's effect without one is named.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmark.experiments.diagnoses import diagnoses_of, diagnosis_of  # noqa: E402
from methods.registry import find_method  # noqa: E402
from reports.markdown import table as markdown_table  # noqa: E402
from reports.reproduction import directions_table  # noqa: E402
from results.csv_cells import read_csv  # noqa: E402
from results.directions import MISSED, read_directions  # noqa: E402
from results.experiments import EXPERIMENTS_FOLDER  # noqa: E402


def keep(run: Path, place: str) -> None:
    """Merge tables and summary; place: "<data set>-<scale>"."""
    kept = ROOT / "results" / "measured" / place
    (kept / "tables").mkdir(parents=True, exist_ok=True)
    new = read_directions(run / EXPERIMENTS_FOLDER)
    new = new[(new["place"] == place) & (new["conditions"] == "")]
    numbers = list(new.select_dtypes("number"))
    old = read_csv(kept / "summary.csv", numbers) if (kept / "summary.csv").is_file() else new.iloc[:0]
    both = pd.concat([new, old[~old["experiment"].isin(new["experiment"])]], ignore_index=True)
    both = both.sort_values("experiment", kind="stable", ignore_index=True).astype({"n": int})
    texts = []
    for row in both.to_dict("records"):
        method, _, experiment = row["experiment"].partition("/")
        known = diagnoses_of(find_method(method)) if row["verdict"] in MISSED else {}
        texts.append(diagnosis_of(known, place, experiment, row["row"], row["column"]))
        if row["verdict"] in MISSED and not texts[-1]:
            print("no diagnosis:", row["experiment"], row["row"], row["column"], row["verdict"])
    both["diagnosis"] = texts
    both.to_csv(kept / "summary.csv", index=False)
    (kept / "summary.md").write_text(
        markdown_table(directions_table(both), "What reproduces"), encoding="utf-8"
    )
    for table in sorted((run / EXPERIMENTS_FOLDER).glob(f"*-{place}.csv")):
        name = table.name.removesuffix(f"-{place}.csv")
        shutil.copy(table, kept / "tables" / f"{name}.csv")
        print("kept:", name)


if __name__ == "__main__":
    keep(Path(sys.argv[1]), sys.argv[2])
