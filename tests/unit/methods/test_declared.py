"""Deviations and experiments in YAML: what is read, and one line for what is not as it should be."""

from __future__ import annotations

from pathlib import Path

import pytest

from methods.base import MethodError
from methods.declared import deviations_in, deviations_of_parts, experiments_in
from methods.deviation import Deviation
from methods.experiment import Claim, ExperimentRow
from methods.registry import find_method

DEVIATION = "- {topic: size, paper: p, code: c, ours: o, why: w}\n"
EXPERIMENT = """
fill:
  title: Two columns
  columns: [mIoU, ACC]
  scores: [cam, "cam:pixel_accuracy"]
  rows:
    - {label: a, settings: ["value=[1,2]"]}
    - {label: b, scores: [pseudo_label, pseudo_label]}
  claims:
    - {row: a, than: b, column: mIoU, source: Sec. 1}
"""


def test_deviations_of_others_come_where_they_are_named(tmp_path: Path) -> None:
    (tmp_path / "deviations.yaml").write_text(f"- {{from: clims, topics: [class names]}}\n{DEVIATION}")
    first, second = deviations_in(tmp_path)
    assert first in find_method("clims").deviations
    assert (first.topic, second) == ("class names", Deviation("size", "p", "c", "o", "w"))


def test_rows_have_the_experiments_scores_unless_they_have_their_own(tmp_path: Path) -> None:
    (tmp_path / "experiments.yaml").write_text(EXPERIMENT)
    (experiment,) = experiments_in(tmp_path)
    assert (experiment.name, experiment.columns, experiment.dataset) == ("fill", ("mIoU", "ACC"), "voc2012")
    assert experiment.rows == (
        ExperimentRow("a", scores=("cam", "cam:pixel_accuracy"), settings=("value=[1,2]",)),
        ExperimentRow("b", scores=("pseudo_label", "pseudo_label")),
    )
    assert experiment.claims == (Claim("a", "b", "mIoU", "Sec. 1"),)


def test_a_folder_without_files_declares_nothing(tmp_path: Path) -> None:
    assert (deviations_in(tmp_path), experiments_in(tmp_path)) == ((), ())
    assert deviations_of_parts(tmp_path) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("topic: size", "should be a list of deviations"),
        ("- [", "not YAML"),
        (DEVIATION + "- {topic: size}", "entry 2: paper is missing"),
        (DEVIATION.replace("why: w", "whi: w"), "entry 1: no key 'whi'; did you mean 'why'?"),
        (DEVIATION.replace("code: c", "code: 5"), "entry 1: code: should be text, and is 5"),
        ("- {from: nobody}", "entry 1: there is no "),
        (
            "- {from: clims, topics: [clas names]}",
            "clims has no topic 'clas names'; did you mean 'class names'?",
        ),
        ("- {from: clims, topic: [class names]}", "no key 'topic' beside from"),
    ],
)
def test_a_faulty_deviation_is_one_line_with_file_and_entry(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "deviations.yaml").write_text(text)
    with pytest.raises(MethodError) as caught:
        deviations_in(tmp_path)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{tmp_path / 'deviations.yaml'}: ")
    assert said in line


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("label: b", "lable: b", "fill: rows 2: no key 'lable'; did you mean 'label'?"),
        ('[cam, "cam:pixel_accuracy"]', "[cam]", "fill: row 'a' has 1 scores for 2 columns"),
        ("than: b", "than: c", "fill: a claim names row 'c', which is not there"),
        ("column: mIoU", "column: F1", "fill: a claim names column 'F1', which is not there"),
        ("title: Two columns", "title: [Two]", "fill: title: should be text"),
        ("columns: [mIoU, ACC]", "columns: mIoU", "fill: columns: should be a list"),
        ("  title: Two columns\n", "", "fill: title is missing"),
    ],
)
def test_a_faulty_experiment_is_one_line_with_file_and_entry(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert EXPERIMENT.count(old) == 1
    (tmp_path / "experiments.yaml").write_text(EXPERIMENT.replace(old, new))
    with pytest.raises(MethodError) as caught:
        experiments_in(tmp_path)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{tmp_path / 'experiments.yaml'}: ")
    assert said in line
