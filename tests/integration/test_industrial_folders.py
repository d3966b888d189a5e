"""A folder as it comes off an inspection line, through `run`: one directory a class, `good`, grey, deep and large."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.files.images import read_labels
from datasets.folder.reader import Folder, FolderConfig
from methods.artifacts import CamReader, label_map_path
from results.io import read_run
from tests.helpers.tiny import SIZES, sizes
from tests.helpers.toys import CommandLine

METHODS = ("cam", "sam_fused", "supervised")
"""A network of convolutions, one of attention with a contrast of classes, and one that learns from masks."""

LONGEST, BITS = 96, 12

SHARED = [f"protocol.{key}={value}" for key, value in SIZES.items() if key.startswith("segmenter.")]
"""Of the segmentation network that all methods share."""


@pytest.fixture
def line(tmp_path: Path) -> Path:
    """`scratch` in 8-bit grey, `dent` of a 12-bit camera, one dent much larger than the rest; `good` has no masks."""
    root, rng = tmp_path / "line", np.random.default_rng(0)
    for i in range(6):
        for folder, kind, full in (
            ("scratch", np.uint8, 255),
            ("dent", np.uint16, 4095),
            ("good", np.uint8, 255),
        ):
            height, width = (150, 260) if (folder, i) == ("dent", 0) else (40, 52)
            image = rng.uniform(0.4, 0.6, (height, width))
            defect = np.zeros((height, width), bool)
            if folder != "good":
                defect[height // 4 : height // 2, width // 4 : width // 2] = True
            image[defect] = 0.9 if folder == "dent" else 0.1
            for path, pixels in (
                (root / folder / f"{i}.png", (image * full).astype(kind)),
                (root / "masks" / folder / f"{i}.png", defect.astype(np.uint8) * 255),
            ):
                if folder != "good" or "masks" not in path.parts:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(pixels).save(path)
    return root


def test_it_trains_and_what_is_good_is_background(command_line: CommandLine, line: Path) -> None:
    """Under the unified protocol, which asks SAM for nothing, so that no weights for photographs are needed."""
    data = {"root": str(line), "bits": BITS, "longest_side": LONGEST, "val_fraction": 0.3}
    done = command_line.run_on(
        ",".join(METHODS), "--dataset", "folder", "--protocol", "unified",
        *(f"dataset.{key}={value}" for key, value in data.items()), *sizes(METHODS, iterations=2), *SHARED,
    )  # fmt: skip
    assert done.code == 0, done.out + done.err

    dataset = Folder(FolderConfig(**data))
    train = {sample.id: sample for sample in dataset.samples("train")}
    good = [i for i in train if i.startswith("good/")]
    assert good
    assert "dent/0" in train
    assert all(not train[i].labels for i in good)
    assert any(i.startswith("good/") for i in dataset.ids("val"))

    stored = read_run(command_line.output)
    assert [(run["method"], run["status"]) for run in stored.runs] == [(name, "done") for name in METHODS]
    for run in stored.runs:
        paths = {s["kind"]: command_line.output / s["path"] for s in run["stages"] if s["shown"]}
        if "cam" in paths:
            cams = CamReader(paths["cam"])
            assert set(cams.ids) == set(train)
            assert all(cams[i].classes == train[i].labels for i in train)
            for i in good:
                assert not np.asarray(read_labels(label_map_path(paths["pseudo_label"], i))).any()
            assert cams["dent/0"].size == (round(150 * LONGEST / 260), LONGEST)
        predicted = {
            i: np.asarray(read_labels(label_map_path(paths["prediction"], i))) for i in dataset.ids("val")
        }
        assert max(max(labels.shape) for labels in predicted.values()) <= LONGEST
        scores = stored.records[(stored.records.method == run["method"]) & (stored.records.metric == "miou")]
        segmentation = scores[scores.stage == "segmentation"]
        assert segmentation.value.between(0, 1).all()
        assert (segmentation.images == len(dataset.ids("val"))).all()  # those without a defect count too
        assert len(segmentation) == 1


def test_a_twelve_bit_camera_is_asked_about(command_line: CommandLine, line: Path) -> None:
    """Taken as 16 bits its images would be nearly black."""
    done = command_line.run_on("cam", "--dataset", "folder", f"dataset.root={line}", *sizes(["cam"]))
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert "run with dataset.bits=12" in done.err
    assert "Traceback" not in done.out + done.err
