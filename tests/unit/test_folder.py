"""Your own images: the label file, its errors, the split, and a real defect data set as it lies on disk."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datasets.base import Conversion, DataError
from datasets.folder import Folder, FolderConfig
from datasets.label_file import read_class_file
from methods.artifacts import CamReader, label_map_path
from results.io import read_run
from tests.tiny import sizes
from tests.toys import CommandLine, command_line
from tests.trees import write_deep_colour, write_folder, write_image, write_mask

__all__ = ["command_line"]  # fixture

CLASSES = ("good", "dent", "rust")
ROWS = ["a,rust,train", "b,rust;dent,train", "c,dent,val"]


def dataset(root: Path, **settings: Any) -> Folder:
    return Folder(FolderConfig(root=str(root), **settings))


def labels(found: Folder) -> dict[str, list[str]]:
    return {
        s.id: [found.classes[i] for i in s.labels] for split in ("train", "val") for s in found.samples(split)
    }


def test_without_a_class_list_all_names_of_the_file_are_classes(tmp_path: Path) -> None:
    found = dataset(write_folder(tmp_path, ROWS))
    assert found.classes == ("dent", "rust")
    assert found.ids("train") == ("a", "b")
    assert labels(found) == {"a": ["rust"], "b": ["dent", "rust"], "c": ["dent"]}


@pytest.mark.parametrize(
    "cell", ["rust;dent", '"rust, dent"', "dent|rust", "rust  dent", "background;dent;rust"]
)
def test_separators_of_labels(tmp_path: Path, cell: str) -> None:
    found = dataset(write_folder(tmp_path, ["a,rust,train", f"b,{cell},val"]), classes="rust,dent")
    assert labels(found)["b"] == ["rust", "dent"]


def test_class_names_may_contain_spaces(tmp_path: Path) -> None:
    found = dataset(
        write_folder(tmp_path, ["a,potted plant,train", "b,cat,val"]), classes="cat, potted plant"
    )
    assert labels(found) == {"a": ["potted plant"], "b": ["cat"]}


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("pitted surface", ["pitted surface"]),
        ("rust pitted surface", ["pitted surface", "rust"]),
        ("pitted surface rust", ["pitted surface", "rust"]),
        ("pitted  surface | rust", ["pitted surface", "rust"]),
        ("surface", ["surface"]),
    ],
)
@pytest.mark.parametrize("declared", [True, False], ids=["in classes.txt", "by a semicolon"])
def test_names_of_several_words(tmp_path: Path, cell: str, names: list[str], declared: bool) -> None:
    """The longest declared name is taken; without a class file, names that a separator has set apart are."""
    rows = [f"a,{cell},train", "b,pitted surface;,train", "c,surface;rust,val"]
    root = write_folder(tmp_path, rows)
    if declared:
        (root / "classes.txt").write_text("pitted surface\nrust\nsurface\n")
    found = dataset(root)
    assert found.classes == ("pitted surface", "rust", "surface")
    assert labels(found)["a"] == names


def test_words_that_may_be_one_name_are_asked_about(tmp_path: Path) -> None:
    rows = ["a,pitted surface,train", "b,rust pitted surface,train", "c,rust dent,val", "d,rust,val"]
    root = write_folder(tmp_path, rows)
    with pytest.raises(DataError, match=r"'pitted' and 'surface' always stand together; .*pitted surface;"):
        _ = dataset(root).classes
    (root / "classes.txt").write_text("rust\ndent\npitted\nsurface\n")
    assert labels(dataset(root))["a"] == ["pitted", "surface"]
    (root / "classes.txt").unlink()
    write_folder(tmp_path, ["a,pitted surface;,train", *rows[1:]])
    assert dataset(root).classes == ("dent", "pitted surface", "rust")


@pytest.mark.parametrize(
    ("header", "delimiter"), [("File,Classes,Suggested_Split", ","), ("image;image_labels;split", ";")]
)
def test_aliases_and_delimiters(tmp_path: Path, header: str, delimiter: str) -> None:
    write_folder(tmp_path, ["a,rust,training", "b,rust,validation"], header)
    file = tmp_path / "labels.csv"
    file.write_bytes(
        b"\xef\xbb\xbf" + file.read_text().replace(",", delimiter).replace("\n", "\r\n").encode()
    )
    found = dataset(tmp_path)
    assert (found.ids("train"), found.ids("val")) == (("a",), ("b",))


def test_ids_may_be_paths_and_have_endings(tmp_path: Path) -> None:
    write_folder(tmp_path, ["x/a,rust,train", "b,rust,val"])
    text = (tmp_path / "labels.csv").read_text()
    (tmp_path / "labels.csv").write_text(text.replace("x/a,", "x\\a.png,").replace("b,", "images/b.png,"))
    found = dataset(tmp_path)
    assert (found.ids("train"), found.ids("val")) == (("x/a",), ("b",))
    assert found.mask_path("x/a") == tmp_path / "masks" / "x" / "a.png"


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        (["a,rust,train", "b,rsut,val"], None, r"row 3: unknown class 'rsut' .*did you mean 'rust'\?"),
        (["a,rust,train", "a,rust,val"], None, "row 3: id 'a' repeats row 2"),
        (["a,rust,train", "b,,val"], None, "row 3: image 'b' has no labels; .*dataset.allow_empty=true"),
        (["a,rust,train", "b,rust,tain"], None, "row 3: split is 'tain'; write train or val"),
        (["a,rust,train", "../b,rust,val"], None, "row 3: id '../b' leads out of the image folder"),
        (["a,rust,train,dent"], None, "row 2: 4 cells under 3 columns"),
        (["a,rust"], "id,what", r"no column labels \(columns: id, what\)"),
        (["a,rust"], "what,labels", "no column id .*name it id or image or file or filename"),
        ([], None, "no images listed"),
        (["a,rust,train"], None, "no image is in val; correct column split"),
    ],
)
def test_faults_of_the_label_file(tmp_path: Path, rows: list[str], header: str | None, message: str) -> None:
    write_folder(tmp_path / "data", rows, header or "id,labels,split")
    (tmp_path / "data" / "classes.txt").write_text("rust\ndent\n")
    with pytest.raises(DataError, match=message) as error:
        dataset(tmp_path / "data").prepare()
    assert "\n" not in str(error.value)
    (problem,) = dataset(tmp_path / "data").problems()
    assert problem.remedy


def test_a_row_without_an_image(tmp_path: Path) -> None:
    write_folder(tmp_path, ROWS)
    (tmp_path / "images" / "c.png").unlink()
    with pytest.raises(DataError, match=r"labels\.csv row 4: no image 'c' in .*images; add the image"):
        dataset(tmp_path).prepare()
    write_image(tmp_path / "images" / "c.bmp")
    with pytest.raises(DataError, match=r"row 4: c\.bmp is neither JPEG, PNG nor WebP"):
        dataset(tmp_path).prepare()


def test_two_images_of_one_name(tmp_path: Path) -> None:
    write_folder(tmp_path, ROWS)
    write_image(tmp_path / "images" / "a.jpg")
    with pytest.raises(DataError, match=r"row 2: id 'a' fits a\.jpg, a\.png; give the ending"):
        dataset(tmp_path).prepare()


def test_an_empty_file_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no labels\.csv in .*; add a CSV"):
        dataset(tmp_path).prepare()
    (tmp_path / "labels.csv").touch()
    with pytest.raises(DataError, match=r"labels\.csv: empty; write columns id and labels"):
        dataset(tmp_path).prepare()


def test_allow_empty_keeps_images_of_background(tmp_path: Path) -> None:
    found = dataset(write_folder(tmp_path, [*ROWS, "d,,train", "e,background,train"]), allow_empty=True)
    assert found.sample("d").labels == found.sample("e").labels == ()


def test_rows_of_a_test_split_are_left_out_and_said(tmp_path: Path) -> None:
    found = dataset(write_folder(tmp_path, [*ROWS, "d,rust,test"]))
    assert "d" not in labels(found)
    assert any("1 images of a split named test are left out" in note for note in found.notes())


def test_drawn_split_is_stable(tmp_path: Path) -> None:
    rows = [f"image{i},rust" for i in range(200)]
    found = dataset(write_folder(tmp_path / "a", rows, "id,labels", masks=False))
    assert 20 < len(found.ids("val")) < 60
    more = dataset(write_folder(tmp_path / "b", ["new,rust", *rows[::-1]], "id,labels", masks=False))
    assert set(found.ids("val")) == set(more.ids("val")) - {"new"}
    other = dataset(tmp_path / "a", seed=1)
    assert set(other.ids("val")) != set(found.ids("val"))
    with pytest.raises(DataError, match=r"val_fraction=1e-09 puts none of 200 images in val"):
        dataset(tmp_path / "a", val_fraction=1e-9).prepare()
    with pytest.raises(DataError, match=r"dataset\.val_fraction=1\.0: must be in \(0, 1\)"):
        dataset(tmp_path / "a", val_fraction=1.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bits": 3}, r"dataset\.bits=3: must be 0 or in \[8, 16\]"),
        ({"longest_side": 8}, r"dataset\.longest_side=8: must be 0 or at least 32"),
    ],
)
def test_settings_out_of_range(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        dataset(tmp_path, **settings)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (
            "images",
            "dataset.masks=images is the folder of the images; set it to a folder that holds masks only",
        ),
        (".", r"dataset.masks=\. is the folder of the images"),
        ("maks", "no folder .*maks; correct dataset.masks"),
    ],
)
def test_a_mask_folder_that_is_none(tmp_path: Path, masks: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        dataset(write_folder(tmp_path, ROWS), masks=masks).prepare()


def test_masks_may_end_in_capitals(tmp_path: Path) -> None:
    root = write_folder(tmp_path, ROWS)
    (root / "masks" / "a.png").rename(root / "masks" / "a.PNG")
    found = dataset(root)
    assert found.mask_path("a") == root / "masks" / "a.PNG"
    assert found.masked("train") == 2


def test_masks_that_are_named_otherwise_are_not_passed_over(tmp_path: Path) -> None:
    root = write_folder(tmp_path, ROWS)
    for mask in sorted((root / "masks").iterdir()):
        mask.rename(mask.with_name(f"{mask.stem}_label.png"))
    message = r"none of the 3 files in .*masks \(a_label\.png, .*name each <id>\.png, such as a\.png"
    with pytest.raises(DataError, match=message):
        dataset(root).prepare()


def test_without_masks(tmp_path: Path) -> None:
    found = dataset(write_folder(tmp_path, ROWS, masks=False))
    assert found.mask_path("a") is None
    assert not found.has_masks("val")
    assert found.problems() == []
    assert "no masks: nothing is scored" in found.notes()


def test_masks_missing_for_some_images_are_a_problem(tmp_path: Path) -> None:
    write_folder(tmp_path, ROWS)
    (tmp_path / "masks" / "c.png").unlink()
    (problem,) = dataset(tmp_path).problems()
    assert "1 of 1 val images have no mask (c)" in problem.what


@pytest.mark.parametrize(
    "text", ["0 background\n1 rust\n2 dent\n", "rust\ndent\n\n", "1 rust\n2: dent", "background\nrust\ndent"]
)
def test_class_files(tmp_path: Path, text: str) -> None:
    (tmp_path / "classes.txt").write_text(text)
    assert read_class_file(tmp_path / "classes.txt") == ("rust", "dent")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 rust\n1 dent", "not mask values"),
        ("1 rust\n3 dent", "not mask values"),
        ("", "no class"),
        ("a\na", "twice"),
    ],
)
def test_faults_of_class_files(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        read_class_file(tmp_path / "classes.txt")


@pytest.mark.shared
def test_real_defects_open_as_they_are(shared: Path) -> None:
    found = dataset(shared / "data" / "neu_seg")
    found.prepare()
    assert found.classes == ("inclusion", "patches", "scratches")
    assert (len(found.ids("train")), len(found.ids("val"))) == (905, 225)
    assert found.has_masks("train")
    assert found.problems() == []


# ---------------------------------------------------------------- a folder for each class


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def write_class_folders(root: Path, *folders: str, count: int = 6) -> Path:
    for k, folder in enumerate(folders):
        for i in range(count):
            write_image(root / folder / f"{i}.{('jpg', 'png')[i % 2]}", 10 * k + i)
    return root


def mask(found: Folder, sample_id: str) -> np.ndarray:
    path = found.mask_path(sample_id)
    assert path is not None
    with Image.open(path) as image:
        return np.asarray(image)


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
    assert found.has_masks("train")
    assert found.has_masks("val")
    assert set(np.unique(mask(found, "test/crack/0"))) == {0, 1}
    assert set(np.unique(mask(found, "test/scratch/1"))) == {0, 2}
    assert mask(found, "train/good/0").max() == 0
    assert mask(found, "train/good/0").shape == (16, 24)
    assert any("pooled with test" in note for note in found.notes())
    assert found.problems() == []
    assert tmp_path / "ground_truth" / "crack" in found.mask_directories()


@pytest.mark.parametrize(
    "place",
    ["masks/dent/0.png", "Masks/dent/0_mask.PNG", "dent/masks/0.png", "ground_truth/dent/0.png"],
)
def test_places_of_masks(tmp_path: Path, place: str) -> None:
    write_class_folders(tmp_path, "dent", "good", count=2)
    write_mask(tmp_path / place, [0, 7])
    found = dataset(tmp_path, val_fraction=0.5)
    assert set(labels(found)) == {"dent/0", "dent/1", "good/0", "good/1"}
    assert set(np.unique(mask(found, "dent/0"))) == {0, 1}
    assert found.mask_path("dent/1") is None


@pytest.mark.parametrize(
    ("folders", "files", "settings", "message"),
    [
        (["good"], [], {}, r"no labels\.csv in .*sort the images into a folder for each class"),
        (["good", "GOOD"], [], {}, "good images only; add a folder of images for each class"),
        (["dent", "rust"], ["a.jpg"], {}, r"1 images beside the class folders \(a\.jpg\)"),
        (["dent", "rust"], ["dent/0.png"], {}, r"dent: 0\.jpg, 0\.png have one name; rename"),
        (["dent", "rust"], ["dent/x.bmp"], {}, r"dent: x\.bmp is neither JPEG, PNG nor WebP"),
        (["dent", "rust"], ["more/"], {}, "more: no images in this class folder"),
        (["dent", "rsut"], [], {"classes": "dent,rust"}, "rsut: unknown class 'rsut' .*did you mean 'rust'"),
        (["train/dent", "dent"], [], {}, "folder dent beside train; put class folders into train and val"),
        (["train/dent", "val/dent"], ["masks/dent/0.png"], {}, "fits images train/dent/0 and val/dent/0"),
        (["dent", "rust"], ["masks/dent/0.png", "dent/masks/0.png"], {}, r"0\.jpg: 2 masks fit .*keep one"),
        (["dent", "rust"], ["masks/dent/0.png"], {}, r"dent/0\.png: holds values .* besides 0"),
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


def test_a_mask_of_a_good_image_must_be_empty(tmp_path: Path) -> None:
    write_class_folders(tmp_path, "dent", "good", count=2)
    write_mask(tmp_path / "masks" / "good" / "0.png", [0])
    assert mask(dataset(tmp_path), "good/0").max() == 0
    write_mask(tmp_path / "masks" / "good" / "0.png", [0, 255])
    with pytest.raises(DataError, match=r"0\.png: marks a defect in a good image"):
        dataset(tmp_path).mask_path("good/0")


def test_a_mask_of_another_size_names_the_file_itself(tmp_path: Path) -> None:
    write_class_folders(tmp_path, "dent", "good", count=2)
    write_mask(tmp_path / "masks" / "dent" / "0.png", [0, 255], (16, 16))
    message = r"dent/0\.png: mask of 16x16 for an image of 24x16 .*export the mask at its image's size"
    with pytest.raises(DataError, match=message):
        dataset(tmp_path).sample("dent/0")


def test_masks_among_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("id,labels,split\na,rust,train\nd/b,dent,val\n")
    write_image(tmp_path / "a.jpg")
    write_image(tmp_path / "d" / "b.jpg")
    write_mask(tmp_path / "d" / "a.png", [0, 1])
    with pytest.raises(DataError, match="d holds masks and images; move the masks"):
        dataset(tmp_path, images=".", masks="d").sample("a")


# ---------------------------------------------------------------- deep, large and empty images


def write_deep(path: Path, highest: int) -> None:
    values = np.linspace(0, highest, 24 * 16).astype(np.uint16).reshape(16, 24)
    Image.fromarray(values).save(path)


def decoded(found: Folder, sample_id: str) -> np.ndarray:
    from datasets.images import read_image

    return read_image(found.sample(sample_id).image).numpy()


def test_deep_images_that_fill_their_range_stay_as_they_are(tmp_path: Path) -> None:
    write_folder(tmp_path, ROWS)
    for name in "abc":
        write_deep(tmp_path / "images" / f"{name}.png", 65535)
    found = dataset(tmp_path)
    assert found.sample("a").image == tmp_path / "images" / "a.png"
    assert decoded(found, "a").shape == (3, 16, 24)
    assert (decoded(found, "a").min(), decoded(found, "a").max()) == (0, 255)


def test_deep_images_with_fewer_bits_need_to_say_so(tmp_path: Path) -> None:
    write_folder(tmp_path, ROWS)
    for name, highest in zip("abc", (1000, 2000, 4095), strict=True):
        write_deep(tmp_path / "images" / f"{name}.png", highest)
    with pytest.raises(DataError, match=r"reach 4095 of 65535 would be nearly black; set dataset\.bits=12"):
        dataset(tmp_path).prepare()
    found = dataset(tmp_path, bits=12)
    assert [decoded(found, i).max() for i in "abc"] == [62, 125, 255]
    assert "3 16-bit images of 12 significant bits" in found.notes()
    assert found.problems() == []
    assert found.fingerprint("images", "train") != dataset(tmp_path, bits=16).fingerprint("images", "train")
    with pytest.raises(DataError, match=r"c\.png: holds 4095, more than 11 bits; correct dataset\.bits"):
        dataset(tmp_path, bits=11).prepare()


def test_deep_colour_has_the_bits_of_its_camera(tmp_path: Path) -> None:
    """Pillow keeps the upper 8 of 16 bits, which would leave 16 grey levels of a 12-bit camera, and those dark."""
    write_folder(tmp_path, ROWS)
    pixels = np.linspace(0, 4095, 16 * 24 * 3).astype(np.uint16).reshape(16, 24, 3)
    for name in "abc":
        write_deep_colour(tmp_path / "images" / f"{name}.png", pixels)
    with pytest.raises(DataError, match=r"reach 4095 of 65535 would be nearly black; set dataset\.bits=12"):
        dataset(tmp_path).prepare()
    expected = np.round(pixels.transpose(2, 0, 1) * (255 / 4095))
    assert np.abs(decoded(dataset(tmp_path, bits=12), "a") - expected).max() <= 1
    assert decoded(dataset(tmp_path, bits=16), "a").max() == 16
    assert decoded(dataset(tmp_path, bits=16), "a").shape == (3, 16, 24)


def test_what_was_done_to_images_is_told(tmp_path: Path) -> None:
    write_folder(tmp_path, ROWS)
    assert dataset(tmp_path).conversion() == Conversion(1024, 0)
    assert dataset(tmp_path, bits=12, longest_side=64).conversion() == Conversion(64, 12)
    write_deep(tmp_path / "images" / "a.png", 65535)
    assert dataset(tmp_path).conversion() == Conversion(1024, 16)


def test_large_images_are_reduced_once_with_their_masks(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", ROWS)
    write_image(root / "images" / "a.png", 0, (400, 300))
    write_mask(root / "masks" / "a.png", [0, 1, 2], (400, 300))
    found = dataset(root, longest_side=64)
    assert decoded(found, "a").shape == (3, 48, 64)
    assert mask(found, "a").shape == (48, 64)
    assert set(np.unique(mask(found, "a"))) == {0, 1, 2}
    assert found.sample("b").image == root / "images" / "b.png"
    assert found.mask_path("b") == root / "masks" / "b.png"
    assert "1 images reduced to 64 pixels, the size of their scores" in found.notes()
    assert found.problems() == []
    assert {root / "masks", found.mask_path("a").parent} == set(found.mask_directories())
    made = found.sample("a").image.stat().st_mtime_ns
    shutil.copytree(root, tmp_path / "moved")
    again = dataset(tmp_path / "moved", longest_side=64)
    assert again.sample("a").image.stat().st_mtime_ns == made
    for part in ("images", "masks"):
        assert again.fingerprint(part, "train") == found.fingerprint(part, "train")
        assert again.fingerprint(part, "train") != dataset(root).fingerprint(part, "train")
    write_image(root / "images" / "a.png", 5, (400, 300))
    assert dataset(root, longest_side=64).sample("a").image != found.sample("a").image


def test_what_is_too_large_to_decode_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path, ROWS)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match=r"a\.png: more than \d+ million pixels; reduce it or cut it"):
        dataset(tmp_path).prepare()


def test_images_without_labels_need_no_mask_where_others_have_one(tmp_path: Path) -> None:
    write_folder(tmp_path, [*ROWS, "d,,train"])
    (tmp_path / "masks" / "d.png").unlink()
    found = dataset(tmp_path, allow_empty=True)
    assert mask(found, "d").shape == (16, 24)
    assert mask(found, "d").max() == 0
    assert found.has_masks("train")


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
    run = read_run(command_line.output)
    (cell,) = run.cells
    assert cell["status"] == "done"
    artifacts = {s["name"]: command_line.store / "artifacts" / s["name"] / s["key"] for s in cell["stages"]}
    cams = dict(CamReader(artifacts["cam"]))
    assert cams["train/good/0"].maps.shape[0] == 0
    assert cams["train/dent/0"].maps.shape[0] == 1
    for sample_id, values in (("train/good/0", {0}), ("train/dent/0", {0, 1})):
        with Image.open(label_map_path(artifacts["pseudo_label"], sample_id)) as labels_made:
            assert set(np.unique(np.asarray(labels_made))) <= values
    with Image.open(label_map_path(artifacts["predict"], "val/good/0")) as prediction:
        assert prediction.size == (24, 16)
    scored = run.records[(run.records.metric == "miou") & (run.records.method == "cam")]
    assert set(scored[scored.stage == "pseudo_label"].images) == {18}
    assert set(scored[scored.stage == "segmentation"].images) == {18}
