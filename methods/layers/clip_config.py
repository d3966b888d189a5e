"""Settings of CLIP, the vision-language network that methods guide their training with. Light to import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from datasets.limits import OneOf
from methods.base import NotRunnable
from methods.layers.words import Texts

NANO = "clip_nano"
NORMALISATIONS = ("clip", "imagenet", "openai", "inception")


@dataclass(frozen=True)
class ClipConfig:
    """A frozen CLIP.

    name:      an open_clip model, or clip_nano (the miniature). OpenAI's weights were trained with QuickGELU:
               their models are open_clip's of the ending ``-quickgelu``
    weights:   reference understood by `methods.layers.weights`: ``open_clip/<model>.<tag>``, ``nano/clip``, a path,
               or ``none`` (random initialisation)
    normalise: statistics of the images: ``clip``, those the weights were trained on (open_clip's of the reference, or
               of the model where all its weights have the same), ``openai`` or ``inception`` (.5) for files of which
               that is not known, or ``imagenet``, as CLIMS's code hands them over
    """

    name: str = "ViT-B-32-quickgelu"
    weights: str = "open_clip/ViT-B-32-quickgelu.openai"
    normalise: Annotated[str, OneOf(NORMALISATIONS)] = "clip"


def require_covered(key: str, config: ClipConfig, texts: Texts) -> None:
    """The miniature knows the words it was shown, and no others; other networks' images need known statistics.

    key: of the setting, such as "method.ca_cl.clip"
    Raises NotRunnable that names words it does not know, MethodError for a file of unknown statistics.
    """
    if config.name != NANO:
        if not config.weights.startswith("open_clip/"):  # whose statistics open_clip has beside them
            from methods.layers.clip import normalisation

            normalisation(config)
        return
    from methods.layers.clip_nano import vocabulary

    words = dict.fromkeys((*texts.names, *(w for words in texts.background for w in words), *texts.common))
    unknown = [word for word in words if word not in vocabulary()]
    if unknown:
        raise NotRunnable(
            f"the miniature CLIP does not know {len(unknown)} of {len(words)} words "
            f"({', '.join(unknown[:3])}{', ...' if unknown[3:] else ''}); needs a CLIP that does: "
            f"set {key}.name=ViT-B-32-quickgelu {key}.weights=open_clip/ViT-B-32-quickgelu.openai"
        )
