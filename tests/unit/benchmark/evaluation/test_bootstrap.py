"""Bootstrap over images: against a loop that adds up matrices image by image, and what pairs it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from benchmark.evaluation import bootstrap
from benchmark.evaluation.bootstrap import draw, effective_images, resample, widened, write_resamples
from benchmark.evaluation.confusion import merge_context
from benchmark.evaluation.counts import Counts, CountsHeader, CountsWriter
from benchmark.evaluation.scores import Naming, class_iou, mean_iou
from datasets.base import ContextClass, DataError
from results.resamples import is_resampled, load_resamples, resamples_path, store_resamples

CLASSES = ("boat", "train", "bird")
NAMING = Naming("background", CLASSES, (ContextClass("water", 0, 1),))
THRESHOLDS = (0.0, 0.25, 0.5, 0.75)


def counts_file(
    path: Path, images: int = 12, thresholds: tuple[float, ...] | None = None, seed: int = 0
) -> Counts:
    """Random counts of 4 classes and one context region; the last image is empty."""
    rng = np.random.default_rng(seed)
    with CountsWriter(path, CountsHeader(NAMING, thresholds)) as writer:
        for number in range(images):
            rows = 0 if number == images - 1 else 9
            gt = rng.integers(0, 5, rows)
            pred = np.where(rng.random(rows) < 0.5, np.minimum(gt, 3), rng.choice([0, 1, 2, 3, 255], rows))
            columns = [gt, pred]
            if thresholds:
                columns[1] = np.where(pred == 255, 0, pred)
                columns.append(rng.integers(0, len(thresholds) + 1, rows))
            writer.add(f"image{number:02d}", *columns, rng.integers(1, 500, rows))
    return Counts.read(path)


def looped(counts: Counts, threshold: float | None, left_out: frozenset[str] = frozenset()) -> np.ndarray:
    """IoU by resample and class: matrices of one image at a time, weighted and added up, then widened."""
    ids = sorted(set(counts.images) - left_out)
    matrices = []
    for name in ids:
        alone = counts.matrices(np.array([float(image == name) for image in counts.images]))
        if threshold is not None:
            alone = alone[THRESHOLDS.index(threshold)]
        matrices.append(merge_context(alone, len(CLASSES)))
    generator = np.random.default_rng(
        int(bootstrap.hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16], 16)
    )
    draws = generator.integers(len(ids), size=(100, len(ids)))
    drawn = np.array([class_iou(sum(matrices[k] for k in chosen)) for chosen in draws])
    own = class_iou(sum(matrices))
    for c in range(len(own)):
        unions = [m[c].sum() + m[:, c].sum() - m[c, c] for m in matrices]
        images = max(2, sum(unions) ** 2 / sum(union**2 for union in unions))
        drawn[:, c] = own[c] + math.sqrt(images / (images - 1)) * (drawn[:, c] - own[c])
    return drawn


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "RESAMPLES", 100)


@pytest.mark.parametrize("left_out", [frozenset(), frozenset({"image03", "image07"})])
def test_label_maps_agree_with_a_loop_over_images(
    tmp_path: Path, left_out: frozenset[str], few_resamples: None
) -> None:
    counts = counts_file(tmp_path / "counts.parquet")
    found, expected = resample(counts, left_out=left_out), looped(counts, None, left_out)
    np.testing.assert_allclose(found.iou, expected, rtol=1e-12)
    np.testing.assert_allclose(found.miou, np.nanmean(expected, axis=1), rtol=1e-12)
    assert found.labels == ("background", *CLASSES)


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_cams_agree_with_a_loop_over_images_at_every_threshold(
    tmp_path: Path, threshold: float, few_resamples: None
) -> None:
    counts = counts_file(tmp_path / "counts.parquet", thresholds=THRESHOLDS)
    np.testing.assert_allclose(resample(counts, threshold).iou, looped(counts, threshold), rtol=1e-12)


@pytest.mark.parametrize("threshold", [None, 0.25])
def test_accuracy_and_confusion_agree_with_a_loop_over_images(
    tmp_path: Path, threshold: float | None, few_resamples: None
) -> None:
    counts = counts_file(
        tmp_path / "counts.parquet", thresholds=THRESHOLDS if threshold is not None else None
    )
    found = resample(counts, threshold)
    ids = sorted(counts.images)
    alone = {}
    for name in ids:
        matrix = counts.matrices(np.array([float(image == name) for image in counts.images]))
        alone[name] = matrix if threshold is None else matrix[THRESHOLDS.index(threshold)]
    generator = np.random.default_rng(
        int(bootstrap.hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16], 16)
    )
    draws = generator.integers(len(ids), size=(100, len(ids)))
    drawn = []
    for chosen in draws:
        right = pixels = false = true = 0
        for k in chosen:
            matrix = alone[ids[k]]
            pixels += int(matrix.sum())
            right += int(matrix[4, 0]) + sum(int(matrix[c, c]) for c in range(4))  # water is background
            false += int(matrix[4, 1])
            true += int(matrix[1, 1])
        drawn.append([right / pixels, false / true if true else math.nan])
    whole = sum(alone.values())
    right, true = whole[4, 0] + sum(whole[c, c] for c in range(4)), whole[1, 1]
    own = np.array([right / whole.sum(), whole[4, 1] / true])
    squares = [sum(m.sum() ** 2 for m in alone.values()), sum(m[1, 1] ** 2 for m in alone.values())]
    images = np.array([whole.sum() ** 2, true**2]) / squares
    expected = own + np.sqrt(images / (images - 1)) * (np.array(drawn) - own)
    np.testing.assert_allclose(found.pixel_accuracy, expected[:, 0])
    np.testing.assert_allclose(found.confusion_ratio, expected[:, 1:])
    assert found.pairs == ("boat|water",)


def test_confusion_over_some_of_the_images_is_not_resampled(tmp_path: Path) -> None:
    """Which images have context labels is not in the counts; their ratio is that of the scores where all have."""
    counts = counts_file(tmp_path / "counts.parquet")
    matrix = counts.matrices()
    own = matrix[4, 1] / matrix[1, 1]
    assert resample(counts, ratios={"boat|water": own}).pairs == ("boat|water",)
    for ratios in ({"boat|water": own * 1.01}, {"boat|water": math.nan}, {}):
        made = resample(counts, ratios=ratios)
        assert made.pairs == ()
        assert made.of("confusion_ratio", "boat|water") is None
        assert made.of("pixel_accuracy") is not None


def test_the_interval_agrees_with_scipys_bootstrap(tmp_path: Path) -> None:
    counts = counts_file(tmp_path / "counts.parquet", images=40)
    matrices = np.stack([merge_context(counts.matrices(w), len(CLASSES)) for w in np.eye(len(counts.images))])
    reference = scipy.stats.bootstrap(
        (np.arange(len(matrices)),),
        lambda chosen, axis: mean_iou(matrices[chosen].sum(axis=axis - 2)),
        n_resamples=4000,
        vectorized=True,
        axis=-1,
        rng=np.random.default_rng(1),
        method="percentile",
    )
    found = resample(counts)
    # standard errors of two bootstraps with 1000 and 4000 resamples agree to about 2.5 % (one deviation)
    assert found.miou.std(ddof=1) == pytest.approx(reference.standard_error, rel=0.1)
    low, high = np.percentile(found.miou, [2.5, 97.5])
    width = reference.confidence_interval.high - reference.confidence_interval.low
    assert low == pytest.approx(reference.confidence_interval.low, abs=0.1 * width)
    assert high == pytest.approx(reference.confidence_interval.high, abs=0.1 * width)


def test_scores_that_rest_on_few_images_are_spread_as_over_new_ones() -> None:
    """Eight of a hundred images have a class, its regions unlike in size: 3000 times over, its IoU and its resamples."""
    rng = np.random.default_rng(2)
    pixels = np.zeros((1, 100))
    pixels[0, :8] = rng.lognormal(0, 0.7, 8)
    weights = draw(rng, 100, 1000)
    hits = pixels * rng.normal(0.5, 0.2, (3000, 100))
    own = hits.sum(1) / pixels.sum()
    with np.errstate(invalid="ignore"):  # no image with the class was drawn
        drawn = (hits @ weights).T / (pixels @ weights).T
    images = np.full(3000, effective_images(pixels)[0])
    plain, adjusted = (
        np.nanvar(made, axis=0, ddof=1).mean() / own.var(ddof=1)
        for made in (drawn, widened(drawn, own, images))
    )
    assert plain < 0.88
    assert 0.97 < adjusted < 1.12


def test_effective_images_are_fewer_where_some_weigh_more() -> None:
    assert effective_images(np.array([[1, 1, 1, 0], [4, 1, 1, 0], [3, 0, 0, 0], [0, 0, 0, 0]])).tolist() == [
        3,
        2,
        1,
        0,
    ]


def test_a_class_of_one_image_counts_as_one_of_two_and_a_missing_one_stays_missing() -> None:
    drawn = np.array([[0.5, np.nan], [0.7, np.nan]])
    made = widened(drawn, np.array([0.6, np.nan]), np.array([1.0, 0.0]))
    np.testing.assert_allclose(made, [[0.6 - 0.1 * math.sqrt(2), np.nan], [0.6 + 0.1 * math.sqrt(2), np.nan]])


def test_draws_are_multinomial() -> None:
    weights = draw(np.random.default_rng(0), 20, 5000)
    assert weights.shape == (20, 5000)
    assert (weights.sum(0) == 20).all()
    assert weights.mean() == 1
    # variance 20 x 1/20 x 19/20, covariance -20/400
    covariance = np.cov(weights)
    assert np.diag(covariance) == pytest.approx(np.full(20, 0.95), rel=0.1)
    assert covariance[np.triu_indices(20, 1)].mean() == pytest.approx(-0.05, rel=0.1)


def test_resamples_are_the_same_images_for_every_method(tmp_path: Path) -> None:
    first = counts_file(tmp_path / "a.parquet")
    # another order of the same images
    order = np.argsort([image[::-1] for image in first.images], kind="stable")
    rank = np.argsort(order)
    second = Counts(first.header, tuple(np.array(first.images)[order]), rank[first.image], first.gt, first.pred,
                    first.bin, first.count)  # fmt: skip
    a, b = resample(first), resample(second)
    np.testing.assert_array_equal(a.miou, b.miou)
    assert a.images == b.images != resample(first, left_out=frozenset({"image01"})).images


def test_a_run_folder_is_given_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "counts.parquet"
    counts = counts_file(path, thresholds=THRESHOLDS)
    rows = [
        {"metric": "miou", "variant": "fixed", "threshold": 0.25},
        {"metric": "iou", "variant": "fixed", "threshold": 0.25},
        {"metric": "miou", "variant": "tuned", "threshold": 0.5},
        {"metric": "miou", "variant": "curve", "threshold": 0.75},
    ]
    write_resamples(tmp_path, "key", "scores", path, rows, 0.2, "")
    fixed, tuned = (load_resamples(resamples_path(tmp_path, "key", v)) for v in ("fixed", "tuned"))
    assert fixed is not None
    assert tuned is not None
    np.testing.assert_array_equal(fixed.miou, resample(counts, 0.25).miou)
    np.testing.assert_allclose(fixed.iou, resample(counts, 0.25).iou, atol=5e-4)
    assert fixed.images != tuned.images
    assert load_resamples(resamples_path(tmp_path, "key", "curve")) is None
    assert resamples_path(tmp_path, "key", "").name == "key-all.npz"
    np.testing.assert_array_equal(fixed.pixel_accuracy, resample(counts, 0.25).pixel_accuracy)
    assert fixed.pairs == ()  # no ratio was scored

    made: list[float | None] = []
    monkeypatch.setattr(bootstrap, "resample", lambda c, t, left, ratios: made.append(t) or fixed)
    write_resamples(tmp_path, "key", "scores", path, rows, 0.2, "")
    assert made == []  # nothing has changed
    resamples_path(tmp_path, "key", "tuned").write_bytes(b"torn")
    write_resamples(tmp_path, "key", "scores", path, rows, 0.2, "")
    assert made == [0.5]
    write_resamples(tmp_path, "key", "other scores", path, rows, 0.2, "")
    assert made == [0.5, 0.25, 0.5]


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.95])
def test_a_file_that_is_cut_short_is_named_and_made_again(tmp_path: Path, share: float) -> None:
    counts = counts_file(tmp_path / "counts.parquet")
    path = resamples_path(tmp_path, "key", "")
    store_resamples(path, resample(counts), "scores")
    assert is_resampled(path, "scores")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=r"key-all\.npz: damaged \(.*\); delete it and run the same command"):
        load_resamples(path)
    assert not is_resampled(path, "scores")


def test_resamples_of_fewer_metrics_are_made_again(tmp_path: Path) -> None:
    counts = counts_file(tmp_path / "counts.parquet")
    made = resample(counts)
    path = resamples_path(tmp_path, "key", "")
    path.parent.mkdir()
    np.savez(path, miou=made.miou, iou=made.iou, labels=made.labels, images=made.images, score_key="scores")
    assert not is_resampled(path, "scores")
    row = {"metric": "miou", "variant": "", "threshold": math.nan}
    write_resamples(tmp_path, "key", "scores", tmp_path / "counts.parquet", [row], 0.2, "")
    assert is_resampled(path, "scores")
