"""`prepare folder`: whatever the layout, the canonical one holds the same images, labels, masks and split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datasets.base import DataError
from datasets.folder.prepare import write_canonical
from tests.helpers.folder_data import dataset, labels, mask, write_class_folders
from tests.helpers.trees import write_image, write_mask


def write_tree(root: Path) -> Path:
    """Class folders with masks beside the images, one of them as JPEG's neighbour, and a class of two words."""
    write_class_folders(root, "OK", "big dent", count=4)
    for k in range(4):
        write_image(root / "rust" / f"{k}.bmp", 60 + k)
        write_mask(root / "rust" / f"{k}_GT.png", [0, 255])
    (root / "labels.csv").write_text("id,labels\nrust/1,big dent;\n")
    write_mask(root / "rust" / "1_GT.png", [0, 1, 2])
    return root


def test_the_canonical_layout_says_the_same(tmp_path: Path) -> None:
    settings = {"good_names": "OK", "longest_side": 0}
    before = dataset(write_tree(tmp_path / "tree"), **settings)
    done: list[int] = []
    write_canonical(before, tmp_path / "made", done.append)
    after = dataset(tmp_path / "made")
    assert sum(done) == 12
    assert {path.name for path in (tmp_path / "made").iterdir()} == {
        "images",
        "masks",
        "labels.csv",
        "classes.txt",
    }
    assert after.classes == before.classes == ("big dent", "rust")
    assert labels(after) == labels(before)
    assert labels(after)["rust/1"] == ["big dent", "rust"]
    for split in ("train", "val"):
        assert after.ids(split) == before.ids(split)
        for sample_id in after.ids(split):
            assert after.sample(sample_id).image.read_bytes() == before.sample(sample_id).image.read_bytes()
            if before.mask_path(sample_id) is not None:
                assert np.array_equal(mask(after, sample_id), mask(before, sample_id))
    assert [each.what for each in after.problems()] == [each.what for each in before.problems()]

    with pytest.raises(DataError, match="made: holds a data set already"):
        write_canonical(before, tmp_path / "made", done.append)
    with pytest.raises(DataError, match="in the tree that is read; choose a folder outside"):
        write_canonical(before, tmp_path / "tree" / "made", done.append)


def test_the_command(command_line, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    tree, made = write_tree(tmp_path / "tree"), tmp_path / "made"
    done = command_line("prepare", "folder", "--from", str(tree), "--to", str(made), "dataset.good_names=OK")
    assert done.code == 0, done.err
    assert "layout: class folders, masks beside the images, more labels in labels.csv" in done.out
    assert done.out.splitlines()[-1] == f"Ready: wsss doctor --dataset folder dataset.root={made}"
    assert (made / "images" / "rust" / "0.bmp").is_file()
    for arguments, words in (
        (("--from", str(tree)), "give one folder with --from and another with --to"),
        (("--from", str(tree), "--to", str(made), "x.zip"), "x.zip: neither --from FOLDER nor a setting"),
        (("--from", str(tree), "--to", str(tmp_path / "other")), "'OK' may mean images without a defect"),
    ):
        done = command_line("prepare", "folder", *arguments)
        assert done.code == 2
        assert words in done.err
        assert done.err.count("\n") == 1
