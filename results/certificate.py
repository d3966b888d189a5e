"""The leak certificate: which files the stages of each run opened, and which of their results have seen masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from results.schema import EXTERNAL

CERTIFICATE = "certificate.json"
"""In a run's folder."""
NOT_WATCHED = (
    "files that libraries open outside of Python (safetensors does), but for torchvision's and OpenCV's readers",
    "processes that a stage starts",
    "what pretrained weights were trained on, beyond what the method declares",
    "the part of a stage before it was interrupted, where it was resumed",
    "under torchrun, all processes but the first",
)
CLOSED, OPENED, OPEN, UNKNOWN = "closed", "opened", "open, none opened", "not recorded"
"""What happened to the data set's masks in a stage."""


def certificate(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is known of every run's stages, as plain data of a few lines each: numbers and hashes, no paths.

    runs: `RunRecord`s as plain data; runs without a stage are left out

    summary: numbers of stages, and of those in which masks were `CLOSED`, `OPENED`, `OPEN`, `UNKNOWN`; refused: files of
             masks that a closed stage tried to open; trained_on_val: networks whose training opened an image of val;
             undeclared: stages that opened artifacts other than their inputs
    runs:    what it is, declared supervision, stages: see `_stage`
    """
    found = [_run(run) for run in runs if run["stages"]]
    stages = [stage for run in found for stage in run["stages"]]
    summary: dict[str, int] = {"stages": len(stages)}
    summary |= {word: sum(s["masks"] == word for s in stages) for word in (CLOSED, OPENED, OPEN, UNKNOWN)}
    summary |= {
        "refused": sum(s["refused"] for s in stages),
        "trained_on_val": sum(s["kind"] == "weights" and s["images"].get("val", 0) > 0 for s in stages),
        "undeclared": sum("undeclared" in s["opened"] for s in stages),
    }
    return {"format": 1, "summary": summary, "not_watched": list(NOT_WATCHED), "runs": found}


def _run(run: Mapping[str, Any]) -> dict[str, Any]:
    names = ("dataset", "method", "scale", "protocol", "refiner", "segmenter", "changes", "seed", "status")
    declared = (run["method_info"] or {}).get("supervision", "")
    stages: dict[str, dict[str, Any]] = {}
    for stage in run["stages"]:
        stages[stage["name"]] = _stage(run, stage, stages)
    return {
        **{name: run[name] for name in names},
        "declared": declared,
        "elsewhere_made": str(run["method"]).startswith(EXTERNAL),
        "stages": list(stages.values()),
    }


def _stage(
    run: Mapping[str, Any], stage: Mapping[str, Any], before: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """masks: one of the words above; opened: kind of file -> number and hash of the names; images: split -> number;
    elsewhere, endings: files that belong to nothing known; pretrained: reference -> SHA-256; sha256: of the result
    seen: whose masks the result has seen, by itself or through its inputs
    """
    access = stage.get("access") or {}
    record = access.get("record") or {}
    opened = record.get("opened", {})
    if not record:
        masks = UNKNOWN
    elif record["masks_closed"]:
        masks = CLOSED
    else:
        masks = OPENED if "masks" in opened else OPEN
    seen = {name for role in access.get("inputs", []) for name in before.get(role, {}).get("seen", [])}
    if masks == OPENED:
        seen.add(str(run["dataset"]))
    if access.get("seen_masks"):
        seen.add(f"{access['seen_masks']} (pretrained weights)")
    return {
        "stage": stage["name"],
        "kind": stage["kind"],
        "key": stage["key"],
        "sha256": access.get("sha256", ""),
        "resumed": bool(stage.get("resumed")),
        "masks": masks,
        "refused": record.get("refused", 0),
        "images": record.get("images", {}),
        "opened": opened,
        "elsewhere": record.get("elsewhere", 0),
        "endings": record.get("endings", {}),
        "inputs": list(access.get("inputs", [])),
        "pretrained": {_named(name): content for name, content in access.get("pretrained", {}).items()},
        "seen": sorted(seen),
    }


def _named(reference: str) -> str:
    """A reference of weights; of a path on this machine, its last part."""
    path = PurePath(reference)
    return f"…/{path.name}" if path.is_absolute() else reference
