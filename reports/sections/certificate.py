"""Leak certificate: which files each stage opened, and which results have seen masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reports.view import Board
from results.certificate import CERTIFICATE, CLOSED, NOT_WATCHED, OPENED, UNKNOWN, certificate

TITLE = "Leak certificate"
_KINDS = {
    "masks": ("mask", "masks"),
    "data": ("other file of the data", "other files of the data"),
    "inputs": ("file of its inputs", "files of its inputs"),
    "undeclared": ("file of other results", "files of other results"),
    "weights": ("weight file", "weight files"),
}
"""Kinds of opened files other than images: one, and several."""


def build(boards: Sequence[Board]) -> dict[str, Any] | None:
    """None where no stage was recorded. Of an entry, the first seed's stages, and how many seeds are alike."""
    runs = [run for board in boards for entry in board.methods for run in entry.runs]
    found = certificate(runs)
    if found["summary"]["stages"] == found["summary"][UNKNOWN]:
        return None
    entries = []
    for board in boards:
        where = f", {board.name}, {board.scale}, {board.protocol} protocol" if len(boards) > 1 else ""
        for entry in board.methods:
            own = certificate(entry.runs)["runs"]
            if own:
                entries.append(
                    {
                        "label": entry.label + where,
                        "declared": own[0]["declared"],
                        "seed": own[0]["seed"],
                        "others": _others(own),
                        "seen": sorted(
                            {name for run in own for stage in run["stages"] for name in stage["seen"]}
                        ),
                        "stages": [_row(stage) for stage in own[0]["stages"]],
                    }
                )
    return {
        "facts": _facts(found["summary"]),
        "entries": entries,
        "not_watched": NOT_WATCHED,
        "file": CERTIFICATE,
    }


def _facts(summary: Mapping[str, int]) -> list[dict[str, Any]]:
    """What holds of all stages: term, text, and `bad` where it needs an explanation."""
    watched = summary["stages"] - summary[UNKNOWN]
    return [
        {"term": "Stages watched", "text": f"{watched} of {summary['stages']}", "bad": False},
        {"term": "Masks closed in", "text": summary[CLOSED], "bad": False},
        {"term": "Masks opened, as declared, in", "text": summary[OPENED], "bad": False},
        *(
            {"term": term, "text": summary[key], "bad": summary[key] > 0}
            for key, term in (
                ("refused", "Masks refused"),
                ("trained_on_val", "Trainings that opened val"),
                ("undeclared", "Results opened that are no inputs"),
            )
        ),
    ]


def _row(stage: Mapping[str, Any]) -> dict[str, Any]:
    others = [
        f"{opened['files']:,} {_KINDS.get(kind, (kind, kind))[opened['files'] != 1]}"
        for kind, opened in stage["opened"].items()
        if kind != "images"
    ]
    if stage["elsewhere"]:
        endings = ", ".join(
            f"{count} {ending or 'without ending'}" for ending, count in stage["endings"].items()
        )
        others.append(f"{stage['elsewhere']:,} from elsewhere ({endings})")
    return {
        **{
            key: stage[key] for key in ("stage", "masks", "images", "seen", "pretrained", "sha256", "resumed")
        },
        "others": others,
        "unknown": stage["masks"] == UNKNOWN,
    }


def _others(runs: Sequence[Mapping[str, Any]]) -> str:
    """How the other seeds compare with the first in what they opened."""
    if len(runs) == 1:
        return ""
    kinds = [[(s["stage"], s["masks"], s["images"], s["seen"]) for s in run["stages"]] for run in runs]
    unlike = [str(run["seed"]) for run, kind in zip(runs, kinds) if kind != kinds[0]]
    if not unlike:
        return f"{len(runs) - 1} more seed{'s' if len(runs) > 2 else ''} alike"
    return f"seed{'s' if len(unlike) > 1 else ''} {', '.join(unlike)} otherwise, see {CERTIFICATE}"
