"""PASCAL-Context as its authors' archives lie on disk, beside VOC."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from benchmark.evaluation.evaluator import score_label_maps
from benchmark.evaluation.ground_truth import GroundTruth
from datasets.base import ContextClass, DataError
from datasets.files.images import write_labels
from datasets.voc.pascal_context import PascalContext, read_context_map
from datasets.voc.reader import CLASSES, Voc2012, VocConfig
from tests.helpers.evaluation_data import TinyDataset, write_label_maps

BOAT, TRAIN = CLASSES.index("boat"), CLASSES.index("train")
NAMES = {
    "labels.txt": {"water": 431, "track": 400, "platform": 300},
    "59_labels.txt": {"water": 57, "track": 52, "platform": 42},
}


def context_folder(root: Path, names: str, maps: dict[str, np.ndarray]) -> Path:
    """An archive of the authors', unpacked."""
    ids = NAMES[names]
    folder = root / ("trainval" if names == "labels.txt" else "59_context_labels")
    folder.mkdir(parents=True)
    lines = ["1: accordion", *(f"{number}: {name}" for name, number in ids.items()), "459: zebra"]
    (root / names).write_text("\n".join(lines) + "\n")
    for sample_id, regions in maps.items():
        if names == "labels.txt":
            savemat(folder / f"{sample_id}.mat", {"LabelMap": regions.astype(np.uint16)})
        else:
            write_labels(folder / f"{sample_id}.png", regions.astype(np.uint8))
    return root


@pytest.mark.parametrize("names", NAMES)
def test_both_archives(tmp_path: Path, names: str) -> None:
    ids = NAMES[names]
    regions = np.array([[0, ids["water"]], [ids["track"], 7]])
    context = PascalContext(context_folder(tmp_path, names, {"a": regions}), CLASSES)
    assert context.contexts == (
        ContextClass("water", BOAT, ids["water"]),
        ContextClass("railway", TRAIN, ids["track"]),
        ContextClass("platform", TRAIN, ids["platform"]),
    )
    path = context.path("a")
    assert path is not None
    np.testing.assert_array_equal(read_context_map(path), regions)
    assert context.path("b") is None


@pytest.mark.parametrize("names", NAMES)
def test_the_confusion_ratio_is_over_the_images_that_have_context_labels(tmp_path: Path, names: str) -> None:
    """Four pixels of boat found in `a`, two of water taken for it; of `b` the context is not known."""
    water = NAMES[names]["water"]
    truth = np.repeat(np.array([BOAT + 1, 0], np.uint8), 4).reshape(1, 8)
    regions = np.where(np.arange(8) >= 4, water, 0).reshape(1, 8)
    prediction = np.repeat(np.array([BOAT + 1, 0], np.uint8), [6, 2]).reshape(1, 8)
    root = context_folder(tmp_path / "context", names, {"a": regions})
    context = PascalContext(root, CLASSES)
    dataset = TinyDataset(tmp_path, {"a": truth, "b": truth}, classes=CLASSES)
    dataset.contexts = context.contexts
    dataset.context_path = context.path  # type: ignore[method-assign]
    extended = GroundTruth(dataset).read("a")
    assert extended.tolist() == [[BOAT + 1] * 4 + [len(CLASSES) + 1] * 4]
    artifact = write_label_maps(tmp_path / "maps", {"a": prediction, "b": prediction})
    scores = score_label_maps(
        artifact, dataset, "val", stage="segmentation", counts_path=tmp_path / "counts.parquet"
    )
    ratios = {row.class_name: row.value for row in scores.rows if row.metric == "confusion_ratio"}
    assert ratios["boat|water"] == 2 / 4
    assert np.isnan(ratios["train|railway"])
    assert any("over 1 of 2 images" in note for note in scores.notes)


def test_voc_with_a_folder_of_context(tmp_path: Path) -> None:
    root = context_folder(tmp_path, "59_labels.txt", {"2007_000032": np.zeros((2, 2))})
    (tmp_path / "VOC2012" / "JPEGImages").mkdir(parents=True)
    voc = Voc2012(VocConfig(root=str(tmp_path), context_root=str(root)))
    assert [c.name for c in voc.contexts] == ["water", "railway", "platform"]
    assert voc.context_path("2007_000032") == root / "59_context_labels" / "2007_000032.png"
    assert root / "59_context_labels" in voc.mask_directories()  # closed while a method runs
    assert Voc2012(VocConfig(root=str(tmp_path))).contexts == ()


def test_what_is_wrong_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no PASCAL-Context under .* set dataset.context_root"):
        PascalContext(tmp_path, CLASSES)
    context_folder(tmp_path, "labels.txt", {})
    (tmp_path / "labels.txt").write_text("431: water\n")
    with pytest.raises(DataError, match="has no label track, platform"):
        PascalContext(tmp_path, CLASSES)
    (tmp_path / "bad.mat").write_bytes(b"no such thing")
    with pytest.raises(DataError, match=r"bad.mat: cannot be read as a .mat file"):
        read_context_map(tmp_path / "bad.mat")
    savemat(tmp_path / "other.mat", {"Something": np.zeros(3)})
    with pytest.raises(DataError, match="no LabelMap"):
        read_context_map(tmp_path / "other.mat")
