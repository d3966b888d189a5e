"""Example pictures of a run folder: the same images for every entry, some of them chosen by how well they go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.config import plain
from benchmark.console import console
from benchmark.planning.plan import Plan
from benchmark.run_folder.drawing import FOLDER, Pictures, given
from benchmark.store import Store
from datasets.base import DataError, Sample
from methods.base import Kind

CHOSEN = 2
"""Images of each sort (best, worst, most disagreeing) and of each kind of label map."""


@dataclass(frozen=True)
class Example:
    """An image to show. reasons: {"sort": "sample", "best", "worst" or "disagreement", "kind", "value"}.

    value: mean over the entries of the image's mean IoU, for "disagreement" their deviation; None for "sample"
    """

    sample: Sample
    split: str
    reasons: tuple[dict[str, Any], ...]


def illustrate(plan: Plan, run_dir: Path) -> None:
    """Draw the panels of every entry of a run folder that is of the plan's data, and note them in its runs.

    Of each entry the lowest seed that has a result is shown. Pictures are named by what they show, so those that are
    there stay; those that no run names any more are deleted.
    """
    from results.io import read_run, write_run_records

    runs = read_run(run_dir).runs
    entries = _entries(plan, runs)
    if entries:
        drawn = [Pictures(plan.store, run["stages"], run_dir) for run in entries]
        panels: list[list[dict[str, Any]]] = [[] for _ in entries]
        for example in examples(plan, entries):
            try:
                shown = given(plan, example.sample, example.split, run_dir) | {
                    "reasons": list(example.reasons)
                }
                made = [shown | pictures.draw(example.sample) for pictures in drawn]
            except DataError as error:  # its stage has failed for it; the leaderboard is still wanted
                console.print(f"no panel of {example.sample.id}: {error}", markup=False)
                continue
            for of_entry, panel in zip(panels, made):
                of_entry.append(panel)
        for run in runs:
            if _is_shown(plan, run):
                run["panels"] = []
        for run, of_entry in zip(entries, panels):
            run["panels"] = of_entry
        write_run_records(run_dir, runs)
    _delete_unnamed(runs, run_dir)


def examples(plan: Plan, runs: Sequence[dict[str, Any]]) -> list[Example]:
    """Images to show: some training images evenly spaced, then the best, worst and most disagreeing ones.

    The latter by the entries' mean IoU on each image, of the pseudo-labels (train) and of the predictions (val).
    """
    chosen: dict[str, Example] = {}
    for sample in plan.dataset.training_view().examples()[: plan.config.evaluation.panels]:
        chosen[sample.id] = Example(sample, "train", ({"sort": "sample", "kind": "", "value": None},))
    for kind, split in ((Kind.PSEUDO_LABEL, "train"), (Kind.PREDICTION, "val")):
        scores = _scores(plan.store, runs, kind)
        for sort, sample_id, value in choose(scores):
            reason = {"sort": sort, "kind": kind.value, "value": round(value, 4)}
            before = chosen.get(sample_id)
            sample = before.sample if before else plan.dataset.sample(sample_id)
            chosen[sample_id] = Example(sample, split, (*(before.reasons if before else ()), reason))
    return list(chosen.values())


def choose(scores: Sequence[dict[str, float]]) -> list[tuple[str, str, float]]:
    """(sort, id, value) of `CHOSEN` images a sort, those that every entry has a score of; no id twice.

    scores: of each entry, the mean IoU by image id
    """
    ids = [i for i in (scores[0] if scores else ()) if all(np.isfinite(s.get(i, np.nan)) for s in scores)]
    if not ids:
        return []
    table = np.array([[s[i] for i in ids] for s in scores])  # (entries, images)
    mean, deviation = table.mean(0), table.std(0)
    sorts = [("best", mean, -mean), ("worst", mean, mean)]
    if len(scores) > 1:
        sorts.append(("disagreement", deviation, -deviation))
    found: list[tuple[str, str, float]] = []
    taken: set[int] = set()
    for sort, values, order in sorts:
        best = [n for n in np.argsort(order, kind="stable").tolist() if n not in taken][:CHOSEN]
        taken.update(best)
        found += [(sort, ids[n], float(values[n])) for n in best]
    return found


def _scores(store: Store, runs: Sequence[dict[str, Any]], kind: Kind) -> list[dict[str, float]]:
    """Mean IoU of each image, of every run whose artifact of that kind was scored."""
    from benchmark.evaluation.counts import Counts
    from benchmark.evaluation.per_image import image_mean_iou

    found = []
    for run in runs:
        for stage in run["stages"]:
            if stage.get("shown") and stage["kind"] == kind and stage["score"] is not None:
                scores = store.intact(stage["score"]["name"], stage["score"]["key"])
                if scores and (counts := scores.path / "counts.parquet").exists():  # no masks, no counts
                    found.append(image_mean_iou(Counts.read(counts)))
    return found


def _entries(plan: Plan, runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The run of each entry that is shown: the lowest seed with a result on the plan's data."""
    from results.aggregate import KEYS

    first: dict[tuple[str, ...], dict[str, Any]] = {}
    for run in sorted(runs, key=lambda c: c["seed"]):
        if _is_shown(plan, run):
            first.setdefault(tuple(run[key] for key in KEYS), run)
    return list(first.values())


def _is_shown(plan: Plan, run: dict[str, Any]) -> bool:
    """Whether a run has something to show and is of the plan's data, wherever that lies: other data's ids may
    name other images."""
    here, there = plain(plan.config.dataset), run["settings"].get("dataset", {})
    same_data = {**there, "root": None} == {**here, "root": None}
    return same_data and any(stage.get("shown") for stage in run["stages"])


def _delete_unnamed(runs: Sequence[dict[str, Any]], run_dir: Path) -> None:
    named = {run_dir / path for run in runs for panel in run["panels"]
             for path in (*panel.values(), *(step["picture"] for step in panel.get("steps", [])))
             if isinstance(path, str)}  # fmt: skip
    for file in (run_dir / FOLDER).glob("*.webp"):
        if file not in named:
            file.unlink()
