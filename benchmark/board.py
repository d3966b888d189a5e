"""From a run's results to its folder: records, cells, panels, and the reports made of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark.config import plain
from benchmark.panels import illustrate
from benchmark.plan import Plan
from benchmark.runner import CellResult
from benchmark.traces import described_stages
from methods.base import Method
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
        records.append(Record(**_identity(plan, row["reference"], -1), **values))
    for result in results:
        identity = _identity(plan, result.cell.method.name, result.cell.seed)
        records += [
            Record(**identity, **row, key=planned.key) for planned, rows in result.scores for row in rows
        ]
        records += [
            Record(
                **identity,
                stage=s["name"],
                variant="",
                split="",
                metric="seconds",
                value=s["seconds"],
                key=s["key"],
            )
            for s in result.stages
        ]
        cells.append(_cell_record(plan, result, identity))
    write_records(run_dir, records, cells)
    illustrate(plan, run_dir)
    return build_reports(run_dir)


def _identity(plan: Plan, method: str, seed: int) -> dict[str, Any]:
    config = plan.config
    return {
        "dataset": config.dataset.name,
        "method": method,
        "scale": config.scale.name,
        "protocol": config.protocol.name,
        "refiner": config.protocol.refiner.name if config.protocol.refiner else "own",
        "segmenter": config.protocol.segmenter.head if config.protocol.segmenter else "own",
        "seed": seed,
    }


def _cell_record(plan: Plan, result: CellResult, identity: dict[str, Any]) -> CellRecord:
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
        stages=described_stages(result),
        provenance={**last.get("provenance", {}), "finished": last.get("created", "")},
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
