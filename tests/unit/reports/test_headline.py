"""What a leaderboard is said to find: the best, what cannot be told from it, and what its tests could tell apart."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from datasets.base import DataError
from reports import build_reports
from reports.headline import headline
from reports.terminal import print_leaderboard
from results.aggregate import leaderboard
from results.io import read_run
from results.significance import significance
from tests.helpers.synthetic_runs import MadeUp, synthetic_run

CLOSE = (
    MadeUp("a", "A", "I", 0.58),
    MadeUp("b", "B", "I", 0.581),
    MadeUp("c", "C", "I", 0.3),
    MadeUp("bound", "Bound", "M"),
)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    methods = [MadeUp(m.name, m.title, m.supervision, m.level, m.level and 0.1) for m in CLOSE]
    return synthetic_run(tmp_path_factory.mktemp("headline") / "run", seeds=3, methods=methods)


def test_the_best_is_named_with_those_that_cannot_be_told_from_it(run_dir: Path) -> None:
    stored = read_run(run_dir)
    board = leaderboard(stored.records, stored.runs)
    found = headline(board, significance(stored, board))
    assert found is not None
    assert {found.title} < {"A", "B"}
    (other,) = {"A", "B"} - {found.title}
    assert found.notes[0].startswith(f"Not distinguishable from it: {other}; with 95 % confidence")
    assert found.score == "segmentation"
    assert found.best.startswith(f"Best without masks: {found.title} with ")
    resolved = significance(stored, board).resolution.set_index("score").loc["segmentation"]
    assert (
        f"With 3 seeds the leaderboard can tell {100 * resolved['difference']:.1f} points apart"
        in found.notes[1]
    )
    assert "80 % power, 3 pairs" in found.notes[1]


def test_every_format_has_it(run_dir: Path, tmp_path: Path) -> None:
    written = build_reports(run_dir, tmp_path)
    file = io.StringIO()
    print_leaderboard(read_run(run_dir), Console(file=file, width=400))
    for text in (*(written[f].read_text() for f in ("html", "latex", "markdown")), file.getvalue()):
        assert "Not distinguishable from it" in text
        assert "points apart" in text


def test_without_tests_nothing_is_said_of_the_others(run_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(run_dir, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "resamples")
    stored = read_run(tmp_path / "run")
    board = leaderboard(stored.records, stored.runs)
    found = headline(board, significance(stored, board))
    assert found is not None
    assert found.notes == ("Not tested, so others may be as good.",)
    single = read_run(synthetic_run(tmp_path / "one", seeds=1))
    board = leaderboard(single.records, single.runs)
    found = headline(board, significance(single, board))
    assert found is not None
    assert found.notes == ("One seed: not tested, so others may be as good.",)


def test_the_best_is_never_named_by_a_threshold_that_masks_chose(run_dir: Path) -> None:
    stored = read_run(run_dir)
    cams = stored.records[stored.records["stage"] == "cam"]
    found = headline(leaderboard(cams, stored.runs))
    assert found is not None
    assert found.score == "cam_fixed"
    assert headline(leaderboard(cams[cams["variant"] == "oracle"], stored.runs)) is None


def test_what_is_no_better_than_all_background_is_said_to_be(run_dir: Path) -> None:
    stored = read_run(run_dir)
    board = leaderboard(stored.records, stored.runs)
    background = board["method"] == "reference/all-background"
    found = headline(board.assign(segmentation_mean=board["segmentation_mean"].mask(background, 0.9)))
    assert found is not None
    assert found.notes == ("That is no better than all background (90.0).",)


def test_differences_from_a_baseline_stand_in_the_reports(run_dir: Path, tmp_path: Path) -> None:
    written = build_reports(run_dir, tmp_path, baseline="c")
    text = written["markdown"].read_text()
    assert "Differences from c" in text
    assert "(1)" not in text  # no ranks
    assert "Differences from c" in written["html"].read_text()
    assert r"\textbf" not in written["latex"].read_text()
    pairs = pd.read_csv(written["csv"].parent / "pairs.csv")
    assert set(pairs["b"].str[:1]) == {"c"}
    with pytest.raises(DataError, match=r"no method 'x' in .*; choose from .*a"):
        build_reports(run_dir, tmp_path, baseline="x")
