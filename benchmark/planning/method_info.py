"""What reports say of a method, and of what its stages start from and deviate in."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from benchmark.config import DEFAULT_DATASET, RunConfig
from methods.base import Method, MethodError, preset_key
from methods.refiners.config import REFINERS
from methods.setting_rows import SettingRow, rows_of
from methods.sources import CHOSEN_BY, declared_by, shared_sources

if TYPE_CHECKING:
    from benchmark.planning.plan import PlannedRun

MASKS_BEFORE = "M*"
"""Mark of an entry that starts from weights trained on another data set's pixel masks."""


def schedule_of(config: RunConfig, method: Method) -> str:
    """The data set that the method's preset was made for; "" for what has none (files made elsewhere)."""
    scale, dataset = config.scale.name, config.dataset.name
    presets = method.presets
    if preset_key(presets, scale, dataset) != scale:
        return dataset
    # a preset that is a data set's own as well was made for that
    own = [k for k in presets if k.startswith(f"{scale}/") and presets[k] is presets[scale]]
    return own[0].partition("/")[2] if own else DEFAULT_DATASET[scale] if scale in presets else ""


def method_info(method: Method, run: PlannedRun | None = None) -> dict[str, Any]:
    """What the leaderboard says of a method, and of it in a run: what its stages start from and deviate in."""
    stages = [planned.stage for planned in run.stages] if run else []
    supervision = [s.value for s in sorted(method.supervision, key=lambda s: s.name)]
    seen_masks = [MASKS_BEFORE] if any(stage.seen_masks for stage in stages) else []
    try:
        own = method.deviations
    except MethodError:  # planning has failed the method for it
        own = ()
    deviations = dict.fromkeys([*own, *(d for stage in stages for d in stage.deviations)])
    return {
        "title": method.title,
        "paper": method.paper,
        "summary": method.summary,
        "supervision": "+".join([*supervision, *seen_masks]),
        "deviations": [dataclasses.asdict(deviation) for deviation in deviations],
        "sources": value_sources(method, run.config) if run else [],
        "reported_as": method.reported_as,
        "schedule": schedule_of(run.config, method) if run else "",
    }


def value_sources(method: Method, config: RunConfig) -> list[dict[str, Any]]:
    """Who chose the values that a method has in a run, and where that is said: {chosen_by, source, values}, values as
    on the command line. Those that change no result are left out, and those that have no source, as most at the small
    scales. Nothing of a method without settings, and where its file of sources is wrong.
    """
    if method.name not in config.method:
        return []
    given = {part: value for part, value in vars(config.shared).items() if value is not None}
    try:
        rows = rows_of({"": config.method[method.name]}, declared_by(method))
    except MethodError:
        return []
    offered = {_part(row) for row in rows}
    rows = [row for row in rows if _part(row) not in given]
    rows += [
        row for row in rows_of({"": config.shared}, shared_sources()) if _part(row) in given.keys() & offered
    ]
    refiner = next((row.defaults[""] for row in rows if row.key == "refiner.name"), "")
    others = tuple(f"refiner.{name}." for name in REFINERS if name != refiner)
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for value, source in row.sources.items():
            if source.by != "unused" and not row.key.startswith(others):
                found.setdefault((source.chosen_by, source.text), []).append(f"{row.key}={value}")
    order = list(CHOSEN_BY)
    ordered = sorted(found.items(), key=lambda item: order.index(item[0][0].partition(" ")[0]))
    return [{"chosen_by": by, "source": text, "values": values} for (by, text), values in ordered]


def _part(row: SettingRow) -> str:
    return row.key.partition(".")[0]
