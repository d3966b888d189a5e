"""Refiner `par`: pixel-adaptive refinement of the present classes' scores and a constant background."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from datasets.files.images import read_image, write_labels
from methods.artifacts import CamReader, label_map_path
from methods.base import StageContext
from methods.layers.cam import resize
from methods.layers.par import pixel_adaptive_refinement
from methods.refiners.cam_maps import class_ids
from methods.refiners.config import ParStageConfig


@torch.inference_mode()
def pseudo_label(context: StageContext, settings: ParStageConfig) -> None:
    """Write a label map of every training image: the softmax of CAMs and background, refined; its argmax."""
    cams = CamReader(context.inputs["cam"].path)
    for _, samples in context.shards(context.view.samples("train")):
        for sample in samples:
            cam = cams[sample.id]
            labels = torch.zeros(cam.size, dtype=torch.uint8)
            if cam.classes:
                maps = resize(torch.from_numpy(cam.maps).float()[None].to(context.device), cam.size)
                scores = F.pad(maps, (0, 0, 0, 0, 1, 0), value=settings.background_threshold).softmax(1)
                image = read_image(sample.image)[None].to(context.device, torch.float32)
                refined = pixel_adaptive_refinement(image, scores, settings.dilations, settings.iterations)
                labels = class_ids(cam.classes)[refined[0].argmax(0).cpu()]
            write_labels(label_map_path(context.output, sample.id), labels)
            context.advance(1)
