"""`python -m tests.helpers.growth FOLDER WHAT IMAGES`: processor seconds and peak memory of one part of an evaluation.

In a process of its own, so that nothing is measured with what another number of images left. Files are those of
`tests/performance/test_evaluation_growth.py`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmark.evaluation.bootstrap import resample
from benchmark.evaluation.confusion import merge_context
from benchmark.evaluation.counts import Counts
from benchmark.evaluation.evaluator import score_cams, score_label_maps
from benchmark.evaluation.scores import mean_iou
from benchmark.execution.memory import PeakMemory
from tests.helpers.evaluation_data import TinyDataset

CLASSES = tuple("abcdefgh")
WARM_UP = 50


def label_maps(folder: Path, images: int) -> float:
    """Decoding, counting, boundaries, all scores; the mIoU."""
    return (
        score_label_maps(
            folder / "prediction",
            dataset(folder, images),
            "val",
            stage="segmentation",
            counts_path=folder / "label_maps.parquet",
            workers=1,
        )
        .rows[0]
        .value
    )


def cams(folder: Path, images: int) -> float:
    """The same of CAMs, at every threshold; the mIoU at the fixed one."""
    return (
        score_cams(
            folder / f"cam-{images}",
            dataset(folder, images),
            "val",
            0.3,
            counts_path=folder / "cams.parquet",
            workers=1,
        )
        .rows[0]
        .value
    )


def resamples(folder: Path, images: int) -> float:
    """Reading stored counts and scoring bootstrap samples of the images; the mIoU of the counts."""
    counts = Counts.read(folder / f"counts-{images}.parquet")
    resample(counts)
    return float(mean_iou(merge_context(counts.matrices(), len(CLASSES))))


def dataset(folder: Path, images: int) -> TinyDataset:
    data = TinyDataset(folder, {}, classes=CLASSES)
    data.all_ids = tuple(f"{n:05}" for n in range(images))
    return data


PARTS: dict[str, Callable[[Path, int], float]] = {f.__name__: f for f in (label_maps, cams, resamples)}

if __name__ == "__main__":
    folder, part, images = Path(sys.argv[1]), PARTS[sys.argv[2]], int(sys.argv[3])
    part(folder, WARM_UP)  # what libraries set up once
    began = time.process_time()
    with PeakMemory() as memory:
        miou = part(folder, images)
    seconds = time.process_time() - began
    print(json.dumps({"seconds": seconds, "mb": memory.host_mb - memory.before_mb, "miou": miou}))
