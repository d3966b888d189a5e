"""Evidence without masks: by hand on small maps, of planted methods, and with the masks gone from the disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import ndimage

from benchmark.selection import collect as collecting
from benchmark.selection.candidates import Candidate, Found, _content, _open
from benchmark.selection.collect import THRESHOLDS, collect, spread
from benchmark.selection.evidence import entropy, image_evidence, region_evidence
from benchmark.selection.features import FEATURES, features
from benchmark.selection.jury import _unit, _views
from benchmark.selection.maps import cam_labels, consensus, otsu
from datasets.base import DataError, Dataset, DatasetConfig, Problem, Sample
from methods.artifacts import Cam, label_map_path, write_cams
from methods.base import Kind
from tests.helpers.damage import flip

SIZE = (24, 32)
CLASSES = ("square", "disc")


def square(top: int, left: int, side: int = 10) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[top : top + side, left : left + side] = True
    return mask


class Squares(Dataset):
    """Red squares (class 0) and green ones (class 1) on grey noise, one or both in an image, with masks."""

    name, summary, needs, config = "squares", "", "", DatasetConfig

    def __init__(self, root: Path, count: int = 6) -> None:
        self.root, self.classes, self.count = root, CLASSES, count

    def prepare(self) -> None:
        (self.root / "masks").mkdir(parents=True)
        rng = np.random.default_rng(0)
        for place, each in enumerate(self.ids("train")):
            pixels = rng.uniform(0.35, 0.65, (*SIZE, 1)).repeat(3, 2)
            mask = self.truth(place)
            pixels[mask == 1] = (0.9, 0.1, 0.1)
            pixels[mask == 2] = (0.1, 0.9, 0.1)
            Image.fromarray((255 * pixels).astype(np.uint8)).save(self.root / f"{each}.png")
            Image.fromarray(mask).save(self.root / "masks" / f"{each}.png")

    def truth(self, place: int) -> np.ndarray:
        mask = np.zeros(SIZE, np.uint8)
        if place % 3 != 1:
            mask[square(3 + place, 2)] = 1
        if place % 3 != 0:
            mask[square(3 + place, 19)] = 2
        return mask

    def ids(self, split: str) -> tuple[str, ...]:
        return tuple(f"image_{n}" for n in range(self.count if split == "train" else 0))

    def sample(self, sample_id: str) -> Sample:
        place = int(sample_id[-1])
        labels = tuple(int(c) - 1 for c in np.unique(self.truth(place)) if c)
        return Sample(sample_id, self.root / f"{sample_id}.png", labels)

    def mask_path(self, sample_id: str) -> Path | None:
        return self.root / "masks" / f"{sample_id}.png"

    def fingerprint(self, part: Literal["images", "masks"], split: str) -> str:
        return f"{part} of {split}"

    def problems(self) -> Sequence[Problem]:
        return ()


def write_cam_artifact(folder: Path, data: Squares, blur: float, shift: int = 0) -> Path:
    """CAMs that are the truth, blurred and shifted to the right, divided by their maximum."""
    folder.mkdir(parents=True)
    cams = {}
    for place, each in enumerate(data.ids("train")):
        labels = data.sample(each).labels
        maps = [
            ndimage.gaussian_filter(np.roll(data.truth(place) == c + 1, shift, 1).astype(float), blur)
            for c in labels
        ]
        cams[each] = Cam(np.stack([m / m.max() for m in maps]).astype(np.float16), labels, SIZE)
    write_cams(folder / "shard.safetensors", cams)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Squares:
    found = Squares(tmp_path / "data")
    found.prepare()
    return found


@pytest.fixture
def found(data: Squares, tmp_path: Path) -> Found:
    """Three methods with CAMs, of which "wrong" is shifted, and true label maps of "sharp" by another's refiner."""
    candidates = [
        Candidate(name, name, Kind.CAM, 0, name, write_cam_artifact(tmp_path / name, data, blur, shift))
        for name, blur, shift in (("sharp", 1.0, 0), ("blurred", 2.0, 0), ("wrong", 1.0, 7))
    ]
    labels = tmp_path / "refined"
    (labels / "labels").mkdir(parents=True)
    for place, each in enumerate(data.ids("train")):
        Image.fromarray(data.truth(place)).save(label_map_path(labels, each))
    candidates.append(Candidate("sharp", "sharp:crf", Kind.PSEUDO_LABEL, 0, "refined", labels))
    return Found(tmp_path, data, tuple(candidates), (), ("abc",), ())


