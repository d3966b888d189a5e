"""`audit` names the rule by which a number was scored: each is planted by a loop over pixels that knows no other code."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest

from benchmark.explanation import counting
from benchmark.explanation.audit import Audit, audit, look_through
from benchmark.explanation.counting import LABEL_CRF, Options
from benchmark.explanation.verdict import in_words, read_reported, verdict
from benchmark.failures import ConfigError
from datasets.base import DataError
from datasets.files.images import read_labels, write_labels
from datasets.lists import named_lists
from datasets.shapes.dataset import Shapes, ShapesConfig
from datasets.voc.reader import Voc2012, VocConfig
from methods.layers.crf import CrfPool, dense_crf
from methods.refiners.cam_maps import crf_picture
from tests.helpers.evaluation_data import TinyDataset, blocky
from tests.helpers.toys import CommandLine

CLASSES = ("boat", "train", "bird", "cow", "cat")
"""No mask has the last two; the last is not predicted, either."""
SIZE = (18, 24)
Maps = Mapping[str, np.ndarray]
PLAIN = Options()


class Split(TinyDataset):
    """Its ids begin with the name of their split."""

    def ids(self, split: str) -> tuple[str, ...]:
        return tuple(i for i in self.all_ids if i.startswith(split))


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "CrfPool", partial(CrfPool, workers=1))


@pytest.fixture
def masks() -> dict[str, np.ndarray]:
    """Twelve images of val and four of train; some pixels are 255."""
    rng = np.random.default_rng(3)
    ids = [f"val{n:02d}" for n in range(12)] + [f"train{n}" for n in range(4)]
    return {i: blocky(rng, SIZE, [0, 0, 0, 1 + n % 3, 1 + n % 2, 255]) for n, i in enumerate(ids)}


@pytest.fixture
def predictions(masks: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Right in about two thirds of the blocks; some are 255, some of a class that no mask has."""
    rng = np.random.default_rng(4)
    found = {}
    for i, mask in masks.items():
        wrong = blocky(rng, SIZE, [0, 1, 2, 3, 4, 255], 2)
        found[i] = np.where(blocky(rng, SIZE, [0, 0, 1], 2) == 1, wrong, np.where(mask == 255, 0, mask))
    return found


@pytest.fixture
def data(tmp_path: Path, masks: dict[str, np.ndarray]) -> Split:
    labels = {i: tuple(int(c) - 1 for c in np.unique(m) if 0 < c < 255) for i, m in masks.items()}
    return Split(tmp_path / "data", masks, classes=CLASSES, labels=labels)


def saved(folder: Path, maps: Maps) -> Path:
    for i, labels in maps.items():
        write_labels(folder / f"{i}.png", labels.astype(np.uint8))
    return folder


def audited(data: Split, folder: Path, options: Options = PLAIN, split: str | None = None) -> Audit:
    return audit(data, look_through(folder, data, named_lists(data), None, split), options)


