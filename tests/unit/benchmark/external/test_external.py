"""CAMs, pseudo-labels and predictions from files: scored as methods' own, marked external, faults in one line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark.evaluation.counts import Counts
from benchmark.evaluation.evaluator import score_cams, score_label_maps
from benchmark.external.files import read_cam
from benchmark.external.method import External, parse_supervision
from datasets.base import DataError, Sample
from datasets.files.images import VOC_PALETTE, read_labels, write_labels
from datasets.shapes.dataset import Shapes, ShapesConfig
from methods.artifacts import Cam, label_map_path, write_cams
from results.io import read_run
from tests.helpers.toys import CommandLine, Outcome, Toy

DATA = ("dataset.train=6", "dataset.val=2")


def dataset(root: Path) -> Shapes:
    data = Shapes(ShapesConfig(name="shapes", root=str(root), train=6, val=2))
    data.prepare()
    return data


def noisy(mask: np.ndarray, seed: int) -> np.ndarray:
    """A label map that is right in most rows."""
    labels = np.where(mask == 255, 0, mask).astype(np.uint8)
    labels[:: 3 + seed] = 0
    return labels


class Elsewhere:
    """Files that somebody else has made of the generated pictures."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder, self.data = folder, dataset(root)

    def label_maps(self, split: str) -> Path:
        folder = self.folder / split
        for n, i in enumerate(self.data.ids(split)):
            write_labels(folder / f"{i}.png", noisy(self.mask(i), n % 2))
        return folder

    def cams(self, save: Callable[[Path, list[int], np.ndarray], None] | None = None) -> Path:
        folder = self.folder / "cams"
        folder.mkdir(parents=True)
        for i in self.data.ids("train"):
            keys, maps = self.cam(i)
            (save or save_psa)(folder / i, keys, maps)
        return folder

    def cam(self, sample_id: str) -> tuple[list[int], np.ndarray]:
        keys = list(self.data.sample(sample_id).labels)
        mask = self.mask(sample_id)
        generator = np.random.default_rng(len(sample_id))
        scores = [(mask == k + 1) * 0.5 + 0.5 * generator.random(mask.shape) for k in keys]
        return keys, np.stack(scores).astype(np.float32)

    def mask(self, sample_id: str) -> np.ndarray:
        path = self.data.mask_path(sample_id)
        assert path is not None
        return np.asarray(read_labels(path))


def save_psa(path: Path, keys: list[int], maps: np.ndarray) -> None:
    np.save(path.with_name(f"{path.name}.npy"), dict(zip(keys, maps)))  # type: ignore[arg-type]


def save_mctformer(path: Path, keys: list[int], maps: np.ndarray) -> None:
    """As its `--cam-npy-dir` has them: class -> map from its minimum to its maximum, an array of a tensor's memory."""
    content = {}
    for key, each in zip(keys, torch.from_numpy(maps)):
        content[key] = ((each - each.min()) / (each.max() - each.min() + 1e-8)).numpy()
    np.save(path.with_name(f"{path.name}.npy"), content)  # type: ignore[arg-type]


def save_irn(path: Path, keys: list[int], maps: np.ndarray) -> None:
    content = {"keys": np.array(keys), "cam": maps[:, ::4, ::4], "high_res": maps}
    np.save(path.with_name(f"{path.name}.npy"), content)  # type: ignore[arg-type]


def save_clip_es(path: Path, keys: list[int], maps: np.ndarray) -> None:
    content = {"keys": np.array(keys), "attn_highres": maps.astype(np.float16)}
    np.save(path.with_name(f"{path.name}.npy"), content)  # type: ignore[arg-type]


def save_npz(path: Path, keys: list[int], maps: np.ndarray) -> None:
    np.savez(path.with_name(f"{path.name}.npz"), keys=keys, cam=maps)


def save_npz_by_class(path: Path, keys: list[int], maps: np.ndarray) -> None:
    np.savez(path.with_name(f"{path.name}.npz"), **{str(k): m for k, m in zip(keys, maps)})


FORMATS = (save_psa, save_mctformer, save_irn, save_clip_es, save_npz, save_npz_by_class)


@pytest.fixture
def elsewhere(tmp_path: Path, command_line: CommandLine) -> Elsewhere:
    return Elsewhere(tmp_path / "elsewhere", command_line.data)


def evaluate(command_line: CommandLine, *arguments: Any) -> Outcome:
    place = ("--output", command_line.output, f"runtime.store={command_line.store}")
    return command_line("evaluate", *arguments, *place, *DATA, f"dataset.root={command_line.data}")


