"""What a leaderboard finds, in a few sentences: the best, what cannot be told from it, and what it could tell apart."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from reports.text import ONE_SEED, deviation_text, entry_key, entry_label, percent
from results.aggregate import REFERENCE, SCORES, as_rows, varying
from results.changes import BOARD
from results.intervals import POWER
from results.significance import Significance

_JUDGED_BY = ("segmentation", "pseudo_label", "cam_fixed")
"""The score that the best is named by is the first of them that there is: none whose threshold masks have chosen."""


@dataclass(frozen=True)
class Headline:
    """The best entry without masks. share, bound: of the mask-supervised entry's score, "" where there is none.

    score: its name in the leaderboard; stage: the score in words; notes: further sentences
    """

    score: str
    title: str
    stage: str
    split: str
    mean: str
    std: str
    n: int
    share: str
    bound: str
    notes: tuple[str, ...]

    @property
    def best(self) -> str:
        """As one sentence."""
        spread = f" ± {self.std}" if self.std else ""
        share = f", {self.share} % of the {self.bound} that mask supervision reaches" if self.share else ""
        return (
            f"Best without masks: {self.title} with {self.mean}{spread} mIoU ({self.stage}, {self.split}, "
            f"n = {self.n}){share}."
        )


def headline(part: pd.DataFrame, found: Significance | None = None) -> Headline | None:
    """Of one leaderboard, at the last stage that was scored."""
    rows = as_rows(part)
    extra = varying(part)
    by_name = {score.name: score for score in SCORES}
    for score in (by_name[name] for name in _JUDGED_BY):
        scored = [
            row
            for row in rows
            if not row["mask_supervised"]
            and row["status"] != "reference"
            and math.isfinite(row[f"{score.name}_mean"])
        ]
        if not scored:
            continue
        top = max(scored, key=lambda row: float(row[f"{score.name}_mean"]))
        mean, n = float(top[f"{score.name}_mean"]), int(top[f"{score.name}_n"])
        bound = top["segmentation_mean"] - top["segmentation_gap"]
        share = mean / bound if score.name == "segmentation" and bound > 0 else math.nan
        nothing = [row[f"{score.name}_mean"] for row in rows if row["method"] == f"{REFERENCE}all-background"]
        notes = [f"That is no better than all background ({percent(max(nothing))})."] if nothing and mean <= max(
            nothing
        ) else []  # fmt: skip
        if found is not None and len(scored) > 1:
            labels = {entry_key(row): entry_label(row, extra) for row in scored}
            notes += [_others(found.standings, score.name, labels, entry_key(top), n)]
            notes += _resolved(found.resolution, score.name, top)
        return Headline(
            score.name,
            entry_label(top, extra),
            score.title if score.stage == "cam" else score.title.lower(),
            score.split,
            percent(mean),
            deviation_text(top[f"{score.name}_std"], score.name),
            n,
            f"{100 * share:.0f}" if math.isfinite(share) else "",
            percent(bound),
            tuple(notes),
        )
    return None


def _others(
    standings: pd.DataFrame, score: str, labels: dict[tuple[str, ...], str], top: tuple[str, ...], n: int
) -> str:
    """Which entries may be the best as well. labels: of those that the best is compared with, by their `KEYS`"""
    own = as_rows(standings[(standings["score"] == score) & (standings["class_name"] == "")])
    tested = {
        entry_key(row): bool(row["maybe_best"]) for row in own if row["group"] and entry_key(row) in labels
    }
    if n == 1:
        return f"{ONE_SEED.capitalize()}, so others may be as good."
    if top not in tested:
        return "Not tested, so others may be as good."
    if others := [labels[key] for key, maybe in tested.items() if maybe and key != top]:
        return (
            f"Not distinguishable from it: {', '.join(others)}; with 95 % confidence the best is among these."
        )
    return (
        "All others that were tested are significantly worse." if len(tested) > 1 else "No other was tested."
    )


def _resolved(resolution: pd.DataFrame, score: str, top: dict[str, object]) -> list[str]:
    """The smallest difference that the tests could find, and how many seeds would find one of a point."""
    here = resolution[
        (resolution["score"] == score) & (resolution[BOARD] == [top[key] for key in BOARD]).all(axis=1)
    ]
    if here.empty:
        return []
    row = as_rows(here)[0]
    pairs = f"{row['pairs']} pairs, corrected by Holm" if row["pairs"] > 1 else "one pair"
    least = max(100 * row["difference"], 0.1)
    line = f"With {row['n']} seeds the leaderboard can tell {least:.1f} points apart ({100 * POWER:.0f} % power, {pairs})"
    if row["difference"] <= 0.01:
        return [f"{line}."]
    if row["seeds"]:
        return [f"{line}; for one point it would take {row['seeds']} seeds."]
    return [f"{line}; no number of seeds would do for one point, as the images limit it."]
