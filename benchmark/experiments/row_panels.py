"""Pictures of an experiment's rows, as the papers' figures have them: image, every row in the table's order, truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.console import console
from benchmark.planning.graph import SCORED
from benchmark.run_folder.drawing import DRAWN, Pictures, given
from datasets.base import DataError, Dataset, Sample
from methods.base import Kind
from methods.experiment import ExperimentRow
from results.experiments import RowPanels, write_row_panels

if TYPE_CHECKING:
    from benchmark.execution.runner import RunResult
    from benchmark.planning.plan import Plan, PlannedStage

IMAGES = 4
"""Of each split that a table has artifacts of, at most; no more than the report's examples."""

LOOKED_AT = 16
"""Images of a part of a split that one is chosen from."""

_CAM = SCORED[Kind.CAM]


def illustrate_rows(
    plan: Plan, name: str, rows: Sequence[tuple[ExperimentRow, Sequence[RunResult]]], folder: Path
) -> None:
    """Draw what a table's rows made of a few images, of the lowest seed that has a result.

    name: of the table's files; folder: of the experiments' tables
    A row shows what the table scores of it, and its CAM where rows differ in that.
    """
    done = {row.label: (row, min(own, key=lambda r: r.run.seed)) for row, results in rows
            if (own := [r for r in results if r.status == "done"])}  # fmt: skip
    shown = shown_by_row(done)
    pictures = Pictures(plan.store, (), folder)
    splits = dict.fromkeys(planned.split for views in shown.values() for planned in views.values())
    images = []
    for split in splits:
        for sample in evenly(plan.dataset, split, min(IMAGES, plan.config.evaluation.panels)):
            try:
                image = given(plan, sample, split, folder)
                made = {label: _draw(pictures, views, split, sample) for label, views in shown.items()}
            except DataError as error:  # its stage has failed for it; the table is still wanted
                console.print(f"no panel of {sample.id}: {error}", markup=False)
                continue
            drawn = [{"label": label, "pictures": found} for label, found in made.items() if found]
            images.append(image | {"rows": drawn})
    write_row_panels(folder, name, RowPanels(plan.dataset.classes, images))


def shown_by_row(
    done: Mapping[str, tuple[ExperimentRow, RunResult]],
) -> dict[str, dict[str, PlannedStage]]:
    """By row, what of its run is shown, under its name in the records."""
    rows = {}
    for label, (row, result) in done.items():
        drawn = {planned.scored_as: planned for planned in result.run.stages
                 if planned.stage.yields in DRAWN and planned.stage.name in result.artifacts}  # fmt: skip
        asked = [*(score.partition(":")[0] for score in row.scores), _CAM]
        rows[label] = {name: drawn[name] for name in dict.fromkeys(asked) if name in drawn}
    common = len({views[_CAM].key for views in rows.values() if _CAM in views}) == 1
    if common and all(views.keys() != {_CAM} for views in rows.values()):  # it would say nothing of the rows
        return {label: {n: p for n, p in views.items() if n != _CAM} for label, views in rows.items()}
    return rows


def evenly(dataset: Dataset, split: str, count: int) -> Iterator[Sample]:
    """Of each of `count` equal parts of a split an early image with a class, if possible one not shown yet."""
    ids = dataset.ids(split)
    seen: set[int] = set()
    for part in range(min(count, len(ids))):
        here = ids[part * len(ids) // count : (part + 1) * len(ids) // count]
        early = islice((s for s in map(dataset.sample, here) if s.labels), LOOKED_AT)
        if chosen := min(early, key=lambda s: seen.issuperset(s.labels), default=None):
            seen.update(chosen.labels)
            yield chosen


def _draw(
    pictures: Pictures, views: Mapping[str, PlannedStage], split: str, sample: Sample
) -> dict[str, Any]:
    stages = {
        name: {"name": planned.stage.name, "key": planned.key, "kind": planned.stage.yields}
        for name, planned in views.items()
        if planned.split == split
    }
    found = {name: pictures.artifact(stage, sample) for name, stage in stages.items()}
    return {name: picture for name, picture in found.items() if picture}
