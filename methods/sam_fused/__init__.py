"""SAM-fused pseudo-labels: a transformer's CAM, SAM's masks over augmented views, and their fusion (Liu, 2025)."""

from __future__ import annotations

from collections.abc import Sequence

from datasets.base import TrainingView
from methods.base import Deviation, Kind, Method, MethodError, Shared, Stage, Supervision
from methods.layers.config import check_crops
from methods.layers.sam.config import masks_seen, require_covered
from methods.pipeline import image_scores_stage
from methods.refiners import refiner_stages
from methods.refiners.config import PseudoLabelConfig
from methods.sam_fused.config import (
    PRESETS,
    CamStageConfig,
    FusionStageConfig,
    MaskStageConfig,
    NetworkConfig,
    SamFusedConfig,
    TrainingConfig,
)
from methods.sam_fused.experiments import EXPERIMENTS
from methods.segmenters import segmentation_stages
from methods.unified import from_imagenet

DEVIATIONS = (
    Deviation(
        "SAM's prompts",
        "sparse annotations, points or scribbles (Sec. 2.3), while image-level labels are all that is claimed",
        "not published",
        "from the CAM: peaks of each confident region, negative points from the confident background",
        "nothing finer than image-level labels is given",
    ),
    Deviation(
        "views",
        "K random ones of each image; K not said",
        "not published",
        "the image itself and 7 random ones (nano: 3) of all 24 combinations, the same for every image; views.count",
        "equal for all images, they go through SAM together",
    ),
    Deviation(
        "rotation by 360°",
        "one of the four rotations",
        "not published",
        "the identity, counted once",
        "it is the image itself",
    ),
    Deviation(
        "scaled views",
        ".5, 1 and 2 times the image's size",
        "SAM's predictor resizes every image to its frame of 1024 pixels",
        "the largest scale fills the frame, smaller ones less of it",
        "resized to the frame, all scales would be one",
    ),
    Deviation(
        "rows of Tab. 2 and 3",
        "SAM on flips, on scales and on all; K not said",
        "not published",
        "flips: the image, its two mirror images and both at once, K = 4, in the frame of the other rows "
        "(views.fills); scales: the three; all: K = 8, in Tab. 3 too, and a row with K = 4",
        "the whole method is one entry of both tables, whatever the scale's K; "
        "the paper has no more than four flips and three scales; with a frame filled by the largest scale of a row, "
        "flips would show SAM the image twice as large as the other rows do",
    ),
    Deviation(
        "labels of P2",
        "the mean of the masks; how it becomes labels is not stated",
        "not published",
        "a class where more than half of the views have it; nano: more than a fifth, which with K of 4 is any view, with "
        "8 two of them",
        "what makes a mean a label, Eq. 3 leaves open; mask_threshold",
    ),
    Deviation(
        "classes without a mask in any view",
        "there are none",
        "not published",
        "there is no prompt where the CAM has no confident region; the image does not train the fusion",
        "Eq. 4 would call the missing masks agreed upon",
    ),
    Deviation(
        "edges of scaled views",
        "not stated",
        "not published",
        "come back within a pixel of the image; in the outermost pixels of views of less than a third of the image's "
        "pixels a side they may be off by more: one and a half at a quarter",
        "nothing is known beyond the border",
    ),
    Deviation(
        "mIoU (Eq. 7)",
        "C is once the number of classes, once of object classes",
        "not published",
        "over the object classes and the background",
        "the field's, and that of all methods here",
    ),
    Deviation(
        "masks that are averaged (Eq. 3)",
        "segmentation masks",
        "SAM: logits above 0",
        "logits are brought back to the image's size, then taken above 0",
        "no edge is rounded to the frame's cells",
    ),
    Deviation(
        "sign of the contrast (Eq. 2)",
        "printed without minus",
        "ToCo's: minus; the term of an empty positive is added",
        "ToCo's",
        "minimised as printed, it would drive alike crops apart",
    ),
    Deviation(
        "positives of the contrast",
        "crops of the non-salient region",
        "ToCo's: those, and the whole views",
        "those, and the whole image",
        "an image whose crops are all of the background has none else",
    ),
    Deviation(
        "negatives of the contrast",
        "crops of the background",
        "ToCo's: crops whose region score is .2 or less in the mean; background counts 0, uncertain 1, foreground 2",
        "ToCo's; contrast.negative_below",
        "a crop around a thin scratch may so be a negative of its own defect: whether it should, the text leaves open",
    ),
    Deviation(
        "class token that is contrasted",
        "not stated; there are C",
        "ToCo's: the only one",
        "the mean of the present classes'; contrast.token=all for the mean of all",
        "a crop speaks of the classes that the image has",
    ),
    Deviation(
        "images without a class",
        "there are none",
        "none",
        "take no part in the contrast; P1, P2 and P are all background",
        "a defect-free picture has no foreground to contrast",
    ),
    Deviation(
        "classification loss; τ, weight, number and size of crops",
        "not stated",
        "ToCo's: multi-label soft margin; .5, .5, 10 of 96 at 448",
        "MCTformer's two losses, of class tokens and of the CAM; ToCo's values; 4 crops at small and nano",
        "the paper's network has MCTformer's tokens and ToCo's contrast",
    ),
    Deviation(
        "auxiliary CAM",
        "named, not defined",
        "ToCo's: of an intermediate layer, with a classifier of its own",
        "of the third layer from the last; of patch tokens pooled by their mean, where ToCo takes the maximum; at nano "
        "its classifier's loss counts a tenth",
        "the contrast is ToCo's; nano's weight is tuned on blue film (CAM's mIoU on the tuning seed at 1, .1 and .01: 24,"
        " 34 and 23; without contrast 35)",
    ),
    Deviation(
        "fusion network",
        "a convolutional network",
        "not published",
        "three 3x3 convolutions over the maps of P1 and P2 and the reliability; learns the pixels where P1 and P2 "
        "agree, weighted by 1 - Ẽ / log 2",
        "no true label is at hand; absent classes are left out by the image's labels. Which of the two to believe where "
        "they differ, it cannot learn so: on blue film P2 alone is the better one",
    ),
    Deviation(
        "length of the training",
        "not stated",
        "not published",
        "6 000 iterations of 8 at paper scale",
        "forty epochs of 1 200 images",
    ),
    Deviation(
        "data",
        "1 200 photographs of blue film, not public; split not stated",
        "not published",
        "`bluefilm`, drawn; 960 for training and 240 for validation, and defect-free ones besides",
        "the tables score pseudo-labels: here those of the training images",
    ),
    Deviation(
        "parameters and operations",
        "58.94 M and 236 G",
        "not published",
        "counted in this method's README",
        "ViT-B alone has 86 M parameters, so SAM and part of the rest cannot be in the paper's",
    ),
)


