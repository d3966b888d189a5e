"""scripts/verify.py: which parts run, what goes on to pytest, and what the end says."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import ROOT

SUITE = """
import sys
report = next(a for a in sys.argv if a.startswith("--junit-xml=")).removeprefix("--junit-xml=")
open(report, "w").write(
    '<testsuites><testsuite tests="7" failures="1" errors="1" skipped="2"/></testsuites>'
)
print(*sys.argv[1:])
sys.exit(1)
"""


@pytest.fixture
def verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("verify", ROOT / "scripts" / "verify.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "JUNIT", tmp_path)
    return module


def stand_in(verify: ModuleType, monkeypatch: pytest.MonkeyPatch, **code: str) -> None:
    """Parts run this Python code; those not named pass."""
    monkeypatch.setattr(verify, "command", lambda part: [sys.executable, "-c", code.get(part, "")])


def test_every_part_runs_and_the_end_says_what_failed(
    verify: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    stand_in(verify, monkeypatch, lint="import sys; sys.exit(1)", suite=SUITE, performance=SUITE)
    assert verify.main([]) == 1
    *_, lint, formatting, types, docs, suite, performance, everything, last = (
        capfd.readouterr().out.splitlines()
    )
    ran = (lint, formatting, types, docs, suite, performance)
    assert [line.split()[0] for line in ran] == list(verify.DEFAULT)
    assert [line.split()[-1] for line in (lint, formatting, types, docs, suite)] == [
        *("FAILED", "passed", "passed", "passed", "FAILED")
    ]
    assert everything.startswith("all ")
    assert last == "6 passed, 4 failed, 4 skipped"


def test_it_passes_where_every_part_does(
    verify: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    stand_in(verify, monkeypatch, suite=SUITE.replace("sys.exit(1)", ""))
    assert verify.main([]) == 0
    assert "FAILED" not in capfd.readouterr().out


def test_a_report_of_an_earlier_run_counts_nothing(
    verify: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "suite.xml").write_text('<testsuite tests="7" failures="0" errors="0" skipped="0"/>')
    stand_in(verify, monkeypatch, suite="import sys; sys.exit(4)")
    assert verify.main(["--parts", "suite"]) == 1
    assert capfd.readouterr().out.splitlines()[-1] == "0 passed, 0 failed, 0 skipped"


def test_other_arguments_are_pytests(
    verify: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    stand_in(verify, monkeypatch, suite=SUITE)
    verify.main(["tests/unit/methods/layers/test_crf.py", "-k", "golden"])
    out = capfd.readouterr().out
    assert "suite.xml tests/unit/methods/layers/test_crf.py -k golden\n" in out
    assert "== performance" not in out


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([], ["lint", "format", "types", "docs", "suite", "performance"]),
        (["--slow"], ["slow", "slow-performance"]),
        (["--slow", "-k", "dskd"], ["slow"]),
        (["--parts", "types,check"], ["types", "check"]),
    ],
)
def test_which_parts_run(
    verify: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    parts: list[str],
) -> None:
    ran: list[str] = []
    monkeypatch.setattr(verify, "run", lambda part, others: (ran.append(part) or 0, verify.Tests()))
    assert verify.main(arguments) == 0
    assert ran == parts


def test_a_part_that_is_not_there_is_named(verify: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        verify.main(["--parts", "suite,typos"])
    assert "no part 'typos'; there are lint, format" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["suite", "slow"])
def test_tests_share_the_cores_and_leave_speed_to_a_part_alone(verify: ModuleType, part: str) -> None:
    workers = ["-n", str(min(verify.WORKERS, verify.usable_cores())), "--dist=loadfile"]
    assert verify.command(part)[-4:] == [*workers, "--ignore=tests/performance"]
    alone = {"suite": "performance", "slow": "slow-performance"}[part]
    assert verify.command(alone)[-3:] == ["-n", "0", "tests/performance"]
    assert ("slow and not gpu" in verify.command(part)) == (part == "slow")
