"""Of one seed nothing is ranked, marked or tested, and no report speaks of a spread over seeds."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from reports import build_reports
from reports.run_comparison import compare_reports
from reports.terminal import print_leaderboard
from results.io import read_run
from tests.helpers.synthetic_runs import CLASSES, synthetic_run

SPREAD = re.compile("deviation over|standard deviation|variance over seeds|significant|mean ±|mean±|n seeds")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic_run(tmp_path_factory.mktemp("one") / "run", seeds=1)


@pytest.fixture(scope="module")
def written(run_dir: Path) -> dict[str, Path]:
    return build_reports(run_dir)


@pytest.mark.parametrize("format_", ["html", "latex", "markdown"])
def test_reports_say_that_nothing_is_tested(written: dict[str, Path], format_: str) -> None:
    text = written[format_].read_text()
    shown = re.sub(r"<(style|script)>.*?</\1>", "", text, flags=re.DOTALL).replace(r"$\pm$", "±")
    assert "one seed: not tested" in shown
    assert not SPREAD.search(shown)
    assert r"\textbf" not in shown
    assert r"\underline" not in shown
    assert 'class="best"' not in shown
    assert not re.search(r'<td class="rank">\d|data-rank="\d', shown)


def test_the_terminal_says_it_too(run_dir: Path) -> None:
    file = io.StringIO()
    print_leaderboard(read_run(run_dir), Console(file=file, width=160))
    text = file.getvalue()
    assert "one seed: not tested" in text
    assert not SPREAD.search(text)
    assert "bold:" not in text


def test_tables_have_intervals_over_images_only(written: dict[str, Path]) -> None:
    folder = written["csv"].parent
    standings = pd.read_csv(folder / "standings.csv")
    assert set(standings["interval"]) == {"images only"}
    assert not standings[["group", "rank", "maybe_best"]].any(axis=None)
    assert pd.read_csv(folder / "pairs.csv").empty


def test_runs_are_compared_without_p_values(run_dir: Path, tmp_path: Path) -> None:
    folder = synthetic_run(tmp_path / "run", seeds=1, classes=CLASSES[:5])
    (scores,) = (table for table in compare_reports(run_dir, folder) if table.name == "scores")
    assert "p" not in scores.heads
    assert scores.caption.endswith("One seed: not tested.")
    assert all(len(row) == len(scores.heads) for row in scores.rows)
