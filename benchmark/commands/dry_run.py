"""`run --dry-run`: the plan in words: runs, stages, what is stored, time and disk needed."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Mapping

from benchmark.console import console, size
from benchmark.execution.processes import process_count
from benchmark.planning.discarded import KEPT, Unneeded
from benchmark.planning.plan import Plan, PlannedStage
from benchmark.planning.weights import settings_parts
from benchmark.timing.estimate import time_estimate
from benchmark.timing.machine_speed import remembered_speed
from datasets.files.decoding import image_size
from methods.base import Kind
from methods.layers.config import BackboneConfig, CamInferenceConfig, VitConfig

LABEL_BYTES_PER_PIXEL = 0.06
"""Palette PNGs of label maps take a few hundredths of a byte for each pixel, and more where regions are ragged."""
PICTURE_BYTES = 1000
"""What each PNG takes besides its pixels; 768 bytes are the palette."""
SALIENCY_BYTES_PER_PIXEL = 0.35
CAM_STRIDE = 8
"""Image pixels for each cell of a map, where a network's settings do not say it."""
CAM_BYTES_PER_IMAGE = 300
"""Index and header of a CAM in its file."""
WEIGHTS_BYTES = {"nano": 3e6, "small": 25e6, "paper": 420e6}
CHECKPOINTS = 6
"""Sizes of the weights that a training takes on disk at most: two states, the newest and the one that is being written,
each of the network and two moments of the optimiser. They are deleted when it ends."""


def print_plan(plan: Plan) -> bool:
    """Print every run's stages, marked stored or to do, what would be fetched, and the disk needed.

    Returns whether every run can begin, or is not meant to ("not run"). Runs that cannot are named.
    """
    needed, unneeded = 0.0, Unneeded(plan)
    estimates: dict[str, float] = {}
    trainings = []
    counted = set()
    for run in plan.runs:
        title = f"{plan.config.dataset.name} · {run.title}"
        if run.status != "planned":
            console.print(f"{title}\n  {run.status}: {run.reason}", markup=False)
            continue
        console.print(title, markup=False)
        for planned in run.stages:
            stored = unneeded.found(planned) is not None
            adds = not stored and planned.key not in counted
            estimate = disk_estimate(plan, planned) if adds else 0.0
            if adds and planned.stage.yields == Kind.WEIGHTS:
                trainings.append(CHECKPOINTS * estimate)
            state = (
                "discarded, and not needed"
                if (planned.stage.name, planned.key) in unneeded
                else "stored"
                if stored
                else "shared with an earlier run"
                if planned.key in counted
                else f"to do, about {size(estimate)}"
            )
            counted.add(planned.key)
            if adds:
                estimates[planned.key] = estimate
            needed += estimate
            key = "after fetch" if planned.provisional else planned.key[:12]
            console.print(f"  {planned.stage.name:<14} {key:<12}  {state}", markup=False)
    root = plan.store.root
    existing = next(p for p in (root, *root.absolute().parents) if p.exists())
    free = shutil.disk_usage(existing).free
    _say_intermediate(plan, estimates)
    for reference in plan.to_fetch():
        console.print(f"would be fetched first: weights {reference}", markup=False)
    processes = process_count(plan)
    time = time_estimate(plan, remembered_speed(plan.store), processes)
    checkpoints = sum(sorted(trainings)[-processes:])  # those that may be under way at once
    meanwhile = f", and {size(checkpoints)} while networks are trained" if checkpoints else ""
    console.print(
        f"\n{len(plan.runs)} runs, {time.todo} stages to do; about {size(needed)} of disk in {root}{meanwhile}, "
        f"{size(free)} free",
        markup=False,
    )
    if time.seconds or time.todo:
        console.print(str(time), markup=False)
    if needed + checkpoints > free:
        console.print("Not enough space: point runtime.store to a larger disk.", style="red")
    failed = [run for run in plan.runs if run.status == "failed"]
    if failed:
        names = ", ".join(dict.fromkeys(run.method.name for run in failed))
        console.print(
            f"{len(failed)} of {len(plan.runs)} runs cannot begin ({names}): see above",
            style="red",
            markup=False,
        )
    return not failed


def _say_intermediate(plan: Plan, estimates: Mapping[str, float]) -> None:
    """How much of what is to be made `--discard-intermediate` would delete."""
    stages = [planned for run in plan.runs for planned in run.stages]
    used = {up.key for planned in stages for up in planned.inputs.values() if up.stage.yields not in KEPT}
    if intermediate := sum(bytes_ for key, bytes_ in estimates.items() if key in used):
        console.print(
            f"intermediate: about {size(intermediate)}, which --discard-intermediate deletes on the way"
        )


def disk_estimate(plan: Plan, planned: PlannedStage) -> float:
    """Bytes the stage's artifact will take, on the large side: from image sizes, labels and the stage's settings;
    for weights, by scale."""
    kind = planned.stage.yields
    if kind == Kind.WEIGHTS:
        return WEIGHTS_BYTES[plan.config.scale.name]
    if kind == Kind.IMAGE_SCORES:
        images = sum(len(plan.dataset.ids(split)) for split in planned.stage.splits)
        return (4.0 * len(plan.dataset.classes) + CAM_BYTES_PER_IMAGE) * images
    samples = [s for split in planned.stage.splits for s in plan.dataset.samples(split)]
    probe = samples[:: max(1, len(samples) // 20)]
    total = 0.0
    for sample in probe:
        height, width = image_size(sample.image)
        if kind == Kind.CAM:
            values = len(sample.labels) * _cells(planned, height, width)
            total += planned.stage.cam_folders * (2 * values + CAM_BYTES_PER_IMAGE)
        else:
            share = SALIENCY_BYTES_PER_PIXEL if kind == Kind.SALIENCY else LABEL_BYTES_PER_PIXEL
            total += height * width * share + PICTURE_BYTES
    return total / len(probe) * len(samples)


def _cells(planned: PlannedStage, height: int, width: int) -> int:
    """Values of one map: cells of the largest scale, or the image's pixels where no scales are set."""
    if _cuts(planned):
        return _cells(planned.inputs["cam"], height, width)
    parts = list(settings_parts(planned.stage.settings))
    scales = [scale for part in parts if isinstance(part, CamInferenceConfig) for scale in part.scales]
    if not scales:
        return height * width
    for upstream in planned.inputs.values():  # the network's settings are those of its weights
        parts += settings_parts(upstream.stage.settings)
    strides = [part.output_stride for part in parts if isinstance(part, BackboneConfig)]
    patches = [re.search(r"patch(\d+)", part.name) for part in parts if isinstance(part, VitConfig)]
    strides += [int(found.group(1)) for found in patches if found]
    stride = min(strides, default=CAM_STRIDE)
    return math.ceil(height * max(scales) / stride) * math.ceil(width * max(scales) / stride)


def _cuts(planned: PlannedStage) -> bool:
    """Whether the stage takes its CAM out of another stage's, without a network."""
    stage = planned.stage
    return (
        stage.yields == Kind.CAM
        and list(stage.inputs) == ["cam"]
        and not stage.pretrained
        and not any(isinstance(part, CamInferenceConfig) for part in settings_parts(stage.settings))
    )
