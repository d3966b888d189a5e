"""ToCo: token contrast for single-stage weakly supervised segmentation (Ru et al., CVPR 2023)."""

from __future__ import annotations

from collections.abc import Sequence

from datasets.base import TrainingView
from methods.base import Deviation, Method, Shared, Stage, Supervision
from methods.dskd_gc import SHARED_DEVIATIONS, single_stage
from methods.layers.weights.released import released_stage
from methods.toco.config import PRESETS, TocoConfig
from methods.unified import from_imagenet


class Toco(Method):
    """One training -> CAM -> labels; its decoder predicts."""

    name = "toco"
    title = "ToCo"
    paper = "Ru et al., Token Contrast for Weakly-Supervised Semantic Segmentation, CVPR 2023"
    summary = "single-stage: contrast of patch tokens and of class tokens"
    needs = "image labels, a pretrained vision transformer"
    supervision = frozenset({Supervision.LABELS})
    config = TocoConfig
    presets = PRESETS
    unified = from_imagenet(PRESETS)
    deviations = (
        Deviation(
            "energy loss",
            "a regularisation of the decoder (weight .05)",
            "dense energy over colour and position, in C++",
            "left out",
            "PAR already carries the labels to colour edges; what DSKD-GC builds on has none either",
        ),
        Deviation(
            "views of the class token contrast",
            "two global views, local crops",
            "global views: two more random crops, with blur and solarisation; 10 local crops of 96 of one of them",
            "global views: the training image and its mirror image; local crops of the training image, as many and as "
            "large at paper scale; 4 of 56 at 168 at small, 4 of 32 at nano",
            "the shared loader gives one crop of an image; the tokens compared are of the same kinds",
        ),
        Deviation(
            "length on COCO",
            "trains on COCO, too; how long is not taken over",
            "thresholds .65 and .25 and background .45 are COCO's own",
            "those; DSKD-GC's 80 000 iterations, the decoder learning from 5 000 on",
            "the method that is compared with it says these",
        ),
        *SHARED_DEVIATIONS,
    )
    reported_as = "ToCo"

    def stages(self, config: TocoConfig, view: TrainingView, shared: Shared) -> Sequence[Stage]:
        stages = single_stage(self.name, config, shared)
        if config.network_checkpoint is None:
            return stages
        run = "methods.toco.stages:released"
        released = released_stage(stages[0].name, run, config.network_checkpoint, config.network)
        return [released, *stages[1:]]


METHOD = Toco()
