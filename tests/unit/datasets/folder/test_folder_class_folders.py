"""Your own images in a folder for each class: layouts, their faults, and good images through all stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datasets.base import DataError
from methods.artifacts import CamReader, label_map_path
from results.io import read_run
from tests.helpers.folder_data import dataset, labels, mask, write_class_folders
from tests.helpers.tiny import sizes
from tests.helpers.toys import CommandLine
from tests.helpers.trees import write_image, write_mask

CLASSES = ("good", "dent", "rust")


@pytest.mark.parametrize("images", ["", "images/"])
def test_folders_are_classes_and_good_has_none(tmp_path: Path, images: str) -> None:
    folders = (f"{images}Scratch", f"{images}GOOD", f"{images}dent", ".hidden")
    found = dataset(write_class_folders(tmp_path, *folders), val_fraction=0.4)
    found.prepare()
    assert found.classes == ("Scratch", "dent")
    assert labels(found)["Scratch/0"] == ["Scratch"]
    assert labels(found)["dent/1"] == ["dent"]
    assert labels(found)["GOOD/2"] == []
    assert len(labels(found)) == 18
    assert found.problems() == []
    assert "6 images without an object: all background" in found.notes()
    assert "no masks: nothing is scored" in found.notes()


@pytest.mark.parametrize(
    ("split", "held", "left_out"), [("val", "val", ()), ("test", "test", ()), ("val", "val", ("test",))]
)
def test_split_folders(tmp_path: Path, split: str, held: str, left_out: tuple[str, ...]) -> None:
    parts = ("train", split, *left_out)
    write_class_folders(tmp_path, *(f"{p}/{c}" for p in parts for c in ("dent", "good")), count=2)
    (tmp_path / "classes.txt").write_text("rust\ndent\n")
    found = dataset(tmp_path)
    assert found.ids("train") == ("train/dent/0", "train/dent/1", "train/good/0", "train/good/1")
    assert found.ids("val") == tuple(i.replace("train", held) for i in found.ids("train"))
    assert found.classes == ("rust", "dent")
    assert found.sample("train/dent/0").labels == (1,)
    assert ("images of the folder test are left out" in found.notes()) == bool(left_out)


def test_mvtec_opens_as_it_is(tmp_path: Path) -> None:
    write_class_folders(tmp_path, "train/good", "test/good", "test/crack", "test/scratch", count=4)
    for name in ("crack", "scratch"):
        for i in range(4):
            write_mask(tmp_path / "ground_truth" / name / f"{i}_mask.png", [0, 255])
    found = dataset(tmp_path, val_fraction=0.5)
    assert len(found.ids("train")) + len(found.ids("val")) == 16
    assert found.masked("train") == len(found.ids("train"))
    assert found.masked("val") == len(found.ids("val"))
    assert set(np.unique(mask(found, "test/crack/0"))) == {0, 1}
    assert set(np.unique(mask(found, "test/scratch/1"))) == {0, 2}
    assert mask(found, "train/good/0").max() == 0
    assert mask(found, "train/good/0").shape == (16, 24)
    assert any("pooled with test" in note for note in found.notes())
    assert found.problems() == []
    assert tmp_path / "ground_truth" / "crack" in found.mask_directories()


@pytest.mark.parametrize(
    ("folders", "files", "settings", "message"),
    [
        (
            ["good"],
            [],
            {},
            r"not a label file \(no labels\.csv\), .*sort the images into a folder for each class",
        ),
        (["good", "GOOD"], [], {}, "good images only; add a folder of images for each class"),
        (["dent", "rust"], ["a.jpg"], {}, r"1 images beside the class folders \(a\.jpg\)"),
        (["dent", "rust"], ["dent/0.png"], {}, r"dent: 0\.jpg, 0\.png have one name; rename"),
        (["dent", "rust"], ["dent/x.gif"], {}, r"dent: x\.gif is not JPEG, PNG, WebP"),
        (["dent", "rust"], ["more/"], {}, "more: no images in this class folder"),
        (["dent", "rsut"], [], {"classes": "dent,rust"}, "rsut: unknown class 'rsut' .*did you mean 'rust'"),
        (["train/dent", "dent"], [], {}, "folder dent beside train; put class folders into train and val"),
        (["train/dent", "val/dent"], ["masks/dent/0.png"], {}, "fits images train/dent/0 and val/dent/0"),
        (["dent", "rust"], ["masks/dent/0.png", "dent/masks/0.png"], {}, r"0\.jpg: 2 masks fit .*keep one"),
        (["dent", "rust"], ["masks/dent/0.png"], {}, r"dent/0\.png: holds values .* besides 0"),
        (
            ["dent", "rust"],
            ["masks/9.bmp", "masks/8.bmp"],
            {},
            r"none of the 2 files in \S*masks \(8\.bmp, \.\.\.\) is a mask .* such as dent/0\.png \(in no folder where",
        ),
        (["dent", "rust"], ["masks/0.bmp"], {}, r"none of the 1 files in \S*masks \(0\.bmp, "),  # of which?
        (["dent", "rust"], ["rust/mask/x.tif"], {}, r"none of the 1 files in \S*rust/mask \(x\.tif, "),
    ],
)
def test_faults_of_class_folders(
    tmp_path: Path, folders: list[str], files: list[str], settings: dict[str, Any], message: str
) -> None:
    write_class_folders(tmp_path, *folders, count=4)
    for file in files:
        if file.endswith("/"):
            (tmp_path / file).mkdir()
        elif "mask" in file:
            write_mask(tmp_path / file, [0, 3, 9])
        else:
            write_image(tmp_path / file)
    found = dataset(tmp_path, val_fraction=0.5, **settings)
    with pytest.raises(DataError, match=message) as error:
        found.prepare()
    assert "\n" not in str(error.value)
    (problem,) = dataset(tmp_path, **settings).problems()
    assert problem.remedy


def test_images_without_objects_train_as_background(command_line: CommandLine, tmp_path: Path) -> None:
    """All stages of `cam`: no map in the CAM, labels of background only, a prediction, scores of all images."""
    root = write_class_folders(tmp_path / "data", *(f"{s}/{c}" for s in ("train", "val") for c in CLASSES))
    for split in ("train", "val"):
        for name in CLASSES[1:]:
            for i in range(6):
                write_mask(root / split / "masks" / name / f"{i}.png", [0, 0, 255])
    weights = ("method.cam.backbone.weights=none", "method.cam.segmenter.backbone.weights=none")
    place = ("--dataset", "folder", f"dataset.root={root}")
    done = command_line.run_on("cam", *place, *sizes(["cam"]), *weights)
    assert done.code == 0, done.out + done.err
    stored = read_run(command_line.output)
    (run,) = stored.runs
    assert run["status"] == "done"
    artifacts = {s["name"]: command_line.store / "artifacts" / s["name"] / s["key"] for s in run["stages"]}
    cams = dict(CamReader(artifacts["cam"]))
    assert cams["train/good/0"].maps.shape[0] == 0
    assert cams["train/dent/0"].maps.shape[0] == 1
    for sample_id, values in (("train/good/0", {0}), ("train/dent/0", {0, 1})):
        with Image.open(label_map_path(artifacts["pseudo_label"], sample_id)) as labels_made:
            assert set(np.unique(np.asarray(labels_made))) <= values
    with Image.open(label_map_path(artifacts["predict"], "val/good/0")) as prediction:
        assert prediction.size == (24, 16)
    scored = stored.records[(stored.records.metric == "miou") & (stored.records.method == "cam")]
    assert set(scored[scored.stage == "pseudo_label"].images) == {18}
    assert set(scored[scored.stage == "segmentation"].images) == {18}


def test_copies_of_training_images_in_val_are_counted(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path, "train/dent", "train/rust", "val/dent", "val/rust", count=4)
    assert dataset(root).problems() == []
    (root / "val" / "dent" / "copy.jpg").write_bytes((root / "train" / "rust" / "0.jpg").read_bytes())
    (note,) = dataset(root).problems()
    assert not note.broken
    assert "1 of 9 val images are in train too, by their content (val/dent/copy)" in note.what


def test_splits_within_class_folders_are_not_taken_for_the_split(tmp_path: Path) -> None:
    write_class_folders(tmp_path, "dent/Train", "dent/Test", "rust/Train", count=4)
    assert any(
        "folders Test, Train in class folders are pooled" in note for note in dataset(tmp_path).notes()
    )
