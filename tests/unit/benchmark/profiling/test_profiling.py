"""`profile` and the cost of a run's stages: what is measured, what is said where it cannot be, what is kept."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmark.profiling import speed
from benchmark.profiling.speed import measure, pictures
from methods.base import ForwardPass, Inputs, Kind, NotRunnable, Stage
from results.complexity import METRICS, complexity_table, read_profiles
from results.io import read_run
from tests.conftest import ROOT
from tests.helpers.toys import CommandLine, Toy, ToyConfig

CPU = torch.device("cpu")
SIDE = 12


class Profiled(Toy):
    """A toy whose stage has a network."""

    def __init__(self, name: str, function: str = "convolution", **more: Any) -> None:
        super().__init__(name, **more)
        self.function = function

    def stages(self, *arguments: Any) -> list[Stage]:
        (stage,) = super().stages(*arguments)
        return [replace(stage, profile=f"tests.unit.benchmark.profiling.test_profiling:{self.function}")]


def convolution(
    settings: ToyConfig, inputs: Inputs, classes: int, size: tuple[int, int]
) -> list[ForwardPass]:
    """One convolution to a map a class, at a crop of `SIDE` and on an image; and something that has no network."""
    network = nn.Conv2d(3, classes, 3, padding=1)
    alone = ForwardPass("toy network", "network alone", (SIDE, SIDE), network)
    image = replace(alone, covers="and a sleep", size=size, finish=lambda output, batch: time.sleep(0.01))
    return [
        alone,
        image,
        ForwardPass("none", "a sleep", size, None, finish=lambda output, batch: time.sleep(0.02)),
    ]


def faulty(settings: ToyConfig, inputs: Inputs, classes: int, size: tuple[int, int]) -> list[ForwardPass]:
    raise ValueError("no such layer")


def run_profile(command_line: CommandLine, methods: str, *arguments: str) -> Any:
    data = ("dataset.train=2", "dataset.val=1", f"dataset.root={command_line.data}")
    places = ("--output", str(command_line.output), "--device", "cpu", "--seconds", "0.01")
    return command_line("profile", "--methods", methods, *places, *data, *arguments)


def test_rows(command_line, third_party, monkeypatch):
    monkeypatch.setattr(speed, "LARGEST_BATCH", 2)
    monkeypatch.setattr(speed, "LONGEST_BLOCK", 0.05)
    third_party(Profiled("toy"))
    done = run_profile(command_line, "toy")
    assert done.code == 0
    (profile,) = read_profiles(command_line.output)
    table = complexity_table([profile])
    alone, image, without = (row for _, row in table.iterrows())
    classes = 10
    assert alone.macs_g * 1e9 == pytest.approx(SIDE * SIDE * 9 * 3 * classes)
    assert alone.macs_attention_g == alone.macs_g
    assert alone.parameters_m * 1e6 == pytest.approx(9 * 3 * classes + classes)
    assert alone.weights == image.weights == "random"
    assert image.parameters_m == alone.parameters_m
    height, width = (int(side) for side in image["size"].split("x"))
    assert image.macs_g == pytest.approx(alone.macs_g * height * width / SIDE**2)
    assert math.isnan(without.macs_g)
    assert math.isnan(without.parameters_m)
    assert without.seconds >= 0.02
    assert image.seconds >= 0.01 > alone.seconds
    assert without.images_per_second == pytest.approx(1 / without.seconds)
    assert without.best_batch == 2  # a sleep serves a whole batch
    assert without.images_per_second_best > without.images_per_second
    assert table.repeats.min() >= 1  # four, but on a machine that stalls
    assert table.host_memory_mb.min() >= 0
    assert table.device_memory_mb.isna().all()
    assert set(table.hardware) == {profile.runs[0]["provenance"]["hardware_name"]}
    assert table.reason.eq("").all()
    assert done.out.count("toy network:") == 2


def test_counts_only_measures_nothing(command_line, third_party):
    third_party(Profiled("toy"))
    assert run_profile(command_line, "toy", "--counts-only").code == 0
    (profile,) = read_profiles(command_line.output)
    assert profile.path.name == "counts"
    assert set(profile.records.metric) == {"macs_g", "macs_attention_g", "parameters_m"}


def test_other_entries_rows_stay(command_line, third_party):
    third_party(Profiled("one"), Profiled("two"))
    run_profile(command_line, "one,two", "--counts-only")
    for _ in range(2):  # the second time in the first's stead
        done = run_profile(command_line, "two", "--counts-only", "method.two.value=1")
    (profile,) = read_profiles(command_line.output)
    assert [run["method"] for run in profile.runs] == ["one", "two", "two"]
    assert [run["settings"]["method"]["value"] for run in profile.runs[1:]] == [0, 1]
    assert len(complexity_table([profile])) == 3 * 3
    assert len(profile.records) == 3 * 2 * 3
    assert "value=1" in done.out


def test_a_method_without_profile_or_that_fails_is_a_row(command_line, third_party):
    needs = NotRunnable("needs words; set method.x.text=FILE")
    third_party(Profiled("broken", "faulty"), Toy("absent", refuses=needs), Profiled("sound"))
    done = run_profile(command_line, "broken,absent,sound", "--counts-only")
    assert done.code == 1
    runs = {run["method"]: run for run in read_profiles(command_line.output)[0].runs}
    assert runs["broken"]["status"] == "failed"
    assert runs["broken"]["reason"].startswith("ValueError: no such layer (test_profiling.py:")
    assert runs["absent"]["status"] == "not run"
    assert runs["sound"]["status"] == "done"
    assert "absent: not run: needs words; set method.x.text=FILE" in done.out
    assert "Traceback" not in done.out + done.err


class PartlyProfiled(Profiled):
    """A toy that trains a network, of which it says nothing, before the stage that has a profile."""

    def stages(self, *arguments: Any) -> list[Stage]:
        (profiled,) = super().stages(*arguments)
        classify = replace(profiled, name="classify", yields=Kind.WEIGHTS, profile=None)
        cam = replace(classify, name="cam", yields=Kind.CAM, inputs={"weights": "classify"})
        return [classify, cam, profiled]


def test_a_network_that_no_profile_names_is_a_row_without_figures(command_line, third_party):
    third_party(PartlyProfiled("toy"))
    done = run_profile(command_line, "toy", "--counts-only")
    (profile,) = read_profiles(command_line.output)
    table = complexity_table([profile])
    rows = dict(zip(table["network"] + ": " + table["covers"], table["parameters_m"]))
    unknown = [f"network of stage {name}: not counted" for name in ("classify", "cam")]
    assert list(rows)[:2] == unknown
    assert all(math.isnan(rows[name]) for name in unknown)
    assert rows["toy network: network alone"] > 0
    for name in unknown:
        assert f"toy: {name}: its stage has no `profile`, see `Stage` in methods/base.py" in done.out


def test_data_that_are_not_there_are_assumed_aloud(command_line, third_party):
    third_party(Profiled("toy"))
    arguments = ("--methods", "toy", "--counts-only", "--output", str(command_line.output))
    done = command_line("profile", *arguments, "--dataset", "voc2012")
    assert done.code == 0
    assert "images of 375x500 are assumed: voc2012 needs its folder" in done.out
    assert "375x500" in set(complexity_table(read_profiles(command_line.output))["size"])
    done = command_line("profile", *arguments, "--dataset", "folder")  # its classes are in its files
    assert done.code == 2
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("option", ["--seconds", "--limit"])
@pytest.mark.parametrize("value", ["0", "nan", "inf"])
def test_times_must_be_positive_and_finite(command_line, third_party, option, value):
    third_party(Profiled("toy"))
    done = command_line("profile", "--methods", "toy", option, value)
    assert done.code == 2
    assert "must be more than 0" in done.err


def test_a_pass_that_takes_too_long_is_not_repeated():
    calls = []
    slow = ForwardPass(
        "none", "a sleep", (8, 8), None, finish=lambda output, batch: calls.append(time.sleep(0.02))
    )
    found = measure(slow, CPU, least=0.01, limit=0.01)
    assert len(calls) == 1
    assert found.seconds is None
    assert found.reason == "a pass takes 0 s, more than --limit 0.01"


def test_the_search_for_the_best_batch_ends_with_memory(monkeypatch):
    sizes = []

    def finish(output: Any, batch: Any) -> None:
        sizes.append(len(batch.images))
        if len(batch.images) == 4:
            raise torch.OutOfMemoryError("out of memory")
        time.sleep(0.005)

    found = measure(ForwardPass("none", "a sleep", (8, 8), None, finish=finish), CPU, least=0.005, limit=1)
    assert sizes[-1] == 4
    assert found.batch == 2
    assert found.seconds is not None


def test_an_image_that_does_not_fit_is_said():
    def finish(output: Any, batch: Any) -> None:
        raise torch.OutOfMemoryError("out of memory")

    found = measure(ForwardPass("none", "too large", (8, 8), None, finish=finish), CPU, least=0.005, limit=1)
    assert found.seconds is None
    assert found.reason == "out of memory on cpu with one image of 8x8"


def test_memory_of_a_network_and_its_pass(monkeypatch):
    monkeypatch.setattr(speed, "LARGEST_BATCH", 1)
    network = nn.Linear(1000, 5000, bias=False)  # 20 MB
    forward_pass = ForwardPass(
        "toy", "40 MB", (8, 8), network, lambda module, images: torch.ones(10_000_000) + 1
    )
    found = measure(forward_pass, CPU, least=0.01, limit=10)
    assert found.host_memory_mb is not None
    assert 95 < found.host_memory_mb < 140  # the weights, the ones, and their sum


def test_peak_memory_is_that_of_the_block():
    """In a process of its own: what a test process frees meanwhile would hide the block."""
    code = """
