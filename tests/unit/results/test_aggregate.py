"""Aggregation: arithmetic over seeds, rows without a score, and what is compared with what."""

from __future__ import annotations

import math
import statistics
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.aggregate import (
    fixed_thresholds,
    leaderboard,
    per_class_iou,
    stage_title,
    summarise,
    threshold_curves,
    varying,
)
from results.changes import data_title
from results.io import records_frame
from results.schema import Record, RunRecord


def record(method: str = "eps", seed: int = 0, **changes: Any) -> Record:
    values: dict[str, Any] = {
        "dataset": "shapes", "method": method, "scale": "nano", "protocol": "paper", "refiner": "own",
        "segmenter": "own", "seed": seed, "stage": "segmentation", "variant": "", "split": "val",
        "metric": "miou", "value": 0.5,
    }  # fmt: skip
    return Record(**(values | changes))


def run(
    method: str = "eps", seed: int = 0, status: str = "done", reason: str = "", **info: Any
) -> dict[str, Any]:
    return RunRecord(
        "shapes", method, "nano", "paper", "own", "own", seed, status, reason, method_info=info
    ).as_dict()  # fmt: skip


def board_row(records: list[Record], runs: list[dict[str, Any]], method: str = "eps") -> dict[str, Any]:
    board = leaderboard(records_frame(records), runs)
    rows = board[board["method"] == method].to_dict("records")
    assert len(rows) == 1
    return rows[0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_mean_sample_deviation_and_n(values: list[float]) -> None:
    row = summarise(pd.DataFrame({"entry": "a", "value": values}), ["entry"]).iloc[0]
    assert row["n"] == len(values)
    assert row["mean"] == pytest.approx(statistics.mean(values))
    if len(values) == 1:
        assert math.isnan(row["std"])
    else:
        assert row["std"] == pytest.approx(statistics.stdev(values), abs=1e-9)


def test_board_holds_mean_deviation_and_n_over_seeds() -> None:
    row = board_row([record(seed=seed, value=value) for seed, value in enumerate((0.5, 0.6, 0.7))], [])
    assert row["segmentation_n"] == 3
    assert row["segmentation_mean"] == pytest.approx(0.6)
    assert row["segmentation_std"] == pytest.approx(0.1)


def test_stages_and_threshold_rules_are_kept_apart() -> None:
    cam = {"stage": "cam", "split": "train"}
    records = [
        record(value=0.7),
        record(value=0.9, metric="pixel_accuracy"),
        record(value=0.1, split="test"),
        record(value=0.6, stage="pseudo_label", split="train"),
        record(value=0.4, variant="fixed", threshold=0.3, **cam),
        record(value=0.45, variant="tuned", **cam),
        record(value=0.5, variant="oracle", **cam),
        record(value=0.2, variant="curve", threshold=0.1, **cam),
    ]
    row = board_row(records, [run()])
    means = {k.removesuffix("_mean"): v for k, v in row.items() if k.endswith("_mean")}
    assert means == {
        "cam_fixed": 0.4,
        "cam_tuned": 0.45,
        "cam_oracle": 0.5,
        "pseudo_label": 0.6,
        "segmentation": 0.7,
    }
    assert fixed_thresholds(records_frame(records))["threshold"].tolist() == [0.3]


def test_missing_stages_are_nan_with_n_zero() -> None:
    row = board_row([record()], [run()])
    assert math.isnan(row["cam_fixed_mean"])
    assert row["cam_fixed_n"] == 0
    assert row["status"] == "done"


def test_confusion_is_read_at_the_fixed_threshold() -> None:
    where = {"stage": "cam", "split": "train", "metric": "confusion_ratio", "class_name": "boat|water"}
    records = [record(seed=s, variant="fixed", value=v, **where) for s, v in enumerate((0.1, 0.3))]
    records += [record(variant="oracle", value=0.9, **where), record("cam", value=0.4)]
    row = board_row(records, [])
    assert row["confusion:boat|water_mean"] == pytest.approx(0.2)
    assert row["confusion:boat|water_n"] == 2
    assert math.isnan(board_row(records, [], "cam")["confusion:boat|water_mean"])


def test_rows_without_a_score_keep_their_reason_and_come_last() -> None:
    records = [record(value=0.5), record("cam", value=0.4), record("reference/all-background", -1, value=0.1)]
    records += [record("upper", value=0.8)]
    runs = [
        run(),
        run("cam"),
        run("upper", supervision="M"),
        run("gone", 0, "not run", "needs saliency"),
    ]
    runs += [run("cam", 1, "failed", "out of memory"), run("broken", 0, "failed", "no such file")]
    board = leaderboard(records_frame(records), runs)
    assert board["method"].tolist() == ["eps", "cam", "upper", "reference/all-background", "broken", "gone"]
    rows = board.set_index("method")
    assert rows["status"].to_dict() == {
        "eps": "done",
        "cam": "incomplete",
        "upper": "done",
        "reference/all-background": "reference",
        "broken": "failed",
        "gone": "not run",
    }
    assert rows.loc["gone", "reason"] == "needs saliency"
    assert rows.loc["cam", "reason"] == "seed 1 failed: out of memory"
    assert rows.loc["cam", "seeds"] == 1


def test_gap_is_to_the_mask_supervised_entry_with_the_same_segmenter() -> None:
    records = [
        record(value=0.5),
        record("bound", value=0.8),
        record("other", value=0.9, segmenter="deeplab_v2"),
    ]
    runs = [
        run(),
        run("bound", supervision="I+M"),
        run("other", supervision="M") | {"segmenter": "deeplab_v2"},
    ]
    board = leaderboard(records_frame(records), runs).set_index("method")
    assert board.loc["eps", "segmentation_gap"] == pytest.approx(-0.3)
    assert math.isnan(board.loc["bound", "segmentation_gap"])
    # SAM is no mask supervision, though its name holds an M
    assert not board_row([record()], [run(supervision="I+SAM")])["mask_supervised"]


def test_per_class_iou_ignores_classes_that_occur_nowhere() -> None:
    classes = ("background", "boat", "aeroplane")
    values = {0: (0.9, 0.5, math.nan), 1: (0.8, math.nan, math.nan)}
    records = [
        record(seed=s, metric="iou", class_name=c, value=v)
        for s, vs in values.items()
        for c, v in zip(classes, vs)
    ]
    table = per_class_iou(records_frame(records))
    assert table["class_name"].tolist() == list(classes)
    assert table["n"].tolist() == [2, 1, 0]
    assert table["mean"].tolist()[:2] == pytest.approx([0.85, 0.5])
    assert set(table["score"]) == {"segmentation"}


def test_curves_average_seeds_at_each_threshold() -> None:
    where = {"stage": "cam", "split": "train", "variant": "curve"}
    records = [
        record(seed=s, threshold=t, value=v + 0.1 * s, **where)
        for s in (0, 1)
        for t, v in ((0.1 + 0.2, 0.4), (0.1, 0.2))
    ]
    table = threshold_curves(records_frame(records))
    assert table["threshold"].tolist() == [0.1, 0.3]
    assert table["mean"].tolist() == pytest.approx([0.25, 0.45])
    assert table["n"].tolist() == [2, 2]


def test_varying_tells_entries_apart() -> None:
    board = leaderboard(
        records_frame([record(), record(refiner="irnet"), record("reference/x", -1, segmenter="")]), []
    )
    assert varying(board) == ["refiner"]


def test_no_records_give_an_empty_board() -> None:
    assert leaderboard(records_frame([]), []).empty


def test_own_data_are_called_by_their_folder_and_settings_stand_beside_a_name() -> None:
    own = "dataset.root=/home/me/leaves/"
    assert data_title("folder", own) == "leaves"
    assert data_title("folder", f"{own}; dataset.seed=1") == "leaves (seed=1)"
    assert data_title("folder", "") == "folder"
    assert data_title("shapes", "dataset.train=24; dataset.seed=1") == "shapes (train=24, seed=1)"
    assert data_title("shapes", "") == "shapes"


def test_stages_are_called_in_words() -> None:
    names = (
        "cam",
        "cam_sam",
        "cam_original",
        "pseudo_label_vit",
        "segmentation",
        "score-image_scores",
        "score-cam",
    )
    assert [stage_title(name) for name in names] == [
        "CAM", "CAM: SAM", "CAM: original", "Pseudo-label: ViT", "Segmentation", "Scoring of image scores",
        "Scoring of CAM",
    ]  # fmt: skip
