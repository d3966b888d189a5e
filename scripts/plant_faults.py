"""Planted faults: does the suite notice? Runs it on copies of the tree with one fault of tests/faults/faults.yaml each.

    python scripts/plant_faults.py --list
    python scripts/plant_faults.py --check
    python scripts/plant_faults.py run [ID ...] [--first PATH ...] [-- PYTEST ARGUMENTS]

A fault is found when a test fails. Before any of them, the suite runs on a copy with a line without effect in every
file that a fault goes into, and has to pass: else a failure would say nothing. The working tree is never touched; logs
and `results.json` go to results/runs/planted-faults/<time>/. Exit code 1 where more than one of all faults, or any of
some, was not found; 2 where the suite could not tell.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

import yaml

ROOT = Path(__file__).resolve().parent.parent
LIST = "tests/faults/faults.yaml"
LEFT_OUT = "tests/unit/project/test_faults.py"
"""Not copied: it checks that the code is as the list says, so it would notice every fault."""
RESULTS = "results/runs/planted-faults"
SUITE = ("-m", "not slow and not gpu", "-x", "-q")
FOLDERS = ("WSSS_SHARED", "WSSS_GOLDEN")
"""Variables with folders, which may be relative to where the script was called."""
MISSES = 1
"""Faults of the whole list that may stay unnoticed."""
HARMLESS = "\n_UNUSED = None\n"
CONTROL = "control"


class FaultError(Exception):
    """The list or the suite cannot be used; one line that says what, where and what to do."""


@dataclass(frozen=True)
class Fault:
    """`old`, which occurs once in `file` (relative to the root), becomes `new`; `what` goes wrong then, in a sentence."""

    id: str
    file: str
    kind: str
    what: str
    old: str
    new: str


@dataclass(frozen=True)
class Outcome:
    """status: "found" (a test fails), "not found" (all pass), or "error" (neither: the suite broke off)

    test, message: the first failure, or what the error was; seconds: of the suite until then
    """

    status: str
    test: str = ""
    message: str = ""
    seconds: float = 0.0


def load(root: Path) -> list[Fault]:
    """The list of a tree. Raises FaultError where it cannot be read."""
    try:
        return [Fault(**entry) for entry in yaml.safe_load((root / LIST).read_text(encoding="utf-8"))]
    except (OSError, TypeError, yaml.YAMLError) as error:
        raise FaultError(f"{root / LIST}: {' '.join(str(error).split())}; correct the list") from None


def planted(fault: Fault, source: str) -> str:
    """The file's text with the fault. Raises FaultError where `old` is not there exactly once."""
    if (count := source.count(fault.old)) != 1:
        raise FaultError(
            f"{fault.id}: its old text occurs {count} times in {fault.file}; bring the list up to date"
        )
    return source.replace(fault.old, fault.new)


def problems(faults: Sequence[Fault], root: Path) -> list[str]:
    """What is wrong with a list, a line each: every fault is to change what its file does, and to compile."""
    found = [f"{name}: {n} faults of this id" for name, n in Counter(f.id for f in faults).items() if n > 1]
    places = Counter((f.file, f.kind) for f in faults)
    found += [f"{file}: {n} faults of the kind {kind!r}" for (file, kind), n in places.items() if n > 1]
    for fault in faults:
        try:
            source = (root / fault.file).read_text(encoding="utf-8")
            before, after = ast.parse(source), ast.parse(planted(fault, source), fault.file)
            compile(after, fault.file, "exec")
            if ast.dump(before) == ast.dump(after):
                found.append(f"{fault.id}: changes nothing in {fault.file}")
        except FaultError as error:
            found.append(str(error))
        except OSError as error:
            found.append(f"{fault.id}: {fault.file} cannot be read ({error.strerror})")
        except SyntaxError as error:
            found.append(f"{fault.id}: {fault.file} does not compile ({error.msg}, line {error.lineno})")
    return found


