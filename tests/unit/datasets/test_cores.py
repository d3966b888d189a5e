"""One place knows how many cores there are, on systems with and without an affinity."""

from __future__ import annotations

import os

import pytest

from datasets.files import cores
from methods.layers.config import CrfConfig
from methods.layers.crf import CrfPool
from tests.conftest import ROOT


def test_the_affinity_counts_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    assert cores.usable_cores() == 3


def test_systems_without_affinity_use_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS and Windows."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert cores.usable_cores() == 6
    assert CrfPool(CrfConfig())._workers == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores.usable_cores() == 1


def test_nobody_else_asks_for_the_affinity() -> None:
    folders = ("benchmark", "methods", "datasets", "results", "reports")
    asking = {
        p.name for f in folders for p in (ROOT / f).rglob("*.py") if "sched_getaffinity" in p.read_text()
    }
    assert asking == {"cores.py"}
