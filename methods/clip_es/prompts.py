"""Choice of CLIP-ES's prompt: the one by which an image's classes compete least (Lin et al., CVPR 2023, Eq. 9)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from methods.base import StageContext
from methods.clip_es.config import ClipEsStageConfig
from methods.layers.clip.model import ClipModel, normalisation
from methods.layers.clip.patches import class_probabilities, text_directions, whole_patches
from methods.layers.clip.words import Texts


def least_sharp(context: StageContext, clip: ClipModel, visual: Any, settings: ClipEsStageConfig) -> Texts:
    """The texts with the prompt alone that is least sharp on the training images of several classes.

    The first prompt where there are no such images.
    """
    samples = [sample for sample in context.view.samples("train") if len(sample.labels) > 1]
    each = [replace(settings.texts, prompts=(prompt,)) for prompt in settings.texts.prompts]
    directions = [text_directions(clip, texts) for texts in each]
    scale: torch.Tensor = clip.model.logit_scale.exp()  # type: ignore[union-attr,operator]
    totals = torch.zeros(len(each), 2, dtype=torch.float64)
    for batch in context.images(samples, normalisation(settings.clip), settings.inference.batch_size):
        images, present = whole_patches(visual, batch.images), batch.labels > 0
        for number, of_prompt in enumerate(directions):
            scores = class_probabilities(visual, images, of_prompt, scale, present)[:, : present.shape[1]]
            totals[number] += spread_and_mean(scores, present).cpu()
    sharp = totals[:, 0] / totals[:, 1].clamp_min(torch.finfo(torch.float64).tiny)
    chosen = int(sharp.argmin())
    for texts, value in zip(each, sharp.tolist()):
        context.log(f"prompt {texts.prompts[0]!r}: sharpness {value:.4f}")
    return each[chosen]


def spread_and_mean(scores: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Sums over images of variance and mean of the present classes' scores, (2,): sharpness is their ratio.

    scores: (B, C); present: (B, C) bool, somewhere in each row
    """
    counts = present.sum(1)
    scores = scores.double() * present
    mean = scores.sum(1) / counts
    variance = ((scores - mean[:, None]).square() * present).sum(1) / counts
    return torch.stack([variance.sum(), mean.sum()])