def refused(done: Outcome) -> str:
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    return done.err


@pytest.mark.parametrize("save", FORMATS)
def test_a_published_format_is_the_cam_it_was_made_of(save: Any, tmp_path: Path) -> None:
    image = tmp_path / "image.png"
    Image.new("RGB", (7, 5)).save(image)
    maps = np.random.default_rng(0).random((2, 5, 7)).astype(np.float32)
    maps[:, 0, 0], maps[:, 4, 6] = 0, 1  # so that a format which stretches maps to [0, 1] keeps them
    save(tmp_path / "a", [14, 3], maps)
    (file,) = tmp_path.glob("a.*")
    cam = read_cam(file, Sample("a", image, (3,)), 20)
    assert (cam.classes, cam.size) == ((14, 3), (5, 7))
    np.testing.assert_allclose(cam.maps, maps, atol=1e-3)


def test_cams_score_as_the_evaluator_scores_them_and_stand_on_the_board(
    command_line: CommandLine, elsewhere: Elsewhere, third_party: Any, tmp_path: Path
) -> None:
    third_party(Toy("toy"))
    assert command_line.run("toy").code == 0
    folder, predictions = elsewhere.cams(), elsewhere.label_maps("val")
    done = evaluate(
        command_line, "--name", "Theirs", "--cams", folder, "--background-threshold", "0.55", "--supervision", "I+S"
    )  # fmt: skip
    assert done.code == 0, done.err
    assert (
        evaluate(command_line, "--name", "Theirs", "--predictions", predictions, "--supervision", "I+S").code
        == 0
    )

    stored = read_run(command_line.output)
    by_method = {run["method"]: run for run in stored.runs}
    assert set(by_method) == {"toy", "external/Theirs"}
    run = by_method["external/Theirs"]
    assert run["status"] == "done"
    assert run["method_info"]["title"] == "Theirs (external)"
    assert run["method_info"]["supervision"] == "I+S"
    assert {stage["kind"] for stage in run["stages"]} == {"cam", "prediction"}

    data = elsewhere.data
    write_cams(
        tmp_path / "cams.safetensors",
        {
            i: Cam(m.astype(np.float16), tuple(k), m.shape[1:])
            for i in data.ids("train")
            for k, m in [elsewhere.cam(i)]
        },
    )
    expected = score_cams(tmp_path, data, "train", 0.55, counts_path=tmp_path / "counts.parquet")
    theirs = stored.records[stored.records.method == "external/Theirs"]
    for row in expected.rows:
        found = theirs[
            (theirs.stage == "cam")
            & (theirs.variant == row.variant)
            & (theirs.metric == row.metric)
            & (theirs.class_name == row.class_name)
            & ((theirs.threshold - row.threshold).abs() < 1e-9)
        ]
        assert len(found) == 1
        np.testing.assert_equal(found.value.item(), row.value)
    for i in data.ids("val"):
        target = label_map_path(tmp_path, i)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes((predictions / f"{i}.png").read_bytes())
    expected = score_label_maps(
        tmp_path, data, "val", stage="segmentation", counts_path=tmp_path / "val.parquet"
    )
    (miou,) = (row.value for row in expected.rows if row.metric == "miou")
    found = theirs[(theirs.stage == "segmentation") & (theirs.metric == "miou")]
    assert found.value.item() == miou
    stored = next(command_line.store.glob("artifacts/score-external_prediction/*/counts.parquet"))
    assert Counts.read(stored).images == data.ids("val")
    assert "Theirs (external)" in (command_line.output / "report.html").read_text()
    assert command_line("predict", "--run", command_line.output, "--images", tmp_path).code == 2


def test_provenance_is_the_folder_and_its_content(command_line: CommandLine, elsewhere: Elsewhere) -> None:
    folder = elsewhere.label_maps("train")
    assert evaluate(command_line, "--name", "x", "--pseudo-labels", folder).code == 0
    (before,) = read_run(command_line.output).runs
    files = before["settings"]["method"]["files"]["pseudo_label"]
    assert files["folder"] == str(folder.resolve())
    assert files["images"] == 6
    first = elsewhere.data.ids("train")[0]
    write_labels(folder / f"{first}.png", np.zeros_like(elsewhere.mask(first)))
    assert evaluate(command_line, "--name", "x", "--pseudo-labels", folder).code == 0
    (after,) = read_run(command_line.output).runs
    assert after["settings"]["method"]["files"]["pseudo_label"]["sha256"] != files["sha256"]
    assert after["stages"][0]["key"] != before["stages"][0]["key"]


