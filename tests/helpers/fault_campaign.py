"""The campaign of `tests/integration/test_fault_campaign.py`; its runs are forked from one process with torch loaded.

`python -m tests.helpers.fault_campaign FOLDER SIGNALS SEED ARGUMENTS`: the arguments are those of the command line, as
JSON, without store and output. Run again over its folder it goes on; FOLDER/counts.json is what it counted.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import random
import select
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

import methods
from benchmark.__main__ import program
from benchmark.execution.runner import COSTS
from benchmark.store import Store
from results.io import read_run
from tests.helpers.damage import DAMAGE

EXPECTED = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}
CORE = (
    "benchmark.cli",
    "benchmark.evaluation.evaluator",
    "benchmark.execution.context",
    "benchmark.run_folder.leaderboard",
    "reports.html",
)
PLANNING = 0.1
"""Share of the signals that come any time after the start; the others come after the first stage has begun."""
PATIENCE = 10.0
"""Seconds after which nothing that a killed run has started may be left."""
BETWEEN = b"between stages\n"
SAID = "Stopped. Everything finished is stored; the same command resumes."


@dataclass
class Ended:
    """How a run ended: exit code, all it said, whether it had ended before the signal came, the stage that it was at,
    processes it left."""

    code: int
    said: str
    early: bool
    place: str
    left: list[str]


class Campaign:
    def __init__(self, folder: Path, signals: int, seed: int, arguments: Sequence[str]) -> None:
        self.folder, self.signals, self.arguments = folder, signals, list(arguments)
        self.random = random.Random(seed)
        self.counts: dict[str, Any] = {"signals": {}, "places": {}, "rounds": 0, "seconds": None, "remade": 0}
        self.counts |= {"files": 0, "damaged": {}, "faults": []}
        with suppress(FileNotFoundError):
            self.counts = json.loads((folder / "counts.json").read_text())
            self.random.seed(f"{seed} {sum(self.counts['signals'].values())}")

    def run(self) -> None:
        whole = self.folder / "whole"
        if self.counts["seconds"] is None:
            shutil.rmtree(whole, ignore_errors=True)
            began = time.monotonic()
            ended = self.start(whole)
            assert ended.code == 0, ended.said
            self.counts["seconds"] = time.monotonic() - began
            self.note()
        self.send_signals()
        self.damage()

    # ------------------------------------------------------------ signals

    def send_signals(self) -> None:
        killed = self.folder / "killed"
        while sum(self.counts["signals"].values()) < self.signals:
            number = self.random.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
            # all of them together are about as long as a whole run
            delay = self.random.uniform(0, 2 * self.counts["seconds"] / self.signals)
            ended = self.start(killed, number, delay, planning=self.random.random() < PLANNING)
            if ended.early:
                self.compare("after signals", killed, ended)
                self.counts["rounds"] += 1
                shutil.rmtree(killed)
                continue
            self.count("signals", signal.Signals(number).name)
            self.count("places", ended.place)
            self.check_end(number, ended)
            self.note()
        self.compare("after the last signal", killed, self.start(killed))

    def check_end(self, number: signal.Signals, ended: Ended) -> None:
        name = f"{signal.Signals(number).name} at {ended.place}"
        if ended.code != EXPECTED[number]:
            self.fault(f"{name}: exit code {ended.code}", ended)
        elif number != signal.SIGKILL and ended.said.strip().split("\n")[-1] != SAID:
            self.fault(f"{name}: it does not say that it stopped", ended)
        if "Traceback" in ended.said:
            self.fault(f"{name}: a traceback", ended)
        if ended.left:
            self.fault(f"{name}: left {ended.left}", ended)

    def compare(self, what: str, folder: Path, ended: Ended) -> None:
        """The run came to its end, and its numbers and artifacts are those of the undisturbed one."""
        if ended.code != 0 or "Traceback" in ended.said:
            self.fault(f"{what}: exit code {ended.code}", ended)
        elif _numbers(folder) != _numbers(self.folder / "whole"):
            self.fault(f"{what}: other numbers", ended)
        elif _hashes(folder) != _hashes(self.folder / "whole"):
            self.fault(f"{what}: other artifacts", ended)

    # ------------------------------------------------------------ damage

    def damage(self) -> None:
        """Every file of every artifact in every way is found out; artifacts made again have equal content."""
        whole, hurt = self.folder / "whole", self.folder / "hurt"
        artifacts = sorted(path.parent for path in (whole / "store").glob("artifacts/*/*/manifest.json"))
        files = [path for artifact in artifacts for path in sorted(artifact.rglob("*")) if path.is_file()]
        self.counts["files"] = len(files)
        for share, (kind, harm) in enumerate(DAMAGE.items()):
            if kind in self.counts["damaged"]:
                continue
            shutil.rmtree(hurt, ignore_errors=True)
            shutil.copytree(whole, hurt)
            for path in files:
                self.try_one(hurt, path.relative_to(whole), kind)
            chosen = artifacts[share :: len(DAMAGE)]
            for artifact in chosen:
                inside = hurt / artifact.relative_to(whole)
                harm(self.random.choice([p for p in sorted(inside.rglob("*")) if p.is_file()]))
            ended = self.start(hurt)
            self.compare(f"files {kind}", hurt, ended)
            self.counts["remade"] += len(chosen)
            self.counts["damaged"][kind] = len(files)
            self.note()

    def try_one(self, folder: Path, name: Path, kind: str) -> None:
        """A damaged file is found out, and its artifact set aside; then both are put back."""
        stage, key = name.parts[2:4]
        store = Store(folder / "store")
        DAMAGE[kind](folder / name)
        if store.intact(stage, key) is not None:
            self.counts["faults"].append(f"{name} {kind}: used")
        for aside in folder.glob("store/damaged/*/*"):
            aside.rename(store.path(stage, key))
        shutil.copy2(self.folder / "whole" / name, folder / name)

    # ------------------------------------------------------------ runs

    def start(
        self,
        folder: Path,
        number: signal.Signals | None = None,
        delay: float = 0.0,
        planning: bool = False,
    ) -> Ended:
        """A run forked off, sent a signal so many seconds after its first stage has begun, or after it has: if it is
        between two stages then, when the next one begins."""
        folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / "said.txt"
        stages, announced = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(stages)
            self.child(folder, log, announced)
        os.close(announced)
        early, told = False, b""
        if number is not None:
            ending = os.pidfd_open(child)
            if not planning:
                select.select([ending, stages], [], [])
            early = bool(select.select([ending], [], [], delay)[0])
            while not early and not planning:
                told += os.read(stages, 1 << 20)
                if not told.endswith(BETWEEN):
                    break
                early = ending in select.select([ending, stages], [], [])[0]
            os.close(ending)
            if not early:
                os.kill(child, number)
        _, status = os.waitpid(child, 0)
        with os.fdopen(stages, "rb") as lines:
            place = ["planning", *(told + lines.read()).decode().split("\n")[:-1]][-1]
        code = os.waitstatus_to_exitcode(status)
        return Ended(code, log.read_text(errors="replace"), early, place, _left(child))

    def child(self, folder: Path, log: Path, announced: int) -> None:
        os.setsid()  # what it starts is known by its session
        _announce_stages(announced)
        said = os.open(log, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        os.dup2(said, 1)
        os.dup2(said, 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        place = ["--output", str(folder / "run"), f"runtime.store={folder / 'store'}"]
        sys.argv = ["benchmark", *self.arguments, *place]
        code = 1
        try:
            program()
            code = 0
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    def count(self, name: str, key: str) -> None:
        counted = self.counts[name]
        counted[key] = counted.pop(key, 0) + 1  # the newest is the last

    def fault(self, what: str, ended: Ended) -> None:
        self.counts["faults"].append(f"{what}: ...{ended.said[-1500:]}")
        self.note()

    def note(self) -> None:
        temporary = self.folder / "counts.tmp"
        temporary.write_text(json.dumps(self.counts, indent=1))
        temporary.replace(self.folder / "counts.json")


def _left(session: int) -> list[str]:
    """Processes of a session that have not ended after `PATIENCE`."""
    there = []
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                there.append(process)
    return [str(process) for process in psutil.wait_procs(there, timeout=PATIENCE)[1]]


def _announce_stages(to: int) -> None:
    """Write a line to a pipe when a stage's work begins, and when it ends."""
    building = Store.building

    @contextmanager
    def announced(store: Store, stage: str, *arguments: Any) -> Iterator[Path | None]:
        os.write(to, f"{stage}\n".encode())
        with building(store, stage, *arguments) as work:
            yield work
        os.write(to, BETWEEN)

    Store.building = announced  # type: ignore[method-assign]


def _numbers(folder: Path) -> list[tuple[str, ...]]:
    records = read_run(folder / "run").records.drop(columns=["key"])
    scores = records[~records.metric.isin(["seconds", *COSTS])]
    return sorted(tuple(map(str, row)) for row in scores.itertuples(index=False))


def _hashes(folder: Path) -> dict[str, str]:
    """Content hashes of all artifacts' files."""
    return {
        f"{manifest.parent.name}/{name}": file["sha256"]
        for manifest in folder.glob("store/artifacts/*/*/manifest.json")
        for name, file in json.loads(manifest.read_text())["files"].items()
    }


def load_all() -> None:
    """Import what runs import, so that forked ones start at once."""
    names = [module.name for module in pkgutil.walk_packages(methods.__path__, "methods.")]
    for name in (*names, *CORE):
        importlib.import_module(name)


if __name__ == "__main__":
    load_all()
    place, signals, seed, arguments = sys.argv[1:]
    Campaign(Path(place), int(signals), int(seed), json.loads(arguments)).run()
