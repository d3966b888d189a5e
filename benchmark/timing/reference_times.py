"""Recorded times of stages, for machines that have run nothing yet; `benchmark.commands.record_times` records them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

FILE = Path(__file__).with_suffix(".json")
"""{scale: {"machine": "...", "speed": 1.0, "stages": [{"function": "...", "work": 1.0, ...}]}}, see below."""


class Timed(NamedTuple):
    """A stage or a scoring that was timed: what its time grows with, what else it may depend on, what it took.

    work:     see `benchmark.timing.estimate.work_of`
    settings: "key=value" of every leaf
    """

    work: float
    settings: frozenset[str]
    seconds: float


@dataclass(frozen=True)
class ReferenceTimes:
    """Those of a scale; without any where none are recorded.

    machine: processor and threads; speed: see `benchmark.timing.machine_speed`
    times:   function of a stage, or `benchmark.timing.estimate.scoring_of` -> what it took
    """

    machine: str = ""
    speed: float = 1.0
    times: Mapping[str, Sequence[Timed]] = field(default_factory=dict)


@cache
def reference_times(scale: str) -> ReferenceTimes:
    """The recorded ones of a scale."""
    recorded: dict[str, Any] = json.loads(FILE.read_text()).get(scale)
    if recorded is None:
        return ReferenceTimes()
    times: dict[str, list[Timed]] = {}
    for each in recorded["stages"]:
        timed = Timed(each["work"], frozenset(each["settings"]), each["seconds"])
        times.setdefault(each["function"], []).append(timed)
    return ReferenceTimes(recorded["machine"], recorded["speed"], times)


def write_times(scale: str, recorded: Mapping[str, Any]) -> None:
    """Put a scale's times in the place of those in the file, a stage a line."""
    scales = {**json.loads(FILE.read_text()), scale: recorded} if FILE.exists() else {scale: recorded}
    parts = []
    for name, of in sorted(scales.items()):
        stages = ",\n".join("  " + json.dumps(stage) for stage in of["stages"])
        head = ", ".join(f"{json.dumps(key)}: {json.dumps(of[key])}" for key in ("machine", "speed"))
        parts.append(f'{json.dumps(name)}: {{{head}, "stages": [\n{stages}\n]}}')
    FILE.write_text("{\n" + ",\n".join(parts) + "\n}\n")
