"""Shared test helpers: golden vectors, seeds, the optional shared material, and the GPU that some tests need."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from platformdirs import user_cache_path

from tests.helpers.toys import command_line, third_party

__all__ = ["command_line", "third_party"]  # fixtures of every test

ROOT = Path(__file__).parent.parent
SHARED = Path(os.environ.get("WSSS_SHARED", ROOT.parent / "shared"))

# Fonts are looked for once on a machine, and not in each test and process whose cache is a folder of its own.
os.environ.setdefault("MPLCONFIGDIR", str(user_cache_path("matplotlib")))

# The same few examples in every run; `--hypothesis-profile=many` draws many others. A test whose example is costly
# has fewer of its own; none is timed.
_UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("few", _UNTIMED, max_examples=25, derandomize=True)
settings.register_profile("many", _UNTIMED, max_examples=200)
settings.load_profile("few")


def golden_path(file: str) -> Path:
    """A golden file from WSSS_GOLDEN, else the shared material, else the copy in the repository."""
    if "WSSS_GOLDEN" in os.environ:
        return Path(os.environ["WSSS_GOLDEN"]) / file
    shared = SHARED / "golden" / file
    return shared if shared.exists() else ROOT / "tests" / "golden" / file


def golden(name: str) -> dict[str, np.ndarray]:
    """Arrays of one golden file (name without extension)."""
    with np.load(golden_path(f"{name}.npz"), allow_pickle=False) as data:
        return {k: data[k] for k in data.files}


@pytest.fixture
def seeded() -> None:
    """Torch's random numbers are the same in every run of the test."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where generated data sets are drawn, each once a session; tests only read them."""
    return tmp_path_factory.mktemp("generated")


@pytest.fixture
def shared() -> Path:
    """Folder of the shared material; skips where it is absent."""
    if not SHARED.exists():
        pytest.skip(f"no shared material at {SHARED} (set WSSS_SHARED)")
    return SHARED


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
