"""What the project needs, and that it works beside another `datasets`, in a checkout and installed from a wheel."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.conftest import ROOT
from wsss_benchmark import PACKAGES

STAND_IN = {
    "__init__.py": "raise AttributeError('this is the other datasets')\n",
    "base.py": "OTHER = True\n",
}
PLUG_IN = """
from methods.cam import METHOD as CAM

class Mine(type(CAM)):
    name = "mine"

METHOD = Mine()
"""


def other_datasets(folder: Path) -> None:
    (folder / "datasets").mkdir(parents=True)
    for name, text in STAND_IN.items():
        (folder / "datasets" / name).write_text(text)


def python(code: str, folder: Path, *path: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("first", ["wsss_benchmark", "benchmark.failures", "methods.base"])
def test_own_packages_are_found_before_another_datasets(first: str, tmp_path: Path) -> None:
    other_datasets(tmp_path / "site")
    done = python(f"import {first}, datasets; print(datasets.__file__)", tmp_path, tmp_path / "site", ROOT)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == ROOT / "datasets" / "__init__.py"


def test_another_datasets_that_is_imported_already_is_named(tmp_path: Path) -> None:
    other_datasets(tmp_path)
    (tmp_path / "datasets" / "__init__.py").write_text("")
    done = python("import datasets, benchmark", tmp_path, tmp_path, ROOT)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: another package named `datasets` is already imported, from ")
    assert str(tmp_path / "datasets") in last
    assert "import wsss_benchmark before it" in last


COMES_WITH = {"omegaconf": "hydra-core", "markupsafe": "jinja2", "onnxruntime": "rembg"}
"""Modules of packages that others, which are declared, are made of or use."""


def plain(requirement: str) -> str:
    """A package's name, as all spellings of it are compared."""
    return re.split(r"[<>=\[; ]", requirement)[0].lower().replace("_", "-")


def test_what_is_declared_is_imported_and_what_is_imported_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = set(map(plain, project["dependencies"]))
    optional = {plain(one) for extra in project["optional-dependencies"].values() for one in extra}
    imported = set()
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.split(".")[0])
    providers = packages_distributions()
    foreign = imported - set(sys.stdlib_module_names) - {*PACKAGES, "wsss_benchmark"}
    needed = {
        module: {plain(COMES_WITH.get(module, p)) for p in providers.get(module, [module])}
        for module in foreign
    }
    assert declared - set().union(*needed.values()) == set()
    assert [module for module, names in needed.items() if not names & (declared | optional)] == []


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel, another `datasets` that was there before, and a method's plug-in."""

    site: Path
    before: set[str]
    version: str

    def wsss(self, folder: Path, *arguments: str) -> str:
        """What the console command prints."""
        command = [str(self.site.parents[2] / "bin" / "wsss"), *arguments]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        environment |= {"XDG_CACHE_HOME": str(self.site / "cache"), "NO_COLOR": "1", "COLUMNS": "200"}
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("environment")

    def call(*command: str | Path, cwd: Path = folder) -> None:
        subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, check=True)

    # In somebody else's repository, whose commit is none of this project's.
    call("git", "init", "-q")
    call("git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "Begin")
    call(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (wheel,) = folder.glob("*.whl")
    call(sys.executable, "-m", "venv", "--without-pip", folder / ".venv")
    (site,) = (folder / ".venv").glob("lib/python*/site-packages")
    other_datasets(site)
    (site / "mine.py").write_text(PLUG_IN)
    (site / "mine-1.dist-info").mkdir()
    (site / "mine-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1\n")
    (site / "mine-1.dist-info" / "entry_points.txt").write_text(
        "[wsss_benchmark.methods]\nmine = mine:METHOD\n"
    )
    before = {path.name for path in site.iterdir()}
    interpreter = folder / ".venv" / "bin" / "python"
    call(sys.executable, "-m", "pip", "--python", interpreter, "install", "--no-deps", "--no-index", wheel)
    # What the project needs comes from this environment, which does not offer its own copy of the project with it.
    needed = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (site / "needed.pth").write_text("\n".join(needed) + "\n")
    return Installed(site, before, wheel.name.split("-")[1])


@pytest.mark.slow
def test_a_wheel_holds_all_packages_in_one_folder_and_overwrites_nothing(installed: Installed) -> None:
    new = {path.name for path in installed.site.iterdir()} - installed.before - {"needed.pth", "cache"}
    assert new == {"wsss_benchmark", f"wsss_benchmark-{installed.version}.dist-info"}
    for name, text in STAND_IN.items():
        assert (installed.site / "datasets" / name).read_text() == text
    tracked = subprocess.run(
        ["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    packages = installed.site / "wsss_benchmark" / "_packages"
    assert len(tracked) > 400
    assert [file for file in tracked if (ROOT / file).exists() and not (packages / file).is_file()] == []


@pytest.mark.slow
def test_the_console_command_works_from_an_empty_folder(installed: Installed, tmp_path: Path) -> None:
    """With worker processes, and a plug-in that imports `methods`."""
    assert installed.wsss(tmp_path, "--version").strip() == installed.version
    methods = [
        line.split()[0] for line in installed.wsss(tmp_path, "list").splitlines() if line.startswith("  ")
    ]
    assert {"cam", "eps", "mine", "voc2012"} <= set(methods)
    size = [
        "dataset.train=6",
        "dataset.val=2",
        "method.cam.train.iterations=2",
        "method.mine.train.iterations=2",
    ]
    arguments = ["--methods", "cam,mine", "--seeds", "0", "--until", "cam", "--device", "cpu"]
    installed.wsss(tmp_path, "run", *arguments, *size, "runtime.processes=2")
    folder = tmp_path / "results" / "runs" / "shapes-nano-paper"
    runs = json.loads((folder / "cells.json").read_text())["cells"]
    assert [(run["method"], run["status"]) for run in runs] == [("cam", "done"), ("mine", "done")]
    assert [run["provenance"]["git"] for run in runs] == [{"version": installed.version}] * 2
    assert (folder / "report.html").stat().st_size > 100_000