def test_another_split_is_scored_and_kept_off_the_boards_columns(
    command_line: CommandLine, elsewhere: Elsewhere
) -> None:
    done = evaluate(
        command_line, "--name", "x", "--pseudo-labels", elsewhere.label_maps("val"), "--split", "val"
    )
    assert done.code == 0
    assert "pseudo_label_val: mIoU" in done.out
    records = read_run(command_line.output).records
    assert not ((records.method == "external/x") & (records.stage == "pseudo_label")).any()


def test_what_is_missing_or_wrong_is_one_line_and_no_row(
    command_line: CommandLine, elsewhere: Elsewhere
) -> None:
    folder, cams = elsewhere.label_maps("train"), elsewhere.cams()
    first = elsewhere.data.ids("train")[0]
    mask, classes = elsewhere.mask(first), len(elsewhere.data.classes)
    height, width = mask.shape

    def labels() -> str:
        return refused(evaluate(command_line, "--name", "x", "--pseudo-labels", folder))

    write_labels(folder / f"{first}.png", np.zeros((height, width + 1), np.uint8))
    assert f"{first}.png is {width + 1}x{height}, image" in labels()
    write_labels(folder / f"{first}.png", np.full_like(mask, classes + 1))
    assert f"holds id {classes + 1}, but ids are 0..{classes} and 255" in labels()
    (folder / f"{first}.png").unlink()
    assert f"lacks 1 of the 6 scored images of train, {first}.png first" in labels()
    np.save(cams / f"{first}.npy", {classes: np.zeros(mask.shape)})  # type: ignore[arg-type]
    said = refused(evaluate(command_line, "--name", "x", "--cams", cams))
    assert f"{first}.npy: class {classes}, but classes are 0..{classes - 1}" in said
    assert not (command_line.output / "cells.json").exists()


GOOD = np.zeros((5, 7), np.float32)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({0: GOOD[1:]}, "maps are 7x4, image"),
        ({20: GOOD}, "class 20, but classes are 0..19"),
        ({0: np.where(np.eye(5, 7), 3, GOOD)}, "values from 0 to 3, outside [0, 1]"),
        ({0: GOOD * np.nan}, "outside [0, 1]"),
        ({"cam": GOOD}, "holds cam, no classes"),
        ({"²": GOOD}, "holds ², no classes"),
        ({"keys": np.array([0])}, "no maps; call them one of high_res"),
        ({"keys": np.array([0, 1]), "cam": GOOD[None]}, "2 keys [0, 1] and maps of shape (1, 5, 7)"),
        ({"keys": np.array([1, 1]), "cam": np.stack([GOOD, GOOD])}, "do not belong together"),
        ({"keys": np.array([0.5]), "cam": GOOD[None]}, "keys of type float64"),
        ({0: GOOD, 1: GOOD[1:]}, "maps of different sizes [(4, 7), (5, 7)]"),
        (GOOD, "holds one array, which does not say whose maps"),
        ({0: Path("x")}, "calls pathlib"),
    ],
)  # fmt: skip
def test_what_is_no_cam_is_one_line(content: Any, words: str, tmp_path: Path) -> None:
    image = tmp_path / "image.png"
    Image.new("RGB", (7, 5)).save(image)
    np.save(tmp_path / "a.npy", content)
    with pytest.raises(DataError, match=re.escape(words)) as caught:
        read_cam(tmp_path / "a.npy", Sample("a", image, ()), 20)
    assert str(tmp_path / "a.npy") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_faulty_npz_is_one_line(tmp_path: Path) -> None:
    path, sample = tmp_path / "a.npz", Sample("a", tmp_path / "image.png", ())
    Image.new("RGB", (7, 5)).save(sample.image)
    np.savez(path, cam=np.array([{}], object))
    with pytest.raises(DataError, match="pickles objects, and nothing here unpickles"):
        read_cam(path, sample, 20)
    path.write_bytes(b"no zip")
    with pytest.raises(DataError, match=r"a\.npz: not read \(BadZipFile: .*\); save keys and the maps at"):
        read_cam(path, sample, 20)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--name", "x"], "nothing to evaluate; give --cams, --pseudo-labels, --predictions"),
        (["--name", "a/b", "--cams", "."], "--name 'a/b': at most 40 letters"),
        (["--name", "x", "--cams", "/nowhere"], "--cams /nowhere: no such folder"),
        (["--name", "x", "--predictions", ".", "--background-threshold", ".5"], "give --cams FOLDER with it"),
        (["--name", "x", "--cams", ".", "--background-threshold", "2"], "must be in [0, 1]"),
        (["--name", "x", "--cams", ".", "--split", "test"], "unknown --split 'test'"),
        (["--name", "x", "--cams", ".", "--supervision", "I+Q"], "'Q' is none of I, S, L, SAM, M"),
        (["--name", "x", "--cams", ".", "--scale", "big"], "unknown --scale 'big'"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_one_line(command_line: CommandLine, arguments: list[str], words: str) -> None:
    assert words in refused(evaluate(command_line, *arguments))


def test_true_masks_are_not_taken_for_anything_else(command_line: CommandLine, elsewhere: Elsewhere) -> None:
    """Scored they are perfect, and the row says what they are."""
    mask = elsewhere.data.mask_path(elsewhere.data.ids("val")[0])
    assert mask is not None
    assert "must not open a mask" in refused(
        evaluate(command_line, "--name", "x", "--predictions", mask.parent)
    )
    done = evaluate(command_line, "--name", "x", "--predictions", mask.parent, "--supervision", "M")
    assert done.code == 0, done.err
    records = read_run(command_line.output).records
    chosen = (records.method == "external/x") & (records.metric == "miou")
    assert records[chosen].value.tolist() == [1.0]
    (run,) = json.loads((command_line.output / "cells.json").read_text())["cells"]
    assert run["method_info"]["supervision"] == "M"


def test_an_image_without_classes_has_no_maps(tmp_path: Path) -> None:
    image = tmp_path / "image.png"
    Image.new("RGB", (7, 5)).save(image)
    np.save(tmp_path / "a.npy", {})  # type: ignore[arg-type]
    cam = read_cam(tmp_path / "a.npy", Sample("a", image, ()), 20)
    assert (cam.classes, cam.size, len(cam.maps)) == ((), (5, 7), 0)


def test_supervision_is_parsed() -> None:
    assert {s.value for s in parse_supervision("I + SAM")} == {"I", "SAM"}
    assert parse_supervision("") == frozenset()
    assert External("Their CAM, no".replace(",", ""), frozenset()).name == "external/Their CAM no"


def test_half_read_cams_are_refused(tmp_path: Path) -> None:
    Image.new("RGB", (7, 5)).save(tmp_path / "image.png")
    np.save(tmp_path / "a.npy", {0: np.zeros((5, 7))})  # type: ignore[arg-type]
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="no array file, or a damaged one"):
        read_cam(tmp_path / "a.npy", Sample("a", tmp_path / "image.png", ()), 20)


