"""What entries cost beside their scores: whose figures are shown, how they are marked, and in which reports."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from reports import build_reports, latex
from reports.cost_table import ALONE, COLUMNS, cost_notes, figure
from reports.sections import cost, leaderboard
from reports.terminal import print_leaderboard
from reports.view import boards
from results.aggregate import KEYS
from results.aggregate import leaderboard as aggregate
from results.complexity import complexity_table, read_profiles
from results.costs import MEASURED, costs
from results.io import StoredRuns, read_run, records_frame, write_records, write_run_records
from results.schema import Record, RunRecord
from tests.helpers.synthetic_runs import HOSTILE, synthetic_run

PLACE = dict(zip(KEYS, ("d", "nano", "paper", "m", "own", "own", "")))
COUNTS = {"name": "network", "covers": "scale 1", "height": 48, "width": 64}
COUNTS |= {"macs_g": 1.5, "macs_attention_g": 2.0, "parameters_m": 3.0}


def stage(name: str, kind: str, seconds: float, **more: Any) -> dict[str, Any]:
    made = {"name": name, "kind": kind, "seconds": seconds, "shown": True, "resumed": False, "images": 10}
    return made | {"machine": "a machine", "threads": 1, "host_memory_mb": 500.0, "counts": None} | more


def stages(factor: float = 1.0) -> list[dict[str, Any]]:
    return [
        stage("classify", "weights", 60 * factor, step_seconds=0.1),
        stage("cam", "cam", 2 * factor, counts=COUNTS, host_memory_mb=600.0),
        stage("cam_part", "cam", 9.0, shown=False, host_memory_mb=9000.0),
        stage("labels", "pseudo_label", 90.0),
        stage("segment", "weights", 30 * factor, step_seconds=0.2, host_memory_mb=9000.0),
        stage(
            "predict", "prediction", 4 * factor, counts=COUNTS, host_memory_mb=550.0, device_memory_mb=70.0
        ),
    ]


def run(*of: dict[str, Any], seed: int = 0, status: str = "done") -> dict[str, Any]:
    return RunRecord(**PLACE, seed=seed, status=status, stages=list(of)).as_dict()


def of_entry(*runs: dict[str, Any], profiles: pd.DataFrame | None = None) -> dict[str, Any]:
    """The costs of the only entry."""
    stored = StoredRuns(records_frame([]), list(runs), Path())
    (row,) = costs(stored, complexity_table([]) if profiles is None else profiles).to_dict("records")
    return row


def profile_rows(*rows: dict[str, Any]) -> pd.DataFrame:
    """A `complexity_table`; of each row what differs from a measured CAM stage."""
    usual = {
        "hardware": "another machine",
        "stage": "cam",
        "size": "48x64",
        "macs_g": 7.0,
        "macs_attention_g": 8.0,
    }
    usual |= {"parameters_m": 9.0, "images_per_second": 33.0, "host_memory_mb": 40.0}
    return complexity_table([]).merge(pd.DataFrame([PLACE | usual | row for row in rows]), how="right")


# --- what a run's own stages say ---------------------------------------------------------------------------


def test_figures_of_a_run() -> None:
    found = of_entry(run(*stages()), run(*stages(3), seed=1))
    assert [found[f"cam_{name}"] for name in ("macs_g", "macs_attention_g", "parameters_m")] == [
        1.5,
        2.0,
        3.0,
    ]
    assert found["cam_images_per_second"] == 20 / 8  # of both seeds
    assert found["segmentation_images_per_second"] == 20 / 16
    assert found["training_minutes"] == (1.5 + 4.5) / 2
    # of the two stages, whatever was made on the way
    assert (found["inference_host_memory_mb"], found["inference_device_memory_mb"]) == (600.0, 70.0)
    assert {found[f"{name}_by"] for name in MEASURED} == {"run"}
    assert (found["machine"], found["image_size"]) == ("a machine, 1 thread a stage", "48x64")


def test_a_method_without_a_network_has_no_figures_of_one() -> None:
    supervised = [s for s in stages() if not s["kind"].startswith(("cam", "pseudo"))]
    found = of_entry(run(*supervised))
    assert all(math.isnan(found[f"cam_{name}"]) for name in ("macs_g", "parameters_m", "images_per_second"))
    assert found["segmentation_macs_g"] == 1.5
    external = of_entry(run(stage("cam", "cam", 0.1)))  # copied from files: that takes no time worth the name
    assert math.isnan(external["cam_images_per_second"])


def test_what_was_resumed_has_no_speed_and_no_training_time() -> None:
    for name, lost in (("cam", "cam_images_per_second"), ("segment", "training_minutes")):
        resumed = [s | {"resumed": s["name"] == name} for s in stages()]
        found = of_entry(run(*resumed))
        assert math.isnan(found[lost])
        assert found["segmentation_images_per_second"] == 2.5
        # another seed knows
        assert math.isfinite(of_entry(run(*resumed), run(*stages(), seed=1))[lost])


def test_training_time_is_of_whole_seeds() -> None:
    assert math.isnan(of_entry(run(*stages()[:2], status="failed"))["training_minutes"])
    released = [s for s in stages() if s["name"] != "classify"]
    assert of_entry(run(stage("classify", "weights", 5.0), *released))["training_minutes"] == 0.5


def test_machines_and_threads_of_all_stages_are_named() -> None:
    mixed = [s | {"threads": 2, "machine": "a GPU"} if s["kind"] == "weights" else s for s in stages()]
    assert of_entry(run(*mixed))["machine"] == "a GPU, 2 threads a stage; a machine, 1 thread a stage"


def test_folders_of_former_versions_are_read(tmp_path: Path) -> None:
    """Stages without images, machine and counts; records alone."""
    memory = ("host_memory_mb", "device_memory_mb")
    new = ("images", "machine", "threads", "counts", *memory, "shown", "resumed", "step_seconds")
    old = [{k: v for k, v in s.items() if k not in new} for s in stages() if s["name"] != "cam_part"]
    made = RunRecord(**PLACE, seed=0, status="done", stages=[s | {"key": "k", "cached": False, "bytes": 1,
                      "score": None, "losses": [], "details": {}} for s in old])  # fmt: skip
    records = [Record(**PLACE, seed=0, stage="cam", variant="", split="", metric="seconds", value=120.0)]
    write_records(tmp_path, records, [made])
    (row,) = costs(read_run(tmp_path), complexity_table([])).to_dict("records")
    known = {column.name for column in COLUMNS if math.isfinite(row[column.name])}
    assert known == {"minutes"}
    written = build_reports(tmp_path)
    assert "All stages: min" in written["markdown"].read_text()
    assert "images/s" not in written["markdown"].read_text()
    write_run_records(tmp_path, [])
    assert costs(read_run(tmp_path), complexity_table([]))["minutes"].tolist() == [2.0]


# --- profile's figures -------------------------------------------------------------------------------------


def test_profiles_figures_win_and_are_said_to_be_its() -> None:
    found = of_entry(run(*stages()), profiles=profile_rows({}))
    assert (found["cam_images_per_second"], found["cam_images_per_second_by"]) == (33.0, "profile")
    assert (found["cam_macs_g"], found["cam_macs_attention_g"], found["cam_parameters_m"]) == (7.0, 8.0, 9.0)
    assert (found["inference_host_memory_mb"], found["inference_host_memory_mb_by"]) == (40.0, "profile")
    # what it has not measured stays the run's
    assert (found["segmentation_images_per_second"], found["segmentation_images_per_second_by"]) == (
        2.5,
        "run",
    )
    assert (found["inference_device_memory_mb"], found["inference_device_memory_mb_by"]) == (70.0, "run")
    assert found["training_minutes"] == 1.5
    assert found["profile_machine"] == "another machine"


FIGURE = st.one_of(st.just(math.nan), st.floats(0.01, 1e5))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(FIGURE, FIGURE, FIGURE), min_size=1, max_size=3), st.booleans())
def test_a_figure_is_marked_if_and_only_if_profile_measured_it(
    measured: list[tuple[float, float, float]], ran: bool
) -> None:
    names = ("images_per_second", "host_memory_mb", "device_memory_mb")
    rows = [{"hardware": f"machine {n}", **dict(zip(names, values))} for n, values in enumerate(measured)]
    made = (
        stages()
        if ran
        else [{k: v for k, v in s.items() if k not in ("counts", "host_memory_mb")} for s in stages()]
    )
    found = of_entry(run(*made), profiles=profile_rows(*rows))
    first = next((values for values in measured if any(map(math.isfinite, values))), None)
    shown = ("cam_images_per_second", "inference_host_memory_mb", "inference_device_memory_mb")
    for column in COLUMNS:
        expected = first[shown.index(column.name)] if first and column.name in shown else math.nan
        if math.isfinite(expected):
            assert found[column.name] == expected
        assert figure(found, column).endswith(ALONE) == math.isfinite(expected)
    notes = " ".join(note_lines(found))
    assert (f"{ALONE} Measured alone by profile" in notes) == (first is not None)
    if first is not None:
        assert found["profile_machine"] == f"machine {measured.index(first)}"


def note_lines(row: dict[str, Any]) -> list[str]:
    return cost_notes(
        pd.DataFrame([row]), pd.DataFrame([PLACE | {"title": "M", "status": "done", "differs": ""}])
    )


def test_the_last_forward_pass_with_a_network_and_the_runs_own_machine_count() -> None:
    rows = [
        {"images_per_second": 50.0},
        {"hardware": "a machine, 2 threads", "images_per_second": 80.0},
        {"hardware": "a machine, 2 threads", "images_per_second": 60.0},  # with the CRF
        {
            "hardware": "a machine, 2 threads",
            "images_per_second": 1.0,
            "parameters_m": math.nan,
        },  # the CRF alone
        {"stage": "classify", "images_per_second": 2.0},
    ]
    found = of_entry(run(*stages()), profiles=profile_rows(*rows))
    assert found["cam_images_per_second"] == 60.0
    assert found["profile_machine"] == "a machine, 2 threads"


def test_a_profile_of_other_settings_is_another_entrys() -> None:
    found = of_entry(run(*stages()), profiles=profile_rows({"changes": "vit.depth=3"}))
    assert found["cam_images_per_second_by"] == "run"
    assert found["cam_macs_g"] == 1.5


def test_a_profile_that_only_counted_measures_nothing() -> None:
    nothing = {"images_per_second": math.nan, "host_memory_mb": math.nan, "hardware": "counts"}
    old = [{k: v for k, v in s.items() if k != "counts"} for s in stages()]
    found = of_entry(run(*old), profiles=profile_rows(nothing))
    assert found["cam_macs_g"] == 7.0
    assert found["image_size"] == "48x64"
    assert math.isnan(found["cam_images_per_second"])
    assert found["profile_machine"] == ""


# --- the reports -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic_run(tmp_path_factory.mktemp("run"), images=0)


def test_markdown_csv_and_latex_have_every_column(run_dir: Path, tmp_path: Path) -> None:
    written = build_reports(run_dir, tmp_path, ["markdown", "csv", "latex"])
    text = written["markdown"].read_text(encoding="utf-8")
    lines = text.splitlines()
    head = next(number for number, line in enumerate(lines) if "CAM network: MACs (G)" in line)
    assert head < next(number for number, line in enumerate(lines) if "boundaries-and-sizes" in line)
    heads, eps, supervised = ([part.strip() for part in lines[head + n].split("|")] for n in (0, 2, 6))
    row = dict(zip(heads, eps))
    assert (row["CAM network: MACs (G)"], row["CAM network: + products"]) == ("0.500", "0.600")
    assert row["CAM network: images/s"] == "30.0‡"  # measured by profile, with the CRF
    assert row["Segmentation network: images/s"] == "75.8"
    assert row["Training: min"] == "1.19"
    assert dict(zip(heads, supervised))["CAM network: MACs (G)"] == "–"
    assert "Measured while running on a machine, 1 thread a stage" in text
    assert "‡ Measured alone by profile on a machine" in text
    table = pd.read_csv(written["csv"]).set_index("method")
    assert table.loc["eps", "segmentation_images_per_second"] == pytest.approx(600 / (2.4 * 3.3))
    assert table.loc["eps", "segmentation_images_per_second_by"] == "run"
    assert table.loc["eps", "cam_images_per_second_by"] == "profile"
    assert table.loc["eps", "machine"] == "a machine, 1 thread a stage"
    assert "cam_macs_attention_g" in table
    tables = written["latex"].read_text()
    assert r"\multicolumn{4}{c}{CAM network} & \multicolumn{4}{c}{Segmentation network}" in tables
    assert r"\cmidrule(lr){2-5}" in tables
    assert r"30.0\textdaggerdbl{}" in tables


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_has_costs_below_the_scores(run_dir: Path, width: int) -> None:
    console = Console(record=True, width=width, force_terminal=False)
    print_leaderboard(read_run(run_dir), console)
    text = console.export_text()
    assert all(len(line) <= width for line in text.splitlines())
    rows = [line.split() for line in text.splitlines() if line.startswith("EPS")]
    assert len(rows) == 2
    assert rows[1][1] == "0.500"
    assert ("0.600" in rows[1]) == (width == 120)
    assert "30.0‡" in rows[1]
    assert "Measured while running on a machine" in " ".join(text.split())


def test_the_pages_table_and_charts(run_dir: Path) -> None:
    stored = read_run(run_dir)
    (board,) = boards(stored, aggregate(stored.records, stored.runs))
    shown = leaderboard.build(board)["costs"]
    assert shown["groups"][:2] == [("CAM network", 4), ("Segmentation network", 4)]
    assert [row["title"] for row in shown["rows"]] == ["EPS", "DSKD-GC", "CA-CL", "CAM", "Supervised"]
    assert shown["rows"][0]["cells"][3] == {"value": 30.0, "text": "30.0‡"}
    assert shown["rows"][-1]["cells"][0] == {"value": None, "text": "–"}
    charts = {chart["name"]: chart for chart in cost.build(board)["charts"]}
    assert "Segmentation mIoU, val" in str(charts["training"]["svg"])
    assert "CAM fixed mIoU, train" in str(charts["macs"]["svg"])
    assert {item["label"] for item in charts["training"]["legend"]} == {r["title"] for r in shown["rows"]}
    assert "Supervised" not in {item["label"] for item in charts["macs"]["legend"]}
    assert charts["macs"]["legend"][0]["values"] == ["56.2", "0.500", "9.00"]


def test_machines_are_named_with_their_methods_where_they_differ(run_dir: Path, tmp_path: Path) -> None:
    stored = read_run(run_dir)
    runs = json.loads(json.dumps(stored.runs))
    for one in runs:
        if one["method"] == "eps":
            for made in one["stages"]:
                made["machine"], made["threads"] = "a GPU", 8
    text = " ".join(note_texts(replace(stored, runs=runs)))
    assert (
        "on a GPU, 8 threads a stage [EPS]; a machine, 1 thread a stage [DSKD-GC, CA-CL, CAM, Supervised]"
        in text
    )


def note_texts(stored: StoredRuns) -> list[str]:
    board = aggregate(stored.records, stored.runs)
    return cost_notes(costs(stored, complexity_table(read_profiles(stored.path))), board)


def test_the_machines_name_is_escaped(tmp_path: Path) -> None:
    """It comes from the operating system, and a run folder from anywhere."""
    made = synthetic_run(tmp_path / "run", seeds=1, images=0)
    runs = read_run(made).runs
    for one in runs:
        for of in one["stages"]:
            of["machine"] = "Xeon" + HOSTILE
    write_run_records(made, runs)
    written = build_reports(made)
    page = written["html"].read_text(encoding="utf-8")
    assert "Xeon&lt;/script&gt;" in page
    assert "<script>alert" not in page
    assert f"Xeon{latex.escape(HOSTILE)}, 1 thread a stage" in written["latex"].read_text()
    assert "Xeon&lt;/script&gt;" in written["markdown"].read_text(encoding="utf-8")
    console = Console(record=True, width=400)
    print_leaderboard(read_run(made), console)
    assert f"Xeon{HOSTILE}" in console.export_text()  # no markup of rich's
