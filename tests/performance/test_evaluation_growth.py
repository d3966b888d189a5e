"""Time and memory of an evaluation as images grow: linear, and flat. `pytest -s` shows the figures.

Each number of images is scored in a process of its own, so that none is measured with what another one left.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from datasets.images import write_labels
from tests.conftest import ROOT
from tests.unit.evaluation_data import blocky

SIZE = (48, 64)
FILES = 50
"""Different maps; further images are links to them."""

SCORING = """
import json, sys, time
from pathlib import Path
import numpy as np
from benchmark.evaluation.evaluator import score_label_maps
from benchmark.memory import PeakMemory
from tests.unit.evaluation_data import TinyDataset

folder, images = Path(sys.argv[1]), int(sys.argv[2])
data = TinyDataset(folder, {}, classes=tuple("abcdefgh"))
ids = tuple(f"{n:05}" for n in range(images))

def score(ids):
    data.all_ids = ids
    return score_label_maps(
        folder / "prediction", data, "val", stage="segmentation", counts_path=folder / f"{images}.parquet", workers=1
    )

score(ids[:50])  # what libraries set up once
began = time.process_time()
with PeakMemory() as memory:
    scores = score(ids)
seconds = time.process_time() - began
print(json.dumps({"seconds": seconds, "mb": memory.host_mb - memory.before_mb, "miou": scores.rows[0].value}))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """10 000 masks and label maps."""
    place, rng = tmp_path_factory.mktemp("growth"), np.random.default_rng(0)
    for name, ids in (("masks", (0, 0, 0, 1, 2, 3, 8, 255)), ("prediction/labels", (0, 0, 1, 2, 3, 8))):
        maps = place / name
        for n in range(FILES):
            write_labels(maps / f"{n:05}.png", blocky(rng, SIZE, ids, 8))
        for n in range(FILES, 10_000):
            (maps / f"{n:05}.png").hardlink_to(maps / f"{n % FILES:05}.png")
    return place


def measured(folder: Path, images: int) -> dict[str, float]:
    command = [sys.executable, "-c", SCORING, str(folder), str(images)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(f"\n{images} images: {found['seconds']:.2f} s, peak {found['mb']:.1f} MB above the start")
    return found


def check(small: dict[str, float], large: dict[str, float], times: float) -> None:
    """From `small` to `large` the images grow by `times`; the seconds do, with what scheduling adds, memory hardly."""
    assert large["seconds"] < 1.5 * times * small["seconds"]
    assert large["mb"] < small["mb"] + 16
    assert small["miou"] == pytest.approx(large["miou"], abs=1e-12)  # the same pictures, more often


def test_from_100_to_1000_images(folder: Path) -> None:
    check(measured(folder, 100), measured(folder, 1000), 10)


@pytest.mark.slow
def test_from_1000_to_10000_images(folder: Path) -> None:
    check(measured(folder, 1000), measured(folder, 10_000), 10)
