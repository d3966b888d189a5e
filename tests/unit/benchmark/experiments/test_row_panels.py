"""Pictures of an experiment's rows: which images, what a row shows, and what reports make of them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from benchmark.experiments.row_panels import IMAGES, evenly, shown_by_row
from methods.base import Kind
from methods.experiment import ExperimentRow
from results.experiments import read_experiments
from tests.helpers.toy_experiment import arguments, toy
from tests.helpers.toys import CommandLine, Toy, registered

ROWS = ["background", "class 1", "the other entry"]
"""Those of the toy experiment that can be run."""


@pytest.fixture(scope="module")
def filled(generated: Path, tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    command_line = CommandLine(tmp_path_factory.mktemp("panels"), generated)
    with registered(toy(), Toy("other")):
        done = command_line(*arguments(command_line))
    assert done.code == 0, done.err
    return command_line


def panels(command_line: CommandLine) -> list[dict[str, Any]]:
    (file,) = (command_line.output / "experiments" / "panels").glob("toy-fill*.json")
    images: list[dict[str, Any]] = json.loads(file.read_text())["images"]
    return images


def test_every_row_that_ran_shows_what_is_scored_on_the_same_images(filled: CommandLine) -> None:
    images = panels(filled)
    assert len({image["id"] for image in images}) == len(images) == IMAGES
    for image in images:
        assert image["labels"]
        assert image["split"] == "train"
        assert [row["label"] for row in image["rows"]] == ROWS
        pictures = [row["pictures"] for row in image["rows"]]
        assert all(own.keys() == {"pseudo_label"} for own in pictures)
        background, filled_with_one, other = (own["pseudo_label"] for own in pictures)
        assert background != filled_with_one
        files = {image["image"], image["truth"], background, filled_with_one, other}
        assert all((filled.output / "experiments" / file).is_file() for file in files)


def test_the_table_and_its_pictures_stand_together_in_the_summary(filled: CommandLine) -> None:
    page = (filled.output / "experiments" / "summary.html").read_text()
    section = page[page.index("<h2>Ablations</h2>") :]
    alternatives = [
        unescape(found) for found in re.findall(r'src="data:image/\w+;base64,[^"]+" alt="([^"]*)"', section)
    ]
    for image in panels(filled):
        own = [
            text for text in alternatives if text.endswith(f"on {image['id']}") or f" {image['id']}:" in text
        ]
        assert own[0].startswith(f"Image {image['id']}: ")
        assert own[1:] == [f"Pseudo-label of {label} on {image['id']}" for label in ROWS]
        assert f"True mask of {image['id']}" in alternatives
    assert "<script" not in page


def test_pictures_that_no_row_names_any_more_are_deleted(
    filled: CommandLine, command_line: CommandLine, third_party: Any
) -> None:
    third_party(toy(), Toy("other"))
    command_line.begin_with(filled)
    folder = command_line.output / "experiments" / "panels"
    before = {file.name for file in folder.iterdir()}
    (folder / "image-of-old.webp").write_bytes(b"")
    assert command_line(*arguments(command_line)).code == 0
    assert {file.name for file in folder.iterdir()} == before


def test_no_panels_are_drawn_where_none_are_wanted(command_line: CommandLine, third_party: Any) -> None:
    third_party(toy(), Toy("other"))
    done = command_line(*arguments(command_line), "evaluation.panels=0")
    assert done.code == 0, done.err
    assert panels(command_line) == []
    assert "pseudo-label of" not in (command_line.output / "experiments" / "summary.html").read_text().lower()


def test_a_list_that_is_damaged_is_named(filled: CommandLine, command_line: CommandLine) -> None:
    from datasets.base import DataError

    command_line.begin_with(filled)
    (file,) = (command_line.output / "experiments" / "panels").glob("*.json")
    file.write_text("[")
    with pytest.raises(DataError, match=f"{re.escape(file.name)}: no list of pictures.*delete it"):
        read_experiments(command_line.output)


def test_images_are_of_many_classes_and_evenly_spaced() -> None:

    class Listed:
        def __init__(self, labels: list[tuple[int, ...]]) -> None:
            self.labels = labels

        def ids(self, split: str) -> range:
            return range(len(self.labels))

        def sample(self, number: int) -> Any:
            return type("Sample", (), {"id": number, "labels": self.labels[number]})

    def chosen(labels: list[tuple[int, ...]]) -> list[int]:
        return [int(sample.id) for sample in evenly(Listed(labels), "train", 4)]  # type: ignore[arg-type]

    assert chosen([(), (0,), (0,), (0,), (0,), (1,), (0, 1), (2, 0)]) == [1, 2, 5, 7]
    assert chosen([(0,)] * 8) == [0, 2, 4, 6]
    assert chosen([(), (0,), ()]) == [1]
    assert chosen([()] * 9) == []


# --- what a row shows -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Planned:
    """As much of a planned stage as rows are told apart by."""

    scored_as: str
    key: str
    kind: Kind = Kind.PSEUDO_LABEL

    @property
    def stage(self) -> Any:
        return type("Stage", (), {"yields": self.kind, "name": self.scored_as})


def result(*stages: Planned) -> Any:
    run = type("Cell", (), {"stages": stages})
    return type("Result", (), {"run": run, "artifacts": {s.stage.name: None for s in stages}})


CAM = Planned("cam", "a", Kind.CAM)
ROW = ExperimentRow("row", "", ("pseudo_label:pixel_accuracy", "pseudo_label"))


def shown(*rows: tuple[ExperimentRow, Any]) -> list[list[str]]:
    done = {str(number): row for number, row in enumerate(rows)}
    return [list(views) for views in shown_by_row(done).values()]


def test_the_cam_is_shown_where_rows_differ_in_it() -> None:
    label = Planned("pseudo_label", "x")
    assert shown((ROW, result(CAM, label)), (ROW, result(replace(CAM, key="b"), label))) == [
        ["pseudo_label", "cam"],
        ["pseudo_label", "cam"],
    ]
    same = (ROW, result(CAM, label)), (ROW, result(CAM, replace(label, key="y")))
    assert shown(*same) == [["pseudo_label"], ["pseudo_label"]]


def test_a_row_of_the_cam_alone_keeps_it() -> None:
    of_cam = ExperimentRow("row", "", ("cam",))
    rows = (of_cam, result(CAM)), (ROW, result(CAM, Planned("pseudo_label", "x")))
    assert shown(*rows) == [["cam"], ["pseudo_label", "cam"]]


def test_rows_may_score_artifacts_of_their_own_name_and_what_has_no_picture() -> None:
    row = ExperimentRow("row", "", ("pseudo_label_sam", "guide:hours"))
    weights = Planned("guide", "w", Kind.WEIGHTS)
    assert shown((row, result(weights, CAM, Planned("pseudo_label_sam", "x")))) == [["pseudo_label_sam"]]
