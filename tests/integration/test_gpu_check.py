"""scripts/gpu_check.sh's parts on the CPU, at reduced size: what it measures, what it leaves out, how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from datasets.base import TrainingView
from methods.base import Shared
from methods.registry import find_method
from scripts import gpu_check
from tests.conftest import ROOT


def run(tmp_path: Path, *arguments: str, **environment: str) -> tuple[int, str, dict[str, Any]]:
    output = tmp_path / "out" / "gpu.json"
    small = ("--scale", "nano", "--iterations", "4", "--images", "4", "--output", str(output))
    done = subprocess.run(
        [sys.executable, "-m", "scripts.gpu_check", *small, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert output.exists(), done.stderr
    return done.returncode, done.stdout, json.loads(output.read_text())["parts"]


def test_stages_of_a_method_are_measured(tmp_path: Path) -> None:
    code, said, parts = run(tmp_path, "--device", "cpu", "--parts", "methods", "--methods", "supervised")
    assert code == 0
    assert parts["methods"]["status"] == "done"
    rows = {row["stage"]: row for row in parts["methods"]["rows"]}
    (training,) = rows["segment"]["trainings"]
    assert training["steps"] == 4
    assert training["loss_first"] > 0
    assert rows["predict"]["images_per_second"] > 0
    assert "methods: done" in said


@pytest.mark.skipif(gpu_check._without_gpu() == "", reason="there is a GPU")
def test_without_a_gpu_all_is_left_out_and_nothing_fails(tmp_path: Path) -> None:
    code, said, parts = run(tmp_path, "--parts", "tests,loader")
    assert code == 0
    assert [part["status"] for part in parts.values()] == ["left out", "left out"]
    assert "torch sees no CUDA device" in said


def test_a_failed_stage_fails_the_check_and_keeps_what_was_found(tmp_path: Path) -> None:
    """And what needs it is left out."""
    supervised = find_method("supervised")
    view = TrainingView("voc2012", ("cat",), {"train": (), "val": ()}, generated=False)
    first = supervised.stages(supervised.presets["nano"], view, Shared())[0]
    module, _, function = first.run.partition(":")
    (tmp_path / "sitecustomize.py").write_text(
        f"import {module} as m\n"
        "def broken(context, settings): raise ValueError('planted')\n"
        f"m.{function} = broken\n"
    )
    code, _, parts = run(
        tmp_path,
        "--device",
        "cpu",
        "--parts",
        "methods",
        "--methods",
        "supervised",
        PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]),
    )
    assert code == 1
    rows = parts["methods"]["rows"]
    assert rows[0]["reason"] == "ValueError: planted"
    assert rows[-1]["status"] == "left out"
    assert "needs" in rows[-1]["reason"]


def test_a_part_that_takes_too_long_keeps_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loader.jsonl").write_text(json.dumps({"images_per_second": 3.0}) + "\n")

    def killed(command: list[str], timeout: float, **others: Any) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", killed)
    given = type(
        "Given", (), dict.fromkeys(("device", "methods", "scale", "iterations", "images", "output", "voc"))
    )
    result = gpu_check._run("loader", given(), tmp_path)  # type: ignore[arg-type]
    assert result["status"] == "cut"
    assert result["rows"] == [{"images_per_second": 3.0}]


def test_the_parts_fit_into_eight_minutes() -> None:
    assert sum(gpu_check.SECONDS.values()) < 8 * 60
    assert set(gpu_check.PARTS) == set(gpu_check.SECONDS)
