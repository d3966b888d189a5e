"""The one training stage that is handed true masks."""

from __future__ import annotations

from methods.base import StageContext
from methods.layers.config import SegmenterConfig
from methods.segmenters.stages import train_segmentation


def segment(context: StageContext, settings: SegmenterConfig) -> None:
    """Train the segmentation network on true masks."""
    train_segmentation(context, settings, context.masks())