class SamFused(Method):
    """Transformer -> CAM (P1) -> SAM's masks (P2) -> fusion (P) -> segmentation network."""

    name = "sam_fused"
    title = "SAM-fused"
    paper = "Liu, SAM-fused pseudo-label generation, Intelligent Computer and Applications 15(10), 2025"
    summary = "a transformer's CAM fused with SAM's masks over augmented views; made for surface defects"
    needs = "image labels, a pretrained vision transformer, a SAM (by path, or the miniature at nano)"
    supervision = frozenset({Supervision.LABELS, Supervision.SAM})
    in_all = True
    config = SamFusedConfig
    presets = PRESETS
    unified = from_imagenet(PRESETS)
    deviations = DEVIATIONS
    reported_as = "SAM-fused"
    experiments = EXPERIMENTS

    def stages(self, config: SamFusedConfig, view: TrainingView, shared: Shared) -> Sequence[Stage]:
        _check(config)
        network = NetworkConfig(config.vit)
        contrast = config.contrast if config.contrast.weight > 0 else None
        classify = Stage(
            "classify",
            "methods.sam_fused.stages:classify",
            TrainingConfig(network, config.train, contrast),
            Kind.WEIGHTS,
            pretrained=(config.vit.weights,),
            profile="methods.sam_fused.profile:classify",
        )
        cam = Stage(
            "cam",
            "methods.sam_fused.stages:cam",
            CamStageConfig(network, shared.inference or config.inference),
            Kind.CAM,
            inputs={"weights": classify.name},
            seeded=False,
            fixed_threshold=config.background_threshold,
            profile="methods.sam_fused.profile:cam",
        )
        if shared.refiner is not None:  # one for all methods: what SAM adds is a refinement of its own
            labels = refiner_stages(shared.refiner, cam)
        else:
            require_covered("method.sam_fused.sam", config.sam, view)
            labels = _fused(config, cam)
        return [
            classify,
            cam,
            image_scores_stage("methods.sam_fused.stages:image_scores", cam.settings, classify),
            *labels,
            *segmentation_stages(shared.segmenter or config.segmenter, labels[-1].name),
        ]


