"""What the dense CRF costs: present classes against all classes of the data set."""

from __future__ import annotations

import time

import numpy as np

from methods.layers.config import CrfConfig
from methods.layers.crf import dense_crf


def _seconds(labels: int, image: np.ndarray) -> float:
    probabilities = np.full((labels, *image.shape[:2]), 1 / labels, np.float32)
    start = time.perf_counter()
    dense_crf(image, probabilities, CrfConfig())
    return time.perf_counter() - start


def test_present_classes_only_are_cheaper_than_all() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (8, 10, 3), dtype=np.uint8).repeat(20, 0).repeat(20, 1)
    few = min(_seconds(3, image) for _ in range(3))
    all_classes = min(_seconds(21, image) for _ in range(3))
    print(f"160x200: 3 labels {few:.3f} s, 21 labels {all_classes:.3f} s")
    assert all_classes > 1.5 * few
