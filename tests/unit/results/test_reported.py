"""Numbers of the papers: every file is read and checked, and what is wrong in one is named."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from datasets.base import DataError
from results.complexity import METRICS, STAGE
from results.reported import PERCENTAGES, find_reported, load_reported, reported_frame, reported_of

GOOD = """\
source: A paper, 2020
ours: Mine
tables:
- table: Tab. 1
  title: Scores
  dataset: voc2012
  split: train
  note: a note
  columns:
  - {name: CAM, stage: cam}
  - {name: label, stage: pseudo_label, refiner: crf, note: refined}
  rows:
  - {method: Mine, values: [50.5, ~]}
  - {row: theirs, method: Other, refiner: psa, segmenter: V1, values: [40, 60]}
"""


def read(folder: Path, text: str):
    (folder / "paper.yaml").write_text(text, encoding="utf-8")
    return load_reported(folder)


def test_every_table_of_the_five_papers_is_there() -> None:
    numbers = load_reported()
    tables = {(n.paper, n.table) for n in numbers}
    papers = {
        "ca_cl": 8,
        "dskd_gc": 6,
        "eps": 8,  # seven, and the sentence on saliency models
        "sam_fused": 3,
        "semantic_modulation": 9,  # eight, and the figure's one number
    }
    assert {paper: sum(p == paper for p, _ in tables) for paper in papers} == papers
    assert len(numbers) > 500
    for number in numbers:
        assert number.ours == (number.method == {n.paper: n.method for n in numbers if n.ours}[number.paper])
        if number.metric in PERCENTAGES:
            assert 0.05 < number.value < 0.96, number
            assert number.printed == pytest.approx(100 * number.value)
        else:
            assert number.value == number.printed > 0


def test_per_class_rows_average_to_their_totals_unless_annotated() -> None:
    frame = reported_frame()
    classes = frame[(frame["metric"] == "iou") & (frame["stage"] == "segmentation")]
    assert classes.groupby("row").size().eq(21).all()
    for row, values in classes.groupby("row")["printed"]:
        total = find_reported(f"dskd_gc/Tab. 6/{row}", "segmentation")
        assert total is not None
        # 21 values rounded to a tenth, and a total rounded as well
        agrees = abs(values.mean() - total.printed) <= 0.1
        assert agrees == (total.suspicious == ""), (row, values.mean())


def test_what_papers_print_differently_of_one_method_is_noted() -> None:
    frame = reported_frame()
    plain = frame[(frame["variant"] == "") & (frame["suspicious"] == "") & (frame["metric"] == "miou")]
    plain = plain[plain["split"] != ""]
    same = ["method", "dataset", "split", "stage", "refiner", "segmenter", "segmenter_backbone"]
    for key, group in plain.groupby(same):
        if group["value"].nunique() > 1 and group["supervision"].nunique() == 1:
            assert (group["note"] != "").any(), key


def test_the_known_misprints_are_annotated() -> None:
    repeated = [n for n in load_reported() if (n.paper, n.table, n.row) == ("ca_cl", "Tab. 2", "MCTformer")]
    first = [n for n in load_reported() if (n.paper, n.table, n.row) == ("ca_cl", "Tab. 1", "MCTformer")]
    assert [n.value for n in repeated] == [n.value for n in first]
    assert all(n.suspicious for n in repeated)
    assert not any(n.suspicious for n in first)


def test_what_a_row_says_overrides_column_and_table(tmp_path: Path) -> None:
    mine, cam, label = read(tmp_path, GOOD)
    assert (mine.row, mine.ours, mine.value, mine.printed, mine.images) == ("Mine", True, 0.505, 50.5, 1464)
    assert (cam.row, cam.ours, cam.refiner, cam.note) == ("theirs", False, "", "a note")
    assert (label.refiner, label.segmenter, label.note) == ("psa", "", "refined; a note")
    assert (label.protocol, label.metric, label.supervision) == ("paper", "miou", "")


def test_an_own_papers_numbers_come_first_and_variants_are_left_out(tmp_path: Path) -> None:
    other = GOOD.replace("ours: Mine", "ours: Other").replace("theirs, method", "theirs, variant: x, method")
    (tmp_path / "another.yaml").write_text(GOOD.replace("50.5", "51.5"), encoding="utf-8")
    numbers = read(tmp_path, other)
    assert [(n.paper, n.printed) for n in reported_of("Other", numbers)] == [("another", 40), ("another", 60)]
    assert [n.printed for n in reported_of("Mine", numbers)] == [51.5, 50.5]


def test_references_find_rows(tmp_path: Path) -> None:
    number = find_reported("dskd_gc/Tab. 4/ToCo", "segmentation")
    assert number is not None
    assert (number.split, number.printed) == ("val", 71.1)
    assert find_reported("dskd_gc/Tab. 4/ToCo", "cam") is None
    with pytest.raises(DataError, match="no reported numbers at"):
        find_reported("dskd_gc/Tab. 4/Toco", "cam")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ours: Mine\n", "", "paper.yaml: ours is missing"),
        ("50.5", "150.5", "Tab. 1, row 'Mine': 150.5 is out of range for miou"),
        ("50.5", "-1", "-1 is out of range for miou"),
        ("50.5", "yes", "True is no number"),
        ("[50.5, ~]", "[50.5]", "row 'Mine': 1 values for 2 columns"),
        ("split: train", "spilt: train", "Tab. 1: unknown key 'spilt'"),
        ("stage: cam}", "stage: cam, metric: mIoU}", "unknown metric 'mIoU'"),
        ("row: theirs", "row: Mine", "row 'Mine': give every row a label of its own"),
        ("  dataset: voc2012\n", "", "its dataset is said nowhere"),
        ("source: A", "source: [A", "not YAML"),
        ("- table: Tab. 1\n  title", "- title", "table is missing"),
    ],
)
def test_mistakes_are_one_line_that_names_the_place(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(DataError) as error:
        read(tmp_path, GOOD.replace(old, new))
    assert message in str(error.value)
    assert "paper.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no YAML file"):
        load_reported(tmp_path)


def test_the_table_has_the_numbers_fields() -> None:
    frame = reported_frame()
    assert len(frame) == len(load_reported())
    assert frame["value"].map(math.isfinite).all()


def test_eps_says_nothing_of_the_initial_weights_of_other_papers_methods() -> None:
    of_eps = [n for n in load_reported() if n.paper == "eps"]
    assert {n.initialisation for n in of_eps if not n.ours} == {""}
    own = {
        (n.stage, n.segmenter_backbone): n.initialisation for n in of_eps if n.ours and n.table != "Tab. 1"
    }
    assert own["segmentation", "VGG16"] == own["cam", ""] == "ImageNet"


def test_epss_numbers_on_resnet_101_are_marked_as_started_from_cocos_masks() -> None:
    """By issue 4 of its repository; on VGG16 they started from ImageNet."""
    own = [n for n in load_reported() if n.method == "EPS" and n.segmenter and n.value is not None]
    starts = {
        (n.segmenter_backbone, n.initialisation) for n in own if n.paper in ("eps", "semantic_modulation")
    }
    assert starts == {("ResNet-101", "COCO masks"), ("VGG16", "ImageNet")}
    assert all("OAA" in n.note for n in own if n.paper == "eps" and n.segmenter_backbone == "ResNet-101")


def test_what_no_profile_measures_says_so() -> None:
    costs = [n for n in load_reported() if n.stage == STAGE and n.metric not in METRICS]
    assert {n.metric for n in costs} == {"hours", "memory_mb"}
    assert all("no profile measures it" in n.note for n in costs)


def test_slips_of_the_papers_are_noted() -> None:
    notes = {(n.paper, n.table, n.method): n.note for n in load_reported()}
    assert "MARS" in notes["semantic_modulation", "Tab. 7", "Mat-Label"]
    assert "MARS" in notes["semantic_modulation", "Tab. 8", "Mat-Label"]
    assert "16 classes" in notes["dskd_gc", "Tab. 6", "DSKD + GC"]
    best: dict[str, tuple[float, str]] = {}
    for n in load_reported():
        if (n.paper, n.table) == ("dskd_gc", "Tab. 6") and n.column != "mIoU" and n.value is not None:
            best[n.column] = max(best.get(n.column, (0.0, "")), (n.value, n.method))
    won = {column for column, (_, method) in best.items() if method == "DSKD + GC"}
    assert (len(won), "background" in won) == (17, True)