def confusion(mask: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(256, 256) counts of pairs of one image, pixel by pixel."""
    counts = np.zeros((256, 256), int)
    for truth, predicted in zip(mask.ravel().tolist(), labels.ravel().tolist(), strict=True):
        counts[truth, predicted] += 1
    return counts


def ious(
    counts: np.ndarray, void: bool = False, ignored: str = "background", absent: float | None = None
) -> list[float | None]:
    """IoU of the background and each class; None for one that the masks lack."""
    found: list[float | None] = []
    rows = range(256) if void else range(255)
    for c in range(len(CLASSES) + 1):
        both = true = predicted = 0
        for truth in rows:
            for value in (*range(len(CLASSES) + 1), 255):
                pixels = int(counts[truth, value])
                said: int | None = value
                if value == 255:
                    if ignored == "out":
                        continue
                    said = 0 if ignored == "background" else None
                is_class, is_said = (0 if truth == 255 else truth) == c, said == c
                true, predicted, both = (
                    true + is_class * pixels,
                    predicted + is_said * pixels,
                    both + (is_class and is_said) * pixels,
                )
        union = true + predicted - both
        if true == 0 and absent is None:
            found.append(None)
        else:
            found.append(both / union if union else absent)
    return found


def mean(values: list[float | None]) -> float:
    return fmean(value for value in values if value is not None)


def of(split: str, masks: Maps, maps: Maps) -> list[np.ndarray]:
    return [confusion(masks[i], maps[i]) for i in masks if i.startswith(split)]


def planted_absent(masks: Maps, maps: Maps, data: Split) -> float:
    return mean(ious(sum(of("val", masks, maps)), absent=0.0))  # type: ignore[arg-type]


def planted_smoothed(masks: Maps, maps: Maps, data: Split) -> float:
    """As with a small number added to intersection and union."""
    return mean(ious(sum(of("val", masks, maps)), absent=1.0))  # type: ignore[arg-type]


def planted_alarms(masks: Maps, maps: Maps, data: Split) -> float:
    *found, last = ious(sum(of("val", masks, maps)), absent=0.0)  # type: ignore[arg-type]
    assert last == 0
    return mean(found)


def planted_images(masks: Maps, maps: Maps, data: Split) -> float:
    return fmean(mean(ious(counts)) for counts in of("val", masks, maps))


def planted_classes(masks: Maps, maps: Maps, data: Split) -> float:
    each = [ious(counts) for counts in of("val", masks, maps)]
    by_class = [[image[c] for image in each] for c in range(len(CLASSES) + 1)]
    return fmean(mean(values) for values in by_class if any(value is not None for value in values))


def planted_wrong(masks: Maps, maps: Maps, data: Split) -> float:
    return mean(ious(sum(of("val", masks, maps)), ignored="wrong"))  # type: ignore[arg-type]


def planted_not_scored(masks: Maps, maps: Maps, data: Split) -> float:
    return mean(ious(sum(of("val", masks, maps)), ignored="out"))  # type: ignore[arg-type]


def planted_void(masks: Maps, maps: Maps, data: Split) -> float:
    return mean(ious(sum(of("val", masks, maps)), void=True))  # type: ignore[arg-type]


def planted_background(masks: Maps, maps: Maps, data: Split) -> float:
    return mean(ious(sum(of("val", masks, maps)))[1:])  # type: ignore[arg-type]


def planted_train(masks: Maps, maps: Maps, data: Split) -> float:
    return mean(ious(sum(of("train", masks, maps))))  # type: ignore[arg-type]


def planted_labels(masks: Maps, maps: Maps, data: Split) -> float:
    known = {}
    for i, labels in maps.items():
        known[i] = labels.copy()
        for c in range(len(CLASSES)):
            if c not in data.sample(i).labels:
                known[i][labels == c + 1] = 0
    return mean(ious(sum(of("val", masks, known))))  # type: ignore[arg-type]


def planted_size(masks: Maps, maps: Maps, data: Split) -> float:
    """Both at 11x11, by the pixel below each centre."""

    def small(values: np.ndarray) -> np.ndarray:
        height, width = values.shape
        made = np.zeros((11, 11), np.uint8)
        for y in range(11):
            for x in range(11):
                made[y, x] = values[int((y + 0.5) * height / 11), int((x + 0.5) * width / 11)]
        return made

    counts = [confusion(small(masks[i]), small(maps[i])) for i in masks if i.startswith("val")]
    return mean(ious(sum(counts)))  # type: ignore[arg-type]


def planted_crf(masks: Maps, maps: Maps, data: Split) -> float:
    refined = {}
    for i, labels in maps.items():
        ids = sorted({0, *labels.ravel().tolist()} - {255})
        unary = np.zeros((len(ids), *SIZE), np.float32)
        for y in range(SIZE[0]):
            for x in range(SIZE[1]):
                for k, value in enumerate(ids):
                    sure = 0.7 if labels[y, x] == value else 0.3 / (len(ids) - 1)
                    unary[k, y, x] = 1 / len(ids) if labels[y, x] == 255 else sure
        posterior = dense_crf(crf_picture(data.sample(i).image, SIZE), unary, LABEL_CRF)
        refined[i] = np.array(ids)[posterior.argmax(0)]
    return mean(ious(sum(of("val", masks, refined))))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("planted", "words"),
    [
        (planted_absent, "absent classes count as 0, predicted or not"),
        (planted_smoothed, "absent classes count as 0 where they are predicted, else as 1"),
        (planted_alarms, "a class that is predicted but in no mask counts as 0"),
        (planted_images, "mean over images of each image's mIoU"),
        (planted_classes, "each class's IoU averaged over images, then over classes"),
        (planted_wrong, "pixels predicted 255 count as wrong, not as background"),
        (planted_not_scored, "pixels predicted 255 not scored"),
        (planted_void, "255 in the masks counts as background"),
        (planted_background, "background left out of the mean"),
        (planted_train, "images of train (4)"),
        (planted_labels, "image labels known at test time: other classes cannot be predicted"),
        (planted_size, "both stretched to 11x11"),
        (planted_crf, "after a dense CRF"),
    ],
)
def test_a_planted_rule_is_named(
    tmp_path: Path,
    masks: dict[str, np.ndarray],
    predictions: dict[str, np.ndarray],
    data: Split,
    planted: Callable[[Maps, Maps, Split], float],
    words: str,
) -> None:
    number = f"{100 * planted(masks, predictions, data):.5f}"
    options = Options(sizes=(11,), crf=planted is planted_crf)
    given, lines = verdict(
        audited(data, saved(tmp_path / "files", predictions), options), read_reported(number)
    )
    assert given
    assert lines == [f"Reported {number}: given by one rule, {float(number):.2f} %: {words}"]


def test_several_differences_are_named_together(
    tmp_path: Path, masks: dict[str, np.ndarray], predictions: dict[str, np.ndarray], data: Split
) -> None:
    counts = of("train", masks, predictions)
    number = f"{100 * fmean(mean(ious(each, ignored='out')) for each in counts):.5f}"
    given, lines = verdict(audited(data, saved(tmp_path / "files", predictions)), read_reported(number))
    assert given
    assert lines[0].endswith(
        "images of train (4) + pixels predicted 255 not scored + mean over images of each image's mIoU"
    )


def test_the_base_is_the_benchmarks_own_score(
    tmp_path: Path, masks: dict[str, np.ndarray], predictions: dict[str, np.ndarray], data: Split
) -> None:
    own = mean(ious(sum(of("val", masks, predictions))))  # type: ignore[arg-type]
    found = audited(data, saved(tmp_path / "files", predictions))
    assert found.scored[0].value == pytest.approx(own, abs=1e-12)
    given, lines = verdict(found, read_reported(f"{own:.4f}"))
    assert given
    assert lines == [f"Reported {own:.4f}: given by the scoring of this benchmark, {100 * own:.2f} %"]


def test_a_number_that_no_rule_gives(tmp_path: Path, predictions: dict[str, np.ndarray], data: Split) -> None:
    given, lines = verdict(audited(data, saved(tmp_path / "files", predictions)), read_reported("99.9"))
    assert not given
    assert "none of" in lines[0]


def test_ties_are_said(tmp_path: Path, predictions: dict[str, np.ndarray], data: Split) -> None:
    """With one digit, several rules give nearly any number in reach."""
    found = audited(data, saved(tmp_path / "files", predictions))
    singles = [each for each in found.scored if len(each.differs) == 1]
    near = min(
        ((a, b) for n, a in enumerate(singles) for b in singles[:n]),
        key=lambda pair: abs(pair[0].value - pair[1].value),
    )
    claim = read_reported(f"{100 * near[0].value:.0f}")
    assert all(map(claim.is_given_by, near))
    given, lines = verdict(found, claim)
    assert given
    assert "do not tell which was used" in lines[0] or "given by the scoring of this benchmark" in lines[0]


def test_predictions_of_another_size_are_compared_both_ways(
    tmp_path: Path, masks: dict[str, np.ndarray], predictions: dict[str, np.ndarray], data: Split
) -> None:
    half = {i: labels[::2, ::2] for i, labels in predictions.items()}
    found = audited(data, saved(tmp_path / "files", half))
    small = [confusion(masks[i][1::2, 1::2], half[i]) for i in masks if i.startswith("val")]
    number = f"{100 * mean(ious(sum(small))):.5f}"  # type: ignore[arg-type]
    large = [confusion(masks[i], half[i].repeat(2, 0).repeat(2, 1)) for i in masks if i.startswith("val")]
    assert found.scored[0].value == pytest.approx(mean(ious(sum(large))))  # type: ignore[arg-type]
    assert verdict(found, read_reported(number))[1][0].endswith("masks stretched to the predictions' size")


def test_every_difference_of_a_rule_matters(
    tmp_path: Path, predictions: dict[str, np.ndarray], data: Split
) -> None:
    found = audited(
        data, saved(tmp_path / "files", {i: np.where(p == 255, 0, p) for i, p in predictions.items()})
    )
    assert "predicted_255" in found.idle
    assert not any("predicted_255" in each.differs for each in found.scored)
    assert len({in_words(each) for each in found.scored}) == len(found.scored)


class TestUseOfLabels:
    """Files that hold no class but their images' labels."""

    @pytest.fixture
    def obedient(self, predictions: dict[str, np.ndarray], data: Split) -> dict[str, np.ndarray]:
        known = {i: [0, 255, *(c + 1 for c in data.sample(i).labels)] for i in predictions}
        return {i: np.where(np.isin(p, known[i]), p, 0) for i, p in predictions.items()}

    def test_of_val_is_a_warning(self, tmp_path: Path, obedient: dict[str, np.ndarray], data: Split) -> None:
        found = audited(data, saved(tmp_path / "files", obedient))
        assert found.warnings == (
            "0 of 12 files of val with an object hold a class outside their image's labels: image labels seem to"
            " have been used. Where they are not known at test time, no number from these files counts as a"
            " prediction's",
        )

    def test_one_class_outside_is_no_warning(
        self, tmp_path: Path, obedient: dict[str, np.ndarray], data: Split
    ) -> None:
        obedient["val03"][0, 0] = 4
        found = audited(data, saved(tmp_path / "files", obedient))
        assert not found.warnings
        assert "1 of 12 files of val" in found.notes[0]


class TestCams:
    @pytest.fixture
    def scores(self, masks: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """(4, H, W) of each image, in steps of a sixteenth (half precision has these)."""
        rng = np.random.default_rng(5)
        found = {}
        for i, mask in masks.items():
            there = np.stack([mask == c + 1 for c in range(4)])
            found[i] = (np.round(16 * (0.4 * there + 0.5 * rng.random(there.shape))) / 16).astype(np.float32)
        return found

    @staticmethod
    def at(scores: np.ndarray, threshold: float, classes: tuple[int, ...] = (0, 1, 2, 3)) -> np.ndarray:
        part = scores[list(classes)]
        ids = np.array(classes)[part.argmax(0)] + 1
        return np.where(part.max(0) > threshold, ids, 0)

    @pytest.fixture
    def folder(self, tmp_path: Path, scores: dict[str, np.ndarray]) -> Path:
        (tmp_path / "cams").mkdir()
        for i, maps in scores.items():
            np.savez(tmp_path / "cams" / f"{i}.npz", keys=np.arange(4), cam=maps)
        return tmp_path / "cams"

    SWEEP = tuple(k / 100 for k in range(60))

    def test_the_best_threshold_and_the_list(
        self, masks: dict[str, np.ndarray], scores: dict[str, np.ndarray], data: Split, folder: Path
    ) -> None:
        best = max(
            mean(ious(sum(of("val", masks, {i: self.at(s, t) for i, s in scores.items()}))))  # type: ignore[arg-type]
            for t in np.arange(0, 0.6, 1 / 16)
        )
        found = audited(data, folder, Options(sweep=self.SWEEP))
        assert verdict(found, read_reported(f"{100 * best:.5f}"))[1][0].endswith("images of val (12)")
        assert found.scored[0].rule.images == "train"

    def test_known_labels_at_a_fixed_threshold_over_images(
        self, masks: dict[str, np.ndarray], scores: dict[str, np.ndarray], data: Split, folder: Path
    ) -> None:
        maps = {i: self.at(s, 0.3, data.sample(i).labels) for i, s in scores.items()}
        number = fmean(mean(ious(counts)) for counts in of("val", masks, maps))
        found = audited(data, folder, Options(fixed_threshold=0.3, sweep=self.SWEEP), "val")
        assert verdict(found, read_reported(f"{100 * number:.5f}"))[1][0].endswith(
            "image labels known at test time: other classes cannot be predicted + mean over images of each image's mIoU"
        )


@pytest.mark.parametrize(
    ("text", "value", "half"),
    [("61.2", 0.612, 0.0005), ("61.25 %", 0.6125, 0.00005), ("0.612", 0.612, 0.0005), (".5", None, 0)],
)
def test_reported_numbers(text: str, value: float | None, half: float) -> None:
    if value is None:
        assert read_reported(text).value == pytest.approx(
            0.005
        )  # per cent: fractions have two digits at least
        return
    found = read_reported(text)
    assert (found.value, found.half) == (pytest.approx(value), pytest.approx(half))


@pytest.mark.parametrize("text", ["sixty", "161.2", "", "-3", "0"])
def test_what_is_no_miou_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--reported"):
        read_reported(text)


def test_files_of_both_kinds_and_of_neither(
    tmp_path: Path, predictions: dict[str, np.ndarray], data: Split
) -> None:
    with pytest.raises(DataError, match="no file is named after an image"):
        look_through(tmp_path, data, named_lists(data), None, None)
    folder = saved(tmp_path / "files", predictions)
    np.savez(folder / "val00.npz", keys=[0], cam=np.zeros((1, *SIZE)))
    with pytest.raises(ConfigError, match="--kind"):
        look_through(folder, data, named_lists(data), None, None)
    assert look_through(folder, data, named_lists(data), "label-maps", None).kind == "label-maps"


def test_vocs_lists_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "VOC2012"
    (folder / "ImageSets" / "Segmentation").mkdir(parents=True)
    (folder / "JPEGImages").mkdir()
    for name, ids in {"train": "a", "train_aug": "a b", "val": "c d", "val_part": "c"}.items():
        (folder / "ImageSets" / "Segmentation" / f"{name}.txt").write_text("\n".join(ids.split()))
    data = Voc2012(VocConfig(root=str(folder)))
    assert data.ids("train") == ("a", "b")  # train_aug is in use
    assert named_lists(data) == {
        "train": ("a",),
        "train_aug": ("a", "b"),
        "val": ("c", "d"),
        "val_part": ("c",),
    }


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Predictions for generated images, and the overrides that name these."""
    tmp_path = tmp_path_factory.mktemp("shapes")
    data = Shapes(ShapesConfig(name="shapes", root=str(tmp_path / "shapes"), train=2, val=3))
    data.prepare()
    folder = tmp_path / "predictions"
    for i in data.ids("val"):
        path = data.mask_path(i)
        assert path is not None
        labels = np.asarray(read_labels(path)).copy()
        labels[::3] = 0
        saved(folder, {i: np.where(labels == 255, 0, labels)})
    return folder, [f"dataset.root={tmp_path / 'shapes'}", "dataset.train=2", "dataset.val=3"]


def test_the_command(command_line: CommandLine, shapes: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder, settings = shapes
    table = tmp_path / "rules.csv"
    said = command_line("audit", str(folder), *settings, "--output", str(table))
    assert said.code == 0, said.err
    rows = list(csv.DictReader(table.open()))
    own, other = (f"{100 * float(row['miou']):.3f}" for row in rows[:2])
    assert "val (3 images)" in said.out
    for number, code, words in (
        (own, 0, "scoring of this benchmark"),
        (other, 0, rows[1]["in_words"]),
        ("1.5", 1, "none of"),
    ):
        said = command_line("audit", str(folder), *settings, "--reported", number)
        assert said.code == code
        assert words in said.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--split", "vla"], "there are train, val"),
        (["--resize", "big"], "--resize 448"),
        (["--resize", ","], "--resize 448"),
        (["--background-threshold", "0.4"], "--background-threshold is of CAMs"),
        (["--kind", "png"], "there are cams, label-maps"),
        (["--reported", "high"], "61.2"),
        (["--split", "train"], "has no file of an image of train"),
        (["--list", "nowhere.txt"], "an image id a line"),
    ],
)
def test_faults_are_one_line(
    command_line: CommandLine, shapes: tuple[Path, list[str]], arguments: list[str], words: str
) -> None:
    folder, settings = shapes
    said = command_line("audit", str(folder), *settings, *arguments)
    assert said.code == 2
    assert words in said.err
    assert said.err.count("\n") == 1


def test_a_list_of_other_images_is_refused(
    command_line: CommandLine, shapes: tuple[Path, list[str]], tmp_path: Path
) -> None:
    (tmp_path / "own.txt").write_text("elsewhere\n")
    said = command_line("audit", str(shapes[0]), *shapes[1], "--list", str(tmp_path / "own.txt"))
    assert said.code == 2
    assert "own.txt: 1 of its 1 ids are no images of the data set (elsewhere first)" in said.err


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"val_0000\nval_0000\n"])
def test_a_file_that_is_no_list_is_refused(
    command_line: CommandLine, shapes: tuple[Path, list[str]], tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "own.txt").write_bytes(content)
    said = command_line("audit", str(shapes[0]), *shapes[1], "--list", str(tmp_path / "own.txt"))
    assert said.code == 2
    assert "own.txt: no list; write an image id a line into it, each once, as UTF-8" in said.err


def test_a_list_called_as_another_is_refused(
    command_line: CommandLine, shapes: tuple[Path, list[str]], tmp_path: Path
) -> None:
    (tmp_path / "val.txt").write_text("val_0000\n")
    said = command_line("audit", str(shapes[0]), *shapes[1], "--list", str(tmp_path / "val.txt"))
    assert said.code == 2
    assert "val.txt: there is a list called val already; give it another name" in said.err
