"""Refiner `crf`: dense CRF over the present classes and a background, constant or a power of what is left of 1."""

from __future__ import annotations

import shutil

import numpy as np
import torch

from datasets.base import IGNORE
from datasets.files.images import write_labels
from methods.artifacts import CamReader, label_map_path
from methods.base import StageContext
from methods.layers.crf import CrfPool
from methods.refiners.cam_maps import background_score, class_ids, crf_picture, resized_maps
from methods.refiners.config import ConfidentLabelConfig, PseudoLabelConfig

CONFIDENT = "confident"
"""In the artifact, with `PseudoLabelConfig.confidence`: the labels again, 255 where the CRF is not sure."""


def pseudo_label(context: StageContext, settings: PseudoLabelConfig) -> None:
    """Write a label map of every training image: argmax of the CRF's posterior.

    The unary probabilities are the upsampled CAM scores and the background score, divided by their sum.
    """
    assert settings.crf is not None
    threshold, power = settings.background_threshold, settings.background_power
    cams = CamReader(context.inputs["cam"].path)
    with CrfPool(settings.crf) as pool:
        for _, samples in context.shards(context.view.samples("train")):

            def jobs(samples=samples):  # type: ignore[no-untyped-def]
                for sample in samples:
                    cam = cams[sample.id]
                    maps = resized_maps(
                        cam, cam.size
                    )  # none where an image has no class: only the background is left
                    constant = torch.full((1, *cam.size), threshold)
                    background = constant if power is None else background_score(maps, power)
                    scores = torch.cat([background, maps]).clamp_min(1e-5)
                    yield crf_picture(sample.image, cam.size), (scores / scores.sum(0)).numpy()

            for sample, posterior in zip(samples, pool.map(jobs())):
                values = class_ids(cams[sample.id].classes)
                write_labels(label_map_path(context.output, sample.id), most_likely(posterior, values))
                if settings.confidence > 0:
                    path = label_map_path(context.output / CONFIDENT, sample.id)
                    write_labels(path, most_likely(posterior, values, settings.confidence))
                context.advance(1)


def most_likely(posterior: np.ndarray, values: torch.Tensor, confidence: float = 0.0) -> torch.Tensor:
    """Labels (H, W) uint8 of a posterior (L, H, W) over `values` (L,), 255 where its maximum is below `confidence`."""
    highest, winner = torch.from_numpy(posterior).max(0)
    return torch.where(highest < confidence, IGNORE, values[winner]).to(torch.uint8)


def confident_label(context: StageContext, settings: ConfidentLabelConfig) -> None:
    """What a segmentation network learns from: the labels that the CRF is sure of."""
    source = context.inputs["labels"].path / CONFIDENT
    for _, samples in context.shards(context.view.samples("train")):
        for sample in samples:
            path = label_map_path(context.output, sample.id)
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(label_map_path(source, sample.id), path)
            context.advance(1)
