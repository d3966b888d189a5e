"""The pretraining world: deterministic, balanced, and apart from the benchmark's data."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

from datasets.pretraining import forms as pretraining
from datasets.pretraining.forms import PRETRAINING_CLASSES, PretrainingBatch, pretraining_batch
from datasets.shapes.scene import NAMES


@pytest.fixture(scope="module")
def batch() -> PretrainingBatch:
    return pretraining_batch(seed=0, start=0, count=96)


def test_shapes_and_ranges(batch: PretrainingBatch) -> None:
    assert batch.images.shape == (96, 3, 96, 96)
    assert batch.images.dtype == batch.masks.dtype == np.uint8
    assert batch.labels.shape == (96,)
    assert batch.labels.dtype == np.int64
    assert batch.masks.shape == (96, 96, 96)
    assert set(np.unique(batch.masks)) == {0, 1}
    assert batch.labels.min() >= 0
    assert batch.labels.max() < len(PRETRAINING_CLASSES)


def test_an_image_depends_on_seed_and_position_only(batch: PretrainingBatch) -> None:
    part = pretraining_batch(seed=0, start=5, count=3)
    np.testing.assert_array_equal(part.images, batch.images[5:8])
    np.testing.assert_array_equal(part.masks, batch.masks[5:8])
    np.testing.assert_array_equal(part.labels, batch.labels[5:8])
    assert not np.array_equal(pretraining_batch(1, 5, 3).images, part.images)


def test_every_image_has_a_salient_object_and_a_background(batch: PretrainingBatch) -> None:
    shares = batch.masks.mean(axis=(1, 2))
    assert shares.min() > 0.01
    assert shares.max() < 0.8
    assert 0.1 < shares.mean() < 0.35
    assert pretraining_batch(0, 0, 2, size=64).images.shape == (2, 3, 64, 64)


def test_nothing_of_the_benchmark_is_in_it() -> None:
    assert not set(PRETRAINING_CLASSES) & set(NAMES)
    tree = ast.parse(Path(str(pretraining.__file__)).read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not any(module and module.startswith("datasets.shapes.dataset") for module in imported)