def _fused(config: SamFusedConfig, cam: Stage) -> list[Stage]:
    """P1, P2 and P."""
    masks = Stage(
        "masks",
        "methods.sam_fused.stages:masks",
        MaskStageConfig(config.sam, config.prompts, config.views, config.mask_batch_size),
        Kind.CAM,
        inputs={"cam": cam.name},
        pretrained=(config.sam.weights,),
        seeded=False,
        fixed_threshold=config.mask_threshold,
        seen_masks=masks_seen(config.sam),
        scored_as="cam_sam",
        profile="methods.sam_fused.profile:masks",
    )
    settings = FusionStageConfig(config.fusion, config.background_threshold, config.mask_threshold)
    inputs = {"cam": cam.name, "masks": masks.name}
    fusion = Stage(
        "fusion",
        "methods.sam_fused.stages:fuse",
        settings,
        Kind.WEIGHTS,
        inputs=inputs,
        profile="methods.sam_fused.profile:fuse",
    )
    fused = Stage(
        "pseudo_label",
        "methods.sam_fused.stages:pseudo_label",
        settings,
        Kind.PSEUDO_LABEL,
        inputs={**inputs, "fusion": fusion.name},
        seeded=False,
        profile="methods.sam_fused.profile:pseudo_label",
    )
    first = _thresholded("pseudo_label_vit", cam, config.background_threshold)
    second = _thresholded("pseudo_label_sam", masks, config.mask_threshold)
    return [first, masks, second, fusion, fused]


def _thresholded(name: str, maps: Stage, threshold: float) -> Stage:
    """The labels of P1 or P2 alone, scored under a name of their own."""
    return Stage(
        name,
        "methods.refiners.threshold:pseudo_label",
        PseudoLabelConfig(threshold),
        Kind.PSEUDO_LABEL,
        inputs={"cam": maps.name},
        seeded=False,
        scored_as=name,
    )


def _check(config: SamFusedConfig) -> None:
    """What settings must be to one another; each alone is limited where it is declared."""
    key, views, contrast, prompts = "method.sam_fused", config.views, config.contrast, config.prompts
    if contrast.low >= contrast.high:
        raise MethodError(f"{key}.contrast: low={contrast.low} must be below high={contrast.high}")
    if contrast.weight > 0:
        check_crops(f"{key}.contrast", contrast.size, contrast.crops, config.train.recipe.crop)
    if any(degrees % 90 for degrees in views.rotations):
        raise MethodError(
            f"{key}.views.rotations={list(views.rotations)}: give multiples of 90, 360 for none"
        )
    if views.fills is not None and views.fills < max(views.scales):
        raise MethodError(
            f"{key}.views.fills={views.fills}: the view of scale {max(views.scales)} would not fit into SAM's "
            "frame; give that, more, or null"
        )
    if config.mask_batch_size > views.frames:
        raise MethodError(
            f"{key}: a batch of mask_batch_size={config.mask_batch_size} images is more than views.frames="
            f"{views.frames}, the most that SAM is given at once; give less of the one or more of the other"
        )
    if prompts.background > prompts.foreground:
        raise MethodError(
            f"{key}.prompts: background={prompts.background} must not be above foreground={prompts.foreground}"
        )


METHOD = SamFused()