def test_evidence_of_regions_by_hand() -> None:
    labels = np.zeros((2, 4, 6), np.uint8)
    labels[0, :2, :2] = 1
    labels[0, 3, 5] = 1
    labels[0, 3, 0] = 3  # a class that the image has not
    labels[1, :, 3:] = 2
    reference = np.zeros((4, 6), np.uint8)
    reference[:2, :3] = 1
    evidence = region_evidence(labels, reference, 2)
    np.testing.assert_allclose(evidence["agreement"][0], [16 / 20, 4 / 7, np.nan], rtol=1e-6)
    np.testing.assert_allclose(evidence["agreement"][1], [6 / 24, 0, 0], rtol=1e-6)
    np.testing.assert_array_equal(evidence["found"], [[np.nan, 1, 0], [np.nan, 0, 1]])
    np.testing.assert_array_equal(evidence["pieces"], [[np.nan, 2, np.nan], [np.nan, np.nan, 1]])
    np.testing.assert_allclose(evidence["log_area"][:, 1], np.log2([5 / 24, 1 / 24]), rtol=1e-6)
    np.testing.assert_allclose(evidence["log_expected"][:, 1], np.log2([6 / 24] * 2), rtol=1e-6)
    alone = region_evidence(labels, None, 2)
    assert np.isnan(alone["agreement"]).all()
    np.testing.assert_array_equal(alone["pieces"], evidence["pieces"])


def test_the_true_split_explains_colours_and_lies_on_edges(data: Squares) -> None:
    pixels = np.asarray(Image.open(data.root / "image_2.png"), np.float32) / 255
    truth = data.truth(2)
    stack = np.stack([truth, np.roll(truth, 5, 1), np.zeros_like(truth), np.where(truth == 2, 3, truth)])
    evidence = image_evidence(stack, pixels, 2)
    assert evidence["colour"][0] > 0.8
    assert evidence["colour"][0] > evidence["colour"][1] + 0.3
    assert evidence["colour"][2] == pytest.approx(0, abs=1e-9)
    assert evidence["edge"][0] > 1.5 * evidence["edge"][1] > evidence["edge"][2] == 0
    np.testing.assert_allclose(evidence["within"], [1, 1, 1, 0.5])
    flat = image_evidence(stack, np.full_like(pixels, 0.5), 2)
    assert (flat["colour"] == 0).all()
    assert (flat["edge"] == 0).all()


def test_the_consensus_is_cut_between_the_groups() -> None:
    values = np.array([0.1] * 30 + [0.2] * 5 + [0.8] * 10)
    assert 0.2 < otsu(values) < 0.8
    assert 0 <= otsu(np.zeros(5)) <= 1
    high, low = square(2, 2) * 0.9, square(5, 18) * 0.7
    vote = np.stack([high, low]).astype(np.float32)
    np.testing.assert_array_equal(consensus([vote, vote * 0.8]), square(2, 2) + 2 * square(5, 18))


def test_labels_of_maps_take_the_highest_above_the_threshold() -> None:
    maps = np.array([[[0.2, 0.6, 0.4]], [[0.3, 0.1, 0.4]]], np.float32)
    np.testing.assert_array_equal(cam_labels(maps, [0.1, 0.3, 0.5]), [[[2, 1, 1]], [[0, 1, 1]], [[0, 1, 0]]])
    assert entropy(np.full((1, 2, 2), 0.5)) == pytest.approx(1)
    assert entropy(np.zeros((1, 2, 2))) < 1e-3


