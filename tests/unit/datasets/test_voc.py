"""PASCAL VOC 2012: lists, labels, and what is said when the tree is incomplete."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from datasets.base import DataError
from datasets.voc.reader import CLASSES, Voc2012, VocConfig, read_labels
from tests.helpers.trees import annotation, write_image, write_mask, write_voc

TRAIN = {"2007_000001": ["person", "cat"], "2007_000002": ["bus"]}
VAL = {"2007_000009": ["dog"]}
AUG = {**TRAIN, "2008_000004": ["cow"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_voc(tmp_path / "VOCdevkit", {"train": TRAIN, "val": VAL})


def dataset(root: Path, **settings: str) -> Voc2012:
    return Voc2012(VocConfig(root=str(root), **settings))


@pytest.mark.parametrize("root", ["", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_root_may_be_any_of_three_folders(folder: Path, tmp_path: Path, root: str) -> None:
    found = dataset(tmp_path / root)
    found.prepare()
    assert found.folder == folder
    assert found.ids("train") == tuple(TRAIN)
    assert found.ids("val") == tuple(VAL)


def test_labels_come_from_annotations_not_from_masks(folder: Path) -> None:
    write_mask(folder / "SegmentationClass" / "2007_000001.png", [0, 1, 2])
    assert [CLASSES[i] for i in dataset(folder).sample("2007_000001").labels] == ["cat", "person"]


def test_all_folders_of_pixel_labels_are_closed_to_training(folder: Path) -> None:
    """Also those that no listed image's mask comes from."""
    closed = {path.name for path in dataset(folder).mask_directories()}
    assert closed == {"SegmentationClass", "SegmentationClassAug", "SegmentationObject"}


def test_parts_and_unknown_objects_are_no_labels(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(annotation(["person", "head", "person"]))
    assert read_labels(tmp_path / "a.xml") == (CLASSES.index("person"),)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (annotation([]), "no object of the 20 classes (objects: none)"),
        (annotation(["zebra"]), "no object of the 20 classes (objects: zebra)"),
        ("<annotation>", "not well-formed XML"),
        ('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation/>', "document type"),
        (None, "cannot be read"),
    ],
)
def test_annotations_without_labels_are_refused(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "a.xml").write_text(content)
    with pytest.raises(DataError) as error:
        read_labels(tmp_path / "a.xml")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_auto_prefers_train_aug_and_reads_its_pairs_of_paths(folder: Path) -> None:
    write_image(folder / "JPEGImages" / "2008_000004.jpg")
    (folder / "Annotations" / "2008_000004.xml").write_text(annotation(["cow"]))
    write_mask(folder / "SegmentationClassAug" / "2008_000004.png", [0, 10])
    write_mask(folder / "SegmentationClassAug" / "2007_000001.png", [0, 10])
    lines = [f"/JPEGImages/{i}.jpg /SegmentationClassAug/{i}.png" for i in AUG]
    (folder / "ImageSets" / "Segmentation" / "train_aug.txt").write_text("\n".join(lines))
    found = dataset(folder)
    found.prepare()
    assert found.train_list == "train_aug"
    assert found.ids("train") == tuple(AUG)
    assert found.mask_path("2008_000004") == folder / "SegmentationClassAug" / "2008_000004.png"
    assert found.mask_path("2007_000001") == folder / "SegmentationClass" / "2007_000001.png"
    assert dataset(folder, train="train").ids("train") == tuple(TRAIN)


