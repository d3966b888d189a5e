"""`run --dry-run`: the plan in words: cells, stages, what is stored, disk needed."""

from __future__ import annotations

import math
import shutil

from benchmark.console import console, duration, size
from benchmark.estimate import time_estimate
from benchmark.plan import Plan, PlannedStage
from methods.base import Kind

LABEL_BYTES_PER_PIXEL = 0.03
"""Palette PNGs of label maps compress to a few hundredths of a byte a pixel."""
SALIENCY_BYTES_PER_PIXEL = 0.35
CAM_STRIDE = 8
"""Estimates assume the finest common output stride, so they err on the large side."""
WEIGHTS_BYTES = {"nano": 2e6, "small": 25e6, "paper": 420e6}


def print_plan(plan: Plan) -> bool:
    """Print every cell's stages, marked stored or to do, what would be fetched, and the disk needed.

    Returns whether all cells can run or are not meant to ("not run"); says so where not.
    """
    needed = 0.0
    counted = set()
    for cell in plan.cells:
        title = f"{plan.config.dataset.name} · {cell.title}"
        if cell.status != "planned":
            console.print(f"{title}\n  {cell.status}: {cell.reason}", markup=False)
            continue
        console.print(title, markup=False)
        for planned in cell.stages:
            stored = plan.store.find(planned.stage.name, planned.key) is not None
            estimate = 0.0 if stored or planned.key in counted else disk_estimate(plan, planned)
            state = (
                "stored"
                if stored
                else "shared with an earlier cell"
                if planned.key in counted
                else f"to do, about {size(estimate)}"
            )
            counted.add(planned.key)
            needed += estimate
            key = "after fetch" if planned.provisional else planned.key[:12]
            console.print(f"  {planned.stage.name:<14} {key:<12}  {state}", markup=False)
    root = plan.store.root
    existing = next(p for p in (root, *root.absolute().parents) if p.exists())
    free = shutil.disk_usage(existing).free
    for reference in plan.to_fetch():
        console.print(f"would be fetched first: weights {reference}", markup=False)
    seconds, todo, unknown = time_estimate(plan)
    console.print(
        f"\n{len(plan.cells)} cells, {todo} stages to do; about {size(needed)} of disk in {root}, {size(free)} free",
        markup=False,
    )
    if unknown < todo:
        rest = f", without {unknown} stages of which nothing is known" if unknown else ""
        console.print(f"about {duration(seconds)}, by the times of earlier ones{rest}", markup=False)
    if needed > free:
        console.print("Not enough space: point runtime.store to a larger disk.", style="red")
    failed = [cell for cell in plan.cells if cell.status == "failed"]
    if failed:
        names = ", ".join(dict.fromkeys(cell.method.name for cell in failed))
        console.print(
            f"{len(failed)} of {len(plan.cells)} cells cannot run ({names}): see above",
            style="red",
            markup=False,
        )
    return not failed


def disk_estimate(plan: Plan, planned: PlannedStage) -> float:
    """Bytes the stage's artifact will take, from image sizes and labels; for weights, by scale."""
    kind = planned.stage.yields
    if kind == Kind.WEIGHTS:
        return WEIGHTS_BYTES[plan.config.scale.name]
    if kind == Kind.IMAGE_SCORES:
        images = sum(len(plan.dataset.ids(split)) for split in planned.stage.splits)
        return 4.0 * len(plan.dataset.classes) * images
    from datasets.images import image_size

    samples = [s for split in planned.stage.splits for s in plan.dataset.samples(split)]
    probe = samples[:: max(1, len(samples) // 20)]
    total = 0.0
    for sample in probe:
        pixels = math.prod(image_size(sample.image))
        if kind == Kind.CAM:
            total += 2 * len(sample.labels) * pixels / CAM_STRIDE**2
        else:
            total += (
                pixels * (SALIENCY_BYTES_PER_PIXEL if kind == Kind.SALIENCY else LABEL_BYTES_PER_PIXEL) + 300
            )
    return total / len(probe) * len(samples)
