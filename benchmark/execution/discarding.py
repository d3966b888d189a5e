"""`run --discard-intermediate`: artifacts go when the last stage that is made from them is done, and nobody else's."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from benchmark.console import console, size
from benchmark.execution.tasks import Agenda, Outcome, Task, artifact_name
from benchmark.planning.changes import run_identity
from benchmark.planning.discarded import KEPT
from benchmark.planning.plan import Plan, PlannedStage
from benchmark.store import Store
from datasets.base import DataError
from datasets.files.sealed import read_sealed
from results.io import RUNS_FILE

BOARDS = Path("results/runs")
"""Where leaderboards are looked for, besides the folder beside the run's own."""
USERS = "users"
"""Folder of the store with a list, and a lock, for each command that is at work."""


@contextmanager
def in_use(store: Store, names: Iterable[str]) -> Iterator[bool]:
    """Tell other commands, while it lasts, that this one needs these artifacts ("stage/key").

    Yields whether they are told: not where the store cannot be written, and then nothing may be discarded here.
    """
    file = store.root / USERS / f"{uuid.uuid4().hex}.txt"
    lock = FileLock(file.with_suffix(".lock"))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        with _registry(store):
            file.write_text("\n".join(names))
    except OSError:
        yield False
        return
    try:
        yield True
    finally:
        file.unlink(missing_ok=True)
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


def _registry(store: Store) -> FileLock:
    return FileLock(store.root / USERS / "registry.lock")


def _users(store: Store) -> Iterator[set[str]]:
    """What each command at work needs, this one included; lists of those that were killed go."""
    for file in sorted((store.root / USERS).glob("*.txt")):
        lock = FileLock(file.with_suffix(".lock"))
        with suppress(FileNotFoundError):  # it has just ended
            try:
                with lock.acquire(timeout=0):
                    file.unlink()
                Path(lock.lock_file).unlink(missing_ok=True)
            except Timeout:
                yield set(file.read_text().split())


class Discards:
    """Discards intermediate artifacts of a plan as its tasks end."""

    def __init__(self, plan: Plan, folder: Path, draw: Callable[[PlannedStage, Path], None]) -> None:
        """folder: the run's, whose leaderboard names what this plan makes
        draw: leaves in a folder the pictures that reports always show of an artifact
        """
        from results.merge import identity  # and pandas

        self._identity = identity
        self._plan, self._folder, self._draw = plan, folder.resolve(), draw
        self._ours = {identity(run_identity(run.config, run.method.name, run.seed)) for run in plan.runs}
        self._freed = 0

    def after(self, task: Task, agenda: Agenda) -> None:
        """Discard what `task`, which is done, was the last to need."""
        for name in task.needs:
            planned = self._stage(agenda.tasks[name])
            wanting = [other for other in agenda.tasks.values() if name in other.needs]
            made = [other for other in wanting if not other.scoring]
            done = all(_succeeded(agenda.outcomes.get(other.name)) for other in wanting)
            if made and done and planned.stage.yields not in KEPT:
                self._discard(name, planned)

    def _stage(self, task: Task) -> PlannedStage:
        return self._plan.runs[task.run].stages[task.stage]

    def _discard(self, name: str, planned: PlannedStage) -> None:
        store, stage = self._plan.store, planned.stage.name
        try:
            with _registry(store):
                shared = sum(name in needed for needed in _users(store)) > 1
                if shared or planned.key in self._on_leaderboards():
                    return
                gone = store.discard(stage, planned.key, lambda folder: self._draw(planned, folder))
        except (OSError, DataError) as error:  # the run goes on with a fuller disk
            console.print(f"{stage} {planned.key[:12]}: not discarded: {error}", markup=False)
            return
        if gone is not None:
            shutil.rmtree(gone.path, ignore_errors=True)
            self._freed += gone.bytes
            console.print(
                f"discarded {stage} {planned.key[:12]}: {size(gone.bytes)}, {size(self._freed)} in all",
                markup=False,
            )

    def _on_leaderboards(self) -> set[str]:
        """Keys of the artifacts of all rows but this plan's own."""
        found: set[str] = set()
        for file in {path.resolve() for root in (BOARDS, self._folder.parent) for path in _boards(root)}:
            try:
                runs: Sequence[dict[str, Any]] = read_sealed(file)["cells"]
                found |= {
                    stage["key"]
                    for run in runs
                    if file.parent != self._folder or self._identity(run) not in self._ours
                    for stage in run["stages"]
                }
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(
                    f"{file}: damaged ({error}); what its rows need is not known, so nothing is discarded: move its "
                    "folder away or mend it"
                ) from error
        return found


def _boards(root: Path) -> list[Path]:
    """Files of the leaderboards in a folder of run folders, those of experiments included."""
    return [path for depth in ("*", "*/*", "*/*/*") for path in root.glob(f"{depth}/{RUNS_FILE}")]


def _succeeded(outcome: Outcome | None) -> bool:
    return outcome is not None and not outcome.failure


def names_of(plan: Plan) -> list[str]:
    """What a plan needs, for `in_use`."""
    return sorted({artifact_name(planned) for run in plan.runs for planned in run.stages})
