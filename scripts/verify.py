"""Runs the parts of the tests one after the other, whatever fails, and ends with what each took and what came out.

The last line counts tests: `N passed, N failed, N skipped`. Exit status 1 if any part failed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from datasets.files.cores import usable_cores

ROOT = Path(__file__).parents[1]
JUNIT = Path("results/runs")
SPEED = "tests/performance"
DEFAULT = ("lint", "format", "types", "docs", "suite", "performance")
SLOW = ("slow", "slow-performance")
PARTS = (*DEFAULT, *SLOW, "check")
TESTS = ("suite", "performance", *SLOW)
WORKERS = 8
"""At most: each holds a torch of its own, and what is shared by tests is made in each."""


class Outcome(NamedTuple):
    part: str
    seconds: float
    failed: bool


class Tests(NamedTuple):
    passed: int = 0
    failed: int = 0
    skipped: int = 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("scripts/test.sh", description=__doc__, allow_abbrev=False)
    parser.add_argument("--slow", action="store_true", help="the slow tests alone")
    parser.add_argument("--parts", help=f"of {','.join(PARTS)}; {','.join(DEFAULT)} by default")
    options, for_pytest = parser.parse_known_args(arguments)
    parts = chosen(options.parts, options.slow, for_pytest)
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    outcomes, tests = [], Tests()
    for part in parts:
        print(f"== {part}", flush=True)
        began = time.monotonic()
        code, found = run(part, for_pytest)
        outcomes.append(Outcome(part, time.monotonic() - began, code != 0))
        tests = Tests(*map(sum, zip(tests, found)))
    print(table(outcomes))
    if set(parts) & set(TESTS):
        print(f"{tests.passed} passed, {tests.failed} failed, {tests.skipped} skipped")
    return int(any(outcome.failed for outcome in outcomes))


def chosen(parts: str | None, slow: bool, for_pytest: list[str]) -> tuple[str, ...]:
    """Speed is left out where tests are named, since only some of the parts would have any of them."""
    if parts is not None:
        return tuple(parts.split(","))
    wanted = SLOW if slow else DEFAULT
    return tuple(part for part in wanted if not (for_pytest and part.endswith("performance")))


def run(part: str, for_pytest: list[str]) -> tuple[int, Tests]:
    """Exit status, and what became of its tests."""
    report, environment = JUNIT / f"{part}.xml", dict(os.environ)
    if part not in TESTS:
        return subprocess.run(command(part), env=environment, check=False).returncode, Tests()
    report.unlink(missing_ok=True)
    if not part.endswith("performance"):
        environment["OMP_NUM_THREADS"] = "1"  # a worker a core
    called = [*command(part), f"--junit-xml={report}", *for_pytest]
    code = subprocess.run(called, env=environment, check=False).returncode
    return code, read(report) if report.exists() else Tests()


def command(part: str) -> list[str]:
    folder = Path(sys.executable).parent
    if part in TESTS:
        # By files, whose tests share what they make.
        workers = ["-n", str(min(WORKERS, usable_cores())), "--dist=loadfile"]
        call = [sys.executable, "-m", "pytest", "--durations=20"]
        if part.startswith("slow"):
            call += ["-m", "slow and not gpu", "--timeout=1800"]
        return (
            [*call, "-n", "0", SPEED]
            if part.endswith("performance")
            else [*call, *workers, f"--ignore={SPEED}"]
        )
    return {
        "lint": [str(folder / "ruff"), "check", "."],
        "format": [str(folder / "ruff"), "format", "--check", "."],
        "types": [str(folder / "mypy")],
        "docs": [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "docs", str(JUNIT / "docs")],
        "check": [sys.executable, "-m", "benchmark", "check", "--junit", str(JUNIT / "check.xml")],
    }[part]


def read(report: Path) -> Tests:
    suites = list(ElementTree.parse(report).getroot().iter("testsuite"))
    total, skipped = (sum(int(suite.get(key, 0)) for suite in suites) for key in ("tests", "skipped"))
    failed = sum(int(suite.get(key, 0)) for suite in suites for key in ("failures", "errors"))
    return Tests(total - failed - skipped, failed, skipped)


def table(outcomes: list[Outcome]) -> str:
    width = max(len(outcome.part) for outcome in outcomes)
    rows = [(o.part, o.seconds, "FAILED" if o.failed else "passed") for o in outcomes]
    rows.append(("all", sum(o.seconds for o in outcomes), ""))
    return "\n".join(f"{part:{width}}  {seconds:7.1f} s  {result}".rstrip() for part, seconds, result in rows)


if __name__ == "__main__":
    os.chdir(ROOT)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
