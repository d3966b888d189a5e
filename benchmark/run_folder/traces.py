"""What finished stages leave beside their result, for the reports: loss curves and JSON files with details."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark.execution.runner import RunResult

POINTS = 200
"""Longest list of numbers that the run folder keeps; longer ones are thinned evenly."""

LONGEST = 200_000
"""Characters of a details file after thinning; what is longer is named, not kept."""

_OWN_FILES = ("manifest.json",)
"""JSON of the store, which says nothing new here."""

_LOSSES = "losses-*.json"


def described_stages(result: RunResult) -> list[dict[str, Any]]:
    """The run's stages as the run folder keeps them: the runner's columns, and

    shown:   whether the stage's artifact is the board's of its kind (not one on the way to it)
    score:   name and key of its scores in the store, and their `stage` and `split` in the records; None where its
             kind is not scored
    losses:  one list a training of the stage: {"iteration", <term>: mean since the last}, at most `POINTS`
    access:  inputs (names of stages), pretrained (reference -> SHA-256), seen_masks as its declaration has them, sha256
             of the artifact's files, record (`benchmark.execution.access`; None of an artifact older than that)
    details: {file name: content} of the other JSON files that it wrote; a list of more than `POINTS` numbers
             becomes {"every": n, "values": every n-th}
    """
    planned = {p.stage.name: p for p in result.run.stages}
    stages = []
    for stage in result.stages:
        plan, folder = planned[stage["name"]], result.artifacts[stage["name"]].path
        score = None
        if plan.score_key is not None:
            score = {
                "name": plan.score_name,
                "key": plan.score_key,
                "stage": plan.scored_as,
                "split": plan.split,
            }
        manifest = result.artifacts[stage["name"]].manifest
        access = {
            "inputs": [up.stage.name for up in plan.inputs.values()],
            "pretrained": dict(plan.weights),
            "seen_masks": plan.stage.seen_masks,
            "sha256": _files_hash(manifest["files"]),
            "record": manifest.get("access"),
        }
        extra = {"shown": plan.stage.scored_as is None, "score": score, "access": access}
        stages.append(stage | extra | {"losses": losses(folder), "details": details(folder)})
    return stages


def _files_hash(files: Mapping[str, Mapping[str, Any]]) -> str:
    """SHA-256 over the names and contents of an artifact's files."""
    lines = (f"{name}\0{file['sha256']}\n" for name, file in sorted(files.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def losses(folder: Path) -> list[list[dict[str, float]]]:
    """The thinned loss history of each training of an artifact."""
    files = sorted(folder.glob(_LOSSES), key=lambda f: int(f.stem.rpartition("-")[2]))
    return [_thinned(json.loads(file.read_text(encoding="utf-8"))) for file in files]


def details(folder: Path) -> dict[str, Any]:
    """Content of the JSON files that the stage's method wrote, long lists thinned; a note for what cannot be kept."""
    found: dict[str, Any] = {}
    own = {*_OWN_FILES, *(file.name for file in folder.glob(_LOSSES))}
    for file in sorted(folder.glob("*.json")):
        if file.name in own:
            continue
        try:
            content = _short_lists(json.loads(file.read_text(encoding="utf-8")))
        except ValueError as error:
            content = {"note": f"not read: no JSON ({error})"}
        length = len(json.dumps(content))
        if length > LONGEST:
            content = {
                "note": f"not shown: {length} characters, more than {LONGEST}; see {file.name} in the store"
            }
        found[file.name] = content
    return found


def _thinned(values: list[Any]) -> list[Any]:
    """At most `POINTS` of them, evenly spaced, the last one among them."""
    step = math.ceil(len(values) / POINTS)
    return values[::-1][:: max(step, 1)][::-1]


def _short_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _short_lists(item) for key, item in value.items()}
    if isinstance(value, list):
        step = math.ceil(len(value) / POINTS)
        if step > 1 and all(isinstance(item, (int, float)) for item in value):
            return {"every": step, "values": value[::step]}
        return [_short_lists(item) for item in value]
    return value
