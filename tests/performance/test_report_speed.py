"""Time and size of the reports of a large run: 20 methods, 3 seeds, 80 classes. `pytest -s` shows the figures."""

from __future__ import annotations

import time
from pathlib import Path

from reports import DEFAULT_FORMATS, build_reports
from tests.synthetic_runs import many, synthetic_run

METHODS, SEEDS, CLASSES, IMAGES = 20, 3, 80, 18
SIZE = 15e6
"""Bytes of the page."""
SECONDS = 20
"""Of the processor: what else a machine does is not counted."""


def test_a_large_run_becomes_reports_of_bounded_size_in_bounded_time(tmp_path: Path) -> None:
    classes = ["background", *(f"class {n}" for n in range(1, CLASSES))]
    synthetic_run(tmp_path, SEEDS, methods=many(METHODS), classes=classes, images=IMAGES)
    began = time.perf_counter(), time.process_time()
    page = build_reports(tmp_path)["html"]
    wall, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
    size = page.stat().st_size
    print(f"\n{', '.join(DEFAULT_FORMATS)}: {wall:.1f} s ({cpu:.1f} s of CPU); page: {size / 1e6:.1f} MB")
    assert size < SIZE
    assert cpu < SECONDS
