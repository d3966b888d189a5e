"""Scores of CAMs, label maps and image classifiers; usable alone, without a run.

Names are imported when they are first used: planning names modules of this package and must not load torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.evaluation.boundary import boundary_counts, boundary_scores
    from benchmark.evaluation.classifier import average_precisions, score_classifications
    from benchmark.evaluation.confusion import fold_ignored, pair_counts
    from benchmark.evaluation.evaluator import Scores, score_cams, score_label_maps
    from benchmark.evaluation.scores import MetricRow, class_iou, mean_iou, pixel_accuracy, precision, recall

_MODULES = {
    "boundary": ("boundary_counts", "boundary_scores"),
    "classifier": ("average_precisions", "score_classifications"),
    "confusion": ("fold_ignored", "pair_counts"),
    "evaluator": ("Scores", "score_cams", "score_label_maps"),
    "scores": ("MetricRow", "class_iou", "mean_iou", "pixel_accuracy", "precision", "recall"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "MetricRow",
    "Scores",
    "average_precisions",
    "boundary_counts",
    "boundary_scores",
    "class_iou",
    "fold_ignored",
    "mean_iou",
    "pair_counts",
    "pixel_accuracy",
    "precision",
    "recall",
    "score_cams",
    "score_classifications",
    "score_label_maps",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
