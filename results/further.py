"""Scores beside the mIoU: boundaries, subsets of images and regions, and the accuracy of the image classifier."""

from __future__ import annotations

import pandas as pd

from results.aggregate import KEYS, SCORES, summarise

CLASSIFIER = "classifier"
"""`stage` of the records of image classifiers, and their `score` here."""

COLUMNS = {
    ("boundary_recall", ""): "Boundary recall",
    ("boundary_precision", ""): "precision",
    ("boundary_f1", ""): "F1",
    ("miou_by_size", "small"): "Small",
    ("miou_by_size", "medium"): "medium",
    ("miou_by_size", "large"): "large",
    ("miou_by_class_count", "0"): "No class",
    ("miou_by_class_count", "1"): "1 class",
    ("miou_by_class_count", "2"): "2",
    ("miou_by_class_count", "3+"): "3 or more",
    ("false_alarms", ""): "Absent classes",
}
"""(metric, class_name) -> heading, in the order in which they are shown."""

CLASSIFIER_METRICS = ("mean_average_precision", "average_precision")


def further_metrics(records: pd.DataFrame) -> pd.DataFrame:
    """`KEYS`, `score` (a name of `SCORES`, or `CLASSIFIER`), `metric`, `class_name`, mean, std, n, and the images
    of a subset or split (the most of any seed). CAMs at their fixed threshold."""
    place = places(records)
    metrics = {metric for metric, _ in COLUMNS}
    wanted = records["metric"].isin(metrics) | (
        (place == CLASSIFIER) & records["metric"].isin(CLASSIFIER_METRICS)
    )
    return with_images(records.assign(score=place)[wanted & (place != "")])


def places(records: pd.DataFrame) -> pd.Series[str]:
    """`score` of each record: a name of `SCORES`, `CLASSIFIER`, or "" for neither."""
    names = {(score.stage, score.variant, score.split): score.name for score in SCORES}
    return pd.Series(
        [
            CLASSIFIER if stage == CLASSIFIER else names.get((stage, variant, split), "")
            for stage, variant, split in zip(records["stage"], records["variant"], records["split"])
        ],
        index=records.index,
        dtype="str",
    )


def with_images(chosen: pd.DataFrame) -> pd.DataFrame:
    """Records with a `score`, summarised over seeds, with the most images of any seed."""
    groups = [*KEYS, "score", "metric", "class_name"]
    images = chosen.groupby(groups, sort=False)["images"].max().reset_index()
    table: pd.DataFrame = summarise(chosen, groups).merge(images, on=groups)
    return table
