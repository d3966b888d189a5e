"""Settings of CLIP, the vision-language network that methods guide their training with. Light to import."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from datasets.limits import Count, Natural, NotEmpty, OneOf, Share
from methods.base import MethodError

NANO, NANO_VIT = "clip_nano", "clip_vit_nano"
MINIATURES = (NANO, NANO_VIT)
OPEN_CLIP = "open_clip/"
"""Prefix of references of weights that open_clip serves."""
_VIT = re.compile(r"ViT-([BLH])-(\d+)(?:-quickgelu)?$")
_WIDTHS = {"B": 768, "L": 1024, "H": 1280}
NORMALISATIONS = ("clip", "imagenet", "openai", "inception")


@dataclass(frozen=True)
class ClipConfig:
    """A frozen CLIP.

    name:      an open_clip model, or a miniature (clip_nano, clip_vit_nano). OpenAI's weights were trained with
               QuickGELU: their models are open_clip's of the ending ``-quickgelu``
    weights:   reference understood by `methods.layers.weights.files`: ``open_clip/<model>.<tag>``, ``nano/clip``,
               ``nano/clip_vit``, a path, or ``none`` (random initialisation)
    normalise: statistics of the images: ``clip``, those the weights were trained on (open_clip's of the reference, or
               of the model where all its weights have the same), ``openai`` or ``inception`` (.5) for files of which
               that is not known, or ``imagenet``, as CLIMS's code hands them over
    """

    name: str = "ViT-B-32-quickgelu"
    weights: str = "open_clip/ViT-B-32-quickgelu.openai"
    normalise: Annotated[str, OneOf(NORMALISATIONS)] = "clip"

    def require_weights(self, path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """MethodError for the weights of another CLIP, as far as a ViT's name says; shapes: by name, of the tensors."""
        asked = _VIT.match(self.name)
        if asked is None:
            return
        found = shapes.get("visual.conv1.weight", ())
        if len(found) != 4:
            raise MethodError(f"weights {path} are none of a CLIP such as {self.name}; give its file")
        wanted = _WIDTHS[asked[1]], int(asked[2])
        if (found[0], found[-1]) != wanted:
            raise MethodError(
                f"weights {path} have patches of {found[-1]} pixels and {found[0]} channels, and clip.name={self.name}"
                f" has {wanted[1]} and {wanted[0]}; set its name to that of the file, or give the file of {self.name}"
            )


@dataclass(frozen=True)
class PromptConfig:
    """What a CLIP is asked about an image; `{}` of a prompt is the class's name or a word of the background.

    prompts:    features of a word are averaged over them
    names:      what classes are called instead, as "class=text"; classes that the data lacks are passed over
    background: words that compete with the classes; those that are a class's name themselves are left out
    """

    prompts: Annotated[tuple[str, ...], NotEmpty()] = ("a clean origami {}.",)
    names: tuple[str, ...] = ()
    background: tuple[str, ...] = ()


@dataclass(frozen=True)
class AffinityConfig:
    """How attention spreads a map (CLIP-ES).

    blocks:    last blocks whose attention is averaged
    threshold: share of a map's maximum above which it is inside a box
    rounds:    of Sinkhorn's normalisation
    squarings: of the affinity
    whole_boxes: boxes reach the last row and column, which the reference leaves out of every box
    """

    blocks: Count = 8
    threshold: Share = 0.4
    rounds: Natural = 3
    squarings: Natural = 1
    whole_boxes: bool = False
