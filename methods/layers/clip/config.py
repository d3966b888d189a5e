"""Settings of CLIP, the vision-language network that methods guide their training with. Light to import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from datasets.limits import OneOf

NANO = "clip_nano"
OPEN_CLIP = "open_clip/"
"""Prefix of references of weights that open_clip serves."""
NORMALISATIONS = ("clip", "imagenet", "openai", "inception")


@dataclass(frozen=True)
class ClipConfig:
    """A frozen CLIP.

    name:      an open_clip model, or clip_nano (the miniature). OpenAI's weights were trained with QuickGELU:
               their models are open_clip's of the ending ``-quickgelu``
    weights:   reference understood by `methods.layers.weights.files`: ``open_clip/<model>.<tag>``, ``nano/clip``, a path,
               or ``none`` (random initialisation)
    normalise: statistics of the images: ``clip``, those the weights were trained on (open_clip's of the reference, or
               of the model where all its weights have the same), ``openai`` or ``inception`` (.5) for files of which
               that is not known, or ``imagenet``, as CLIMS's code hands them over
    """

    name: str = "ViT-B-32-quickgelu"
    weights: str = "open_clip/ViT-B-32-quickgelu.openai"
    normalise: Annotated[str, OneOf(NORMALISATIONS)] = "clip"
