"""The evaluator from files to rows, against loops, and what it says about bad files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import benchmark.evaluation.counts as counts_module
from benchmark.evaluation.confusion import extend_with_context, merge_context
from benchmark.evaluation.counts import Counts
from benchmark.evaluation.curves import highest_class
from benchmark.evaluation.evaluator import NO_MASKS, Scores, held_out_ids, score_cams, score_label_maps
from benchmark.evaluation.parallel import map_in_order
from benchmark.evaluation.reference import ALL_BACKGROUND, IMAGE_LABEL_ONLY, reference_rows
from benchmark.evaluation.scores import mean_iou
from datasets.base import DataError
from datasets.files.images import read_labels, write_labels
from methods.artifacts import Cam, CamReader, label_map_path, write_cams
from tests.helpers.evaluation_data import CONTEXTS, TinyDataset, blocky, confusion_matrices, write_label_maps

SIZES = {f"im{n:02}": (9 + n % 3, 12) for n in range(20)}


def some_maps(seed: int, ids: tuple[int, ...]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: blocky(rng, size, ids) for name, size in SIZES.items()}


@pytest.fixture
def dataset(tmp_path: Path) -> TinyDataset:
    masks = some_maps(0, (0, 0, 0, 1, 2, 255))
    return TinyDataset(tmp_path / "data", masks, context_maps=some_maps(1, (0, 1, 2)))


def some_cams() -> dict[str, Cam]:
    rng = np.random.default_rng(3)
    return {
        name: Cam(rng.random((2, 3, 4)).astype(np.float16) * np.float16(0.7), (n % 2, 2), size)
        for n, (name, size) in enumerate(SIZES.items())
    }


def write_shards(directory: Path, cams: Mapping[str, Cam], order: Sequence[str], cut: int) -> Path:
    """An artifact of two shards: the first `cut` CAMs in that order, and the others."""
    directory.mkdir(parents=True)
    for shard, names in enumerate((order[:cut], order[cut:])):
        write_cams(directory / f"{shard}.safetensors", {name: cams[name] for name in names})
    return directory


@pytest.fixture
def cams(dataset: TinyDataset, tmp_path: Path) -> Path:
    return write_shards(tmp_path / "cam", some_cams(), list(SIZES), 8)


def value(scores: Scores, metric: str, class_name: str = "", variant: str = "") -> float:
    (row,) = (r for r in scores.rows if (r.metric, r.class_name, r.variant) == (metric, class_name, variant))
    return row.value


def read(dataset: TinyDataset, folder: str) -> Mapping[str, np.ndarray]:
    return {i: np.asarray(read_labels(dataset.root / folder / f"{i}.png")) for i in dataset.ids("train")}


def score(dataset: TinyDataset, artifact: Path, **more: object) -> Scores:
    path = dataset.root / "counts.parquet"
    return score_label_maps(artifact, dataset, "train", stage="segmentation", counts_path=path, **more)  # type: ignore[arg-type]


def test_label_maps_are_scored_as_by_a_loop(dataset: TinyDataset, tmp_path: Path) -> None:
    predictions = some_maps(2, (0, 1, 2, 3, 255))
    scores = score(dataset, write_label_maps(tmp_path / "maps", predictions))

    masks, regions = read(dataset, "masks"), read(dataset, "contexts")
    iou_parts = {c: [0, 0] for c in range(4)}
    ignored = boat_pixels = water_as_boat = birds = pixels = 0
    for name, predicted in predictions.items():
        for truth, region, p in zip(*(a.ravel().tolist() for a in (masks[name], regions[name], predicted))):
            if truth == 255:
                continue
            ignored += p == 255
            p = 0 if p == 255 else p
            boat_pixels += truth == p == 1
            birds, pixels = birds + (p == 3), pixels + 1
            water_as_boat += truth == 0 and region == 1 and p == 1
            for c, (intersection, union) in iou_parts.items():
                iou_parts[c] = [intersection + (truth == p == c), union + (c in (truth, p))]
    iou = {c: intersection / union for c, (intersection, union) in iou_parts.items()}

    assert value(scores, "miou") == pytest.approx(sum(iou[c] for c in range(3)) / 3, abs=1e-15)
    assert value(scores, "iou", "background") == iou[0]
    assert math.isnan(value(scores, "iou", "bird"))  # predicted, but in no mask
    assert value(scores, "false_alarms") == birds / pixels > 0
    assert value(scores, "ignored_predictions") == ignored > 0
    assert value(scores, "confusion_ratio", "boat|water") == water_as_boat / boat_pixels
    assert scores.images == 20
    assert any("predicted 255" in note for note in scores.notes)
    assert "not in the ground truth, left out of the mean: bird" in scores.notes
    share = (
        f"{100 * birds / pixels:.2g} % of the scored pixels were predicted as classes not in the ground truth"
    )
    assert share in scores.notes
    assert {row.stage for row in scores.rows} == {"segmentation"}
    assert all(math.isnan(row.threshold) for row in scores.rows)
    assert all(row.images == 20 for row in scores.rows if not row.metric.startswith("miou_by"))


def test_counts_file_gives_the_same_scores_and_those_of_subsets(dataset: TinyDataset, tmp_path: Path) -> None:
    artifact = write_label_maps(tmp_path / "maps", some_maps(2, (0, 1, 2, 255)))
    scores = score(dataset, artifact)
    assert scores.counts is not None
    counts = Counts.read(scores.counts)
    assert counts.header.naming.classes == dataset.classes
    assert counts.header.naming.contexts == CONTEXTS
    assert mean_iou(merge_context(counts.matrices(), 3)) == value(scores, "miou")

    weights = np.arange(20) % 3
    ids = [name for name, weight in zip(counts.images, weights) for _ in range(weight)]
    assert mean_iou(merge_context(counts.matrices(weights), 3)) == value(
        score(dataset, artifact, ids=ids), "miou"
    )


def test_classes_that_no_mask_has_are_named(tmp_path: Path) -> None:
    masks = {"a": np.array([[0, 1]], np.uint8)}
    scores = score(TinyDataset(tmp_path, masks), write_label_maps(tmp_path / "maps", masks))
    assert value(scores, "miou") == 1
    assert math.isnan(value(scores, "iou", "bird"))
    assert scores.notes == ["not in the ground truth, left out of the mean: train, bird"]
    assert value(scores, "false_alarms") == 0


def test_an_image_that_is_all_void_is_kept_in_the_counts(tmp_path: Path) -> None:
    masks = {"void": np.full((2, 2), 255, np.uint8), "a": np.ones((2, 2), np.uint8)}
    scores = score(TinyDataset(tmp_path, masks), write_label_maps(tmp_path / "maps", masks))
    assert scores.counts is not None
    assert Counts.read(scores.counts).images == ("void", "a")
    assert value(scores, "miou") == 1


def test_without_masks_there_are_no_rows(tmp_path: Path) -> None:
    bare = TinyDataset(tmp_path, {}, unmasked=["a"])
    assert score(bare, tmp_path) == Scores([], [NO_MASKS])
    cams = score_cams(tmp_path, bare, "train", 0.4, counts_path=tmp_path / "counts.parquet")
    assert cams == Scores([], [NO_MASKS])
    assert reference_rows(bare, "val", stage="segmentation")[ALL_BACKGROUND] == Scores([], [NO_MASKS])


def test_images_without_masks_are_left_out_and_said_so(tmp_path: Path) -> None:
    masks = {"a": np.array([[0, 1, 2, 3]], np.uint8)}
    some = TinyDataset(tmp_path, masks, unmasked=["b", "c"])
    scores = score(some, write_label_maps(tmp_path / "maps", masks))
    assert scores.images == 1
    assert scores.notes == ["scored on 1 of 3 images: the others have no mask"]


def cam_scores(dataset: TinyDataset, cams: Path, fixed: float | None = 0.4, **more: object) -> Scores:
    path = dataset.root / "cam.parquet"
    return score_cams(cams, dataset, "train", fixed, counts_path=path, **more)  # type: ignore[arg-type]


class Thresholded:
    """The definition: maps made into label maps at a threshold, which are then scored as such."""

    def __init__(self, dataset: TinyDataset, cams: Path) -> None:
        masks, regions = read(dataset, "masks"), read(dataset, "contexts")
        self.images = {
            name: (
                extend_with_context(masks[name], regions[name], CONTEXTS, 3),
                *highest_class(cam),
                np.asarray(cam.classes, np.uint8),
            )
            for name, cam in CamReader(cams)
        }

    def miou(self, ids: frozenset[str], threshold: float) -> float:
        total = np.zeros((6, 4), np.int64)
        for truth, best, winner, classes in (self.images[i] for i in sorted(ids)):
            predicted = np.where(best > np.float32(threshold), classes[winner] + np.uint8(1), np.uint8(0))
            total += confusion_matrices(truth[None], predicted[None], 6, 4)[0]
        return float(mean_iou(merge_context(total, 3)))


@pytest.mark.parametrize("fixed", [0.4, 0.4375])
def test_cam_variants(dataset: TinyDataset, cams: Path, fixed: float) -> None:
    scores, reference = cam_scores(dataset, cams, fixed), Thresholded(dataset, cams)
    everything = frozenset(SIZES)
    held_out = held_out_ids(list(SIZES), 0.2)
    sweep = [round(k * 0.01, 10) for k in range(60)]
    curve = {t: reference.miou(everything, t) for t in sweep}
    tuning = {t: reference.miou(held_out, t) for t in sweep}

    assert value(scores, "miou", variant="fixed") == reference.miou(everything, fixed)
    assert {r.threshold: r.value for r in scores.rows if r.variant == "curve"} == curve
    assert value(scores, "miou", variant="oracle") == max(curve.values())
    assert value(scores, "threshold", variant="oracle") == max(sweep, key=lambda t: (curve[t], -t))
    tuned = max(sweep, key=lambda t: (tuning[t], -t))
    assert value(scores, "threshold", variant="tuned") == tuned
    assert value(scores, "miou", variant="tuned") == reference.miou(everything - held_out, tuned)
    assert value(scores, "held_out_images", variant="tuned") == 4
    images = {r.variant: r.images for r in scores.rows if not r.metric.startswith("miou_by")}
    assert images == {"fixed": 20, "tuned": 16, "oracle": 20, "curve": 20}
    assert not math.isnan(value(scores, "confusion_ratio", "boat|water", "fixed"))


@given(st.permutations(list(SIZES)), st.integers(0, 20), st.permutations(list(SIZES)))
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_order_of_images_and_shards_change_no_rule(
    dataset: TinyDataset,
    cams: Path,
    tmp_path_factory: pytest.TempPathFactory,
    order: list[str],
    cut: int,
    ids: list[str],
) -> None:
    """Neither the score nor the threshold that is chosen, whether tuned or oracle."""
    shuffled = write_shards(tmp_path_factory.mktemp("shuffled") / "cam", some_cams(), order, cut)
    expected, found = cam_scores(dataset, cams), cam_scores(dataset, shuffled, ids=ids)
    assert {row.variant for row in found.rows} == {"fixed", "tuned", "oracle", "curve"}
    assert list(map(str, found.rows)) == list(map(str, expected.rows))  # as text, NaN equals itself
    assert found.notes == expected.notes


def test_cams_at_the_fixed_threshold_have_all_scores_of_the_label_maps_they_make(
    dataset: TinyDataset, cams: Path, tmp_path: Path
) -> None:
    maps = {}
    for name, cam in CamReader(cams):
        best, winner = highest_class(cam)
        ids = np.asarray(cam.classes, np.uint8) + np.uint8(1)
        maps[name] = np.where(best > np.float32(0.4), ids[winner], np.uint8(0))
    of_cams = {
        (r.metric, r.class_name): (r.value, r.images)
        for r in cam_scores(dataset, cams, 0.4).rows
        if r.variant == "fixed" and r.metric != "threshold"
    }
    of_maps = {
        (r.metric, r.class_name): (r.value, r.images)
        for r in score(dataset, write_label_maps(tmp_path / "maps", maps)).rows
        if r.metric != "ignored_predictions"
    }
    assert of_cams.keys() == of_maps.keys()
    np.testing.assert_array_equal([of_cams[name] for name in of_maps], list(of_maps.values()))
    assert ("boundary_f1", "") in of_cams
    assert ("miou_by_size", "large") in of_cams
    others = {r.metric for r in cam_scores(dataset, cams, 0.4).rows if r.variant != "fixed"}
    assert not [metric for metric in others if metric.startswith(("boundary", "miou_by"))]


@pytest.mark.parametrize("workers", [1, 3])
def test_further_scores_do_not_depend_on_the_order_of_images(
    dataset: TinyDataset, tmp_path: Path, workers: int
) -> None:
    artifact = write_label_maps(tmp_path / "maps", some_maps(2, (0, 1, 2, 3, 255)))
    ids = list(SIZES)
    rows, others = (score(dataset, artifact, ids=order, workers=workers).rows for order in (ids, ids[::-1]))
    assert [(r.metric, r.class_name) for r in rows] == [(r.metric, r.class_name) for r in others]
    np.testing.assert_array_equal([r.value for r in rows], [r.value for r in others])


@pytest.mark.parametrize("group", [3, 512])
def test_cam_counts_file_gives_the_curve(
    dataset: TinyDataset, cams: Path, group: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts_module, "IMAGES_PER_GROUP", group)
    scores = cam_scores(dataset, cams, None)
    assert not [r for r in scores.rows if r.variant == "fixed"]
    assert scores.counts is not None
    counts = Counts.read(scores.counts)
    assert counts.header.thresholds is not None
    assert len(counts.header.thresholds) == 101
    assert counts.images == tuple(SIZES)
    curve = [r.value for r in scores.rows if r.variant == "curve"]
    assert mean_iou(merge_context(counts.matrices(), 3))[:60].tolist() == curve
    one = np.array([name == "im05" for name in counts.images], np.int64)
    at_40 = mean_iou(merge_context(counts.matrices(one), 3))[40]
    assert at_40 == Thresholded(dataset, cams).miou(frozenset(["im05"]), 0.4)


def test_workers_do_not_change_anything(dataset: TinyDataset, cams: Path) -> None:
    threads = torch.get_num_threads()
    alone, many = (cam_scores(dataset, cams, workers=n) for n in (1, 5))
    assert repr(alone) == repr(many)  # NaN != NaN
    assert torch.get_num_threads() == threads


def test_progress_counts_images(dataset: TinyDataset, cams: Path) -> None:
    calls: list[int] = []
    cam_scores(dataset, cams, progress=calls.append)
    assert sum(calls) == 20


def test_held_out_part_does_not_depend_on_order_and_leaves_some() -> None:
    ids = [f"image{n}" for n in range(101)]
    part = held_out_ids(ids, 0.2)
    assert len(part) == 20
    assert part == held_out_ids(ids[::-1], 0.2)
    assert len(held_out_ids(ids[:2], 0.2)) == len(held_out_ids(ids[:2], 0.99)) == 1
    assert held_out_ids(ids[:1], 0.5) == frozenset()


def test_masks_that_chose_the_tuned_threshold_are_counted(dataset: TinyDataset, cams: Path) -> None:
    said = "tuned uses masks: its threshold is chosen on 4 held-out images, scored are 16"
    assert said in cam_scores(dataset, cams).notes


def test_a_single_image_cannot_be_tuned_on(dataset: TinyDataset, cams: Path) -> None:
    scores = cam_scores(dataset, cams, ids=["im00"])
    assert not [r for r in scores.rows if r.variant == "tuned"]
    assert any("no tuned threshold" in note for note in scores.notes)


def test_reference_rows(tmp_path: Path) -> None:
    masks = {
        "a": np.array([[0, 0, 1, 1]], np.uint8),
        "b": np.array([[0, 1, 2, 255]], np.uint8),
        "c": np.array([[0, 0, 0, 0]], np.uint8),
    }
    labels = {"a": (0,), "b": (0, 1), "c": ()}  # train is rarer than boat: b is filled with train
    data = TinyDataset(tmp_path, masks, labels=labels, context_maps={"a": np.full((1, 4), 1, np.uint8)})
    rows = reference_rows(data, "train", stage="pseudo_label")
    nothing, filled = rows[ALL_BACKGROUND], rows[IMAGE_LABEL_ONLY]
    assert value(nothing, "iou", "background") == value(nothing, "pixel_accuracy") == 7 / 11
    assert value(nothing, "iou", "boat") == 0
    assert math.isnan(value(nothing, "iou", "bird"))
    assert value(filled, "iou", "boat") == 2 / 5
    assert value(filled, "iou", "train") == 1 / 3
    assert value(filled, "iou", "background") == 4 / 7
    assert value(filled, "confusion_ratio", "boat|water") == 2 / 2


def test_a_missing_label_map_is_one_clear_line(dataset: TinyDataset, tmp_path: Path) -> None:
    maps = some_maps(2, (0, 1))
    del maps["im13"]
    with pytest.raises(DataError, match=r"^no label map .*im13\.png; .*run the stage"):
        score(dataset, write_label_maps(tmp_path / "maps", maps))
    assert not list(dataset.root.glob("counts.parquet*"))


@pytest.mark.parametrize(("folder", "what"), [("masks", "mask"), ("maps/labels", "label map")])
def test_an_id_out_of_range_is_named(dataset: TinyDataset, folder: str, what: str) -> None:
    artifact = write_label_maps(dataset.root / "maps", some_maps(2, (0, 1)))
    write_labels(dataset.root / folder / "im03.png", np.full(SIZES["im03"], 77, np.uint8))
    with pytest.raises(DataError, match=rf"^{what} .*im03\.png holds id 77, but ids are 0\.\.3 and 255"):
        score(dataset, artifact)


def test_a_mask_of_another_size_than_its_image(dataset: TinyDataset, tmp_path: Path) -> None:
    artifact = write_label_maps(tmp_path / "maps", some_maps(2, (0, 1)))
    write_labels(dataset.root / "masks" / "im04.png", np.zeros((5, 6), np.uint8))
    write_labels(dataset.root / "contexts" / "im04.png", np.zeros((5, 6), np.uint8))
    with pytest.raises(DataError, match=r"^mask .*im04\.png is 6x5, .*image .* is 12x10 .*export the mask"):
        score(dataset, artifact)


def test_a_prediction_of_another_size_than_its_image(dataset: TinyDataset, tmp_path: Path) -> None:
    artifact = write_label_maps(tmp_path / "maps", some_maps(2, (0, 1)))
    write_labels(label_map_path(artifact, "im04"), np.zeros((5, 6), np.uint8))
    with pytest.raises(
        DataError, match=r"^label map .*im04\.png is 6x5, .*run the stage that wrote it again"
    ):
        score(dataset, artifact)


def test_a_context_map_of_another_size(dataset: TinyDataset, tmp_path: Path) -> None:
    write_labels(dataset.root / "contexts" / "im04.png", np.zeros((5, 6), np.uint8))
    with pytest.raises(DataError, match=r"^context map .*im04\.png is 6x5 but mask"):
        score(dataset, write_label_maps(tmp_path / "maps", some_maps(2, (0, 1))))


@pytest.mark.parametrize(
    ("cam", "message"),
    [
        (Cam(np.full((1, 2, 2), np.nan, np.float16), (0,), (9, 12)), "values outside"),
        (Cam(np.full((1, 2, 2), 1.5, np.float16), (0,), (9, 12)), "values outside"),
        (Cam(np.zeros((1, 2, 2), np.float16), (3,), (9, 12)), "class 3 of 3"),
        (Cam(np.zeros((1, 2, 2), np.float16), (0,), (5, 6)), r"CAM im00 of .* is 6x5, image"),
    ],
)
def test_bad_cams(dataset: TinyDataset, tmp_path: Path, cam: Cam, message: str) -> None:
    write_cams(tmp_path / "0.safetensors", {"im00": cam})
    with pytest.raises(DataError, match=message):
        cam_scores(dataset, tmp_path, ids=["im00"])


def test_missing_cams(dataset: TinyDataset, cams: Path) -> None:
    (cams / "1.safetensors").unlink()
    with pytest.raises(DataError, match="lacks 12 of 20 images, im08 first"):
        cam_scores(dataset, cams)


def test_map_in_order_takes_items_as_it_goes() -> None:
    taken = 0

    def items() -> object:
        nonlocal taken
        for n in range(10_000):
            taken += 1
            yield n

    results = map_in_order(lambda n: n * n, items(), workers=2)  # type: ignore[arg-type, var-annotated]
    assert [next(results) for _ in range(20)] == [n * n for n in range(20)]
    assert taken < 200
    results.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("faulty", "maps", "said"),
    [
        (8, 0.0, ["8 of 40 maps are empty (0 everywhere), so they locate nothing"]),
        (
            4,
            0.5,
            [
                "4 of 40 maps are nearly constant (their values differ by less than 0.05), so they locate nothing"
            ],
        ),
        (3, 0.0, []),  # some images have a class that is not found
        (0, 0.0, []),
    ],
)
def test_maps_that_locate_nothing_are_said_to_be_so(
    dataset: TinyDataset, tmp_path: Path, faulty: int, maps: float, said: list[str]
) -> None:
    cams = some_cams()
    for name in list(cams)[:faulty]:  # one of an image's two maps
        cams[name].maps[1] = maps
    scores = cam_scores(dataset, write_shards(tmp_path / "cams", cams, list(SIZES), 8))
    assert [note for note in scores.notes if "locate nothing" in note] == said
