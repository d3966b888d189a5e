"""MS COCO 2014: which images count, labels, ground truths, and what is said when the tree is incomplete."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from datasets.base import DataError
from datasets.coco import annotations as coco_annotations
from datasets.coco.annotations import CLASSES, read_images
from datasets.coco.prepare import prepare
from datasets.coco.reader import Coco2014, CocoConfig
from datasets.files.guard import masks_closed
from datasets.files.preparing import Request
from tests.helpers.trees import write_coco

IMAGES = {"train": {9: [90, 1, 90], 4: [27], 25: []}, "val": {42: [3], 7: []}}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_coco(tmp_path / "coco", IMAGES)


def dataset(root: Path, **settings: str) -> Coco2014:
    return Coco2014(CocoConfig(root=str(root), **settings))


def test_images_without_an_object_are_left_out(root: Path) -> None:
    found = dataset(root)
    found.prepare()
    assert found.ids("train") == ("COCO_train2014_000000000004", "COCO_train2014_000000000009")
    assert found.ids("val") == ("COCO_val2014_000000000042",)
    assert found.notes()[0] == "train: 2 images with an object, of 3; 2 with masks (ground truth instances)"


def test_labels_are_the_classes_of_the_annotations(root: Path) -> None:
    names = [CLASSES[i] for i in dataset(root).sample("COCO_train2014_000000000009").labels]
    assert names == ["person", "toothbrush"]


def test_the_ground_truth_is_a_setting_and_part_of_the_content(root: Path) -> None:
    found = {truth: dataset(root, ground_truth=truth) for truth in ("instances", "coco_stuff")}
    for truth, one in found.items():
        assert one.mask_path("COCO_val2014_000000000042").parent == root / "masks" / truth / "val2014"
    assert len({one.fingerprint("masks", "val") for one in found.values()}) == 2
    assert len({one.fingerprint("images", "val") for one in found.values()}) == 1
    with pytest.raises(DataError, match=r"dataset\.ground_truth=stuff: .*there are instances, coco_stuff"):
        dataset(root, ground_truth="stuff")


def test_whatever_tells_of_pixels_is_closed_to_training(root: Path) -> None:
    """Both kinds of masks, whichever is scored against, and the annotations with their outlines."""
    found = dataset(root)
    view = found.training_view()
    closed = [root / "annotations" / "instances_train2014.json", *(root / "masks").rglob("*.png")]
    assert len(closed) == 1 + 2 * 5
    with masks_closed(found.mask_directories()):
        assert view.samples("train")[0].image.read_bytes()
        for path in closed:
            with pytest.raises(PermissionError, match="must not open a mask"):
                path.read_bytes()


def test_annotations_are_read_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = root / "annotations" / "instances_val2014.json"
    before = read_images(path)
    monkeypatch.setattr(coco_annotations, "read_annotations", None)
    assert read_images(path) == before
    monkeypatch.undo()
    changed = json.loads(path.read_text())
    changed["annotations"][0]["category_id"] = 4
    path.write_text(json.dumps(changed))
    assert read_images(path) != before


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        ("annotations", "no annotations/ in"),
        ("val2014", "no val2014/ in"),
        ("annotations/instances_val2014.json", "instances_val2014.json: cannot be read"),
        ("train2014/COCO_train2014_000000000009.jpg", "1 of 2 train images are not in"),
    ],
)
def test_what_is_missing_is_one_line(root: Path, lost: str, words: str) -> None:
    (root / lost).rename(root / "elsewhere")
    with pytest.raises(DataError, match=words) as error:
        dataset(root).prepare()
    assert "\n" not in str(error.value)
    (problem, *_) = dataset(root).problems()
    assert words in problem.what
    assert problem.broken


def test_annotations_of_another_year(root: Path) -> None:
    path = root / "annotations" / "instances_val2014.json"
    path.write_text(path.read_text().replace("COCO_val2014_", ""))
    with pytest.raises(DataError, match=r"2 images are not named COCO_val2014_\*\.jpg"):
        dataset(root).prepare()


def test_problems_name_subsets_and_missing_masks(root: Path) -> None:
    (root / "masks" / "instances" / "train2014" / "COCO_train2014_000000000004.png").unlink()
    (root / "masks" / "instances" / "val2014").rename(root / "elsewhere")
    found = {p.what: p for p in dataset(root).problems()}
    some = next(p for what, p in found.items() if "1 of 2 train images have no mask in" in what)
    none = next(p for what, p in found.items() if "1 of 1 val images have no mask in" in what)
    assert (some.broken, none.broken) == (True, False)
    assert "prepare coco2014" in some.remedy
    assert any("val has 1 images with an object: a subset of the official 40137" in what for what in found)


@pytest.mark.parametrize(("key", "value"), [("id", 9), ("file_name", "COCO_train2014_000000000009.jpg")])
def test_images_listed_twice_are_refused(tmp_path: Path, key: str, value: object) -> None:
    write_coco(tmp_path, {"train": {9: [1], 25: [2]}, "val": {42: [3]}})
    file = tmp_path / "annotations" / "instances_train2014.json"
    content = json.loads(file.read_text())
    content["images"][1][key] = value
    content["annotations"] = content["annotations"][:1]
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=f"1 images are listed twice, {key} {value} first"):
        Coco2014(CocoConfig(root=str(tmp_path))).prepare()


@pytest.mark.parametrize("side", ["48", -3, 4.5, None, True, 10**6])
def test_images_of_no_size_are_refused(tmp_path: Path, side: object) -> None:
    write_coco(tmp_path, {"train": {9: [1], 25: [2]}, "val": {42: [3]}})
    file = tmp_path / "annotations" / "instances_train2014.json"
    content = json.loads(file.read_text())
    content["images"][1]["height"] = side
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"image 25 has width \d+ and height .*; take it from"):
        Coco2014(CocoConfig(root=str(tmp_path))).prepare()


def test_deeply_nested_annotations_are_refused(tmp_path: Path) -> None:
    write_coco(tmp_path, {"train": {9: [1], 25: [2]}, "val": {42: [3]}})
    (tmp_path / "annotations" / "instances_train2014.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match=r"instances_train2014\.json: not JSON"):
        Coco2014(CocoConfig(root=str(tmp_path))).prepare()


def test_annotation_files_that_share_images_are_refused(tmp_path: Path) -> None:
    write_coco(tmp_path, {"train": {9: [1], 25: [2]}, "val": {25: [3]}})
    with pytest.raises(DataError, match=r"1 images are in both \(25\); take both from"):
        Coco2014(CocoConfig(root=str(tmp_path))).prepare()


@pytest.mark.parametrize("name", ["{:012d}.jpg", "COCO_val2014_{:012d}.jpg", "COCO_train2017_{:012d}.jpg"])
def test_what_doctor_refuses_is_not_prepared(tmp_path: Path, name: str) -> None:
    """Annotations of 2017 and of the other split, of which a part would do."""
    write_coco(tmp_path, {"train": {9: [1]}, "val": {42: [3]}})
    file = tmp_path / "annotations" / "instances_train2014.json"
    content = json.loads(file.read_text())
    content["images"][0]["file_name"] = name.format(9)
    file.write_text(json.dumps(content))
    request = Request([], tmp_path, True, lambda title: pytest.fail("nothing is made"), lambda line: None)
    with pytest.raises(
        DataError, match=r"1 images are not named COCO_train2014_\*\.jpg .*take the annotations of 2014"
    ):
        prepare(request)
