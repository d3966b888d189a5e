"""Time and memory of an evaluation as images grow: linear, and flat.

Bootstrap samples alone take memory by the image: how often each is drawn is one matrix.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from benchmark.evaluation.confusion import pair_counts
from benchmark.evaluation.counts import IMAGES_PER_GROUP, CountsHeader, CountsWriter
from benchmark.evaluation.scores import Naming
from datasets.files.images import write_labels
from methods.artifacts import Cam, write_cams
from tests.conftest import ROOT
from tests.helpers.evaluation_data import blocky
from tests.helpers.growth import CLASSES, PARTS, WARM_UP

SIZE = (48, 64)
FILES = 50
"""Different maps; further images are links to them."""
SHARD = 500
"""CAMs in a file."""
KB_PER_IMAGE = {"label_maps": 0, "cams": 0, "resamples": 8}
HELD_MB = {"label_maps": 0, "cams": 20, "resamples": 0}
"""Counts of up to 512 images wait to be written, at 30 KB of a CAM's."""
NOISE_MB = 16
COUNTS = (100, 1_000, 10_000)


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Makes a folder with masks, label maps, CAMs and stored counts of a number of images."""
    rng = np.random.default_rng(0)
    truths, predictions = (
        [blocky(rng, SIZE, ids, 8) for _ in range(FILES)]
        for ids in ((0, 0, 0, 1, 2, 3, 8, 255), (0, 0, 1, 2, 3, 8))
    )
    scores = rng.random((FILES, 2, 6, 8)).astype(np.float16)
    pairs = pair_counts(np.stack(truths), np.stack(predictions), len(CLASSES) + 1, len(CLASSES) + 1)

    @cache
    def folder(images: int) -> Path:
        place = tmp_path_factory.mktemp("growth")
        for name, maps in (("masks", truths), ("prediction/labels", predictions)):
            files = place / name
            for n in range(FILES):
                write_labels(files / f"{n:05}.png", maps[n])
            for n in range(FILES, images):
                (files / f"{n:05}.png").hardlink_to(files / f"{n % FILES:05}.png")
        for number in (WARM_UP, images):
            ids = [f"{n:05}" for n in range(number)]
            shards = place / f"cam-{number}"
            shards.mkdir()
            for first in range(0, number, SHARD):
                cams = {
                    i: Cam(scores[int(i) % FILES], (int(i) % FILES % 3, 7), SIZE)
                    for i in ids[first : first + SHARD]
                }
                write_cams(shards / f"{first:05}.safetensors", cams)
            header = CountsHeader(Naming("none", CLASSES))
            with CountsWriter(place / f"counts-{number}.parquet", header) as writer:
                for i in ids:
                    counts = pairs[int(i) % FILES, :, :-1]
                    gt, pred = np.nonzero(counts)
                    writer.add(i, gt, pred, counts[gt, pred])
        return place

    return folder


def measured(folder: Path, part: str, images: int) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.helpers.growth", str(folder), part, str(images)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def check(
    make: Callable[[int], Path],
    part: str,
    few: int,
    many: int,
    record_property: Callable[[str, object], None],
) -> None:
    """Memory grows by what is said above; the seconds should as the images do."""
    small, large = (measured(make(images), part, images) for images in (few, many))
    for images, found in ((few, small), (many, large)):
        record_property(
            f"evaluation, {part} of {images} images", f"{found['seconds']:.2f} s, {found['mb']:.1f} MB more"
        )
    growth = large["seconds"] / small["seconds"]
    record_property(f"evaluation, {part}: seconds of {many} images / {few}", f"{growth:.1f}x")
    held = HELD_MB[part] if few < IMAGES_PER_GROUP else 0
    assert large["mb"] < small["mb"] + NOISE_MB + held + KB_PER_IMAGE[part] * many / 1000
    assert small["miou"] == pytest.approx(large["miou"], abs=1e-12)  # the same pictures, more often


@pytest.mark.parametrize("part", ["label_maps", "cams"])
def test_from_100_to_1000_images(
    make: Callable[[int], Path], part: str, record_property: Callable[[str, object], None]
) -> None:
    check(make, part, *COUNTS[:2], record_property)


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_up_to_10000_images(
    make: Callable[[int], Path], part: str, record_property: Callable[[str, object], None]
) -> None:
    check(make, part, *COUNTS[1:], record_property)
