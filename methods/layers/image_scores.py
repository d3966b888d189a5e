"""What image classifiers say of the validation images: the common part of the stages that yield IMAGE_SCORES."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from datasets.recipe import Normalisation
from methods.artifacts import write_image_scores
from methods.base import StageContext
from methods.layers.config import ScoresConfig
from methods.layers.tiles import tiled_scores


@torch.inference_mode()
def write_classifications(
    context: StageContext,
    classify: Callable[[torch.Tensor], torch.Tensor],
    normalisation: Normalisation,
    settings: ScoresConfig,
    grid: int,
) -> None:
    """Write the classifier's scores of every validation image, at native size and one scale; of tiles their maximum.

    classify: images (B, 3, H, W) -> logits (B, C); grid: of its network (`methods.layers.tiles.grid_of`)
    """
    for name, samples in context.shards(context.view.samples("val")):
        scores: dict[str, np.ndarray] = {}
        for batch in context.images(samples, normalisation, settings.batch_size, settings.tiles.on):
            own = tiled_scores(classify, settings.tiles, batch.at_once, grid)
            scores |= zip(batch.ids, own(batch.images).float().cpu().numpy())
        write_image_scores(context.output / f"{name}.safetensors", {s.id: scores[s.id] for s in samples})
