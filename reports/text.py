"""How numbers are written, the same in every report, and the Markdown leaderboard."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from results.aggregate import (
    CHOSEN_WITH_MASKS,
    CONFUSION,
    KEYS,
    PROVENANCE,
    SCORES,
    as_rows,
    board_names,
    confusion_pairs,
    varying,
)
from results.changes import BOARD

MISSING = "–"
ONE_SEED = "one seed: not tested"


def percent(value: float) -> str:
    """A fraction as percent with one decimal, `–` for NaN."""
    return f"{100 * value:.1f}" if math.isfinite(value) else MISSING


def score_text(value: float, name: str) -> str:
    """A leaderboard value as its column shows it: mIoU in percent, a confusion ratio, which can pass 1, plain."""
    if name.startswith(CONFUSION):
        return f"{value:.2f}" if math.isfinite(value) else MISSING
    return percent(value)


def deviation_text(value: float, name: str) -> str:
    """The sample deviation in the units of `score_text`; empty where there is one value only."""
    return score_text(value, name) if math.isfinite(value) else ""


def points(value: float) -> str:
    """A difference of fractions in percentage points, always signed."""
    return f"{100 * value:+.1f}".replace("-", "−") if math.isfinite(value) else MISSING


def mean_and_deviation(row: Mapping[str, Any], name: str, separator: str = " ± ") -> str:
    """`61.2 ± 0.8`; without the deviation where there is one value only."""
    mean, deviation = score_text(row[f"{name}_mean"], name), deviation_text(row[f"{name}_std"], name)
    return f"{mean}{separator}{deviation}" if deviation else mean


def duration(seconds: float) -> str:
    """`0.4 s`, `42 s`, `3 min 20 s`, `2 h 05 min`."""
    if not math.isfinite(seconds):
        return MISSING
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def entry_label(row: Mapping[str, Any], extra: list[str]) -> str:
    """An entry's title, with its refiner, segmenter and settings where these tell entries apart (`extra`)."""
    columns = [c for c in extra if c == "differs" or row["status"] != "reference"]
    parts = [str(row[column]) for column in columns if row[column]]
    return f"{row['title']} ({', '.join(parts)})" if parts else str(row["title"])


def seeds_label(row: Mapping[str, Any]) -> str:
    """`n=3`, the state where there is no score, nothing for reference rows."""
    if row["status"] == "reference":
        return ""
    return f"n={row['seeds']}" if row["seeds"] else str(row["status"])


def has_several_seeds(part: pd.DataFrame) -> bool:
    """Whether any entry of a leaderboard has a score of more than one seed."""
    return bool((part[[f"{score.name}_n" for score in SCORES]] > 1).any(axis=None))


def spread_statement(part: pd.DataFrame) -> str:
    """What stands in a board's cells; of one seed there is no deviation, and nothing is tested."""
    return "mean ± sample standard deviation over n seeds" if has_several_seeds(part) else ONE_SEED


def untested_statement(part: pd.DataFrame) -> str:
    """That some entries have no place, where others have one; "" where all have several seeds."""
    single = part["seeds"].eq(1) & part["status"].ne("reference") & ~part["mask_supervised"]
    return "What has one seed is not tested." if single.any() and has_several_seeds(part) else ""


def footnotes(part: pd.DataFrame) -> list[str]:
    """What a reader should know of one board's scores, a line each, equal ones together.

    The entries that a note is of follow it, where it is not of all that have such a score.
    """
    entries = as_rows(part[part["status"] != "reference"])
    extra = varying(part)
    noted: dict[str, dict[str, list[str]]] = {}  # text -> score -> labels
    having: dict[str, set[str]] = {PROVENANCE: {entry_label(row, extra) for row in entries}}
    for row in entries:
        label = entry_label(row, extra)
        for score in SCORES:
            if row[f"{score.name}_n"]:
                having.setdefault(f"{score.title.split()[0]} ({score.split})", set()).add(label)
        for line in filter(None, row["notes"].split("\n")):
            about, _, text = line.partition(": ")
            having.setdefault(about, set()).add(label)
            labels = noted.setdefault(text, {}).setdefault(about, [])
            labels += [] if label in labels else [label]
    lines = []
    if any((part[f"{score.name}_n"] > 0).any() for score in SCORES if score.masks):
        lines.append(
            f"{CHOSEN_WITH_MASKS} masks choose the threshold: of held-out images (tuned), of the scored ones (oracle)"
        )
    if all((part[f"{name}_n"] > 0).any() for name in ("cam_tuned", "cam_oracle")):
        lines.append(
            "tuned is scored without the held-out images, oracle on all of them, so that tuned can lie above it"
        )
    for text, scores in noted.items():
        together: dict[tuple[str, ...], list[str]] = {}
        for about, labels in scores.items():
            named = () if set(labels) == having[about] else tuple(labels)
            together.setdefault(named, []).append(about)
        for named, abouts in together.items():
            of = f" [{', '.join(named)}]" if named else ""
            lines.append(f"{', '.join(abouts)}: {text}{of}")
    return lines


def markdown_leaderboard(board: pd.DataFrame, standings: pd.DataFrame | None = None) -> str:
    """The leaderboard as Markdown tables, one a board, with reasons below.

    standings: `Significance.standings`; a score is followed by the entry's rank, which equals share
    """
    total = [] if standings is None else as_rows(standings[standings["class_name"] == ""])
    ranks = {(entry_key(row), row["score"]): int(row["rank"]) for row in total if row["rank"]}
    explained = "In brackets the rank, which entries share that do not differ significantly." if ranks else ""
    parts = []
    for _, part in board.groupby(BOARD, sort=False):
        pairs = confusion_pairs(part)
        heads = [
            "Method",
            "Refiner",
            "Segmenter",
            "Supervision",
            "n",
            *(f"{s.heading} ({s.split})" for s in SCORES),
        ]
        heads += [f"Confusion {pair}" for pair in pairs]
        lines = [f"## {markdown_text(', '.join(board_names(part)) + ' protocol')}", ""]
        said = filter(
            None, (f"mIoU in percent, {spread_statement(part)}.", explained, untested_statement(part))
        )
        lines += [" ".join(said), ""]
        lines += [markdown_row(heads), "|---|---|---|---|---:" + "|---:" * (len(heads) - 5) + "|"]
        notes = []
        for row in as_rows(part):
            names = [score.name for score in SCORES] + [CONFUSION + pair for pair in pairs]
            values = [
                mean_and_deviation(row, name) + (f" ({rank})" if rank else "")
                for name in names
                for rank in [ranks.get((entry_key(row), name), 0)]
            ]
            label = entry_label(row, ["differs"])
            state = [label, row["refiner"], row["segmenter"], row["supervision"], seeds_label(row)]
            lines.append(markdown_row([*state, *values]))
            if row["reason"]:
                reason = f"{markdown_text(row['status'])}: {markdown_text(row['reason'])}"
                notes.append(f"- {markdown_text(label)}: {reason}")
        notes += [f"- {markdown_text(note)}" for note in footnotes(part)]
        parts.append("\n".join(lines + (["", *notes] if notes else [])))
    return "\n\n".join(parts) + "\n"


def markdown_row(cells: Sequence[str]) -> str:
    """A line of a table, its cells escaped."""
    return "| " + " | ".join(markdown_text(cell) for cell in cells) + " |"


def markdown_text(text: str) -> str:
    """Text on one line, without a meaning in Markdown or HTML."""
    escaped = "".join("\\" + c if c in "\\`*_[]#|" else c for c in " ".join(str(text).split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def entry_key(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The `KEYS` of a row or a run."""
    return tuple(row[key] for key in KEYS)
