"""Trees as they come: of public sets, of annotation tools, and of several classes in one image. Each is written here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from datasets.base import DataError
from datasets.files.guard import masks_closed
from datasets.folder.reader import Folder
from tests.helpers.folder_data import dataset, labels, mask, write_class_folders
from tests.helpers.toys import Toy
from tests.helpers.trees import write_folder, write_image, write_mask

SQUARE = [2, 2, 10, 2, 10, 8, 2, 8]
"""A polygon of 8 x 6 pixels."""


def write_images(root: Path, *names: str) -> Path:
    for seed, name in enumerate(names):
        write_image(root / name, seed)
    return root


def layout(found: Folder) -> str:
    (line,) = [note for note in found.notes() if note.startswith("layout: ")]
    return line.removeprefix("layout: ")


def values(found: Folder, sample_id: str) -> set[int]:
    return set(np.unique(mask(found, sample_id)).tolist())


def check_closed(found: Folder, *files: Path) -> None:
    """While a method trains, images open and these files do not, nor does any mask."""
    paths = [found.mask_path(i) for split in ("train", "val") for i in found.ids(split)]
    with masks_closed(found.mask_directories(), found.mask_files()):
        for split in ("train", "val"):
            for sample in found.samples(split):
                assert sample.image.read_bytes()
        for path in (*files, *filter(None, paths)):
            with pytest.raises(PermissionError, match="training must not open a mask"):
                path.read_bytes()


def test_one_flat_folder_of_masks(tmp_path: Path) -> None:
    write_images(tmp_path, "dent/a.jpg", "dent/b.jpg", "rust/c.jpg", "rust/sub/d.jpg")
    for name in "abcd":
        write_mask(tmp_path / "masks" / f"{name}.png", [0, 255])
    found = dataset(tmp_path)
    assert [values(found, i) for i in ("dent/a", "rust/c", "rust/sub/d")] == [{0, 1}, {0, 2}, {0, 2}]
    assert layout(found).startswith(
        "class folders, masks in folders of masks; not a label file (no labels.csv), VisA ("
    )


def test_images_and_masks_in_a_folder_of_each_class(tmp_path: Path) -> None:
    """As magnetic tiles: ``<class>/Imgs/*.jpg`` and ``*.png``."""
    for name in ("MT_Crack", "MT_Fray"):
        for k in range(4):
            write_image(tmp_path / name / "Imgs" / f"{name}{k}.jpg", k)
            write_mask(tmp_path / name / "Imgs" / f"{name}{k}.png", [0, 0, 255])
    found = dataset(tmp_path)
    assert labels(found)["MT_Fray/Imgs/MT_Fray1"] == ["MT_Fray"]
    assert len(labels(found)) == 8
    assert values(found, "MT_Fray/Imgs/MT_Fray1") == {0, 2}
    check_closed(found, tmp_path / "MT_Crack" / "Imgs" / "MT_Crack0.png")


def test_loco_unites_the_parts_of_a_mask(tmp_path: Path) -> None:
    folders = ("train/good", "validation/good", "test/good", "test/logical", "test/structural")
    write_class_folders(tmp_path, *folders, count=2)
    for name in ("logical", "structural"):
        for k in range(2):
            write_mask(tmp_path / "ground_truth" / name / str(k) / "000.png", [0, 0, 0, 254])
            write_mask(tmp_path / "ground_truth" / name / str(k) / "001.png", [0, 255, 0, 0])
    found = dataset(tmp_path, val_fraction=0.5)
    assert layout(found).startswith("MVTec LOCO, masks in folders of masks; not ")
    assert len(labels(found)) == 10
    assert values(found, "test/structural/1") == {0, 2}
    assert (mask(found, "test/structural/1") > 0).mean() == 0.5
    assert any("train has good images only: pooled with validation and test" in n for n in found.notes())
    check_closed(found, tmp_path / "ground_truth" / "logical" / "0" / "001.png")


def write_visa(root: Path) -> Path:
    """An object of VisA; returns its folder."""
    lines = ["image,label,mask"]
    for k, label in enumerate(("normal", "normal", "melt", "bent", "melt", "bent", "bent,melt")):
        kind = "Normal" if label == "normal" else "Anomaly"
        image, truth = f"candle/Data/Images/{kind}/{k}.JPG", f"candle/Data/Masks/Anomaly/{k}.png"
        write_image(root / image, k)
        if label == "normal":
            truth = ""
        else:
            write_mask(root / truth, [0, 3, 7])
        lines.append(f'{image},"{label}",{truth}')
    (root / "candle" / "image_anno.csv").write_text("\n".join(lines) + "\n")
    return root / "candle"


def test_visa(tmp_path: Path) -> None:
    root = write_visa(tmp_path)
    found = dataset(root)
    assert layout(found).startswith("VisA; not a label file (no labels.csv)")
    assert found.classes == ("bent", "melt")
    assert labels(found)["Anomaly/2"] == ["melt"]
    assert labels(found)["Anomaly/6"] == ["bent", "melt"]
    assert labels(found)["Normal/0"] == []
    assert values(found, "Anomaly/2") == {0, 2}
    assert found.mask_path("Anomaly/6") is None
    assert any("1 images of several kinds of defects are not scored" in note for note in found.notes())
    check_closed(found, root / "Data" / "Masks" / "Anomaly" / "2.png")
    renamed = root.rename(tmp_path / "mine")
    assert len(labels(dataset(renamed))) == 7


def write_kolektor(root: Path) -> Path:
    for split in ("train", "test"):
        for k in range(4):
            write_image(root / split / f"{k}.png", k + 4 * len(split))
            write_mask(root / split / f"{k}_GT.png", [0, 255] if k == 0 else [0])
    return root


def test_kolektor(tmp_path: Path) -> None:
    found = dataset(write_kolektor(tmp_path))
    assert layout(found).startswith("KolektorSDD2; not ")
    assert found.classes == ("defect",)
    assert labels(found) == {f"{s}/{k}": ["defect"] * (k == 0) for s in ("train", "test") for k in range(4)}
    assert found.ids("val") == tuple(f"test/{k}" for k in range(4))
    assert [values(found, f"test/{k}") for k in (0, 1)] == [{0, 1}, {0}]
    check_closed(found, tmp_path / "train" / "0_GT.png")


def write_dagm(root: Path, classes: Sequence[str] = ("Class1", "Class2")) -> Path:
    for name in classes:
        for split in ("Train", "Test"):
            for k in range(3):
                write_image(root / name / split / f"{k}.PNG", crc32(f"{name}{split}{k}".encode()))
            write_mask(root / name / split / "Label" / "1_label.PNG", [0, 255])
            (root / name / split / "Label" / "Labels.txt").write_text("1\n")
    return root


def test_dagm(tmp_path: Path) -> None:
    found = dataset(write_dagm(tmp_path))
    assert layout(found).startswith("DAGM; not ")
    assert found.classes == ("Class1", "Class2")
    assert labels(found)["Class2/Train/1"] == ["Class2"]
    assert labels(found)["Class2/Test/0"] == []
    assert {i.split("/")[1] for i in found.ids("val")} == {"Test"}
    assert values(found, "Class2/Test/1") == {0, 2}
    check_closed(found, tmp_path / "Class1" / "Train" / "Label" / "1_label.PNG")
    for name in ("Class1", "Class2"):
        shutil.rmtree(tmp_path / name / "Test")
    half = dataset(tmp_path, val_fraction=0.4)
    assert len(labels(half)) == 6
    assert half.ids("val")
    alone = dataset(tmp_path / "Class1")
    assert alone.classes == ("Class1",)
    assert labels(alone)["Train/1"] == ["Class1"]


def coco(names: Sequence[str], objects: Sequence[tuple[int, int, Any]]) -> dict[str, Any]:
    """Images numbered from 0; objects (image, category, segmentation)."""
    return {
        "images": [{"id": k, "file_name": name, "width": 24, "height": 16} for k, name in enumerate(names)],
        "categories": [{"id": 0, "name": "all"}, {"id": 3, "name": "rust"}, {"id": 7, "name": "dent"}],
        "annotations": [
            {"id": k, "image_id": image, "category_id": category, "segmentation": shape, "iscrowd": 0}
            for k, (image, category, shape) in enumerate(objects)
        ],
    }


def test_coco_of_one_file(tmp_path: Path) -> None:
    """Polygons, run lengths and boxes; the file is closed while a method trains, though it lies beside the images."""
    write_images(tmp_path, *(f"images/{k}.jpg" for k in range(5)))
    runs = {"counts": [16 * 4, 16 * 2, 16 * 18], "size": [16, 24]}  # two columns
    content = coco(
        [f"{k}.jpg" for k in range(5)],
        [(0, 7, [SQUARE]), (0, 3, [[3, 3, 5, 3, 5, 5, 3, 5]]), (1, 3, runs), (2, 3, []), (3, 7, [SQUARE])],
    )
    (tmp_path / "labels.json").write_text(json.dumps(content))
    found = dataset(tmp_path, val_fraction=0.4)
    assert layout(found).startswith("COCO JSON, masks drawn of its outlines; not ")
    assert found.classes == ("rust", "dent")
    assert labels(found)["images/0"] == ["rust", "dent"]
    assert labels(found)["images/4"] == []
    drawn = mask(found, "images/0")
    assert (np.count_nonzero(drawn == 2), np.count_nonzero(drawn == 1)) == (44, 4)  # the smaller on top
    assert np.count_nonzero(mask(found, "images/1") == 1) == 32
    assert found.mask_path("images/2") is None
    assert not mask(found, "images/4").any()
    assert any("1 images have objects without an outline and are not scored" in n for n in found.notes())
    check_closed(found, tmp_path / "labels.json")


def test_coco_of_packed_run_lengths(tmp_path: Path) -> None:
    write_images(tmp_path, "images/a.jpg", "images/b.jpg")
    marked = np.asfortranarray(np.arange(16 * 24).reshape(16, 24) % 7 == 0, dtype=np.uint8)
    packed = coco_mask.encode(marked)
    runs = {"size": packed["size"], "counts": packed["counts"].decode()}
    (tmp_path / "x.json").write_text(json.dumps(coco(["a.jpg", "b.jpg"], [(0, 3, runs)])))
    assert np.array_equal(mask(dataset(tmp_path), "images/a"), marked)


def test_coco_of_a_file_for_each_split(tmp_path: Path) -> None:
    """As Roboflow exports; without a val folder the test images are val."""
    for split in ("train", "test"):
        write_images(tmp_path / split, "a.jpg", "b.jpg")
        content = coco(["a.jpg", "b.jpg"], [(0, 7, [SQUARE]), (1, 3, [SQUARE])])
        (tmp_path / split / "_annotations.coco.json").write_text(json.dumps(content))
    found = dataset(tmp_path)
    assert found.ids("train") == ("train/a", "train/b")
    assert found.ids("val") == ("test/a", "test/b")
    assert values(found, "test/b") == {0, 1}


def labelme(shapes: Sequence[tuple[str, str, Any]], image: str) -> str:
    listed = [{"label": name, "shape_type": kind, "points": points} for name, kind, points in shapes]
    return json.dumps({"version": "5", "shapes": listed, "imagePath": image})


def test_labelme(tmp_path: Path) -> None:
    write_images(tmp_path, *(f"{name}.jpg" for name in "abcdef"))
    square = np.reshape(SQUARE, (-1, 2)).tolist()
    for name, shapes in {
        "a": [("rust", "polygon", square), ("__ignore__", "rectangle", [[14, 0], [20, 16]])],
        "b": [("dent", "rectangle", [[10, 8], [2, 2]]), ("rust", "circle", [[18, 8], [18, 12]])],
        "c": [("dent", "point", [[3, 3]])],
        "d": [],
        "e": [("rust", "polygon", square)],
    }.items():
        (tmp_path / f"{name}.json").write_text(labelme(shapes, f"..\\pictures\\{name}.jpg"))
    found = dataset(tmp_path, val_fraction=0.4)
    assert layout(found).startswith("LabelMe JSON, masks drawn of its outlines; not ")
    assert labels(found) == {"a": ["rust"], "b": ["dent", "rust"], "c": ["dent"], "d": [], "e": ["rust"]}
    assert values(found, "a") == {0, 2, 255}
    assert np.count_nonzero(mask(found, "b") == 1) == 48
    assert np.count_nonzero(mask(found, "b") == 2) == pytest.approx(np.pi * 16, rel=0.15)
    assert found.mask_path("c") is None
    assert values(found, "d") == {0}
    assert any("1 pictures without a JSON are left out (f.jpg)" in note for note in found.notes())
    check_closed(found, tmp_path / "a.json")


def cvat(*images: str) -> str:
    return f"<?xml version='1.0'?>\n<annotations><version>1.1</version>{''.join(images)}</annotations>"


def test_cvat(tmp_path: Path) -> None:
    write_images(tmp_path, *(f"images/{name}.jpg" for name in "abcd"))
    polygon = ";".join(f"{x}.0,{y}.0" for x, y in np.reshape(SQUARE, (-1, 2)))
    text = cvat(
        f"<image id='0' name='a.jpg'><polygon label='rust' points='{polygon}' z_order='0'/>"
        "<box label='__ignore__' xtl='14' ytl='0' xbr='20' ybr='16'/></image>",
        "<image id='1' name='b.jpg'><box label='dent' xtl='2' ytl='2' xbr='10' ybr='8'/></image>",
        "<image id='2' name='c.jpg'><points label='dent' points='3,3'/></image>",
        "<image id='3' name='d.jpg'/>",
    )
    (tmp_path / "annotations.xml").write_text(text)
    found = dataset(tmp_path, val_fraction=0.4)
    assert layout(found).startswith("CVAT XML, masks drawn of its outlines; not ")
    assert found.classes == ("dent", "rust")
    assert labels(found) == {"images/a": ["rust"], "images/b": ["dent"], "images/c": ["dent"], "images/d": []}
    assert np.count_nonzero(mask(found, "images/a") == 2) == 48
    assert values(found, "images/a") == {0, 2, 255}
    assert np.count_nonzero(mask(found, "images/b") == 1) == 48
    assert found.mask_path("images/c") is None
    check_closed(found, tmp_path / "annotations.xml")


def test_masks_of_cvats_brush(tmp_path: Path) -> None:
    """Runs of what is around, then of the object, row by row in the box; rotated boxes have no outline."""
    write_images(tmp_path, *(f"images/{name}.jpg" for name in "abc"))
    brush = "<mask label='rust' rle='1, 2, 3' left='4' top='5' width='3' height='2' z_order='0'/>"
    box = "<box label='rust' xtl='2' ytl='2' xbr='10' ybr='8' rotation='30'/>"
    text = cvat(
        f"<image name='a.jpg'>{brush}</image>",
        f"<image name='b.jpg'>{box}</image>",
        "<image name='c.jpg'/>",
    )
    (tmp_path / "annotations.xml").write_text(text)
    found = dataset(tmp_path, val_fraction=0.4)
    assert np.argwhere(mask(found, "images/a")).tolist() == [[5, 5], [5, 6]]
    assert found.mask_path("images/b") is None


def test_several_classes_in_one_image_of_class_folders(tmp_path: Path) -> None:
    write_class_folders(tmp_path, "dent", "rust", count=4)
    (tmp_path / "labels.csv").write_text("id,labels\ndent/0,rust\nrust/1.png,dent;hole\n")
    write_mask(tmp_path / "masks" / "dent" / "0.png", [0, 1, 3])
    write_mask(tmp_path / "masks" / "dent" / "1.png", [0, 255])
    found = dataset(tmp_path)
    assert found.classes == ("dent", "hole", "rust")
    assert labels(found)["dent/0"] == ["dent", "rust"]
    assert labels(found)["rust/1"] == ["dent", "hole", "rust"]
    assert labels(found)["rust/2"] == ["rust"]
    assert (values(found, "dent/0"), values(found, "dent/1")) == ({0, 1, 3}, {0, 1})
    assert layout(found).startswith("class folders, masks in folders of masks, more labels in labels.csv")


def break_visa(root: Path) -> Path:
    (write_visa(root) / "Data" / "Images" / "Anomaly" / "2.JPG").unlink()
    return root / "candle"


def whole_visa(root: Path) -> Path:
    write_visa(root)
    (root / "split_csv").mkdir()
    return root


def break_kolektor(root: Path) -> Path:
    (write_kolektor(root) / "train" / "1_GT.png").unlink()
    return root


def break_dagm(root: Path) -> Path:
    (write_dagm(root) / "Class1" / "Train" / "1.PNG").unlink()
    return root


def break_loco(root: Path) -> Path:
    write_class_folders(root, "train/good", "validation/good", "test/good", "test/logical", count=2)
    write_mask(root / "ground_truth" / "logical" / "0" / "000.png", [0, 254])
    write_mask(root / "ground_truth" / "logical" / "0" / "001.png", [0, 254], (30, 20))
    return root


def break_coco(root: Path) -> Path:
    write_images(root, "images/a.jpg")
    (root / "x.json").write_text(json.dumps(coco(["a.jpg", "b.jpg"], [(0, 3, [SQUARE])])))
    return root


def far_coco(root: Path) -> Path:
    write_images(root, "images/a.jpg", "images/b.jpg")
    (root / "x.json").write_text(json.dumps(coco(["a.jpg", "b.jpg"], [(0, 3, [[0, 0, 1e300, 4, 5, 5]])])))
    return root


def torn_runs(root: Path) -> Path:
    write_images(root, "images/a.jpg", "images/b.jpg")
    runs = {"size": [16, 24], "counts": "P10000oooo0"}
    (root / "x.json").write_text(json.dumps(coco(["a.jpg", "b.jpg"], [(0, 3, runs)])))
    return root


def short_runs(root: Path) -> Path:
    write_images(root, "images/a.jpg", "images/b.jpg")
    (root / "x.json").write_text(json.dumps(coco(["a.jpg", "b.jpg"], [(0, 3, {"counts": [3, 5]})])))
    return root


def break_labelme(root: Path) -> Path:
    write_images(root, "a.jpg")
    (root / "a.json").write_text(labelme([], "a.jpg"))
    (root / "b.json").write_text(labelme([], "b.jpg"))
    return root


def torn_labelme(root: Path) -> Path:
    write_images(root, "a.jpg", "b.jpg")
    (root / "a.json").write_text(labelme([], "a.jpg"))
    (root / "b.json").write_text(labelme([], "b.jpg")[:20])
    return root


def torn_cvat(root: Path) -> Path:
    write_images(root, "images/a.jpg", "images/b.jpg")
    (root / "a.xml").write_text(cvat("<image id='0' name='a.jpg'>")[:-20])
    return root


def nameless_cvat(root: Path) -> Path:
    write_images(root, "images/a.jpg", "images/b.jpg")
    (root / "a.xml").write_text(cvat("<image id='0' name='a.jpg'><polygon points='1,1;2,2'/></image>"))
    return root


def cvat_of(*images: str, encoding: str = "utf-8") -> Callable[[Path], Path]:
    def write(root: Path) -> Path:
        write_images(root, "images/a.jpg", "images/b.jpg")
        text = cvat(*images).replace("?>", f" encoding='{encoding}'?>", 1)
        (root / "a.xml").write_text(text)
        return root

    return write


def brush(rle: str, width: int = 3) -> str:
    mask = f"<mask label='rust' rle='{rle}' left='22' top='5' width='{width}' height='2'/>"
    return f"<image name='a.jpg'>{mask}</image>"


TWICE = "<image name='a.jpg'><polygon label='rust' points='1,1;9,9;1,9'/></image>"


def nowhere_csv(root: Path) -> Path:
    write_class_folders(root, "dent", "rust", count=2)
    (root / "labels.csv").write_text("id,labels\nx,rust\n")
    return root


def twice_csv(root: Path) -> Path:
    write_class_folders(root, "dent", "rust", count=2)
    (root / "labels.csv").write_text("id,labels\n0,rust\n")
    return root


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            break_visa,
            r"image_anno\.csv row 4: no file candle/Data/Images/Anomaly/2\.JPG below .*candle; add it",
        ),
        (whole_visa, r"VisA has 1 objects \(candle\), each a data set; choose one: dataset\.root=\S+/candle"),
        (break_kolektor, r"train: 1 images have no mask \(1\.png\), which alone says .*; add <name>_GT\.png"),
        (break_dagm, r"Class1/Train/Label: 1 masks fit no image \(1_label\.PNG\); call each as its image"),
        (break_loco, r"logical/0: masks of different sizes; save the parts at their image's size"),
        (break_coco, r"x\.json: 1 of 2 images are not below \S+ \(b\.jpg\); add them"),
        (far_coco, r"x\.json: annotation 0: an outline that cannot be drawn; correct it"),
        (torn_runs, r"x\.json: run lengths that are not of an image of 24x16; export it again"),
        (short_runs, r"x\.json: run lengths of 8 pixels for an image of 24x16; export it again"),
        (break_labelme, r"b\.json: its image b\.jpg is not beside it; add the image or remove the file"),
        (torn_labelme, r"b\.json: not JSON \(.*\); export it again"),
        (torn_cvat, r"a\.xml: not as CVAT's files for images are \(.*\); export it again"),
        (nameless_cvat, r"a\.xml: not as CVAT's files for images are \('label'\); export it again"),
        (cvat_of(encoding="foo"), r"a\.xml: not as CVAT's .* \(unknown encoding: foo\); export it again"),
        (cvat_of(encoding="euc-jp"), r"a\.xml: not as CVAT's .* \(multi-byte .*\); export it again"),
        (cvat_of(TWICE, TWICE), r"a\.xml: a\.jpg is annotated twice; remove one of the annotations"),
        (
            cvat_of(brush("1, x")),
            r"a\.xml: not as CVAT's files for images are \(invalid .*\); export it again",
        ),
        (cvat_of(brush("1,2,3")), r"a\.xml: a mask that does not fit .* the image of 24x16; export it again"),
        (cvat_of(brush("1,9", 2)), r"a\.xml: a mask that does not fit its box"),
        (cvat_of(brush("5,-2,1", 2)), r"a\.xml: a mask that does not fit its box"),
        (nowhere_csv, r"labels\.csv row 2: no image 'x' in the class folders of"),
        (twice_csv, r"labels\.csv row 2: id '0' fits dent/0, rust/0; write the path"),
    ],
)
def test_a_wrong_tree_is_one_line(tmp_path: Path, make: Callable[[Path], Path], words: str) -> None:
    with pytest.raises(DataError, match=words) as error:
        dataset(make(tmp_path)).prepare()
    assert "\n" not in str(error.value)


def test_no_layout_says_what_each_lacks(tmp_path: Path) -> None:
    write_images(tmp_path, "a.jpg", "b.jpg")
    with pytest.raises(
        DataError, match=r"is in no layout that is read: not a label file \(no labels\.csv\), VisA"
    ) as error:
        dataset(tmp_path).prepare()
    assert "class folders (no two folders of images)" in str(error.value)
    assert "\n" not in str(error.value)


def test_masks_beside_the_images_of_a_label_file(tmp_path: Path) -> None:
    root = write_folder(tmp_path, ["a,rust,train", "b,dent,val"], masks=False)
    write_mask(root / "images" / "a_mask.png", [0, 2])
    write_mask(root / "images" / "b_mask.png", [0, 1])
    found = dataset(root)
    assert (values(found, "a"), values(found, "b")) == ({0, 2}, {0, 1})
    check_closed(found)


@pytest.mark.parametrize("name", ["{}.png", "{}_GT.bmp", "mask_{}.png"])
@pytest.mark.parametrize("masks", ["abc", "c"])
def test_masks_beside_images_that_are_not_listed_are_closed(tmp_path: Path, name: str, masks: str) -> None:
    """Also where none lies beside the images that are listed, or all rows of some split are left out."""
    (tmp_path / "labels.csv").write_text(
        "id,labels,split\na.jpg,rust,train\nb.jpg,dent,val\nd.jpg,dent,test\n"
    )
    write_images(tmp_path / "images", "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    for each in (*masks, "d"):
        write_mask(tmp_path / "images" / name.format(each), [0, 1])
    found = dataset(tmp_path)
    assert found.ids("train") == ("a",)
    check_closed(found, *(tmp_path / "images" / name.format(each) for each in "cd"))


def test_masks_of_folders_that_are_left_out_are_closed(tmp_path: Path) -> None:
    for k, split in enumerate(("train", "val", "test")):
        write_images(tmp_path, f"{split}/dent/{k}.jpg", f"{split}/rust/{k}.jpg")
        write_mask(tmp_path / split / "ground_truth" / "dent" / f"{k}.png", [0, 255])
        write_mask(tmp_path / split / "rust" / f"{k}.png", [0, 255])
    found = dataset(tmp_path)
    assert len(found.ids("train")) == len(found.ids("val")) == 2
    check_closed(found, tmp_path / "test/ground_truth/dent/2.png", tmp_path / "test/rust/2.png")


def test_a_stage_cannot_open_a_mask_beside_an_image(command_line, third_party, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    third_party(Toy("toy", run="tests.helpers.toys:read_note"))
    root = write_class_folders(tmp_path / "data", "dent", "rust", count=0)
    for k in range(4):
        for name in ("dent", "rust"):
            write_image(root / name / f"{k}.jpg", k + 10 * len(name))
            write_mask(root / name / f"{k}.png", [0, 0, 255])
    for path, code in ((root / "dent" / "0.jpg", 0), (root / "dent" / "0.png", 1)):
        done = command_line.run_on(
            "toy", "--dataset", "folder", f"dataset.root={root}", f"method.toy.note={path}"
        )
        assert done.code == code, done.out + done.err
        assert ("training must not open a mask" in done.out) == bool(code)
