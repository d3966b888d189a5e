"""CLIMS: cross language image matching (Xie et al., CVPR 2022), the baseline of CA-CL."""

from __future__ import annotations

import math
from collections.abc import Sequence

from datasets.base import TrainingView
from methods.base import Method, MethodError, Shared, Stage, Supervision, part
from methods.clims.config import CLIMS_TEXT, PRESETS, ClimsConfig, ClimsTrainingConfig
from methods.clims.graph import guided_stages
from methods.layers.clip.covered import require_covered
from methods.layers.clip.words import COMMON, TextConfig, Texts, resolve_texts


class Clims(Method):
    """Classifier -> training with CLIP's guidance -> CAM -> segmentation network."""

    name = "clims"
    title = "CLIMS"
    paper = "Xie et al., CLIMS: Cross Language Image Matching for WSSS, CVPR 2022"
    summary = "CAMs that CLIP matches with class and background texts"
    needs = "image labels, class names, a CLIP (open_clip weights, or the miniature at nano)"
    supervision = frozenset({Supervision.LABELS, Supervision.TEXT})
    config = ClimsConfig
    presets = PRESETS
    reported_as = "CLIMS"

    def stages(self, config: ClimsConfig, view: TrainingView, shared: Shared) -> Sequence[Stage]:
        texts = resolve_texts("method.clims", config.text, view, {COMMON})
        _check(config.text, texts)
        require_covered("method.clims.clip", config.clip, texts)
        factors = _factors(config.class_factors, view.classes)
        settings = part(
            ClimsTrainingConfig, config, network=config.backbone, texts=texts, class_factors=factors
        )
        return guided_stages(
            config, "methods.clims.stages:guide", settings, shared, config.network_checkpoint
        )


def _check(config: TextConfig, texts: Texts) -> None:
    """What `TextConfig` offers and CLIMS has no use for."""
    key = "method.clims.text"
    if len(texts.prompts) > 1:
        source = "prompts" if config.prompts_file is None else f"prompts_file={config.prompts_file}"
        raise MethodError(f"{key}.{source}: {len(texts.prompts)} prompts, and CLIMS has one; give one")
    if config.words_per_class != CLIMS_TEXT.words_per_class:
        raise MethodError(
            f"{key}.words_per_class={config.words_per_class}: CLIMS has background words of any class, no class's "
            f"own; leave it out, or give its `{COMMON}` words with text.words"
        )


def _factors(entries: Sequence[str], classes: Sequence[str]) -> tuple[float, ...]:
    """Factors of all classes, 1 where none is given; () where none differs."""
    given: dict[str, float] = {}
    for entry in entries:
        name, _, number = entry.partition("=")
        try:
            factor = float(number)
        except ValueError:
            factor = math.nan
        if not (name and 0 <= factor < math.inf):
            raise MethodError(
                f"method.clims.class_factors: {entry!r} must be class=factor, of at least 0, such as sofa=3"
            )
        given[name] = factor
    factors = tuple(given.get(name, 1.0) for name in classes)
    return factors if set(factors) - {1.0} else ()


METHOD = Clims()
