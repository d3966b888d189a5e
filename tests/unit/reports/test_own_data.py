"""Data of one's own in one folder: every leaderboard is of one data set, under its own name."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from reports import build_reports
from reports.sections.summary import facts
from reports.terminal import print_leaderboard
from reports.view import boards
from results.aggregate import leaderboard
from results.io import read_run, write_run
from tests.helpers.synthetic_runs import METHODS, synthetic_run

ROOTS = ("/data/steel", "/home/me/leaves")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same made-up run, once for each of two folders, in one run folder; the second is worse throughout."""
    import pandas as pd

    folder = tmp_path_factory.mktemp("own")
    frames, runs = [], []
    for number, root in enumerate(ROOTS):
        stored = read_run(synthetic_run(folder / str(number), seeds=2, methods=METHODS[:2], images=0))
        own = {"dataset": "folder", "changes": f"dataset.root={root}"}
        value = stored.records["value"].where(
            stored.records["metric"] != "miou", stored.records["value"] - 0.1 * number
        )
        frames.append(stored.records.assign(**own, value=value))
        runs += [run | own for run in stored.runs]
    write_run(folder / "run", pd.concat(frames, ignore_index=True), runs)
    build_reports(folder / "run", formats=["html", "latex", "markdown"])
    return folder / "run"


def test_there_is_a_leaderboard_for_each(run_dir: Path) -> None:
    stored = read_run(run_dir)
    board = leaderboard(stored.records, stored.runs)
    parts = [part for _, part in board.groupby("data", sort=False)]
    assert [part["method"].tolist() for part in parts] == 2 * [
        ["eps", "ca_cl", "reference/image-label-only", "reference/all-background"]
    ]
    assert set(board["differs"]) == {""}


@pytest.mark.parametrize("name", ["report.html", "report.md", "tables.tex"])
def test_each_has_its_folders_name_and_its_own_best(run_dir: Path, name: str) -> None:
    text = (run_dir / name).read_text()
    for own in ("steel", "leaves"):
        assert f"{own}, nano, paper protocol" in text
    assert "eps (dataset.root" not in text
    assert "EPS (dataset.root" not in text
    if name == "report.md":
        assert text.count("Best without masks: EPS") == 2


def test_the_page_has_two_titles_and_charts_of_one_board_each(run_dir: Path) -> None:
    page = (run_dir / "report.html").read_text()
    assert page.count("<article ") == 2
    first, second = page.split("<article ")[1:]
    assert "<h2>leaves</h2>" in first + second
    for article in (first, second):
        # a curve, a dot and a disc for each of two methods, none for four
        assert (
            len(article.split('data-section="thresholds"')[1].split("</section>")[0].split('class="line'))
            == 3
        )


@pytest.mark.parametrize(("trained", "said"), [(400, "400"), (1735, "1,735, 400 of them scored")])
def test_images_that_trained_and_those_that_are_scored(run_dir: Path, trained: int, said: str) -> None:
    """Where some have no mask they are not as many."""
    stored = read_run(run_dir)
    for stage in (stage for run in stored.runs for stage in run["stages"] if stage["kind"] == "weights"):
        stage["images"] = trained
    board = next(boards(stored, leaderboard(stored.records, stored.runs)))
    assert dict(facts(board))["Images train"] == said
    assert dict(facts(board))["Images val"] == "200"


def test_the_terminal_tells_them_apart(run_dir: Path) -> None:
    console = Console(file=io.StringIO(), width=100)
    print_leaderboard(read_run(run_dir), console)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "steel · nano · paper protocol" in printed
    assert "leaves · nano · paper protocol" in printed
