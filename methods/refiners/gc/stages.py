"""Stage of Gaussian correction: the CAM's thresholded labels, corrected by a network's features."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.utils.rnn import pad_sequence

from datasets.base import IGNORE
from datasets.files.images import write_labels
from datasets.recipe import Normalisation
from methods.artifacts import CamReader, label_map_path
from methods.base import StageContext
from methods.layers.networks.backbones import build_backbone
from methods.pictures import write_kinds
from methods.refiners.cam_maps import resized_maps
from methods.refiners.gc.config import CorrectionConfig, GcStageConfig
from methods.refiners.gc.correction import CHANGES, changes, gaussian_correction


def pseudo_label(context: StageContext, settings: GcStageConfig) -> None:
    """Write corrected label maps of the training images, by the features of a pretrained backbone."""
    backbone = build_backbone(settings.backbone, context.weights_path(settings.backbone.weights))
    backbone.to(context.device).eval()
    write_corrected(
        context,
        backbone,
        backbone.normalisation,
        settings.correction,
        settings.background_threshold,
        settings.batch_size,
    )


@torch.inference_mode()
def write_corrected(
    context: StageContext,
    features: Callable[[torch.Tensor], torch.Tensor],
    normalisation: Normalisation,
    correction: CorrectionConfig,
    background_threshold: float,
    batch_size: int,
    refined: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
) -> None:
    """Write a label map of every training image: CAM (input `cam`) against a constant background, corrected.

    Of the images that reports show, what the correction changed is kept as a picture.

    features: images (B, 3, H, W) -> (B, D, h, w)
    refined: images and maps (B, K, H, W) -> labels (B, H, W) to correct in place of the thresholded ones: 0, the
             map's number + 1, or 255
    """
    cams = CamReader(context.inputs["cam"].path)
    shown = {sample.id for sample in context.view.examples()}
    for _, samples in context.shards(context.view.samples("train")):
        for batch in context.images(samples, normalisation, batch_size):
            found = [cams[i] for i in batch.ids]
            maps = pad_sequence([resized_maps(cam, batch.size, least=1) for cam in found], batch_first=True)
            maps = maps.to(context.device)
            if refined is None:
                confidence, winner = maps.max(1)
                numbers = torch.where(confidence > background_threshold, winner + 1, 0)
            else:
                numbers = refined(batch.images, maps)
            values = torch.zeros(len(found), IGNORE + 1, dtype=torch.int64)
            values[:, IGNORE] = IGNORE
            for row, cam in zip(values, found):
                row[1 : 1 + len(cam.classes)] = torch.tensor(cam.classes, dtype=torch.int64) + 1
            labels = values.to(context.device).gather(1, numbers.flatten(1)).view_as(numbers)
            corrected = gaussian_correction(labels, maps, features(batch.images).float(), correction)
            before, after = (of_images.to(torch.uint8).cpu() for of_images in (labels, corrected))
            for sample_id, old, new in zip(batch.ids, before, after):
                write_labels(label_map_path(context.output, sample_id), new)
                if sample_id in shown:
                    write_kinds(context.output, "changed by GC", sample_id, changes(old, new), CHANGES)
