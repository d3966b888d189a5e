"""Scores that a plant asks for: verdicts on images, defects one by one, AUPRO, area."""

from __future__ import annotations

import pandas as pd

from results.further import places, with_images

GIVEN = "0.05"
"""Rate of overkill, or of escapes, at which reports show the other; records have others too."""
VERDICTS = {
    ("image_auroc", "max"): "AUROC",
    ("image_auroc", "top"): "top",
    ("escapes_at_overkill", f"max|{GIVEN}"): "Escapes at 5 % overkill",
    ("overkill_at_escapes", f"max|{GIVEN}"): "Overkill at 5 % escapes",
    ("escapes_calibrated", "max"): "Escapes, calibrated",
    ("overkill_calibrated", "max"): "Overkill, calibrated",
    ("escapes", ""): "Escapes",
    ("overkill", ""): "Overkill",
}
"""(metric, class_name) -> heading, in the order in which they are shown: verdicts on images."""
DEFECTS = {
    ("defects_found", ""): "Defects found",
    ("defects_found_by_size", "small"): "small",
    ("defects_found_by_size", "medium"): "medium",
    ("defects_found_by_size", "large"): "large",
    ("alarms_per_good_part", ""): "False alarms a good part",
    ("aupro", ""): "AUPRO",
    ("area_error", ""): "Area error",
    ("area_bias", ""): "Area bias",
}
"""The same of single defects."""
BY_TYPE = ("defects_found", "escapes")
"""Metrics with a value for each class, the type of defect."""
PAIRS = "verdicts"
"""Metric whose `class_name` is "true type|verdict"."""
COUNTS, DIFFERENCES = ("alarms_per_good_part",), ("area_bias",)
"""Metrics that are no shares: a number, a relative difference that can be negative."""


def inspection_metrics(records: pd.DataFrame) -> pd.DataFrame:
    """As `further_metrics`, of verdicts on images and of single defects; `images` of shares of defects counts these."""
    metrics = {metric for metric, _ in (*VERDICTS, *DEFECTS)} | {PAIRS}
    place = places(records)
    return with_images(records.assign(score=place)[records["metric"].isin(metrics) & (place != "")])
