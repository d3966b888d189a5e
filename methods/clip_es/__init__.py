"""CLIP-ES: CLIP is also an efficient segmenter (Lin et al., CVPR 2023)."""

from __future__ import annotations

from collections.abc import Sequence

from datasets.base import TrainingView
from methods.base import Kind, Method, Shared, Stage, Supervision, part
from methods.clip_es.config import PRESETS, ClipEsConfig, ClipEsStageConfig
from methods.layers.clip.covered import require_covered
from methods.layers.clip.words import resolve_prompts
from methods.pipeline import require_whole_images, stages_after_cam


class ClipEs(Method):
    """Grad-CAM of a frozen CLIP, spread by its attention -> CRF -> segmentation network, by the sure labels."""

    name = "clip_es"
    title = "CLIP-ES"
    paper = "Lin et al., CLIP is Also an Efficient Segmenter: A Text-Driven Approach for WSSS, CVPR 2023"
    summary = "Grad-CAM of a frozen CLIP, without a training of its own"
    needs = "image labels, class names, a CLIP with a vision transformer (open_clip weights, or the miniature at nano)"
    supervision = frozenset({Supervision.LABELS, Supervision.TEXT})
    config = ClipEsConfig
    presets = PRESETS
    reported_as = "CLIP-ES"

    def stages(self, config: ClipEsConfig, view: TrainingView, shared: Shared) -> Sequence[Stage]:
        require_whole_images(self.name, config, shared)
        texts = resolve_prompts(f"method.{self.name}", config.text, view)
        require_covered(f"method.{self.name}.clip", config.clip, texts)
        settings = part(
            ClipEsStageConfig,
            config,
            texts=texts,
            affinity=config.affinity if config.refine else None,
            inference=shared.inference or config.inference,
        )
        cam = Stage(
            "cam",
            "methods.clip_es.stages:cam",
            settings,
            Kind.CAM,
            pretrained=(config.clip.weights,),
            seeded=False,
            fixed_threshold=config.background_threshold,
            profile="methods.clip_es.stages:profile_cam",
        )
        return [cam, *stages_after_cam(cam, config.refiner, config.segmenter, shared)]


METHOD = ClipEs()
