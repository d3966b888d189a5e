"""Your own images beside a label file: names of classes, rows, the split, and what is said of faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from datasets.base import DataError
from datasets.folder.label_file import read_class_file
from tests.helpers.folder_data import ROWS, dataset, labels
from tests.helpers.trees import write_folder, write_image


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


def test_a_list_of_classes_is_that_of_a_class_file(tmp_path: Path) -> None:
    root = write_folder(tmp_path, ["a,rust,train", "b,dent,val"])
    assert dataset(root, classes="background, rust,dent,").classes == ("rust", "dent")
    for given, message in (
        (", ", "no class names"),
        ("background", "no class names"),
        ("rust,dent,rust", "twice"),
    ):
        with pytest.raises(DataError, match=f"dataset.classes={given}: .*{message}"):
            dataset(root, classes=given).prepare()


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
    write_image(tmp_path / "images" / "c.gif")
    with pytest.raises(DataError, match=r"row 4: c\.gif is not JPEG, PNG, WebP"):
        dataset(tmp_path).prepare()


def test_two_images_of_one_name(tmp_path: Path) -> None:
    write_folder(tmp_path, ROWS)
    write_image(tmp_path / "images" / "a.jpg")
    with pytest.raises(DataError, match=r"row 2: id 'a' fits a\.jpg, a\.png; give the ending"):
        dataset(tmp_path).prepare()


def test_an_empty_file_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\(no labels\.csv\), .*; add labels\.csv with columns"):
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
    assert len(found.ids("val")) == 40
    more = dataset(write_folder(tmp_path / "b", ["new,rust", *rows[::-1]], "id,labels", masks=False))
    assert len(set(found.ids("val")) ^ set(more.ids("val")) - {"new"}) <= 1
    other = dataset(tmp_path / "a", seed=1)
    assert set(other.ids("val")) != set(found.ids("val"))
    one_each = dataset(write_folder(tmp_path / "c", ["a,rust", "b,dent"], "id,labels", masks=False))
    with pytest.raises(DataError, match=r"val_fraction=0.2 puts none of 2 images in val"):
        one_each.prepare()
    with pytest.raises(DataError, match=r"dataset\.val_fraction=1\.0: must be in \(0, 1\)"):
        dataset(tmp_path / "a", val_fraction=1.0)


def test_drawn_split_is_of_each_class(tmp_path: Path) -> None:
    """No class lacks in val, however few images it has; an image of two counts for the rarer."""
    many = [f"a{i},rust" for i in range(30)]
    both = [f"b{i},rust;dent" for i in range(4)]
    rows = [*many, *both, "c0,", "c1,"]
    for seed in range(5):
        root = write_folder(tmp_path / str(seed), rows, "id,labels", masks=False)
        found = dataset(root, allow_empty=True, seed=seed)
        val = [i[0] for i in found.ids("val")]
        assert [val.count(name) for name in "abc"] == [6, 1, 1]
    (train, held) = [note for note in found.notes() if "with masks in brackets" in note]
    assert train.endswith(": dent 3 (0), rust 27 (0), without an object 1 (0)")
    assert held.endswith(": dent 1 (0), rust 7 (0), without an object 1 (0)")


@pytest.mark.parametrize(
    "text", ["0 background\n1 rust\n2 dent\n", "rust\ndent\n\n", "1 rust\n2: dent", "background\nrust\ndent"]
)
def test_class_files(tmp_path: Path, text: str) -> None:
    (tmp_path / "classes.txt").write_text(text)
    assert read_class_file(tmp_path / "classes.txt").names == ("rust", "dent")


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
    assert found.masked("train") == len(found.ids("train"))
    assert found.problems() == []


@pytest.mark.parametrize(
    "text",
    [
        "sep=;\nid;labels;split\n",
        '"sep=;"\nid;labels;split\n',
        "sep=\t\nid\tlabels\tsplit\n",
        "SEP=,\nid,labels,split\n",
    ],
)
def test_a_line_that_declares_the_separator(tmp_path: Path, text: str) -> None:
    """As spreadsheets write it before the header."""
    root = write_folder(tmp_path, ["a,rust,train", "b,dent,val"], masks=False)
    separator = text.splitlines()[1][2]
    rows = [row.replace(",", separator) for row in ("a,rust,train", "b,dent,val")]
    (root / "labels.csv").write_text(text + "\n".join(rows))
    assert labels(dataset(root)) == {"a": ["rust"], "b": ["dent"]}


@pytest.mark.parametrize(("count", "fits"), [(254, True), (255, False), (400, False)])
def test_more_classes_than_label_maps_can_hold_are_refused(tmp_path: Path, count: int, fits: bool) -> None:
    """Class id 255 would mark pixels that are not scored. What is listed counts, not what is used."""
    root = write_folder(tmp_path, ["a,c000,train", "b,c001,val"], masks=False)
    (root / "classes.txt").write_text("".join(f"c{n:03}\n" for n in range(count)))
    found = dataset(root)
    if fits:
        found.prepare()
        assert len(found.classes) == count
        return
    words = (
        rf"labels\.csv: {count} classes, but label maps of 8 bits tell apart 254; merge some, or list fewer"
    )
    with pytest.raises(DataError, match=words):
        found.prepare()
    (problem,) = found.problems()  # of `doctor`
    assert f"{count} classes" in problem.what
