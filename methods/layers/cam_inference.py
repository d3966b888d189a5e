"""The CAM stage's common part: multi-scale maps of every training image, written shard by shard."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from datasets.loading.loader import ImageBatch
from datasets.recipe import Normalisation
from methods.artifacts import Cam, write_cams
from methods.base import StageContext
from methods.layers.cam import multi_scale_cam, normalise, only_present
from methods.layers.config import CamInferenceConfig
from methods.layers.tiles import GRID, tiled


@torch.inference_mode()
def write_multi_scale_cams(
    context: StageContext,
    forward: Callable[..., torch.Tensor],
    normalisation: Normalisation,
    settings: CamInferenceConfig,
    folders: Sequence[str] = ("",),
    normalised: Callable[[torch.Tensor], torch.Tensor] = normalise,
    also: Callable[[ImageBatch], None] = lambda batch: None,
    by_class: bool = False,
    grid: int = GRID,
) -> None:
    """Write the CAMs of the training images' present classes, each map divided by its maximum.

    forward: images (B, 3, H, W) -> object maps (B, C, h, w), not negative; for F folders, those of all of
             them one after the other, (B, F * C, h, w)
    folders: folders of the output that are written, "" being the output itself
    normalised: summed maps (..., h, w) -> maps in [0, 1]
    also: called with every batch of images
    by_class: `forward` is given (images, present) instead, present: (B, C) bool, the classes of each image
    grid: of the network, for tiles (`methods.layers.tiles.grid_of`)
    """
    for folder in folders:
        (context.output / folder).mkdir(exist_ok=True)
    for name, samples in context.shards(context.view.samples("train")):
        labels = {s.id: s.labels for s in samples}
        cams: dict[str, dict[str, Cam]] = {folder: {} for folder in folders}
        for batch in context.images(samples, normalisation, settings.batch_size, settings.tiles.on):
            present = batch.labels > 0

            def of_batch(images: torch.Tensor, present: torch.Tensor = present) -> torch.Tensor:
                return forward(images, present.repeat(len(images) // len(present), 1))

            own = tiled(of_batch if by_class else forward, settings.tiles, batch.at_once, grid)
            maps = normalised(multi_scale_cam(own, batch.images, settings.scales, settings.flip))
            also(batch)
            classes = [labels[i] for i in batch.ids]
            for folder, part in zip(folders, maps.chunk(len(folders), dim=1)):
                for sample_id, kept in zip(batch.ids, only_present(part, classes)):
                    values = kept.cpu().numpy().astype(np.float16)
                    cams[folder][sample_id] = Cam(values, labels[sample_id], batch.size)
        for folder, of_folder in cams.items():
            path = context.output / folder / f"{name}.safetensors"
            write_cams(path, {s.id: of_folder[s.id] for s in samples})
