"""Latency, throughput and memory of a forward pass on one device."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch.utils.benchmark import Measurement, Timer

from benchmark.execution.memory import MEGABYTE, PeakMemory, release_unused
from methods.base import ForwardPass, Pictures

PRESENT = 2
"""Classes in a picture, as most have in VOC; what follows the networks costs by their number."""
SPREAD = 0.1
"""Repeats go on until the interquartile range is below this share of the median, or the time is up."""
LEAST_GAIN = 1.05
"""A larger batch counts as faster from here on; two in a row that are not end the search."""
LARGEST_BATCH = 256
LONGEST_BLOCK = 0.5
"""Seconds that the timer lets many passes of a quick one take, which are one repeat then."""


@dataclass(frozen=True)
class Speed:
    """Of one forward pass; None where it was not measured.

    seconds, seconds_iqr: median and interquartile range of a pass of one image, after a warm-up, over `repeats`
    batch, batch_seconds: the batch size with the highest throughput, and the median of a pass of it
    host_memory_mb:   the network and what a pass of one image adds to the process at its peak, MB
    device_memory_mb: peak that tensors took on the device in a pass of one image, the network included
    reason:           why there are no times, one line
    """

    seconds: float | None = None
    seconds_iqr: float | None = None
    repeats: int = 0
    batch: int = 0
    batch_seconds: float | None = None
    host_memory_mb: float | None = None
    device_memory_mb: float | None = None
    reason: str = ""


def measure(forward_pass: ForwardPass, device: torch.device, least: float, limit: float) -> Speed:
    """Measure a forward pass, whose network is moved to `device`.

    least: seconds that the repeats of one measurement take at least; limit: seconds of a pass from which on it is
    not timed, and batches are not tried
    """
    try:
        if forward_pass.module is not None:
            forward_pass.module.to(device).eval()
        one = passing(forward_pass, pictures(1, forward_pass.size, device))
        found, first = _single_pass(forward_pass, one, device)
        if first > limit:
            return replace(found, reason=f"a pass takes {first:.0f} s, more than --limit {limit:g}")
        found, _ = _single_pass(forward_pass, one, device)  # without what libraries set up once
        single = _timed(one, least, first)
        with (
            forward_pass.finish if isinstance(forward_pass.finish, AbstractContextManager) else nullcontext()
        ):
            batch, batch_seconds = _best_batch(forward_pass, device, single.median, least, limit)
    except torch.OutOfMemoryError:
        height, width = forward_pass.size
        return Speed(reason=f"out of memory on {device} with one image of {height}x{width}")
    finally:
        if forward_pass.module is not None:
            forward_pass.module.to("cpu")  # the device is the next one's
    return replace(
        found,
        seconds=single.median,
        seconds_iqr=single.iqr,
        repeats=len(single.times),
        batch=batch,
        batch_seconds=batch_seconds,
    )


def passing(forward_pass: ForwardPass, batch: Pictures) -> Callable[[], None]:
    """One pass of a batch, with what follows the network."""

    @torch.inference_mode()
    def once() -> None:
        output = (
            forward_pass.run(forward_pass.module, batch.images) if forward_pass.module is not None else None
        )
        if forward_pass.finish is not None:
            forward_pass.finish(output, batch)

    return once


def pictures(count: int, size: tuple[int, int], device: torch.device) -> Pictures:
    """Smooth random pictures, mostly grey as photographs are, and CAMs; the same on every machine.

    A CRF's time grows with the colours it meets: on these it takes 1.1 to 1.6 times as long as on photographs.
    """
    generator = torch.Generator().manual_seed(0)
    grid = [max(2, side // 16) for side in size]

    def smooth(channels: int) -> torch.Tensor:
        coarse = torch.rand(count, channels, *grid, generator=generator)
        return F.interpolate(coarse, size, mode="bicubic", align_corners=False)

    noise = torch.randn(count, 3, *size, generator=generator)
    pixels = (40 + 140 * smooth(1) + 40 * smooth(3) + 2 * noise).clamp(0, 255).to(torch.uint8)
    cams = (smooth(PRESENT) - 0.4).clamp_min(0)
    cams = cams / cams.amax((2, 3), keepdim=True)
    return Pictures(*(x.to(device) for x in (pixels, (pixels / 255 - 0.45) / 0.225, cams)))


def _single_pass(
    forward_pass: ForwardPass, one: Callable[[], None], device: torch.device
) -> tuple[Speed, float]:
    """The memory of a pass, as after the ones before it nothing is kept, and its seconds."""
    release_unused()
    with PeakMemory() as memory:
        began = time.perf_counter()
        one()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - began
    added = memory.host_mb - memory.before_mb
    host_mb = added + _weights_mb(forward_pass, on="cpu")
    return Speed(host_memory_mb=host_mb, device_memory_mb=memory.device_mb), seconds


def _timed(once: Callable[[], None], least: float, expected: float) -> Measurement:
    """Repeats for `least` seconds or more, and up to ten times as long where they differ; of a pass that takes the
    `expected` seconds, at least four. On CUDA the timer waits for the device."""
    timer = Timer("once()", globals={"once": once}, num_threads=torch.get_num_threads())
    longest = max(10 * least, 4 * max(expected, LONGEST_BLOCK))
    return timer.adaptive_autorange(SPREAD, min_run_time=least, max_run_time=longest)


def _best_batch(
    forward_pass: ForwardPass, device: torch.device, seconds: float, least: float, limit: float
) -> tuple[int, float]:
    """Batch sizes 1, 2, 4, ... until two in a row gain nothing, memory ends, or a pass would take too long."""
    best, best_seconds, idle = 1, seconds, 0
    batch, last = 2, seconds
    while batch <= LARGEST_BATCH and 2 * last <= limit and idle < 2:
        try:
            several = passing(forward_pass, pictures(batch, forward_pass.size, device))
            last = _timed(several, least, 2 * last).median
        except torch.OutOfMemoryError:
            break
        if batch / last > LEAST_GAIN * best / best_seconds:
            best, best_seconds, idle = batch, last, 0
        else:
            idle += 1
        batch *= 2
    return best, best_seconds


def _weights_mb(forward_pass: ForwardPass, on: str) -> float:
    """MB of the network's parameters and buffers that lie on devices of that type."""
    if forward_pass.module is None:
        return 0.0
    tensors = [*forward_pass.module.parameters(), *forward_pass.module.buffers()]
    return sum(t.numel() * t.element_size() for t in tensors if t.device.type == on) / MEGABYTE
