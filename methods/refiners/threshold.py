"""Refiner `none`: the CAM's argmax against a constant background score."""

from __future__ import annotations

import torch

from datasets.files.images import write_labels
from methods.artifacts import CamReader, label_map_path
from methods.base import StageContext
from methods.layers.cam import pseudo_labels
from methods.refiners.config import PseudoLabelConfig


def pseudo_label(context: StageContext, settings: PseudoLabelConfig) -> None:
    """Write a label map of every training image: argmax of the upsampled CAMs and the constant background."""
    cams = CamReader(context.inputs["cam"].path)
    for _, samples in context.shards(context.view.samples("train")):
        for sample in samples:
            cam = cams[sample.id]
            maps = torch.from_numpy(cam.maps).to(context.device, torch.float32)
            labels = pseudo_labels(maps, cam.classes, cam.size, settings.background_threshold)
            write_labels(label_map_path(context.output, sample.id), labels.cpu())
            context.advance(1)
