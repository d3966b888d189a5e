"""The public leaderboard's first page: every accepted bundle's scores, who made them, and how far they were verified."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from reports.field.terminal import conditions_of, network
from reports.templating import environment
from reports.text import entry_key, entry_label, mean_and_deviation, percent
from results.aggregate import SCORES, as_rows, leaderboard, varying
from results.changes import changes_of, data_title, is_place
from results.comparison import compare_with_papers
from results.field import UNKNOWN
from results.submissions import Submission

LEVELS = {
    "consistent": "Its settings, lists, counts, label maps and scores agree with each other. Nobody else has computed "
    "anything.",
    "re-scored": "With the data set at hand, its label maps of val and a sample of its CAMs were scored again, with "
    "the same counts. Pseudo-labels were not.",
    "re-run": "Its network was applied to a few images again, and gave its label maps. Its training was not repeated.",
}
"""What a level of verification says, in words for readers."""
_SHOWN = tuple(score for score in reversed(SCORES) if not score.masks)
"""The last stage first: it is what entries are ordered by, and what a phone shows."""


def render(
    boards: Mapping[tuple[str, str, str], Sequence[Submission]], links: Mapping[tuple[str, str, str], str]
) -> str:
    """The page as HTML. boards: submissions by data set, scale and protocol; links: of each board's report."""
    shown: dict[tuple[tuple[str, str, str], str], list[dict[str, Any]]] = {}
    for name, submissions in sorted(boards.items()):
        for submission in submissions:
            for row in _rows(submission):
                shown.setdefault((name, row["data"]), []).append(row)
    return environment().get_template("site.html").render(
        boards=[_board(name, data, rows, links[name]) for (name, data), rows in shown.items()],
        levels=LEVELS,
        bundles=len({s.stored.path for of in boards.values() for s in of}),
    )  # fmt: skip


def _board(name: tuple[str, str, str], data: str, rows: list[dict[str, Any]], link: str) -> dict[str, Any]:
    dataset, scale, protocol = name
    scores = [s for s in _SHOWN if any(math.isfinite(row["of"][f"{s.name}_mean"]) for row in rows)]
    rows.sort(key=lambda row: (row["masks"], *(_descending(row["of"][f"{s.name}_mean"]) for s in _SHOWN)))
    return {
        "title": data_title(dataset, data),
        "scale": scale,
        "protocol": protocol,
        "link": link,
        "heads": [{"title": s.heading, "split": s.split} for s in scores],
        "rows": [row | {"scores": [mean_and_deviation(row["of"], s.name) for s in scores]} for row in rows],
        "reported": any(row["reported"] for row in rows),
    }


def _descending(value: float) -> float:
    return -value if math.isfinite(value) else math.inf


def _rows(submission: Submission) -> list[dict[str, Any]]:
    """A submission's entries."""
    runs = submission.stored.runs
    table = leaderboard(submission.stored.records, runs)
    extra = varying(table)
    papers = compare_with_papers(submission.stored.records, runs)
    printed = papers[(papers["stage"] == "segmentation") & papers["reported"].notna()]
    rows = []
    for row in as_rows(table):
        own = [run for run in runs if entry_key(run) == entry_key(row)]
        beside = [
            {"value": percent(p["reported"]), "where": p["where"], "reason": p["reason"]}
            for p in as_rows(printed)
            if entry_key(p) == entry_key(row)
        ]
        comparable = list(dict.fromkeys(p["value"] for p in beside if not p["reason"]))
        rows.append(
            {
                "of": row,
                "data": row["data"],
                "label": entry_label(row, extra),
                "method": row["method"],
                "supervision": row["supervision"],
                "masks": bool(row["mask_supervised"]),
                "n": len(own),
                "form": submission.form,
                "verification": submission.verification,
                "checks": [c for c in submission.verification["checks"] if c["notes"]],
                "bundle": submission.bundle,
                "conditions": _conditions(own[0], submission),
                "reported": beside,
                "comparable": comparable,
                "printed": " / ".join(comparable or sorted({p["value"] for p in beside})[-1:]),
            }
        )
    return rows


def _conditions(run: Mapping[str, Any], submission: Submission) -> list[tuple[str, str]]:
    """Under what an entry was made: terms and their descriptions."""
    c = conditions_of(dict(run))
    test = {"scales": c.test_scales, "mirrored": c.test_mirror, "CRF": c.test_crf}
    changed = [part for part in changes_of(run["changes"]) if not is_place(part, run["dataset"])]
    weights = run["provenance"].get("weights") or {}
    git = run["provenance"].get("git") or {}
    code = str(git.get("commit") or git.get("version") or "unknown")[:12]
    found = {
        "CAM network": c.cam_backbone,
        "Segmentation network": network(c),
        "At test time": ", ".join(f"{key}: {value}" for key, value in test.items() if value != UNKNOWN),
        "Refiner, segmenter": f"{run['refiner']}, {run['segmenter']}",
        "Changed settings": "; ".join(changed) or "none",
        "Pretrained weights": "; ".join(f"{name} ({str(sha)[:12]})" for name, sha in weights.items())
        or "none",
        "Masks used besides scoring": submission.form["masks_used"],
        "Hardware": submission.form["hardware"],
        "GPU hours of the bundle": f"{submission.form['hours']:g}" if submission.form["hours"] else "",
        "Code": code + (", with changes that were not committed" if git.get("dirty") else ""),
        "Images": ", ".join(f"{split} {of['images']}" for split, of in submission.dataset["splits"].items()),
        "Remarks": submission.form.get("remarks", ""),
    }
    return [(term, text) for term, text in found.items() if text and text != UNKNOWN]