def copy_tree(root: Path, target: Path) -> None:
    """Copy the tracked files as they are in the working tree."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if name != LEFT_OUT and os.path.lexists(root / name):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, target / name, follow_symlinks=False)


def commit(tree: Path) -> None:
    """Make the copy a repository of its own: what asks git finds a commit and no changes."""
    settings = (
        "user.name=faults",
        "user.email=faults@localhost",
        "commit.gpgsign=false",
        "core.hooksPath=/dev/null",
    )
    git = ["git", *(part for setting in settings for part in ("-c", setting))]
    for arguments in (["init", "-q"], ["add", "--all", "--force"], ["commit", "-q", "-m", "Copy the tree"]):
        subprocess.run([*git, *arguments], cwd=tree, check=True)


def environment(tree: Path) -> dict[str, str]:
    """This one, with the copied packages first on the path, also of processes that tests start elsewhere."""
    made = dict(os.environ)
    made["PYTHONPATH"] = os.pathsep.join(filter(None, (str(tree), made.get("PYTHONPATH"))))
    return made | {name: os.path.abspath(made[name]) for name in FOLDERS if made.get(name)}  # noqa: PTH100


def require_own_packages(tree: Path, packages: Sequence[str]) -> None:
    """Raise FaultError where the interpreter would import a package from elsewhere, without its fault."""
    code = "import importlib.util as u, sys; [print(*u.find_spec(n).submodule_search_locations) for n in sys.argv[1:]]"
    found = subprocess.run(
        [sys.executable, "-c", code, *packages],
        cwd=tree.parent,
        env=environment(tree),
        capture_output=True,
        text=True,
        check=True,
    )
    for name, place in zip(packages, found.stdout.splitlines(), strict=True):
        if Path(place).resolve() != (tree / name).resolve():
            raise FaultError(
                f"package {name} comes from {place}, not from the copy {tree}; look at PYTHONPATH"
            )


def pytest(tree: Path, arguments: Sequence[str], log: Path) -> Outcome:
    """One call of pytest in a tree; its output is added to `log`."""
    report = tree.parent / "report.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", *SUITE, f"--junitxml={report}", *arguments]
    began = time.perf_counter()
    with log.open("a", encoding="utf-8") as output:
        code = subprocess.run(
            command, cwd=tree, env=environment(tree), stdout=output, stderr=subprocess.STDOUT
        ).returncode
    seconds = round(time.perf_counter() - began, 1)
    if report.exists():
        for case in ElementTree.parse(report).iter("testcase"):
            failure = next((e for e in case if e.tag in ("failure", "error")), None)
            if failure is not None:
                test = f"{case.get('classname', '')}::{case.get('name', '')}"
                message = " ".join((failure.get("message") or "").split())[:300]
                return Outcome("found", test, message, seconds)
    if code in (0, 5):  # 5: no tests, as where all of them have run first
        return Outcome("not found", seconds=seconds)
    return Outcome("error", message=f"pytest ended with {code}, see {log}", seconds=seconds)


def suite(tree: Path, first: Sequence[str], arguments: Sequence[str], log: Path) -> Outcome:
    """The tests at `first`, and the rest of the suite where these pass."""
    seconds = 0.0
    if first:
        found = pytest(tree, [*arguments, *first], log)
        if found.status != "not found":
            return found
        seconds = found.seconds
    done = [f"--deselect={path}{'/' if (tree / path).is_dir() and path[-1] != '/' else ''}" for path in first]
    found = pytest(tree, [*arguments, *done], log)
    return Outcome(found.status, found.test, found.message, round(seconds + found.seconds, 1))


def try_copy(
    root: Path,
    changes: Mapping[str, Callable[[str], str]],
    first: Sequence[str],
    arguments: Sequence[str],
    log: Path,
) -> Outcome:
    """Run the suite on a copy of the tree in which the texts of some files are changed."""
    with TemporaryDirectory(prefix="planted-fault-") as folder:
        tree = Path(folder) / "tree"
        copy_tree(root, tree)
        for file, change in changes.items():
            path = tree / file
            path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
        commit(tree)
        require_own_packages(tree, sorted({file.split("/")[0] for file in changes}))
        return suite(tree, first, arguments, log)


def run_all(root: Path, faults: Sequence[Fault], first: Sequence[str], arguments: Sequence[str]) -> int:
    """Run the suite with each fault; returns the exit code. Raises FaultError where it does not pass without any."""
    every = load(root)
    folder = root / RESULTS / datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    folder.mkdir(parents=True)
    for name in FOLDERS:
        if not os.environ.get(name):
            print(f"{name} is not set: tests that need its folder may be skipped, and find nothing")
    outcomes: dict[str, Outcome] = {}

    def run(name: str, changes: Mapping[str, Callable[[str], str]]) -> Outcome:
        outcomes[name] = try_copy(root, changes, first, arguments, folder / f"{name}.log")
        kept = {each: asdict(outcome) for each, outcome in outcomes.items()}
        (folder / "results.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        print(f"{name}: {outcomes[name].status} after {outcomes[name].seconds:.0f} s", flush=True)
        return outcomes[name]

    control = run(CONTROL, {fault.file: lambda text: text + HARMLESS for fault in every})
    if control.status != "not found":
        what = control.test or control.message
        raise FaultError(
            f"the suite fails without a fault ({what}), see {folder}/{CONTROL}.log; mend it first"
        )
    found = [run(fault.id, {fault.file: partial(planted, fault)}) for fault in faults]
    width = max(len(fault.id) for fault in faults)
    print()
    for fault, outcome in zip(faults, found):
        print(f"{fault.id:<{width}}  {outcome.status:<9}  {outcome.test or outcome.message}")
    counts = Counter(outcome.status for outcome in found)
    print(f"\n{counts['found']} of {len(faults)} found; {folder}")
    if counts["error"]:
        return 2
    return int(counts["not found"] > (MISSES if len(faults) == len(every) else 0))


def main(arguments: Sequence[str], root: Path = ROOT) -> int:
    """The command line on the tree at `root`; returns the exit code."""
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--list", action="store_true", help="print the faults")
    parser.add_argument("--check", action="store_true", help="check that each can be planted and compiles")
    run = parser.add_subparsers(dest="command").add_parser("run", help="run the suite with each fault")
    run.add_argument("ids", nargs="*", help="faults to plant; default: all")
    run.add_argument("--first", nargs="+", default=[], metavar="PATH", help="tests to run before the others")
    chosen = parser.parse_args(arguments[:cut])
    try:
        faults = load(root)
        if chosen.list:
            for fault in faults:
                print(f"{fault.id}  {fault.file}\n    {fault.what}")
            return 0
        if wrong := problems(faults, root):
            print("\n".join(wrong), file=sys.stderr)
            return 2
        if chosen.check:
            print(f"{len(faults)} faults can be planted")
            return 0
        if chosen.command != "run":
            parser.error("give --list, --check or run")
        if unknown := set(chosen.ids) - {fault.id for fault in faults}:
            parser.error(f"unknown fault {', '.join(sorted(unknown))}; --list prints them")
        some = [fault for fault in faults if not chosen.ids or fault.id in chosen.ids]
        return run_all(root, some, chosen.first, arguments[cut + 1 :])
    except FaultError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    signal.signal(
        signal.SIGTERM, lambda number, frame: sys.exit(128 + number)
    )  # ends pytest, removes the copy
    sys.exit(main(sys.argv[1:]))
