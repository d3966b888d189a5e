"""The CAM stage's common part: multi-scale maps of every training image, written shard by shard."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from datasets.recipe import Normalisation
from methods.artifacts import Cam, write_cams
from methods.base import StageContext
from methods.layers.cam import multi_scale_cam, normalise, only_present
from methods.layers.config import CamInferenceConfig


@torch.inference_mode()
def write_multi_scale_cams(
    context: StageContext,
    forward: Callable[[torch.Tensor], torch.Tensor],
    normalisation: Normalisation,
    settings: CamInferenceConfig,
) -> None:
    """Write the CAMs of the training images' present classes, each map divided by its maximum.

    forward: images (B, 3, H, W) -> object maps (B, C, h, w), not negative
    """
    for name, samples in context.shards(context.view.samples("train")):
        labels = {s.id: s.labels for s in samples}
        cams: dict[str, Cam] = {}
        for batch in context.images(samples, normalisation, settings.batch_size):
            maps = normalise(multi_scale_cam(forward, batch.images, settings.scales, settings.flip))
            present = [labels[i] for i in batch.ids]
            for sample_id, kept in zip(batch.ids, only_present(maps, present)):
                cams[sample_id] = Cam(kept.cpu().numpy().astype(np.float16), labels[sample_id], batch.size)
        write_cams(context.output / f"{name}.safetensors", {s.id: cams[s.id] for s in samples})
