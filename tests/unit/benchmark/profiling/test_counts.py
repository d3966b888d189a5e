"""Counts of a run's own networks: what is counted, once, and kept; what cannot be counted costs no leaderboard."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from torch import nn

from benchmark.profiling import complexity, counts
from benchmark.profiling.counts import Costs, usual_size
from benchmark.store import Store, StoredArtifact
from datasets.base import Sample, TrainingView
from methods.base import ForwardPass, Inputs, Kind, Stage
from tests.helpers.toys import ToyConfig

CLASSES = ("a", "b", "c")
HEIGHT, WIDTH = 6, 8
HARDWARE = {"machine": "x86_64", "cpu": "a processor", "cores": 2, "threads": 1}
ARTIFACT = StoredArtifact(Path(), {"provenance": {"hardware": HARDWARE}})
PREDICT = Stage(
    "predict", "nowhere:run", ToyConfig(), Kind.PREDICTION, splits=("val",), profile=f"{__name__}:network"
)


def network(settings: ToyConfig, inputs: Inputs, classes: int, size: tuple[int, int]) -> list[ForwardPass]:
    """A crop, twice the image, and what follows."""
    layer = nn.Conv2d(3, classes, 1)
    crop = ForwardPass("toy", "a crop", (4, 4), layer)
    twice = ForwardPass("toy", "the image twice", size, layer, lambda module, x: [module(x), module(x)])
    return [crop, twice, ForwardPass("none", "a CRF", size, None)]


def nothing(settings: ToyConfig, inputs: Inputs, classes: int, size: tuple[int, int]) -> list[ForwardPass]:
    return [ForwardPass("none", "a CRF", size, None)]


def faulty(settings: ToyConfig, inputs: Inputs, classes: int, size: tuple[int, int]) -> list[ForwardPass]:
    raise ValueError("no meta kernel")


class Data:
    """Five training images, of which two are of another size, and two to predict."""

    def __init__(self, folder: Path) -> None:
        self._files = {str(n): folder / f"{n}.png" for n in range(5)}
        for n, file in self._files.items():
            Image.new("RGB", (WIDTH, HEIGHT + 2 * (n in "14"))).save(file)

    def ids(self, split: str) -> tuple[str, ...]:
        return tuple(self._files) if split == "train" else ("5", "6")

    def sample(self, sample_id: str) -> Sample:
        return Sample(sample_id, self._files[sample_id], (0,))

    def training_view(self) -> TrainingView:
        return TrainingView("toy", CLASSES, {})


@pytest.fixture
def plan(tmp_path: Path) -> Any:
    return SimpleNamespace(store=Store(tmp_path / "store"), dataset=Data(tmp_path))


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What was counted; and no failure has been said yet."""
    found: list[str] = []
    real = complexity.forward_pass_complexity

    def count(forward_pass: ForwardPass) -> complexity.Complexity:
        found.append(forward_pass.covers)
        return real(forward_pass)

    monkeypatch.setattr(complexity, "forward_pass_complexity", count)
    monkeypatch.setattr(counts, "_said", set())
    return found


def test_the_last_network_of_a_stage_is_counted_on_an_image_of_the_usual_size(plan, counted):
    assert usual_size(plan.dataset) == (HEIGHT, WIDTH)
    found = Costs(plan).of(PREDICT, {}, ARTIFACT)
    assert (found["images"], found["machine"], found["threads"]) == (2, "a processor", 1)
    macs = 2 * HEIGHT * WIDTH * 3 * len(CLASSES) / 1e9
    assert found["counts"] == {
        "name": "toy", "covers": "the image twice", "height": HEIGHT, "width": WIDTH,
        "macs_g": pytest.approx(macs), "macs_attention_g": pytest.approx(macs),
        "parameters_m": pytest.approx(4 * len(CLASSES) / 1e6),
    }  # fmt: skip
    assert counted == ["the image twice"]


def test_a_network_is_counted_once_and_kept(plan, counted):
    first = Costs(plan).of(PREDICT, {}, ARTIFACT)
    for again in (Costs(plan), Costs(plan)):  # of leaderboards that are written later
        assert again.of(replace(PREDICT, name="segment"), {}, ARTIFACT) == first
    assert len(counted) == 1
    Costs(plan).of(replace(PREDICT, settings=ToyConfig(value=1)), {}, ARTIFACT)  # may mean another network
    assert len(counted) == 2


def test_only_what_the_board_shows_is_counted(plan, counted):
    for stage in (
        replace(PREDICT, yields=Kind.PSEUDO_LABEL),
        replace(PREDICT, scored_as="on the way"),
        replace(PREDICT, profile=None),
        replace(PREDICT, profile=f"{__name__}:nothing"),
    ):
        assert Costs(plan).of(stage, {}, ARTIFACT)["counts"] is None
    assert counted == []
    assert Costs(plan).of(replace(PREDICT, yields=Kind.CAM), {}, ARTIFACT)["counts"] is not None


def test_artifacts_of_former_versions_name_no_machine(plan):
    found = Costs(plan).of(PREDICT, {}, StoredArtifact(Path(), {}))
    assert (found["machine"], found["threads"], found["images"]) == ("", None, 2)


def test_what_cannot_be_counted_is_said_once_and_costs_no_board(plan, capsys):
    broken = replace(PREDICT, profile=f"{__name__}:faulty")
    for _ in range(2):
        assert Costs(plan).of(broken, {}, ARTIFACT)["counts"] is None
    out = capsys.readouterr().out
    assert out.count("predict: its network is not counted: ValueError: no meta kernel (test_counts.py:") == 1
    assert "Traceback" not in out


def test_images_that_are_gone_by_now_cost_no_board(plan, tmp_path, capsys):
    (tmp_path / "0.png").unlink()
    for _ in range(2):
        found = Costs(plan).of(PREDICT, {}, ARTIFACT)
        assert (found["counts"], found["images"]) == (None, 2)
    out = capsys.readouterr().out
    assert out.count("networks are not counted: ") == 1
    assert "0.png" in out


def test_a_store_that_cannot_be_written_costs_no_board(plan, monkeypatch):
    expected = Costs(plan).of(PREDICT, {}, ARTIFACT)

    def refuse(*arguments: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", "locks")

    plan.store = Store(plan.store.root / "another")
    monkeypatch.setattr(Store, "lock", refuse)
    assert Costs(plan).of(PREDICT, {}, ARTIFACT) == expected
