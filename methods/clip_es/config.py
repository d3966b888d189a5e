"""Settings of CLIP-ES, and its presets by scale."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from datasets.limits import Share
from methods.base import MethodConfig
from methods.layers import presets
from methods.layers.clip.config import NANO_VIT, AffinityConfig, ClipConfig, PromptConfig
from methods.layers.clip.words import Texts
from methods.layers.config import CamInferenceConfig, SegmenterConfig
from methods.refiners import IRN, PSA
from methods.refiners.config import RefinerConfig
from methods.segmenters import SEGMENTERS

VIT_B16 = ClipConfig("ViT-B-16-quickgelu", "open_clip/ViT-B-16-quickgelu.openai")
NANO_CLIP = ClipConfig(NANO_VIT, "nano/clip_vit")

_THINGS = (
    "ground", "land", "grass", "tree", "building", "wall", "sky", "lake", "water", "river", "sea", "railway",
    "railroad", "helmet", "cloud", "house", "mountain", "ocean", "road", "rock", "street", "valley", "bridge",
)  # fmt: skip
_NAMES = ("bird=bird avian", "chair=chair seat", "person=person with clothes,people,human")
VOC_PROMPTS = PromptConfig(
    names=(
        *_NAMES, "diningtable=diningtable", "pottedplant=pottedplant", "tvmonitor=tvmonitor screen"
    ),
    background=(*_THINGS[:13], "keyboard", *_THINGS[13:], "sign"),
)  # fmt: skip
COCO_PROMPTS = PromptConfig(
    names=(
        *_NAMES, "motorcycle=motorbike", "airplane=aeroplane", "couch=sofa", "potted plant=pottedplant",
        "dining table=diningtable", "tv=tvmonitor screen", "backpack=backpack,bag", "umbrella=umbrella,parasol",
        "handbag=handbag,purse", "tie=necktie", "snowboard=sknowboard", "baseball glove=glove", "spoon=dessertspoon",
        "mouse=mouse", "remote=remote control", "hair drier=hairdrier,blowdrier",
    ),
    background=_THINGS,
)  # fmt: skip
NANO_PROMPTS = PromptConfig(
    background=(
        "ground", "grass", "tree", "wall", "sky", "lake", "water", "river", "sea", "railway", "railroad", "rails",
        "cloud", "mountain", "ocean", "road", "street", "sand", "gravel", "floor", "leaves", "fence", "flower",
    )
)  # fmt: skip
"""Words that the miniature was shown."""


@dataclass(frozen=True)
class ClipEsConfig(MethodConfig):
    """CLIP-ES (Lin et al., CVPR 2023): nothing is trained before the segmentation network.

    select_prompt: take the prompt of text.prompts that is least sharp on the training images, in place of their mean
    refine: whether attention spreads the maps (CAA); false: Grad-CAM as it is
    background_threshold: constant background score of the maps, in [0, 1]. The code's background is what is left of 1,
                          which .5 equals where it decides
    """

    clip: ClipConfig = VIT_B16
    text: PromptConfig = VOC_PROMPTS
    select_prompt: bool = False
    refine: bool = True
    affinity: AffinityConfig = field(default_factory=AffinityConfig)
    inference: CamInferenceConfig = field(default_factory=lambda: CamInferenceConfig((1.0,), False))
    background_threshold: Share = 0.5
    refiner: RefinerConfig = field(default_factory=RefinerConfig)
    segmenter: SegmenterConfig = field(default_factory=lambda: SEGMENTERS["paper"])


@dataclass(frozen=True)
class ClipEsStageConfig:
    """What the maps depend on; see `ClipEsConfig`. affinity: None: Grad-CAM as it is."""

    clip: ClipConfig
    texts: Texts
    select_prompt: bool
    affinity: AffinityConfig | None
    inference: CamInferenceConfig


def _crf(key: str) -> RefinerConfig:
    """CLIP-ES's CRF, of whose labels only the sure ones are learned from; key: of the preset."""
    return RefinerConfig(
        "crf",
        crf=presets.DEEPLAB_CRF,
        crf_background_power=1.0,
        crf_confidence=0.95,
        psa=PSA[key],
        irn=IRN[key],
    )


def _segmenter(key: str) -> SegmenterConfig:
    segmenter = SEGMENTERS[key]
    return replace(
        segmenter,
        train=replace(segmenter.train, learning_rate=2e-4),
        test_scales=(0.5, 0.75, 1.0),
        test_flip=False,
        test_crf=presets.DEEPLAB_CRF,
    )


PRESETS = {
    "nano": ClipEsConfig(
        NANO_CLIP,
        NANO_PROMPTS,
        affinity=AffinityConfig(blocks=4),  # of 6, as 8 of 12
        inference=CamInferenceConfig((1.0,), False, 32),
        refiner=_crf("nano"),
        segmenter=SEGMENTERS["nano"],
    ),
    "small": ClipEsConfig(refiner=_crf("small"), segmenter=SEGMENTERS["small"]),
    "paper": ClipEsConfig(refiner=_crf("paper"), segmenter=_segmenter("paper")),
}
PRESETS[presets.COCO] = replace(
    PRESETS["paper"],
    text=COCO_PROMPTS,
    affinity=AffinityConfig(threshold=0.7),
    refiner=_crf(presets.COCO),
    segmenter=_segmenter(presets.COCO),
)
