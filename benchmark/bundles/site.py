"""`site`: the public leaderboard as static pages, from the accepted bundles alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmark.evaluation.bootstrap import write_resamples
from reports import build_reports
from reports.site import render
from results.aggregate import as_rows
from results.changes import data_changes
from results.io import write_run
from results.submissions import COUNTS, Submission, pooled, read_submissions

BoardName = tuple[str, str, str]


def build_site(accepted: Path, output: Path) -> Path:
    """Write `index.html` and for each leaderboard `<name>/report.html`; returns the former.

    accepted: folder of the accepted bundles, see `results.submissions`
    """
    boards: dict[BoardName, list[Submission]] = {}
    for submission in read_submissions(accepted):
        first = submission.stored.runs[0]
        boards.setdefault((first["dataset"], first["scale"], first["protocol"]), []).append(submission)
    links = {}
    for name, submissions in sorted(boards.items()):
        folder = re.sub("[^a-z0-9]+", "-", "-".join(name).lower()).strip("-")
        with TemporaryDirectory() as scratch:
            run = pooled(submissions, Path(scratch))
            write_run(run.path, run.records, run.runs)
            _resample(submissions, run.path)
            build_reports(run.path, output / folder, ("html",))
        links[name] = f"{folder}/report.html"
    index = output / "index.html"
    index.write_text(render(boards, links), encoding="utf-8")
    return index


def _resample(submissions: Sequence[Submission], run_dir: Path) -> None:
    """What intervals and tests need, of the counts that were kept."""
    for submission in submissions:
        records = submission.stored.records
        for run in submission.stored.runs:
            held_out = float((run["settings"].get("evaluation") or {}).get("held_out", 0.2))
            data = data_changes(run["changes"], run["dataset"])
            for stage in run["stages"]:
                if not submission.counts.get(stage["key"], {}).get("kept"):
                    continue
                counts = submission.stored.path / COUNTS / f"{stage['key']}.parquet"
                rows = as_rows(records[(records["key"] == stage["key"]) & (records["seed"] == run["seed"])])
                write_resamples(run_dir, stage["key"], stage["score"]["key"], counts, rows, held_out, data)
