"""Speed is recorded here and never asserted: what else a machine does would decide such a test.

A test keeps a figure with pytest's `record_property`; all of them are printed at the end as `name: figure`, and kept in
results/runs/performance.json. What is asserted is that both sides give the same, and memory that is counted.
"""

from __future__ import annotations

import json
import platform

import pytest

from datasets.files.cores import usable_cores
from tests.conftest import ROOT

FILE = ROOT / "results" / "runs" / "performance.json"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    figures = {
        name: value
        for report in terminalreporter.getreports("passed")
        if report.nodeid.startswith("tests/performance/")
        for name, value in report.user_properties
    }
    if figures:
        terminalreporter.section("figures")
        for name, value in figures.items():
            terminalreporter.write_line(f"{name}: {value}")
        FILE.parent.mkdir(parents=True, exist_ok=True)
        machine = {"processor": platform.processor() or platform.machine(), "cores": usable_cores()}
        FILE.write_text(json.dumps(machine | {"figures": figures}, indent=1) + "\n")
