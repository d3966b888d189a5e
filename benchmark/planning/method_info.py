"""What reports say of a method, and of what its stages start from and deviate in."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from benchmark.config import DEFAULT_DATASET, RunConfig
from methods.base import Method, MethodError, preset_key

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
        "reported_as": method.reported_as,
        "schedule": schedule_of(run.config, method) if run else "",
    }
