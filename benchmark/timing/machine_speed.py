"""How fast this machine is, to bring times that were recorded on another one to it."""

from __future__ import annotations

import json
import os
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.provenance import cpu_name
from benchmark.store import Store

if TYPE_CHECKING:
    import torch

    from benchmark.config import RuntimeConfig

SECONDS = 0.5
"""That passes are repeated for."""
FILE = "speed.json"


@cache
def machine_speed(threads: int) -> float:
    """Passes a second, forward and backward, of a batch through a fixed small segmentation network with this many
    threads: the best of those in half a second, since others may be at work. Measured once a process; takes no random
    number from anybody's generator and leaves the number of threads as it was.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        step = _Step()
        step()  # libraries choose and compile their kernels
        times: list[float] = []
        while sum(times) < SECONDS:
            began = time.perf_counter()
            step()
            times.append(time.perf_counter() - began)
    finally:
        torch.set_num_threads(before)
    return 1 / min(times)


def measured_speed(runtime: RuntimeConfig, threads: int) -> float | None:
    """`machine_speed`, which the store remembers for plans that are made without computing anything; None where a
    GPU computes, of which the processor's speed tells nothing."""
    import torch

    if runtime.device == "cuda" or (
        runtime.device == "auto" and (torch.cuda.is_available() or torch.backends.mps.is_available())
    ):
        return None
    speed, store = machine_speed(threads), Store(Path(runtime.store))
    store.root.mkdir(parents=True, exist_ok=True)
    temporary = store.root / f"{FILE}.{os.getpid()}.tmp"
    temporary.write_text(json.dumps({"cpu": cpu_name(), "threads": threads, "speed": speed}))
    temporary.replace(store.root / FILE)
    return speed


def remembered_speed(store: Store) -> float | None:
    """What `measured_speed` found last; None where it has not run, or on another processor."""
    try:
        found = json.loads((store.root / FILE).read_text())
        return float(found["speed"]) if found["cpu"] == cpu_name() else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # absent, or damaged: measured again
        return None


class _Step:
    """A training step without the optimiser: what takes nine tenths of the time of nano's stages."""

    CHANNELS = (3, 32, 64, 64, 64, 9)
    STRIDES = (2, 1, 2, 1, 1)

    def __init__(self) -> None:
        import torch

        generator = torch.Generator().manual_seed(0)
        self._images = self._drawn(generator, 2, 3, 80, 80)
        self._labels = torch.randint(self.CHANNELS[-1], (2, 80, 80), generator=generator)
        self._weights = [
            (self._drawn(generator, after, before, 3, 3) / (3 * before**0.5)).requires_grad_()
            for before, after in zip(self.CHANNELS, self.CHANNELS[1:])
        ]

    @staticmethod
    def _drawn(generator: torch.Generator, *shape: int) -> torch.Tensor:
        import torch

        return torch.randn(shape, generator=generator).to(memory_format=torch.channels_last)

    def __call__(self) -> None:
        import torch
        import torch.nn.functional as F

        with torch.enable_grad():
            x = self._images
            for weight, stride in zip(self._weights, self.STRIDES):
                x = F.conv2d(x, weight, stride=stride, padding=1)
                if weight is not self._weights[-1]:
                    x = F.batch_norm(x, None, None, training=True).relu()
            scores = F.interpolate(x, self._labels.shape[1:], mode="bilinear", align_corners=False)
            torch.autograd.grad(F.cross_entropy(scores, self._labels), self._weights)
