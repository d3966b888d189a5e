"""Time and size of the reports of a large run: 20 methods, 3 seeds, 80 classes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from reports import DEFAULT_FORMATS, build_reports
from tests.helpers.synthetic_runs import many, synthetic_run

METHODS, SEEDS, CLASSES, IMAGES = 20, 3, 80, 18
SIZE = 15e6
"""Bytes of the page."""


def test_a_large_run_becomes_reports_of_bounded_size(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    classes = ["background", *(f"class {n}" for n in range(1, CLASSES))]
    synthetic_run(tmp_path, SEEDS, methods=many(METHODS), classes=classes, images=IMAGES)
    began = time.perf_counter(), time.process_time()
    page = build_reports(tmp_path)["html"]
    wall, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
    size = page.stat().st_size
    record_property(
        f"reports of 60 runs ({', '.join(DEFAULT_FORMATS)})",
        f"{wall:.1f} s ({cpu:.1f} s of the processor), {size / 1e6:.1f} MB",
    )
    assert size < SIZE
