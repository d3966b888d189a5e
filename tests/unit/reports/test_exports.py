"""Exports as data, Markdown, figures, and what changed between two runs, also through the command line."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pandas as pd
import pytest

from datasets.base import DataError
from datasets.files.sealed import sealed
from reports import FORMATS, build_reports, exports
from reports.experiments_summary import write_summary
from reports.run_comparison import change_tables
from results.aggregate import leaderboard
from results.complexity import complexity_table, read_profiles
from results.costs import costs
from results.directions import Direction, write_directions
from results.experiments import Experiment, read_experiments, write_experiment
from results.io import read_run
from results.run_comparison import compare_runs
from tests.helpers import synthetic_runs
from tests.helpers.toys import CommandLine


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic_runs.synthetic_run(tmp_path_factory.mktemp("run"), seeds=2)


def test_tables_hold_the_boards_numbers_in_both_formats(run_dir: Path, tmp_path: Path) -> None:
    written = build_reports(run_dir, tmp_path, ["csv", "parquet"])
    stored = read_run(run_dir)
    board = leaderboard(stored.records, stored.runs)
    for suffix, read in (("csv", pd.read_csv), ("parquet", pd.read_parquet)):
        assert written[suffix] == tmp_path / "tables" / f"leaderboard.{suffix}"
        table = read(written[suffix])
        assert table["segmentation_mean"].tolist() == pytest.approx(
            board["segmentation_mean"].tolist(), nan_ok=True
        )
        pairs = read(tmp_path / "tables" / f"pairs.{suffix}")
        assert "eps · own · own" in set(pairs["a"])
        assert len(read(tmp_path / "tables" / f"reported.{suffix}")) > 500
    names = {path.stem for path in (tmp_path / "tables").glob("*.parquet")}
    assert names == {path.stem for path in (tmp_path / "tables").glob("*.csv")}
    assert {"per_class", "further_metrics", "standings", "papers", "costs", "complexity"} <= names


def test_further_metrics_are_exported_and_no_part_of_the_leaderboard(tmp_path: Path) -> None:
    made = synthetic_runs.synthetic_run(tmp_path / "run", seeds=2, images=0)
    build_reports(made, tmp_path, ["csv", "markdown"])
    table = pd.read_csv(tmp_path / "tables" / "further_metrics.csv", keep_default_na=False)
    eps = table[(table["method"] == "eps") & (table["score"] == "segmentation")]
    assert set(zip(eps["metric"], eps["class_name"])) >= {("boundary_f1", ""), ("miou_by_size", "small")}
    assert set(table[table["score"] == "classifier"]["metric"]) == {
        "mean_average_precision",
        "average_precision",
    }
    assert set(table["n"]) == {2}
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "boundaries-and-sizes" in text
    assert "| EPS | Segmentation (val) |" in text
    assert "| EPS | 90.0 ± 0.0 |" in text
    assert "boundary" not in (tmp_path / "tables" / "leaderboard.csv").read_text()


def test_markdown_has_ranks_papers_complexity_and_ablations(run_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(run_dir, tmp_path / "run")
    table = pd.DataFrame(
        {"row": ["α = 1"] * 3 + ["maps"], "column": ["CAM", "CAM", "confusion", "CAM"],
         "threshold rule": ["oracle", "fixed", "fixed", "oracle"], "paper": [63.4, 63.4, 70, 60],
         "mean": [40.1, 12.3, 55.6, None], "deviation": [0.5, 3, 1, None], "seeds": [2, 2, 2, 0],
         "reason": ["", "", "", "needs <maps>"]}
    )  # fmt: skip
    write_experiment(tmp_path / "run" / "experiments", Experiment("it-alpha", "It", "here", table))
    (tmp_path / "run" / "experiments" / "summary.csv").write_text("experiment,column\nit,CAM\n")
    reports = build_reports(tmp_path / "run", formats=["markdown", "html"])
    page, text = (reports[name].read_text(encoding="utf-8") for name in ("html", "markdown"))
    eps = next(line for line in text.splitlines() if line.startswith("| EPS |"))
    assert "(1)" in eps
    assert "not comparable: voc2012 in the paper, shapes here" in text
    assert "MACs (G)" in text
    # confusion is of the fixed threshold alone
    assert "| α = 1 | 63.4 | 40.1 ± 0.5 | 70.0 | 55.6 ± 1.0 | 2 |" in text
    assert "| maps | 60.0 | – | – | – | – | needs" in text
    assert "<td>needs &lt;maps&gt;</td>" in page
    assert '<td class="number">55.6 ± 1.0</td><td class="number">2</td>' in page
    assert "12.3" not in text  # the fixed threshold is not what papers print


def test_figures_are_written_as_pdf_and_svg_and_alike_each_time(run_dir: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        build_reports(run_dir, tmp_path / folder, ["figures"])
    files = sorted(path.name for path in (tmp_path / "a" / "figures").iterdir())
    names = ("cost-shapes-nano-paper", "stages-shapes-nano-paper")
    assert files == [f"{name}.{suffix}" for name in names for suffix in ("pdf", "svg")]
    for name in files:
        content = (tmp_path / "a" / "figures" / name).read_bytes()
        assert content == (tmp_path / "b" / "figures" / name).read_bytes()
        if name.endswith("svg"):
            assert b"EPS" in content


def test_unknown_formats_are_named(run_dir: Path) -> None:
    with pytest.raises(DataError, match="unknown report format 'pdf'; choose from html, latex"):
        build_reports(run_dir, formats=["pdf"])


def test_time_is_summed_over_stages_and_averaged_over_seeds(run_dir: Path) -> None:
    stored = read_run(run_dir)
    table = costs(stored, complexity_table(read_profiles(run_dir))).set_index("method")
    assert table.loc["eps", "minutes"] == pytest.approx(2 * 9 * len("EPSresnet38d") / 60)
    assert table.loc["eps", "host_memory_mb"] == 900
    assert math.isnan(table.loc["eps", "device_memory_mb"])
    assert table.loc["eps", "cam_parameters_m"] == 9  # one network, which two forward passes go through


def test_a_torn_experiment_is_named(tmp_path: Path) -> None:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "it.csv").write_text("row,column\n")
    with pytest.raises(DataError, match=r"it\.csv: no table of an experiment"):
        read_experiments(tmp_path)


def changed(run_dir: Path, folder: Path) -> Path:
    """A copy of a run in which one entry's segmentation is 10 points better, by another setting and version."""
    shutil.copytree(run_dir, folder)
    records = pd.read_parquet(folder / "records.parquet")
    better = (records["method"] == "eps") & (records["stage"] == "segmentation")
    records.loc[better, "value"] += 0.1
    records[records["method"] != "cam"].to_parquet(folder / "records.parquet", index=False)
    document = json.loads((folder / "cells.json").read_text())
    del document["sha256"]
    document["cells"] = [run for run in document["cells"] if run["method"] != "cam"]
    for run in document["cells"]:
        if run["method"] == "eps":
            run["settings"]["method"]["epochs"] = 8
        run["provenance"]["git_commit"] = "fedcba9"
        if run["method"] == "dskd_gc":
            run |= {"status": "failed", "reason": "out of memory"}
    (folder / "cells.json").write_text(json.dumps(sealed(document)))
    return folder


