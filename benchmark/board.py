"""From a run's results to its folder: records, cells, panels, and the reports made of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.config import plain
from benchmark.console import console
from benchmark.plan import Plan
from benchmark.runner import MEMORY, CellResult
from datasets.base import DataError, Sample
from methods.artifacts import CamReader, label_map_path
from methods.base import Kind, Method
from results.schema import CellRecord, Record

MASKS_BEFORE = "M*"
"""Mark of an entry that starts from weights trained on another data set's pixel masks."""


def write_board(
    plan: Plan, results: Sequence[CellResult], references: Sequence[dict[str, Any]], run_dir: Path
) -> dict[str, Path]:
    """Write records, cells, panels and reports of a run; returns the report files by name."""
    from reports import build_reports
    from results.io import write_records

    run_dir.mkdir(parents=True, exist_ok=True)
    records: list[Record] = []
    cells: list[CellRecord] = []
    for row in references:
        values = {k: v for k, v in row.items() if k != "reference"}
        records.append(Record(**plan.config.identity(row["reference"], -1), **values))
    for result in results:
        identity = plan.config.identity(result.cell.method.name, result.cell.seed)
        records += [
            Record(**identity, **row, key=planned.key) for planned, rows in result.scores for row in rows
        ]
        records += [
            Record(
                **identity,
                stage=s["name"],
                variant="",
                split="",
                metric=metric,
                value=s[metric],
                key=s["key"],
            )
            for s in result.stages
            for metric in ("seconds", *MEMORY)
            if metric in s
        ]
        cells.append(_cell_record(plan, result, identity, run_dir))
    write_records(run_dir, records, cells)
    return build_reports(run_dir)


def _cell_record(plan: Plan, result: CellResult, identity: dict[str, Any], run_dir: Path) -> CellRecord:
    method = result.cell.method
    last = max((e.manifest for e in result.artifacts.values()), key=lambda m: m["created"], default={})
    return CellRecord(
        **identity,
        status=result.status,
        reason=result.reason,
        method_info=method_info(method, any(p.stage.seen_masks for p in result.cell.stages)),
        settings={
            "dataset": plain(plan.config.dataset),
            "protocol": plain(plan.config.protocol),
            "evaluation": plain(plan.config.evaluation),
            "method": plain(plan.config.method[method.name]),
        },
        stages=result.stages,
        provenance={**last.get("provenance", {}), "finished": last.get("created", "")},
        panels=_panels(plan, result, run_dir),
    )


def method_info(method: Method, seen_masks: bool = False) -> dict[str, Any]:
    """What the board says of a method; seen_masks: one of its stages starts from weights trained on pixel masks."""
    supervision = [s.value for s in sorted(method.supervision, key=lambda s: s.name)]
    return {
        "title": method.title,
        "paper": method.paper,
        "summary": method.summary,
        "supervision": "+".join([*supervision, *([MASKS_BEFORE] if seen_masks else [])]),
        "deviations": [dataclasses.asdict(d) for d in method.deviations],
        "reported": [dataclasses.asdict(r) for r in method.reported],
    }


def _panels(plan: Plan, result: CellResult, run_dir: Path) -> list[dict[str, Any]]:
    """Example pictures of a cell: what was made of the same training images by every method."""
    by_kind = {}
    for planned in result.cell.stages:
        if planned.stage.name in result.artifacts and planned.stage.scored_as is None:
            by_kind[planned.stage.yields] = result.artifacts[planned.stage.name].path
    if not by_kind:
        return []
    from datasets.images import read_image

    folder = run_dir / "panels" / f"{result.cell.method.name}-{result.cell.seed}"
    cams = CamReader(by_kind[Kind.CAM]) if Kind.CAM in by_kind else None
    panels = []
    for number, sample in enumerate(_examples(plan)):
        try:
            image = read_image(sample.image).permute(1, 2, 0).numpy()
            pictures = _pictures(plan, sample, image, by_kind, cams)
        except DataError as error:  # its stage has failed for it; the board is still wanted
            console.print(f"no panel of {sample.id}: {error}", markup=False)
            continue
        panel: dict[str, Any] = {
            "id": sample.id,
            "labels": [plan.dataset.classes[c] for c in sample.labels],
        }
        for name in ("image", "truth", "cam", "pseudo_label", "prediction"):
            suffix = "jpg" if name in ("image", "cam") else "png"
            panel[name] = _save(pictures.get(name), folder / f"{number}-{name}.{suffix}", run_dir)
        panels.append(panel)
    return panels


def _examples(plan: Plan) -> tuple[Sample, ...]:
    return plan.dataset.training_view().examples()[: plan.config.evaluation.panels]


def _pictures(
    plan: Plan, sample: Sample, image: Any, by_kind: dict[Kind, Path], cams: CamReader | None
) -> dict:
    from datasets.images import read_labels
    from reports.panels import cam_overlay, overlay

    pictures = {"image": image}
    mask = plan.dataset.mask_path(sample.id)
    if mask is not None:
        truth = np.asarray(read_labels(mask))
        if truth.shape != image.shape[:2]:
            raise DataError(f"{mask}: the mask's size is not that of its image; export it at that size")
        pictures["truth"] = overlay(image, truth)
    if cams is not None:
        cam = cams[sample.id]
        pictures["cam"] = cam_overlay(image, cam.maps, cam.classes)
    for kind, name in ((Kind.PSEUDO_LABEL, "pseudo_label"), (Kind.PREDICTION, "prediction")):
        path = label_map_path(by_kind[kind], sample.id) if kind in by_kind else None
        if path is not None and path.exists():
            pictures[name] = overlay(image, np.asarray(read_labels(path)))
    return pictures


def _save(picture: Any, path: Path, run_dir: Path) -> str | None:
    if picture is None:
        return None
    from reports.panels import save_panel

    path.parent.mkdir(parents=True, exist_ok=True)
    save_panel(path, picture)
    return str(path.relative_to(run_dir))
