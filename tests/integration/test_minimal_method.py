"""The example of a plug-in, installed as its author would, is found, listed, and passes its own two-line test."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

EXAMPLE = ROOT / "examples" / "minimal_method"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """With the example installed into a folder of its own; nothing is fetched and the environment stays as it is."""
    folder = tmp_path_factory.mktemp("plug-in")
    shutil.copytree(EXAMPLE, folder / "source")  # building leaves files beside the sources
    target = folder / "installed"
    offline = ("--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--quiet")
    ran([sys.executable, "-m", "pip", "install", *offline, "--target", str(target), str(folder / "source")])
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(target)]), "OMP_NUM_THREADS": "1"}


def ran(command: list[str], environment: dict[str, str] | None = None, folder: Path | None = None) -> str:
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_example_is_listed(environment: dict[str, str], tmp_path: Path) -> None:
    lines = ran([sys.executable, "-m", "benchmark", "list"], environment, tmp_path).splitlines()
    assert any(line.split()[:1] == ["minimal"] and "log-sum-exp" in line for line in lines)
    assert not any("broken" in line for line in lines)


def test_the_example_passes_its_own_test(environment: dict[str, str], tmp_path: Path) -> None:
    test = shutil.copy(EXAMPLE / "test_minimal_method.py", tmp_path)
    code = [line for line in Path(test).read_text().splitlines() if line and "import" not in line]
    assert len(code) == 2
    said = ran(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(test)], environment, tmp_path
    )
    assert "9 passed" in said