def test_changes_between_runs(run_dir: Path, tmp_path: Path) -> None:
    after = changed(run_dir, tmp_path / "after")
    found = compare_runs(read_run(run_dir), read_run(after))
    moved = found.scores[found.scores["difference"].abs() > 1e-9]
    assert list(zip(moved["method"], moved["score"])) == [("eps", "segmentation")]
    assert moved["difference"].tolist() == pytest.approx([0.1])
    assert moved["p"].iloc[0] < 0.05
    assert found.scores.loc[found.scores["method"] == "ca_cl", "p"].tolist() == [1.0] * 5
    assert found.settings[["method", "setting", "before", "after"]].values.tolist() == [
        ["eps", "method.epochs", "4", "8"]
    ]
    assert found.versions.values.tolist() == [["git_commit", "0123abc", "fedcba9"]]
    assert found.states[["method", "after"]].values.tolist() == [["dskd_gc", "failed: out of memory"]]
    assert [key[3] for key in found.only_a] == ["cam"]
    assert found.only_b == []
    assert [table.name for table in change_tables(found)] == [
        "scores", "settings", "states", "versions", "entries"
    ]  # fmt: skip
    assert change_tables(compare_runs(read_run(run_dir), read_run(run_dir))) == []


def test_the_command_line_writes_formats_and_compares(
    command_line: CommandLine, run_dir: Path, tmp_path: Path
) -> None:
    done = command_line(
        "report", str(run_dir), "--output", str(tmp_path / "out"), "--formats", "markdown,parquet"
    )
    assert done.code == 0, done.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.md", "tables"]
    after = changed(run_dir, tmp_path / "after")
    done = command_line("report", "--compare", str(run_dir), str(after))
    assert done.code == 0, done.err
    assert "| shapes · nano · paper · eps | method.epochs | 4 | 8 |" in done.out
    assert "+10.0" in done.out
    done = command_line("report", "--compare", str(run_dir), str(run_dir))
    assert "no difference" in done.out
    done = command_line("report", str(run_dir), "--formats", "pdf")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "unknown report format 'pdf'" in done.err
    assert set(FORMATS) >= {"html", "latex"}


def test_a_folder_of_experiments_has_its_summary_made_anew(command_line: CommandLine, tmp_path: Path) -> None:
    folder = tmp_path / "run" / "experiments"
    write_directions(
        folder, "it-t-shapes-nano", [Direction("it/t", "CAM", "all", "none", 6.0, 4.0, 0.5, 0.5, 3)]
    )
    before = {path: path.read_bytes() for path in write_summary(folder)}
    for given in (folder, folder.parent):
        for path in before:
            path.write_text("old")
        done = command_line("report", str(given))
        assert done.code == 0, done.err
        assert str(folder / "summary.html") in done.out.replace("\n", "")
        assert {path: path.read_bytes() for path in before} == before
    done = command_line("report", str(folder), "--baseline", "cam")
    assert "--output and --baseline are of a leaderboard" in done.err


def test_two_reports_at_once_do_not_take_each_others_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = {"leaderboard": pd.DataFrame({"a": [1]})}
    write_table, processes = exports.to_csv, iter([1, 2])

    def write_while_another_does(table: pd.DataFrame, path: Path) -> None:
        write_table(table, path)
        monkeypatch.setattr(exports, "to_csv", write_table)
        exports.write(tables, tmp_path, "csv")  # begins and ends meanwhile

    monkeypatch.setattr(exports, "to_csv", write_while_another_does)
    monkeypatch.setattr(exports.os, "getpid", lambda: next(processes))
    written = exports.write(tables, tmp_path, "csv")
    assert written.read_text() == "a\n1\n"
    assert list(written.parent.iterdir()) == [written]


def test_a_table_that_does_not_fit_the_disk_leaves_no_half_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_half(table: pd.DataFrame, path: Path) -> None:
        path.write_text("a")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exports, "to_csv", write_half)
    with pytest.raises(OSError, match="No space left"):
        exports.write({"leaderboard": pd.DataFrame({"a": [1]})}, tmp_path, "csv")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
