"""The evaluator by itself: `from benchmark.evaluation import ...`, as the documentation has it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import benchmark.evaluation
from tests.conftest import ROOT
from tests.helpers.trees import write_voc

PAGE = ROOT / "docs" / "develop" / "evaluator.md"


def snippets() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_arrays_are_scored_in_five_lines(capsys: pytest.CaptureFixture[str]) -> None:
    arrays = snippets()[0]
    assert len(arrays.strip().splitlines()) <= 5
    truth = np.array([[0, 1, 1, 255]], np.uint8)
    pairs = [(truth, np.array([[0, 1, 2, 2]], np.uint8)), (truth, np.array([[255, 1, 1, 1]], np.uint8))]
    exec(arrays, {"pairs": pairs})
    # background 2 of 2, class 1 three of four; class 2 is no class of the truth
    assert capsys.readouterr().out.startswith(f"{(1 + 3 / 4) / 2} [1.   0.75  nan  nan")


def test_files_are_scored_against_the_masks_of_a_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_voc(
        tmp_path / "VOCdevkit", {"train": {"2007_000001": ["cat"]}, "val": {"2007_000003": ["tvmonitor"]}}
    )
    masks = next(tmp_path.rglob("SegmentationClass"))
    predictions = tmp_path / "predictions" / "labels"
    predictions.mkdir(parents=True)
    (predictions / "2007_000003.png").write_bytes((masks / "2007_000003.png").read_bytes())
    monkeypatch.chdir(tmp_path)
    exec(snippets()[1], {})
    assert "'miou': 1.0" in capsys.readouterr().out
    assert (tmp_path / "counts.parquet").is_file()


def test_every_name_is_there_and_no_other() -> None:
    assert [name for name in benchmark.evaluation.__all__ if not hasattr(benchmark.evaluation, name)] == []
    with pytest.raises(AttributeError, match="no attribute 'mean_iuo'"):
        benchmark.evaluation.mean_iuo  # noqa: B018


def test_it_needs_neither_the_command_line_nor_configuration_nor_networks() -> None:
    code = """
import sys
from benchmark.evaluation import score_cams, score_label_maps
print(*{"typer", "hydra", "omegaconf", "timm", "benchmark.config", "benchmark.planning"} & set(sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300, check=True
    )
    assert done.stdout.strip() == ""
