"""Speed of the evaluator against what a plain script would do, in one run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from scipy.spatial import KDTree

from benchmark.evaluation import evaluator
from benchmark.evaluation.confusion import pair_counts
from benchmark.evaluation.evaluator import score_cams, score_label_maps
from benchmark.evaluation.scores import mean_iou
from datasets.files.images import read_labels
from methods.artifacts import Cam, label_map_path, write_cams
from tests.helpers.evaluation_data import TinyDataset, write_label_maps

SIZE = (375, 500)
CLASSES = tuple(f"class{c}" for c in range(20))
FILES = 50
"""Different images on disk; the ids beyond repeat them, since only time is measured."""


class Spent(NamedTuple):
    wall: float
    cpu: float


def spent(function: Callable[[], object]) -> Spent:
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return Spent(time.perf_counter() - wall, time.process_time() - cpu)


def blobs(rng: np.random.Generator, ids: list[int]) -> np.ndarray:
    """Overlapping ellipses with a rim of 255, as objects in VOC's masks."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32)
    mask = np.zeros(SIZE, np.uint8)
    for c in ids:
        cy, cx, ry, rx = rng.uniform((80, 100, 40, 50), (300, 400, 140, 180))
        wobble = 1 + 0.1 * np.sin(9 * np.arctan2(y - cy, x - cx))
        distance = np.hypot((y - cy) / ry, (x - cx) / rx) * wobble
        mask[distance < 1.04] = 255
        mask[distance < 1] = c
    return mask


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> TinyDataset:
    rng = np.random.default_rng(0)
    masks = {f"{n:04}": blobs(rng, rng.integers(1, 21, 1 + n % 3).tolist()) for n in range(FILES)}
    data = TinyDataset(tmp_path_factory.mktemp("data"), masks, classes=CLASSES)
    predictions = {i: np.where(np.roll(m, 6, 1) == 255, 0, np.roll(m, 6, 1)) for i, m in masks.items()}
    write_label_maps(data.root / "prediction", predictions)
    return data


def decoded(dataset: TinyDataset) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Truth and prediction of one image after the other."""
    for sample_id in dataset.ids("val"):
        path = dataset.mask_path(sample_id)
        assert path is not None
        predicted = read_labels(label_map_path(dataset.root / "prediction", sample_id))
        yield np.asarray(read_labels(path)), np.asarray(predicted)


def plain_loop(dataset: TinyDataset) -> float:
    """One process, one image at a time, as in the field's scripts: decodes both maps and counts pairs; the mIoU."""
    total = np.zeros((21, 21), np.int64)
    for truth, predicted in decoded(dataset):
        total += one_bincount(truth, predicted)
    return float(mean_iou(total))


def boundary_loop(dataset: TinyDataset) -> tuple[float, float]:
    """`plain_loop` with the boundaries by SciPy's trees and assignment: mIoU, and recall of boundaries."""
    total, found, true = np.zeros((21, 21), np.int64), 0, 0
    for truth, predicted in decoded(dataset):
        total += one_bincount(truth, predicted)
        matched, of_truth = boundaries_by_assignment(truth, predicted)
        found, true = found + matched, true + of_truth
    return float(mean_iou(total)), found / true


def boundaries_by_assignment(truth: np.ndarray, predicted: np.ndarray) -> tuple[int, int]:
    """Boundary pixels of the truth that are matched at the least total distance, as BSDS's tool does it, and all."""
    radius = 0.0075 * math.hypot(*truth.shape)
    distance, (y, x) = distance_transform_edt(truth == 255, return_indices=True)
    filled, known = truth[y, x], distance <= radius

    def edges(labels: np.ndarray) -> np.ndarray:
        down = (labels[1:] != labels[:-1]) & known[1:] & known[:-1]
        right = (labels[:, 1:] != labels[:, :-1]) & known[:, 1:] & known[:, :-1]
        out = np.zeros(labels.shape, np.bool_)
        out[1:] |= down
        out[:-1] |= down
        out[:, 1:] |= right
        out[:, :-1] |= right
        return out

    true, drawn = edges(filled), edges(predicted)
    near = KDTree(np.argwhere(true)).sparse_distance_matrix(
        KDTree(np.argwhere(drawn)), radius, output_type="coo_matrix"
    )
    rows, columns = near.shape  # every pixel may stay unmatched, at 100 times the radius
    row = np.concatenate([near.row, np.arange(rows)])
    column = np.concatenate([near.col, columns + np.arange(rows)])
    cost = np.concatenate([1e-3 + near.data, np.full(rows, 100 * radius)])
    matched = min_weight_full_bipartite_matching(csr_array((cost, (row, column))))[1]
    return int(np.count_nonzero(matched < columns)), rows


