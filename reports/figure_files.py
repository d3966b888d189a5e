"""What figures there are and how their files are called; light to import."""

from __future__ import annotations

from collections.abc import Sequence

FOLDER = "figures"
FIGURES = {
    "stages": "mIoU from stage to stage; CAMs at the oracle threshold",
    "cost": "segmentation mIoU against the time of all trainings, CAM mIoU at the fixed threshold against the CAM "
    "network's multiply-accumulates; areas grow with the parameters of the network",
}
"""Kinds of figures and what they show."""


def figure_name(kind: str, names: Sequence[str]) -> str:
    """File name without suffix of a board's figure; names: of `results.aggregate.board_names`."""
    parts = (kind, *names)
    return "-".join("".join(c if c.isascii() and c.isalnum() else "-" for c in name) for name in parts)
