"""Counts of a run's own networks: what is counted, once, and kept; what cannot be counted costs no board."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from torch import nn

from benchmark import complexity, counts
from datasets import images
from methods.artifacts import label_map_path
from methods.base import Kind, Passage, Stage
from results.io import read_run
from tests.toys import CommandLine, Toy, ToyConfig, command_line, third_party

__all__ = ["command_line", "third_party"]  # fixtures


class Predicting(Toy):
    """A toy whose stages yield a network's predictions, shown and on the way, and pseudo-labels."""

    def stages(self, *arguments: Any) -> Sequence[Stage]:
        (labels,) = super().stages(*arguments)
        predict = replace(
            labels,
            name="predict",
            run="tests.unit.test_counts:predict",
            yields=Kind.PREDICTION,
            splits=("val",),
            profile=f"tests.unit.test_counts:{labels.settings.note or 'network'}",
        )
        first = replace(predict, name="first", scored_as="first")
        return [replace(labels, profile=predict.profile), first, predict]


def predict(context: Any, settings: ToyConfig) -> None:
    for sample in context.view.samples("val"):
        empty = images.read_image(sample.image)[0] * 0
        images.write_labels(label_map_path(context.output, sample.id), empty.numpy())


def network(settings: ToyConfig, classes: int, size: tuple[int, int]) -> list[Passage]:
    """A crop, twice the image, and what follows."""
    layer = nn.Conv2d(3, classes, 1)
    crop = Passage("toy", "a crop", (8, 8), layer)
    twice = Passage("toy", "the image twice", size, layer, lambda module, x: [module(x), module(x)])
    return [crop, twice, Passage("none", "a CRF", size, None)]


def nothing(settings: ToyConfig, classes: int, size: tuple[int, int]) -> list[Passage]:
    return [Passage("none", "a CRF", size, None)]


def faulty(settings: ToyConfig, classes: int, size: tuple[int, int]) -> list[Passage]:
    raise ValueError("no meta kernel")


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What was counted; and nothing has been said yet."""
    found: list[str] = []

    def count(passage: Passage) -> complexity.Complexity:
        found.append(passage.covers)
        return real(passage)

    real = complexity.passage_complexity
    monkeypatch.setattr(complexity, "passage_complexity", count)
    monkeypatch.setattr(counts, "_said", set())
    return found


def stages_of(command_line: CommandLine) -> dict[str, dict[str, Any]]:
    return {stage["name"]: stage for cell in read_run(command_line.output).cells for stage in cell["stages"]}


def test_the_last_network_of_what_the_board_shows_is_counted(command_line, third_party, counted):
    third_party(Predicting("toy"))
    assert command_line.run("toy").code == 0
    stages = stages_of(command_line)
    assert stages["labels"]["counts"] is None
    assert stages["first"]["counts"] is None
    found = stages["predict"]["counts"]
    classes, (height, width) = 10, (found["height"], found["width"])
    assert found["name"], found["covers"] == ("toy", "the image twice")
    assert found["macs_g"] * 1e9 == pytest.approx(2 * 3 * classes * height * width)
    assert found["macs_attention_g"] == found["macs_g"]
    assert found["parameters_m"] * 1e6 == pytest.approx(4 * classes)
    assert counted == ["the image twice"]
    assert (stages["labels"]["images"], stages["predict"]["images"]) == (6, 2)
    assert stages["predict"]["threads"] >= 1
    assert stages["predict"]["machine"]


def test_a_network_is_counted_once_whoever_has_it(command_line, third_party, counted):
    third_party(Predicting("one"), Predicting("two"))
    for _ in range(2):
        command_line.run("one,two")
    assert counted == ["the image twice"]
    command_line.run("one", "method.one.value=1")  # other settings may mean another network
    assert len(counted) == 2


def test_a_stage_without_a_network_has_no_counts(command_line, third_party, counted):
    third_party(Predicting("toy"))
    command_line.run("toy", "method.toy.note=nothing")
    assert stages_of(command_line)["predict"]["counts"] is None
    assert counted == []


def test_what_cannot_be_counted_is_said_once_and_costs_no_board(command_line, third_party):
    third_party(Predicting("toy"))
    done = command_line.run("toy", "method.toy.note=faulty")
    assert done.code == 0
    assert (
        done.out.count("predict: its network is not counted: ValueError: no meta kernel (test_counts.py:")
        == 1
    )
    assert "Traceback" not in done.out + done.err
    assert stages_of(command_line)["predict"]["counts"] is None
    assert "not counted" not in command_line.run("toy", "method.toy.note=faulty").out
