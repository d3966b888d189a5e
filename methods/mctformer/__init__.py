"""MCTformer: a transformer with one class token a class (Xu et al., CVPR 2022)."""

from __future__ import annotations

from collections.abc import Sequence

from datasets.base import TrainingView
from methods.base import Deviation, Kind, Method, Shared, Stage, Supervision
from methods.layers.weights.released import released_stage
from methods.mctformer.config import (
    PRESETS,
    CamStageConfig,
    ClassifyConfig,
    MctformerConfig,
    PartConfig,
    ScoresConfig,
)
from methods.pipeline import image_scores_stage, stages_after_cam
from methods.unified import from_imagenet

DEVIATIONS = (
    Deviation(
        "augmentation",
        "resize to 256, crop 224, random scaling, flip, colour jitter",
        "RandomResizedCrop, RandAugment, random erasing",
        "paper scale: RandomResizedCrop (area .08 to 1), flip, colour jitter .4",
        "the shared loader has neither RandAugment nor erasing, and all methods share it",
    ),
    Deviation(
        "learning rate",
        "Adam, 5e-4",
        "AdamW, 5e-4 x batch / 512, weight decay .05, cosine to 1e-5, warm-up 5 epochs",
        "the code's",
        "the code produced the published weights",
    ),
    Deviation(
        "last LayerNorm",
        "not stated",
        "none: the last block's tokens are classified as they are",
        "none; small scale has DINOv2's (vit.final_norm), but not under the unified protocol, on DeiT-S",
        "DINOv2's tokens mean something after their LayerNorm",
    ),
    Deviation(
        "side of the patch-to-patch product",
        "semantic modulation prints CAM · p2p (Eq. 6)",
        "MCTformer: p2p @ CAM, each patch gathers by its own attention",
        "MCTformer's at small and paper scale; the printed one at nano (attention.patch_to_patch_side)",
        "the miniature's background attends to objects nearly as much as objects do, so gathering floods the "
        "background (CAM 31 mIoU against 45 on a tuning seed); attention received gathers on objects",
    ),
    Deviation(
        "image sides that are no multiple of the patch",
        "not stated",
        "the rest is cut off, and the CAM is stretched over the whole image",
        "resized to the nearest multiple",
        "keeps CAM and image aligned",
    ),
    Deviation(
        "size at which scales are added and the min-max normalisation is taken",
        "not stated",
        "after upsampling to the image",
        "at the network's resolution; upsampled once when scored",
        "a fraction of the memory and disk for maps that agree to interpolation error",
    ),
    Deviation(
        "segmentation's initial weights",
        "ResNet-38 pretrained on ImageNet",
        "PSA's res38_cls.pth, already trained on VOC's image labels",
        "ImageNet; theirs with segmenter.backbone.weights=resnet38d/res38_cls",
        "the two are different files; the setting records which",
    ),
    Deviation(
        "lengths and thresholds on COCO",
        "not stated",
        "has settings for COCO, which are not taken over",
        "VOC's epochs (60, and 30 of the segmentation), counted on COCO's 82 081 images with an object; VOC's "
        "thresholds",
        "equal passes over the data",
    ),
)


def transformer_stages(
    config: MctformerConfig, cam_module: str, cam_settings: CamStageConfig, shared: Shared
) -> list[Stage]:
    """The graph of methods on this transformer: classify -> cam (and its intermediate ones) -> the usual path.

    cam_module: package whose `stages` and `profile` have the CAM stage's functions; cam_settings: its settings
    """
    classify = Stage(
        "classify",
        "methods.mctformer.stages:classify",
        ClassifyConfig(config.vit, config.train),
        Kind.WEIGHTS,
        pretrained=(config.vit.weights,),
        profile="methods.mctformer.profile:classify",
    )
    if config.classifier_checkpoint is not None:
        classify = released_stage(
            classify.name, "methods.mctformer.stages:released", config.classifier_checkpoint, config.vit
        )
    cam = Stage(
        "cam",
        f"{cam_module}.stages:cam",
        cam_settings,
        Kind.CAM,
        inputs={"weights": classify.name},
        seeded=False,
        fixed_threshold=config.background_threshold,
        cam_folders=1 + len(config.intermediate),
        profile=f"{cam_module}.profile:cam",
    )
    parts = [
        Stage(
            f"cam_{name}",
            "methods.mctformer.stages:part",
            PartConfig(name),
            Kind.CAM,
            inputs={"cam": cam.name},
            seeded=False,
            scored_as=f"cam_{name}",
        )
        for name in config.intermediate
    ]
    scores = image_scores_stage(
        "methods.mctformer.stages:image_scores",
        ScoresConfig(config.vit, config.inference.batch_size),
        classify,
    )
    return [classify, cam, *parts, scores, *stages_after_cam(cam, config.refiner, config.segmenter, shared)]


class Mctformer(Method):
    """Class tokens and patches classified -> CAM refined by attention -> the usual path."""

    name = "mctformer"
    title = "MCTformer"
    paper = "Xu et al., Multi-class Token Transformer for Weakly Supervised Semantic Segmentation, CVPR 2022"
    summary = "CAMs of a multi-class-token transformer, refined by its attention"
    needs = "image labels, a pretrained vision transformer"
    supervision = frozenset({Supervision.LABELS})
    config = MctformerConfig
    presets = PRESETS
    unified = from_imagenet(PRESETS)
    deviations = DEVIATIONS
    reported_as = "MCTformer"

    def stages(self, config: MctformerConfig, view: TrainingView, shared: Shared) -> Sequence[Stage]:
        settings = CamStageConfig(
            config.vit, config.attention, shared.inference or config.inference, config.intermediate
        )
        return transformer_stages(config, "methods.mctformer", settings, shared)


METHOD = Mctformer()
