"""Whether a CLIP knows what a method asks of it, before anything is trained."""

from __future__ import annotations

from methods.base import NotRunnable
from methods.layers.clip.config import MINIATURES, OPEN_CLIP, ClipConfig
from methods.layers.clip.words import Texts


def require_covered(key: str, config: ClipConfig, texts: Texts) -> None:
    """The miniature knows the words it was shown, and no others; other networks' images need known statistics.

    key: of the setting, such as "method.ca_cl.clip"
    Raises NotRunnable that names words it does not know, MethodError for a file of unknown statistics.
    """
    if config.name not in MINIATURES:
        if not config.weights.startswith(OPEN_CLIP):  # whose statistics open_clip has beside them
            from methods.layers.clip.model import normalisation

            normalisation(config)
        return
    from methods.layers.clip.nano import vocabulary

    words = dict.fromkeys((*texts.names, *(w for words in texts.background for w in words), *texts.common))
    unknown = [word for word in words if word not in vocabulary()]
    if unknown:
        raise NotRunnable(
            f"the miniature CLIP does not know {len(unknown)} of {len(words)} words "
            f"({', '.join(unknown[:3])}{', ...' if unknown[3:] else ''}); needs a CLIP that does: "
            f"set {key}.name=ViT-B-32-quickgelu {key}.weights=open_clip/ViT-B-32-quickgelu.openai"
        )
