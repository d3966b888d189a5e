"""The planted faults can be planted, and the script that plants them tells a noticed one from an unnoticed one."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from tests.conftest import ROOT

SOURCE = """def add(a, b):
    return a + b


def halve(a):
    return a / 2
"""
ADD = {"id": "add", "file": "methods/small.py", "kind": "sign", "what": "It subtracts."}
ADD |= {"old": "return a + b", "new": "return a - b"}
HALVE = {"id": "halve", "file": "methods/small.py", "kind": "factor", "what": "A third."}
HALVE |= {"old": "return a / 2", "new": "return a / 3"}
TEST = """from methods.small import add


def test_sum():
    assert add(2, 3) == 5
"""


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("plant_faults", ROOT / "scripts" / "plant_faults.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one module, whose function `add` is tested, and a fault in either function."""
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # its suite starts in a fraction of the time
    root = tmp_path / "project"
    for name, text in {
        "methods/__init__.py": "",
        "methods/small.py": SOURCE,
        "tests/test_small.py": TEST,
        "tests/quick/test_other.py": "def test_other():\n    pass\n",
        "tests/unit/project/test_faults.py": "def test_that_would_notice_all():\n    assert False\n",
        "tests/faults/faults.yaml": yaml.safe_dump([ADD, HALVE]),
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for arguments in (["init", "-q"], ["add", "--all"]):
        subprocess.run(["git", *arguments], cwd=root, check=True)
    return root


def test_the_list_can_be_planted(script: ModuleType) -> None:
    faults = script.load(ROOT)
    assert len(faults) == 20
    assert script.problems(faults, ROOT) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"old": "return a * b"}, "occurs 0 times"),
        ({"old": "return a"}, "occurs 2 times"),
        ({"new": "return a -"}, "does not compile"),
        ({"new": "return (a + b)  # the same"}, "changes nothing"),
        ({"file": "methods/none.py"}, "cannot be read"),
        ({"id": "halve"}, "2 faults of this id"),
        ({"kind": "factor"}, "2 faults of the kind"),
    ],
)
def test_a_fault_that_cannot_be_planted_is_named(
    script: ModuleType,
    project: Path,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, str],
    problem: str,
) -> None:
    (project / script.LIST).write_text(yaml.safe_dump([ADD | change, HALVE]))
    assert script.main(["--check"], project) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert problem in line


def test_noticed_and_unnoticed_faults_are_told_apart(
    script: ModuleType, project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a project of the same package names: the copy's own code is what runs."""
    before = {path: path.read_bytes() for path in project.rglob("*.*") if ".git" not in path.parts}
    monkeypatch.setattr(script, "MISSES", 0)
    assert script.main(["run", "--first", "tests/quick"], project) == 1
    (folder,) = (project / script.RESULTS).iterdir()
    found = json.loads((folder / "results.json").read_text())
    assert {name: outcome["status"] for name, outcome in found.items()} == {
        "control": "not found",
        "add": "found",
        "halve": "not found",
    }
    assert found["add"]["test"] == "tests.test_small::test_sum"
    assert (folder / "halve.log").read_text().count("1 passed") == 2  # the rest without what has run first
    assert "1 of 2 found" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in before} == before


def test_a_suite_that_fails_by_itself_finds_nothing(
    script: ModuleType, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "tests/test_small.py").write_text(TEST.replace("== 5", "== 6"))
    assert script.main(["run", "add"], project) == 2
    assert "fails without a fault (tests.test_small::test_sum)" in capsys.readouterr().err
