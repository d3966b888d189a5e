"""Lines of the field's tables: what repeats another number joins it, and no number gets conditions that differ."""

from __future__ import annotations

import datetime
from typing import Any

from results.field import SCORES, Conditions, FieldMethod, Number, Result, load_field
from results.field_lines import condensed

V1 = {"segmenter": "DeepLab V1", "segmenter_backbone": "ResNet-38d"}
V2 = {"segmenter": "DeepLab V2", "segmenter_backbone": "ResNet-101"}


def number(score: str, value: float, source: str = "own paper") -> Number:
    return Number(score, value, source, "Tab. 1", datetime.date(2026, 12, 1), 1, "EPS")


def result(*numbers: Number, variant: str = "", **conditions: str) -> Result:
    return Result(Conditions(**conditions), numbers, variant)


def lines_of(*results: Result) -> list[Result]:
    facts: Any = ("seam", "SEAM", "Title", "Wang, Yude", "CVPR", 2020, "none", "I", "multi", False)
    return condensed(FieldMethod(*facts, results))


def test_an_equal_number_with_fewer_conditions_joins_the_line_that_has_more() -> None:
    second_hand = result(number("voc_val", 64.5, "second-hand"), segmenter_backbone="ResNet-38d")
    (line,) = lines_of(second_hand, result(number("voc_val", 64.5), **V1))
    assert line.conditions == Conditions(**V1)
    assert [n.source for n in line.of("voc_val")] == ["own paper", "second-hand"]


def test_a_joined_line_has_what_is_known_of_both() -> None:
    other = result(number("voc_val", 64.5), cam_backbone="ResNet-50", segmenter="DeepLab V1")
    (line,) = lines_of(result(number("voc_val", 64.5), **V1), other)
    assert line.conditions == Conditions(cam_backbone="ResNet-50", **V1)


def test_the_narrower_word_stays() -> None:
    narrow, wide = ({**V1, "segmenter_initialisation": name} for name in ("ImageNet-21k", "ImageNet"))
    for order in ((narrow, wide), (wide, narrow)):
        (line,) = lines_of(*(result(number("voc_val", 70.0), **c) for c in order))
        assert line.conditions.segmenter_initialisation == "ImageNet-21k"


def test_other_values_conditions_and_variants_stay_apart() -> None:
    apart = [
        result(number("voc_val", 64.5), **V1),
        result(number("voc_val", 64.5), **V2),
        result(number("voc_val", 65.0), segmenter="DeepLab V1"),
        result(number("voc_val", 64.5), variant="on IRN", **V1),
    ]
    assert lines_of(*apart) == apart


def test_cam_and_the_best_pseudo_labels_join_the_first_line_of_their_classifier() -> None:
    first, second = lines_of(
        result(number("cam", 55.0), cam_backbone="ResNet-50"),
        result(number("pseudo_label", 60.0), cam_backbone="ResNet-50", refiner="CRF"),
        result(number("pseudo_label", 63.0), cam_backbone="ResNet-50", refiner="IRN"),
        result(number("voc_val", 64.5), cam_backbone="ResNet-50", **V1),
        result(number("voc_val", 66.0), cam_backbone="ResNet-50", **V2),
    )
    assert [[n.value for n in first.of(score)] for score in SCORES] == [[55.0], [63.0], [64.5], [], []]
    assert [n.score for n in second.numbers] == ["voc_val"]


def test_a_classifier_without_segmentation_has_a_line_of_its_own() -> None:
    lines = lines_of(
        result(number("cam", 55.0), cam_backbone="VGG16"),
        result(number("voc_val", 64.5), cam_backbone="ResNet-50", **V1),
    )
    assert [line.conditions.cam_backbone for line in lines] == ["VGG16", "ResNet-50"]


def test_no_segmentation_value_of_the_field_is_lost() -> None:
    for method in load_field():
        for score in ("voc_val", "voc_test", "coco_val"):
            everything = sorted(n.value for r in method.results for n in r.of(score))
            assert sorted(n.value for line in condensed(method) for n in line.of(score)) == everything, method