def test_evidence_tells_good_maps_from_shifted_ones(found: Found) -> None:
    table = features(collect(found, 0))
    assert len(table) == 3 * len(THRESHOLDS) + 1
    at = table[(table["threshold"] == 0.5)].set_index("entry")
    for name in ("agreement", "colour", "edge", "product"):
        assert at.loc["sharp", name] > at.loc["wrong", name], name
    (refined,) = table[table["kind"] == Kind.PSEUDO_LABEL].to_dict("records")
    assert refined["agreement"] > at.loc["wrong", "agreement"]
    assert table[["kept", "lost"]].isna().all(axis=None)  # nobody has judged
    assert table[[name for name in FEATURES if name not in ("kept", "lost")]].notna().all(axis=None)


def test_no_method_confirms_itself(found: Found) -> None:
    """With one other method, agreement is with that one, whatever else the own one has voted for."""
    sharp, blurred, _, refined = found.candidates
    both = collect(Found(found.folder, found.data, (sharp, blurred, refined), (), (), ()), 0)
    alone = collect(Found(found.folder, found.data, (sharp, blurred), (), (), ()), 0)
    columns = ["image", "class", "threshold", "agreement"]
    first, second = (table[table["entry"] == "sharp"][columns] for table in (both, alone))
    np.testing.assert_array_equal(first.to_numpy(), second.to_numpy())
    single = collect(Found(found.folder, found.data, (sharp,), (), (), ()), 0)
    assert single["agreement"].isna().all()


def test_masks_need_not_be_there_and_stay_closed(found: Found, data: Squares) -> None:
    before = collect(found, 0)

    def curious(jurors: object, samples: Sequence[Sample], *rest: object) -> list[np.ndarray]:
        mask = data.mask_path(samples[0].id)
        assert mask is not None
        mask.read_bytes()
        return []

    judged = Found(found.folder, data, found.candidates, (found.folder / "juror",), (), ())
    with pytest.raises(PermissionError, match="must not open a mask"):
        collect(judged, 0, judges=curious)
    for path in (data.root / "masks").iterdir():
        path.unlink()
    (data.root / "masks").rmdir()
    after = collect(found, 0)
    assert before.equals(after)


def test_verdicts_reach_their_rows(found: Found) -> None:
    """A jury that sees the share of the mask that is the class's true region: kept is high for sharp maps."""

    def juror(jurors, samples, masks, classes, device, progress) -> Iterator[np.ndarray]:  # type: ignore[no-untyped-def]
        for n, sample in enumerate(samples):
            truth = found.data.truth(int(sample.id[-1]))  # type: ignore[attr-defined]
            kept = [
                [(m & (truth == c + 1)).sum() / (truth == c + 1).sum() for c in sample.labels]
                for m in masks(n)
            ]
            yield np.stack([np.array(kept), np.array(kept) / 2], 1).astype(np.float32)

    judged = Found(found.folder, found.data, found.candidates, (found.folder / "juror",), (), ())
    table = collect(judged, 0, judges=juror)
    objects, background = table[table["class"] >= 0], table[table["class"] < 0]
    assert background[["kept", "lost"]].isna().all(axis=None)
    np.testing.assert_allclose(objects["lost"], objects["kept"] / 2)
    assert (objects[objects["entry"] == "sharp:crf"]["kept"] == 1).all()
    low = objects[(objects["entry"] == "sharp") & (objects["threshold"] == THRESHOLDS[0])]
    high = objects[(objects["entry"] == "sharp") & (objects["threshold"] == THRESHOLDS[-1])]
    assert (low["kept"].to_numpy() >= high["kept"].to_numpy()).all()
    assert low["kept"].mean() > high["kept"].mean()


