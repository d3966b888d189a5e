"""The segmentation stage shared by all methods: pseudo-labels in, a trained network and predictions out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from datasets.recipe import Recipe
from methods.base import Kind, MethodError, Stage
from methods.declared import deviations_of_parts
from methods.deviation import Deviation
from methods.layers.config import BackboneConfig, SegmenterConfig, TrainConfig
from methods.layers.presets import (
    COCO,
    DEEPLAB_CRF,
    NANO_BACKBONE,
    NANO_RECIPE,
    NANO_TRAIN,
    RESNET101,
    SMALL_BACKBONE,
    SMALL_TRAIN,
)
from methods.layers.weights.released import released_stage

SEGMENTERS: dict[str, SegmenterConfig] = {
    "nano": SegmenterConfig(
        NANO_BACKBONE,
        head="largefov",
        head_dilation=2,
        head_norm=True,
        train=replace(
            NANO_TRAIN,
            iterations=500,
            head_multiplier=1.0,
            recipe=replace(NANO_RECIPE, scale=(0.9, 1.1)),
        ),
        test_flip=True,
        test_batch_size=32,
    ),
    "small": SegmenterConfig(
        SMALL_BACKBONE,
        head="aspp",
        train=replace(
            SMALL_TRAIN,
            iterations=250,
            batch_size=8,
            learning_rate=5e-4,
            recipe=Recipe(crop=224, scale=(0.5, 1.0), brightness=0.2, contrast=0.2, saturation=0.2),
        ),
        test_batch_size=8,
    ),
    "paper": SegmenterConfig(
        RESNET101,
        head="aspp",
        train=TrainConfig(
            iterations=20000,
            batch_size=10,
            learning_rate=2.5e-4,
            momentum=0.9,
            weight_decay=5e-4,
            recipe=Recipe(crop=321, scale=(0.5, 1.5)),
        ),
        loss_scales=(0.75, 0.5),
        test_scales=(0.5, 0.75, 1.0, 1.25, 1.5),
        test_flip=True,
    ),
}
"""The unified protocol's segmentation network by scale.

paper: trained as the reference DeepLab V2 on ResNet-101 is; tested at five scales and mirrored, where the reference
has three scales' maximum and no mirror images.
"""

SEGMENTERS[COCO] = replace(
    SEGMENTERS["paper"], train=replace(SEGMENTERS["paper"].train, iterations=100000)
)  # deeplab-pytorch's length on COCO's images, and CA-CL's


COCO_MASKS = "coco-masks"
"""`SegmenterConfig.init` of weights that have seen pixel masks."""
PSEUDO_LABELS, MASKS = "pseudo-labels", "masks"
"""`SegmenterConfig.init` of a checkpoint: what the network was trained with."""


def deeplab_v2(backbone: BackboneConfig, init: str, iterations: int) -> SegmenterConfig:
    """DeepLab V2 with ResNet-101 as CA-CL trains it: SEGMENTERS["paper"] at another rate and for longer.

    What is taken for what the paper does not say is in that method's deviations.
    """
    paper = SEGMENTERS["paper"]
    return replace(
        paper,
        backbone=backbone,
        init=init,
        train=replace(
            paper.train,
            iterations=iterations,
            batch_size=10,
            learning_rate=0.005,
            head_multiplier=1.0,
            bias_multiplier=1.0,
        ),
        test_scales=(0.5, 0.75, 1.0),
        test_flip=False,
        test_crf=DEEPLAB_CRF,
    )


RESNET101_COCO = BackboneConfig("resnet101_caffe", "deeplab/deeplabv1_resnet101-coco", 8, freeze_bn=True)

DEEPLAB_V2_COCO = deeplab_v2(RESNET101_COCO, init=COCO_MASKS, iterations=40000)
"""CA-CL's on VOC. The weights were trained on COCO's pixel masks; by path: segmenter.backbone.weights=FILE."""

DEEPLAB_V2_IMAGENET = deeplab_v2(RESNET101, init="imagenet", iterations=100000)
"""CA-CL's on COCO."""


DEEPLAB_V2_CLIMS = replace(
    SEGMENTERS["paper"],
    backbone=RESNET101_COCO,
    init=COCO_MASKS,
    test_scales=(0.5, 0.75, 1.0),
    test_flip=False,
    test_crf=DEEPLAB_CRF,
)
"""CLIMS's on VOC: deeplab-pytorch's rates and length, from weights that were trained on COCO's pixel masks."""


def segmentation_stages(config: SegmenterConfig, labels: str = "pseudo_label") -> list[Stage]:
    """Train on the label maps of stage `labels`, then predict the validation images.

    Raises MethodError where `check_init` does.
    """
    check_init(config)
    if config.network_checkpoint is not None:
        return [checkpoint_stage(config, PSEUDO_LABELS), predict_stage(config)]
    segment = Stage(
        "segment",
        "methods.segmenters.stages:segment",
        config,
        Kind.WEIGHTS,
        inputs={"labels": labels},
        pretrained=(config.backbone.weights,),
        seen_masks=masks_seen(config),
        profile="methods.segmenters.profile:segment",
        deviations=training_deviations(config),
    )
    return [segment, predict_stage(config)]


def training_deviations(config: SegmenterConfig) -> tuple[Deviation, ...]:
    """Of the training as deeplab-pytorch's, which is the one with losses at several scales."""
    return deviations_of_parts(Path(__file__).parent)["loss_scales"] if config.loss_scales else ()


def checkpoint_stage(config: SegmenterConfig, trained_with: str) -> Stage:
    """A released network in place of the training; MethodError unless `init` says it was trained that way."""
    assert config.network_checkpoint is not None
    if config.init != trained_with:
        raise MethodError(
            f"segmenter.network_checkpoint={config.network_checkpoint}: this method trains with {trained_with}, and "
            f"segmenter.init={config.init!r} has to say that the checkpoint was; networks trained with {MASKS} are "
            "for --methods supervised"
        )
    run = "methods.segmenters.stages:released"
    return released_stage("segment", run, config.network_checkpoint, config)


def check_init(config: SegmenterConfig) -> None:
    """MethodError where the weights' file names COCO and `init` does not say that they have seen its masks."""
    if "coco" in Path(config.backbone.weights).name.lower() and config.init != COCO_MASKS:
        raise MethodError(
            f"segmenter.backbone.weights={config.backbone.weights} is named after COCO, whose pixel masks it has "
            f"then seen, but segmenter.init={config.init!r}; set segmenter.init={COCO_MASKS}"
        )


def masks_seen(config: SegmenterConfig) -> str:
    """Data set whose pixel masks the initial weights have seen, "" for none."""
    return "coco2014" if config.init == COCO_MASKS else ""


def predict_stage(config: SegmenterConfig) -> Stage:
    """Predict the validation images with the weights of stage `segment`."""
    differs = deviations_of_parts(Path(__file__).parent)
    parts = ["test_scales"] * (len(config.test_scales) > 1) + ["test_crf"] * (config.test_crf is not None)
    return Stage(
        "predict",
        "methods.segmenters.stages:predict",
        config,
        Kind.PREDICTION,
        inputs={"weights": "segment"},
        splits=("val",),
        seeded=False,
        profile="methods.segmenters.profile:predict",
        deviations=tuple(deviation for part in parts for deviation in differs[part]),
    )
