"""What it costs that artifacts are verified: CAMs of VOC's sizes hashed, found unchanged, and read."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmark.store import SCRATCH, Store
from datasets.files import fingerprints
from methods.artifacts import Cam, CamReader, write_cams

IMAGES = int(os.environ.get("WSSS_VERIFIED_IMAGES", "512"))
"""All of VOC's augmented training set are 10582: 0.6 GB of CAMs."""
SHARD = 128
SIZES = ((375, 500), (500, 375), (333, 500), (500, 500))
"""(height, width) of images; maps have a quarter of it."""


def _write(work: Path) -> None:
    random = np.random.default_rng(0)
    noise = random.random((3, 125, 125)).astype(np.float16)
    for first in range(0, IMAGES, SHARD):
        cams = {}
        for i in range(first, min(first + SHARD, IMAGES)):
            height, width = SIZES[i % len(SIZES)]
            classes = tuple(range(1 + i % 3))
            maps = noise[: len(classes), : height // 4, : width // 4]
            cams[f"2007_{i:06d}"] = Cam(maps, classes, (height, width))
        write_cams(work / f"shard-{first:05d}.safetensors", cams)


def test_cams_are_hashed_once_and_then_found_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(fingerprints, "_SETTLED_NS", -1)  # files as young as these are remembered, too
    store, took = Store(tmp_path / "store"), {}
    with store.building("cam", "key") as work:
        assert work is not None
        (work / SCRATCH).mkdir(exist_ok=True)
        _write(work)
        size = store.commit("cam", "key", work, {"inputs": {}}).bytes

    def timed(what: str, do: Callable[[], object]) -> None:
        began = time.perf_counter()
        assert do()
        took[what] = f"{what} {time.perf_counter() - began:.2f} s"

    timed("hashed", lambda: Store(store.root).intact("cam", "key"))
    with monkeypatch.context() as patched:
        patched.setattr(fingerprints, "_digest", lambda path: pytest.fail(f"{path} is hashed again"))
        timed("found unchanged", lambda: Store(store.root).intact("cam", "key"))
    timed("read", lambda: sum(cam.maps.shape[0] for _, cam in CamReader(store.path("cam", "key"))))
    record_property(f"CAMs of {IMAGES} images, {size / 1e6:.0f} MB", ", ".join(took.values()))