def one_bincount(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    valid = truth != 255
    pairs = 21 * truth[valid].astype(np.int64) + predicted[valid]
    return np.bincount(pairs, minlength=21 * 21).reshape(21, 21)


def evaluate(dataset: TinyDataset, workers: int | None) -> tuple[float, float]:
    scores = score_label_maps(
        dataset.root / "prediction",
        dataset,
        "val",
        stage="segmentation",
        counts_path=dataset.root / "counts.parquet",
        workers=workers,
    )
    recall = next(row.value for row in scores.rows if row.metric == "boundary_recall")
    return scores.rows[0].value, recall


@pytest.mark.parametrize("images", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_scoring_predictions(
    dataset: TinyDataset,
    images: int,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    monkeypatch.setattr(dataset, "all_ids", tuple(f"{n % FILES:04}" for n in range(images)))
    # of equally near scored pixels another may be taken where 255 is filled
    assert evaluate(dataset, None) == pytest.approx(boundary_loop(dataset), abs=0.01)
    assert evaluate(dataset, None)[0] == boundary_loop(dataset)[0] == plain_loop(dataset)

    def without_boundaries() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(evaluator, "boundary_counts", lambda *arguments: np.zeros((1, 4), np.int64))
            evaluate(dataset, 1)

    functions: dict[str, Callable[[], object]] = {
        "plain": lambda: plain_loop(dataset),
        "counting": without_boundaries,
        "with_edges": lambda: boundary_loop(dataset),
        "alone": lambda: evaluate(dataset, 1),
        "parallel": lambda: evaluate(dataset, None),
    }
    # Interleaved, and the best of each: other processes share the machine.
    runs: dict[str, list[Spent]] = {name: [] for name in functions}
    for name in 3 * list(functions):
        runs[name].append(spent(functions[name]))
    plain, counting, with_edges, alone, parallel = (
        Spent(min(r.wall for r in of_one), min(r.cpu for r in of_one)) for of_one in runs.values()
    )
    for name, ratio in {
        "plain loop / counting alone, of the processor": plain.cpu / counting.cpu,
        "loop with boundaries / evaluator, of the processor": with_edges.cpu / alone.cpu,
        "loop with boundaries / evaluator on all cores, by the clock": with_edges.wall / parallel.wall,
        "plain loop / evaluator with boundaries, of the processor": plain.cpu / alone.cpu,
    }.items():
        record_property(f"{images} predictions of 375x500, 21 classes: seconds of {name}", f"{ratio:.2f}x")


@pytest.mark.parametrize("kind", ["objects", "noise"])
def test_counting_alone(kind: str, record_property: Callable[[str, object], None]) -> None:
    rng = np.random.default_rng(1)
    truth = blobs(rng, [3, 12]) if kind == "objects" else rng.integers(0, 21, SIZE, np.uint8)
    predicted = np.where(np.roll(truth, 6, 1) == 255, 0, np.roll(truth, 6, 1)).astype(np.uint8)
    np.testing.assert_array_equal(
        pair_counts(truth[None], predicted[None], 21, 21)[0, :, :-1], one_bincount(truth, predicted)
    )
    times = [
        (
            spent(lambda: one_bincount(truth, predicted)).cpu,
            spent(lambda: pair_counts(truth[None], predicted[None], 21, 21)).cpu,
        )
        for _ in range(100)
    ]
    loop, ours = (min(column) for column in zip(*times))
    record_property(f"counting pairs of {kind}: seconds of bincount / ours", f"{loop / ours:.2f}x")


def test_scoring_cams(
    dataset: TinyDataset, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    rng = np.random.default_rng(2)
    coarse = rng.random((FILES, 2, 24, 32)) ** 3
    maps = {f"{n:04}": Cam(coarse[n].astype(np.float16), (n % 20, (n + 7) % 20), SIZE) for n in range(FILES)}
    write_cams(tmp_path / "0.safetensors", maps)

    def run() -> int:
        path = tmp_path / "counts.parquet"
        return score_cams(tmp_path, dataset, "train", 0.4, counts_path=path, ids=list(maps)).images

    def sixty_thresholds_of_one_image() -> None:
        """What a script does that scores a label map per threshold."""
        truth = np.asarray(read_labels(dataset.root / "masks" / "0000.png"))
        for _ in range(60):
            one_bincount(truth, np.where(truth == 255, np.uint8(0), truth))

    assert run() == FILES
    ours = min(spent(run).wall for _ in range(3)) / FILES
    naive = min(spent(sixty_thresholds_of_one_image).wall for _ in range(3))
    record_property(
        "CAM curve, 2 classes at 375x500: seconds of label maps one by one / ours", f"{naive / ours:.1f}x"
    )
