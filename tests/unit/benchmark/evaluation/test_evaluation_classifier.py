"""Average precision of image classifiers: by ranks in a loop, fixed cases, and the stages that write the scores."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from benchmark.evaluation.classifier import average_precisions, score_classifications
from datasets.base import DataError, TrainingView
from methods.artifacts import read_image_scores, write_image_scores
from methods.base import Kind, Shared
from methods.registry import all_methods
from tests.helpers.evaluation_data import TinyDataset

some_scores = hnp.arrays(np.float32, (8, 3), elements=st.sampled_from([-2, -1, 0, 0.5, 3]))
some_labels = hnp.arrays(np.bool_, (8, 3))


def average_precision_loop(scores: list[float], labels: list[bool]) -> float:
    """At each image that has the class: the share of such among all that score as high or higher."""
    precisions = []
    for score, present in zip(scores, labels, strict=True):
        if present:
            ahead = [label for other, label in zip(scores, labels, strict=True) if other >= score]
            precisions.append(sum(ahead) / len(ahead))
    return sum(precisions) / len(precisions) if precisions else math.nan


@given(some_scores, some_labels)
def test_against_ranks_in_a_loop(scores: np.ndarray, labels: np.ndarray) -> None:
    expected = [average_precision_loop(s.tolist(), p.tolist()) for s, p in zip(scores.T, labels.T)]
    np.testing.assert_allclose(average_precisions(scores, labels), expected, atol=1e-12)


@given(some_scores, some_labels, st.permutations(range(8)))
def test_order_of_images_and_scale_of_scores_do_not_matter(
    scores: np.ndarray, labels: np.ndarray, order: list[int]
) -> None:
    expected = average_precisions(scores, labels)
    np.testing.assert_allclose(average_precisions(scores[order], labels[order]), expected, atol=1e-12)
    np.testing.assert_allclose(average_precisions(np.exp(scores) + 7, labels), expected, atol=1e-12)


def test_by_hand() -> None:
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]])
    labels = np.array([[True, False], [False, False], [True, False]])
    np.testing.assert_allclose(average_precisions(scores, labels), [(1 + 2 / 3) / 2, math.nan])


@pytest.fixture
def dataset(tmp_path: Path) -> TinyDataset:
    """No masks: image labels alone are needed."""
    labels = {"a": (0,), "b": (0, 1), "c": ()}
    return TinyDataset(tmp_path / "data", {}, unmasked=["a", "b", "c"], labels=labels)


def test_an_artifact_of_shards_is_scored(dataset: TinyDataset, tmp_path: Path) -> None:
    write_image_scores(tmp_path / "shard-0.safetensors", {"b": np.array([1, 3, 0]), "a": np.array([2, 1, 0])})
    write_image_scores(tmp_path / "shard-1.safetensors", {"c": np.array([1.5, 2, 0])})
    scores = score_classifications(tmp_path, dataset, "val", stage="classifier")
    values = {(row.metric, row.class_name): row.value for row in scores.rows}
    assert values["average_precision", "boat"] == pytest.approx((1 + 2 / 3) / 2)
    assert values["average_precision", "train"] == 1
    assert math.isnan(values["average_precision", "bird"])
    assert values["mean_average_precision", ""] == pytest.approx((1 + (1 + 2 / 3) / 2) / 2)
    assert scores.notes == ["in no image of val, left out of the mean: bird"]
    assert {(row.stage, row.split, row.images) for row in scores.rows} == {("classifier", "val", 3)}


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory) -> TinyDataset:
    ids = [f"i{n}" for n in range(8)]
    labels = {i: tuple(c for c in range(3) if n >> c & 1) for n, i in enumerate(ids)}
    return TinyDataset(tmp_path_factory.mktemp("eight"), {}, unmasked=ids, labels=labels)


@given(some_scores, st.permutations(range(8)), st.lists(st.integers(0, 3), min_size=8, max_size=8))
def test_shards_of_any_partition_merge_to_the_same(
    eight: TinyDataset,
    tmp_path_factory: pytest.TempPathFactory,
    scores: np.ndarray,
    order: list[int],
    shards: list[int],
) -> None:
    whole, parts = (tmp_path_factory.mktemp(name) for name in ("whole", "parts"))
    write_image_scores(whole / "shard-0.safetensors", dict(zip(eight.all_ids, scores)))
    for shard in set(shards):
        of_shard = {eight.all_ids[n]: scores[n] for n in order if shards[n] == shard}
        write_image_scores(parts / f"shard-{shard}.safetensors", of_shard)
    expected = score_classifications(whole, eight, "val", stage="classifier")
    found = score_classifications(parts, eight, "val", stage="classifier")
    assert found == expected
    assert all(math.isfinite(row.value) for row in found.rows)


def test_what_is_wrong_is_said_in_one_line(dataset: TinyDataset, tmp_path: Path) -> None:
    shard = tmp_path / "shard-0.safetensors"
    write_image_scores(shard, {"a": np.zeros(3)})
    with pytest.raises(DataError, match="lack 2 of 3 images, b first; run the stage"):
        score_classifications(tmp_path, dataset, "val", stage="classifier")
    write_image_scores(shard, {i: np.zeros(2) for i in "abc"})
    with pytest.raises(DataError, match="those of a are not 3 finite numbers"):
        score_classifications(tmp_path, dataset, "val", stage="classifier")
    write_image_scores(shard, {i: np.full(3, np.nan if i == "b" else 0) for i in "abc"})
    with pytest.raises(DataError, match="those of b are not 3 finite numbers"):
        score_classifications(tmp_path, dataset, "val", stage="classifier")
    assert set(read_image_scores(tmp_path)) == {"a", "b", "c"}


WITHOUT = {"supervised", "clip_es", "weclip"}
"""They learn from masks, or ask a CLIP by names."""


@pytest.mark.parametrize("name", sorted(all_methods().keys() - WITHOUT))
def test_every_method_with_a_classifier_lets_it_be_scored(name: str) -> None:
    method = all_methods()[name]
    view = TrainingView("shapes", ("boat", "cat", "train"), {"train": (), "val": ()}, generated=True)
    stages = method.stages(method.presets["nano"], view, Shared())
    (scores,) = [s for s in stages if s.yields == Kind.IMAGE_SCORES]
    assert scores.splits == ("val",)
    assert not any(scores.name in s.inputs.values() for s in stages)  # nothing is made from it
