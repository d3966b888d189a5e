"""Shared test helpers: golden vectors, a seed, the optional shared material, and the GPU that some tests need."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parent.parent
SHARED = Path(os.environ.get("WSSS_SHARED", ROOT.parent / "shared"))


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


@pytest.fixture
def shared() -> Path:
    """Folder of the shared material; skips where it is absent."""
    if not SHARED.exists():
        pytest.skip(f"no shared material at {SHARED} (set WSSS_SHARED)")
    return SHARED


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
