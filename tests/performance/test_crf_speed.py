"""What the dense CRF costs: present classes against all classes of the data set."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from methods.layers.config import CrfConfig
from methods.layers.crf import dense_crf


def _seconds(labels: int, image: np.ndarray) -> float:
    probabilities = np.full((labels, *image.shape[:2]), 1 / labels, np.float32)
    start = time.perf_counter()
    posterior = dense_crf(image, probabilities, CrfConfig())
    seconds = time.perf_counter() - start
    # Nothing speaks for any of the labels.
    np.testing.assert_allclose(posterior, 1 / labels, rtol=1e-3)
    return seconds


def test_present_classes_only_against_all(record_property: Callable[[str, object], None]) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (8, 10, 3), dtype=np.uint8).repeat(20, 0).repeat(20, 1)
    few = min(_seconds(3, image) for _ in range(3))
    all_classes = min(_seconds(21, image) for _ in range(3))
    record_property("CRF, 160x200: seconds of 21 labels / 3", f"{all_classes / few:.1f}x")