import numpy as np
from benchmark.execution.memory import PeakMemory
ballast = np.ones(20_000_000)  # 160 MB, gone before the block
del ballast
with PeakMemory() as small:
    pass
with PeakMemory() as large:
    block = np.ones(10_000_000)
    del block
print(small.host_mb - small.before_mb, large.host_mb - large.before_mb, large.device_mb)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    small, large, device = done.stdout.split()
    assert float(small) < 20
    assert float(large) > 75
    assert device == "None"  # no tensor library was asked for


def test_pictures_are_pictures():
    batch = pictures(3, (40, 56), CPU)
    assert batch.pixels.shape == batch.images.shape == (3, 3, 40, 56)
    assert batch.pixels.dtype == torch.uint8
    assert batch.images.mean().abs() < 1
    assert torch.equal(batch.cams.amax((2, 3)), torch.ones(3, speed.PRESENT))
    assert batch.cams.min() == 0
    assert torch.equal(pictures(3, (40, 56), CPU).pixels, batch.pixels)


def test_a_run_records_times_and_memory_of_its_stages(command_line, third_party):
    third_party(Toy("toy"))
    command_line.run("toy")
    stored = read_run(command_line.output)
    (stage,) = stored.runs[0]["stages"]
    assert stage["seconds"] > 0
    assert stage["resumed"] is False
    assert 50 < stage["host_memory_mb"] < 100_000
    assert (stage["images"], stage["threads"], stage["counts"]) == (6, torch.get_num_threads(), None)
    assert stage["machine"]
    records = stored.records[(stored.records.method == "toy") & (stored.records.stage == "labels")]
    values = dict(zip(records.metric, records.value))
    assert values["host_memory_mb"] == stage["host_memory_mb"]
    assert values["seconds"] == stage["seconds"]
    assert {"host_memory_mb", "device_memory_mb"} <= set(METRICS)


def test_a_resumed_stage_says_so(command_line, third_party, monkeypatch, tmp_path: Path):
    third_party(Toy("toy", "tests.helpers.toys:explode"))
    command_line.run("toy", "runtime.shard=2")
    monkeypatch.setattr("tests.helpers.toys.explode", lambda context, settings: None)
    command_line.run("toy")
    (stage,) = read_run(command_line.output).runs[0]["stages"]
    assert stage["resumed"] is True
