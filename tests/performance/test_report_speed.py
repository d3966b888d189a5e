"""Time and size of the HTML report of a large run: 20 methods, 3 seeds, 80 classes. `pytest -s` shows the figures."""

from __future__ import annotations

import time
from pathlib import Path

from reports import html
from results.aggregate import leaderboard
from results.io import read_run
from tests.synthetic_runs import many, synthetic_run

METHODS, SEEDS, CLASSES, IMAGES = 20, 3, 80, 18
LIMIT = 15e6
"""Bytes of the page."""


def test_a_large_run_becomes_a_page_of_bounded_size(tmp_path: Path) -> None:
    classes = ["background", *(f"class {n}" for n in range(1, CLASSES))]
    synthetic_run(tmp_path, SEEDS, methods=many(METHODS), classes=classes, images=IMAGES)
    began = time.perf_counter(), time.process_time()
    run = read_run(tmp_path)
    page = html.render(run, leaderboard(run.records, run.cells))
    wall, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
    size = len(page.encode())
    print(f"\n{len(run.records)} records: {wall:.1f} s ({cpu:.1f} s of CPU), {size / 1e6:.1f} MB")
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    assert size < LIMIT
