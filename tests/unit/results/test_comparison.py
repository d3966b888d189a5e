"""Paper beside measured: a difference only where both mean the same, and the reason where they do not."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from results.comparison import COLUMNS, compare_with_papers
from results.io import records_frame
from results.reported import ReportedNumber, load_reported
from results.schema import Record, RunRecord

AS_PRINTED = next(n for n in load_reported() if (n.paper, n.table, n.row) == ("eps", "Tab. 6", "EPS V1"))
PRINTED = replace(AS_PRINTED, initialisation="ImageNet", note="")
SETTINGS = {
    "refiner": {"name": "none"},
    "segmenter": {"head": "largefov", "backbone": {"name": "resnet101_caffe"}, "init": "imagenet"},
}
WHERE = {"dataset": "voc2012", "method": "it", "scale": "paper", "protocol": "paper", "refiner": "own",
         "segmenter": "own"}  # fmt: skip


def compare(
    numbers: list[ReportedNumber], values: tuple[float, ...] = (0.7, 0.72), **changes: Any
) -> pd.DataFrame:
    where = WHERE | {key: changes.pop(key) for key in list(changes) if key in WHERE}
    settings = changes.pop("settings", SETTINGS)
    data = changes.pop("data", {})
    schedule = changes.pop("schedule", where["dataset"])
    score = {
        "stage": "segmentation",
        "variant": "",
        "split": "val",
        "metric": "miou",
        "images": 1449,
    } | changes
    records = [Record(**where, seed=s, value=value, **score) for s, value in enumerate(values)]
    records.append(Record(**where | {"method": "reference/all-background"}, seed=-1, value=0.1, **score))
    runs = [
        RunRecord(**where, seed=s, status="done", method_info={"reported_as": "EPS", "schedule": schedule},
                   settings={"method": settings, "dataset": data},
                   changes=changes.get("changes", "")).as_dict()
        for s in range(len(values))
    ]  # fmt: skip
    return compare_with_papers(records_frame(records), runs, numbers)


def test_the_same_setting_has_a_difference() -> None:
    row = compare([PRINTED]).iloc[0]
    assert (row["comparable"], row["reason"], row["n"]) == (True, "", 2)
    assert row["measured"] == pytest.approx(0.71)
    assert row["std"] == pytest.approx(0.02 / math.sqrt(2))
    assert row["difference"] == pytest.approx(0.0)
    assert (row["printed"], row["where"]) == (71.0, "Tab. 6")
    assert row["note"] == "ResNet-38, DeepLab V1 ResNet-101, from ImageNet"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"dataset": "shapes"}, "voc2012 in the paper, shapes here"),
        ({"scale": "nano"}, "the networks of scale nano are not the paper's"),
        ({"protocol": "unified"}, "unified protocol here, the authors' own in the paper"),
        ({"schedule": "coco2014"}, "trained with the schedule of coco2014, not of voc2012"),
        ({"images": 511}, "1449 images in the paper, 511 here"),
        ({"settings": SETTINGS | {"segmenter": {"head": "aspp"}}}, "DeepLab V1 in the paper, aspp here"),
        (
            {"settings": {"segmenter": {"head": "largefov", "backbone": {"name": "vgg16"}}}},
            "ResNet-101 in the paper, vgg16 here",
        ),
        (
            {"settings": {"segmenter": {"head": "largefov", "init": "coco-masks"}}},
            "weights that saw COCO's masks here",
        ),
    ],
)
def test_what_differs_is_the_reason(changes: dict[str, Any], reason: str) -> None:
    row = compare([PRINTED], **changes).iloc[0]
    assert (row["comparable"], row["reason"]) == (False, reason)
    assert math.isnan(row["difference"])
    assert row["printed"] == 71.0


def test_a_number_from_weights_that_saw_masks_is_not_held_against_ours_from_imagenet() -> None:
    row = compare([AS_PRINTED]).iloc[0]
    assert (row["comparable"], row["reason"]) == (
        False,
        "weights that saw COCO's masks in the paper, not here",
    )


def test_a_suspicious_number_is_shown_and_not_compared() -> None:
    row = compare([replace(PRINTED, suspicious="it is another score")]).iloc[0]
    assert row["reason"] == "suspicious: it is another score"
    assert math.isnan(row["difference"])


def test_the_refiner_has_to_agree() -> None:
    label = replace(PRINTED, stage="pseudo_label", split="train", images=1464, refiner="crf")
    stage = {"stage": "pseudo_label", "split": "train", "images": 1464}
    assert compare([label], **stage).iloc[0]["reason"] == "refiner crf in the paper, none here"
    assert compare([label], **stage, refiner="crf").iloc[0]["comparable"]


def test_equal_numbers_are_one_row_and_others_papers_come_after() -> None:
    again = replace(PRINTED, table="Sec. 5.3")
    elsewhere = replace(PRINTED, ours=False, paper="other", value=0.705, table="Tab. 9")
    variant = replace(PRINTED, variant="another saliency", value=0.7)
    table = compare([elsewhere, PRINTED, variant, again])
    assert table["where"].tolist() == ["Tab. 6, Sec. 5.3", "as printed in other, Tab. 9"]
    assert table["difference"].tolist() == pytest.approx([0.0, 0.005])


def test_what_is_not_printed_says_so_and_references_have_no_row() -> None:
    table = compare([PRINTED], stage="cam", split="train", variant="oracle")
    assert table["reason"].tolist() == ["no paper here prints it"]
    assert table["reported"].isna().all()
    # the fixed threshold is not what papers print
    assert compare([PRINTED], stage="cam", split="train", variant="fixed").empty


def test_another_data_set_has_the_papers_best_number() -> None:
    numbers = [replace(PRINTED, value=0.666), PRINTED, replace(PRINTED, ours=False, value=0.8, paper="other"),
               replace(PRINTED, value=0.9, suspicious="a misprint")]  # fmt: skip
    table = compare(numbers, dataset="shapes")
    assert table["reported"].tolist() == [0.71]


def test_nothing_measured_is_an_empty_table() -> None:
    assert compare_with_papers(records_frame([]), []).columns.tolist() == COLUMNS


def test_the_place_of_the_data_is_no_changed_setting() -> None:
    assert compare([PRINTED], changes="dataset.root=/data/VOCdevkit; dataset.sbd_root=/data/sbd").iloc[0][
        "comparable"
    ]
    row = compare([PRINTED], changes="dataset.root=/data/VOCdevkit; dataset.train=sbd").iloc[0]
    assert row["reason"] == "settings changed here: dataset.train=sbd"


def test_scores_against_another_ground_truth_are_not_compared() -> None:
    printed = next(n for n in load_reported() if (n.paper, n.table, n.row) == ("eps", "Tab. 7", "EPS"))
    here = {"dataset": "coco2014", "images": 40137,
            "settings": {"segmenter": {"head": "aspp", "backbone": {"name": "vgg16"}}}}  # fmt: skip
    row = compare([printed], data={"ground_truth": "instances"}, **here).iloc[0]
    assert row["reason"] == "ground truth coco_stuff in the paper, instances here"
    stuff = {"data": {"ground_truth": "coco_stuff"}, "changes": "dataset.ground_truth=coco_stuff"}
    row = compare([printed], **stuff, **here).iloc[0]
    assert row["comparable"], row["reason"]
    unsaid = replace(printed, ground_truth="")
    row = compare([unsaid], **stuff, **here).iloc[0]
    assert row["reason"] == "settings changed here: dataset.ground_truth=coco_stuff"