def test_nobody_judges_images_that_all_have_the_same_classes(found: Found) -> None:
    """As with one class: scores have no scale without images that lack the class."""

    def asked(*arguments: object) -> list[np.ndarray]:
        raise AssertionError("the classifiers were run")

    judged = Found(found.folder, found.data, found.candidates, (found.folder / "juror",), (), ())
    assert collect(judged, 1, judges=asked)[["kept", "lost"]].isna().all(axis=None)
    with pytest.raises(AssertionError, match="were run"):
        collect(judged, 3, judges=asked)


def test_images_without_labels_are_left_out_and_the_rest_spread() -> None:
    samples = [Sample(str(n), Path(), (0,) if n % 2 else ()) for n in range(20)]
    assert [s.id for s in spread(samples, 5)] == ["1", "5", "9", "13", "17"]
    assert len(spread(samples, 0)) == len(spread(samples, 99)) == 10


@pytest.mark.parametrize("scale", [1.0, -3.0])
def test_scores_of_the_jury_are_on_one_scale(scale: float) -> None:
    """Whatever a classifier's scale: 0 as images without the class, 1 as those with it. One that knows nothing is NaN."""
    samples = [Sample("a", Path(), (0,)), Sample("b", Path(), (1,)), Sample("c", Path(), (0,))]
    scores = [np.array([[v, w], [v / 2, w], [9, -9]]) for v, w in ((4.0, 0.0), (0.0, 1.0), (4.0, 0.0))]
    unit = _unit([abs(scale) * each + scale for each in scores], samples, 2)
    np.testing.assert_allclose(unit[0], [[0.5], [1]])
    np.testing.assert_allclose(unit[1], [[1], [0]])
    assert np.isnan(_unit([-each for each in scores], samples, 2)[0]).all()


def test_views_of_an_image_are_all_of_it_then_inside_and_outside() -> None:
    mask = np.array([[[True, False], [False, False]]])
    views = _views(mask, (4, 6))
    assert views.shape == (3, 4, 6)
    assert views[0].all()
    assert views[1].sum() == 6
    np.testing.assert_array_equal(views[2], ~views[1])


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a made-up table of evidence is kept."""
    table = pd.DataFrame({"entropy": np.random.default_rng(0).random(5000)})
    path = tmp_path / "selection" / "evidence.parquet"
    monkeypatch.setattr(collecting, "evidence_file", lambda found, images: path)
    monkeypatch.setattr(collecting, "collect", lambda *arguments: table)
    return path


def read_kept() -> pd.DataFrame:
    nothing: Any = SimpleNamespace()
    return collecting.read_or_collect(nothing, 0, "cpu", nothing)


def test_kept_evidence_with_a_flipped_bit_is_not_used(kept: Path) -> None:
    assert read_kept().equals(read_kept())
    flip(kept)
    with pytest.raises(DataError, match="damaged; remove it and run the same command again"):
        read_kept()


def test_evidence_that_does_not_fit_the_disk_leaves_no_half_of_it(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_half(table: pd.DataFrame, path: Path, **options: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", write_half)
    with pytest.raises(OSError, match="No space left"):
        read_kept()
    assert list(kept.parent.iterdir()) == []


def test_where_data_lie_does_not_make_them_others() -> None:
    here, there, other = (
        {"name": "shapes", "root": root, "train": train} for root, train in (("/a", 8), ("/b", 8), ("/a", 9))
    )
    assert _content(here) == _content(there) != _content(other)
    own = {"name": "folder", "root": "/a"}
    assert _content(own) == own, "the root says which data they are"


@pytest.mark.parametrize(
    "settings",
    [{"name": "nowhere"}, {"name": "shapes", "train": "x"}, {"name": "shapes", "of an older version": 1}],
)
def test_settings_of_data_that_cannot_be_read_are_one_line(settings: dict[str, Any]) -> None:
    with pytest.raises(
        DataError, match=r"cannot be read .* run the command that made the run folder again"
    ) as error:
        _open(settings, None)
    assert "\n" not in str(error.value)