def test_predictions_with_an_adaptive_palette_score_as_their_ids(
    command_line: CommandLine, elsewhere: Elsewhere
) -> None:
    """Saved by way of colours: indices follow how often colours occur, and say nothing."""
    right = elsewhere.folder / "right"
    for i in elsewhere.data.ids("val"):
        with Image.open(elsewhere.data.mask_path(i) or "") as mask:
            ids = np.where(np.asarray(mask) == 255, 0, np.asarray(mask)).astype(np.uint8)
        shown = Image.fromarray(ids)
        shown.putpalette(VOC_PALETTE)
        right.mkdir(parents=True, exist_ok=True)
        shown.convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE, colors=32).save(right / f"{i}.png")
    done = evaluate(command_line, "--name", "Theirs", "--predictions", right)
    assert "mIoU 100.00 %" in done.out
    assert "2 label maps have the data set's colours in another order" in done.out.replace("\n", " ")


def test_predictions_with_a_palette_of_their_own_are_refused(
    command_line: CommandLine, elsewhere: Elsewhere
) -> None:
    folder = elsewhere.label_maps("val")
    for path in folder.iterdir():
        with Image.open(path) as image:
            image.putpalette(np.random.default_rng(0).integers(1, 63, 768).tolist())
            image.save(path)
    done = evaluate(command_line, "--name", "Theirs", "--predictions", folder)
    assert "may be no class ids; save class ids, not colours: python -m" in refused(done)


def test_arrays_that_inflate_are_refused_by_what_their_file_says(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", keys=np.array([0]), cam=np.zeros((1, 5000, 5000), np.float64))
    Image.new("RGB", (7, 5)).save(tmp_path / "a.png")
    with pytest.raises(
        DataError, match=r"a\.npz: not read \(200 MB of arrays in 0\.2 MB\); save keys and the maps"
    ):
        read_cam(tmp_path / "a.npz", Sample("a", tmp_path / "a.png", (0,)), 1)