def test_sbd_lists_make_train_aug_without_val(folder: Path, tmp_path: Path) -> None:
    write_voc(tmp_path / "more", {"x": {"2008_000004": ["cow"]}})
    for part, suffix in (("JPEGImages", "jpg"), ("Annotations", "xml")):
        name = f"2008_000004.{suffix}"
        (tmp_path / "more" / "VOC2012" / part / name).rename(folder / part / name)
    lists = tmp_path / "sbd" / "dataset"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2008_000004\n2007_000001\n")
    (lists / "val.txt").write_text("2007_000009\n")
    found = dataset(folder, sbd_root=str(tmp_path / "sbd"))
    found.prepare()
    assert found.train_list == "sbd"
    assert found.ids("train") == ("2007_000001", "2007_000002", "2008_000004")
    assert found.mask_path("2008_000004") is None
    assert found.masked("train") < len(found.ids("train"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"train": "trainaug"},
            "trainaug: did you mean 'train_aug'\\? there are auto, train, train_aug, sbd",
        ),
        ({"train": "train_aug"}, "train_aug.txt cannot be read"),
        ({"train": "sbd"}, "set dataset.sbd_root"),
        ({"sbd_root": "/nowhere"}, "no train.txt and val.txt of SBD under /nowhere"),
    ],
)
def test_lists_that_are_not_there(folder: Path, settings: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        dataset(folder, **settings).prepare()


@pytest.mark.parametrize(("part", "kind"), [("JPEGImages", "image"), ("Annotations", "annotation")])
def test_missing_files_are_counted_and_named(folder: Path, part: str, kind: str) -> None:
    next((folder / part).glob("2007_000002.*")).unlink()
    with pytest.raises(DataError, match=rf"1 of 2 ids of the train list have no {kind} .*\(2007_000002\)"):
        dataset(folder).prepare()


def test_problems_name_subset_truncation_and_wrong_masks(folder: Path) -> None:
    image = folder / "JPEGImages" / "2007_000001.jpg"
    image.write_bytes(image.read_bytes()[:400])
    write_mask(folder / "SegmentationClass" / "2007_000002.png", [0, 21])
    write_mask(folder / "SegmentationClass" / "2007_000009.png", [0], size=(5, 5))
    what = "\n".join(p.what for p in dataset(folder).problems())
    assert "train has 2 images: a subset of the official 1464" in what
    assert "val has 1 images: a subset of the official 1449" in what
    assert "2007_000001.jpg: cannot be decoded: the JPEG is truncated" in what
    assert "2007_000002.png: class ids 21 out of range 0..20" in what
    assert "2007_000009.png: mask of 5x5 for an image of 24x16" in what
    assert "(found among 3 of 3 images sampled)" in what


@pytest.mark.shared
def test_the_shared_subset(shared: Path) -> None:
    found = dataset(shared / "data" / "VOCdevkit")
    found.prepare()
    assert (len(found.ids("train")), len(found.ids("val"))) == (528, 511)
    assert found.masked("train") == len(found.ids("train"))
    assert found.masked("val") == len(found.ids("val"))
    assert all(sample.labels for sample in found.samples("train"))
    assert len(found.problems()) == 2  # the two subsets


@pytest.mark.parametrize(
    ("lists", "count"),
    [
        ({"train": TRAIN, "train_aug": {**AUG, **VAL}, "val": VAL}, "1 of its 4 ids are in val.txt too"),
        ({"train": VAL, "val": VAL}, "1 of its 1 ids are in val.txt too"),
        (
            {"train": {**TRAIN, **VAL}, "val": {**VAL, "2007_000010": ["cow"]}},
            "1 of its 3 ids are in val.txt",
        ),
    ],
)
def test_lists_that_share_ids_are_refused(tmp_path: Path, lists: dict, count: str) -> None:
    folder = write_voc(tmp_path / "it's", lists)
    with pytest.raises(DataError, match=count) as error:
        dataset(folder).prepare()
    assert "\n" not in str(error.value)
    (problem,) = dataset(folder).problems()
    assert problem.broken
    if "take them off this list: " in str(error.value):
        subprocess.run(str(error.value).partition("this list: ")[2], shell=True, check=True)
        dataset(folder).prepare()


def test_a_test_list_with_training_ids_is_refused(tmp_path: Path) -> None:
    folder = write_voc(tmp_path, {"train": TRAIN, "val": VAL})
    (folder / "ImageSets" / "Segmentation" / "test.txt").write_text("2007_000001\n")
    with pytest.raises(DataError, match=r"test\.txt: 1 of its 1 ids are in train\.txt too"):
        dataset(folder).test_samples()


def test_images_that_are_in_two_splits_by_content_are_a_note(folder: Path) -> None:
    images = folder / "JPEGImages"
    (images / "2007_000009.jpg").write_bytes((images / "2007_000002.jpg").read_bytes())
    (note,) = [p for p in dataset(folder).problems() if "by their content" in p.what]
    assert not note.broken
    assert "1 of 1 val images are in train too, by their content (2007_000009)" in note.what
