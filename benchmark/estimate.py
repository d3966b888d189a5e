"""How long a plan will take, from the times that stages like its own took before."""

from __future__ import annotations

import json
import statistics
from typing import Any

from benchmark.changes import differences
from benchmark.config import plain
from benchmark.plan import Plan, PlannedStage
from benchmark.store import Store


def time_estimate(plan: Plan) -> tuple[float, int, int]:
    """Seconds that the stages still to do will take, how many these are, and for how many nothing is known.

    A stage takes as long as the stored ones of the same function, on data of the same classes, whose settings are
    most like its own (their median). Scoring is not counted.
    """
    earlier: dict[str, list[dict[str, Any]]] = {}
    seconds, todo, unknown = 0.0, 0, 0
    for planned, entry in plan.entries():
        if entry is not None:
            continue
        todo += 1
        name = planned.stage.name
        if name not in earlier:
            earlier[name] = _manifests(plan.store, name)
        found = _seconds(planned, earlier[name], list(plan.dataset.classes))
        if found is None:
            unknown += 1
        else:
            seconds += found
    return seconds, todo, unknown


def _manifests(store: Store, stage: str) -> list[dict[str, Any]]:
    found = []
    for path in sorted(store.root.glob(f"artifacts/{stage}/*/manifest.json")):
        try:
            found.append(json.loads(path.read_text()))
        except (OSError, json.JSONDecodeError):  # being written, or pruned meanwhile
            continue
    return found


def _seconds(planned: PlannedStage, manifests: list[dict[str, Any]], classes: list[str]) -> float | None:
    settings = plain(planned.stage.settings)
    times: dict[int, list[float]] = {}
    for manifest in manifests:
        alike = manifest.get("run") == planned.stage.run and manifest.get("classes") == classes
        if alike and not manifest.get("resumed"):  # else its seconds are those of the last part
            times.setdefault(len(differences(settings, manifest["settings"])), []).append(manifest["seconds"])
    return statistics.median(times[min(times)]) if times else None
