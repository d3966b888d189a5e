"""DSKD-GC: dual-stage distillation and Gaussian correction, in one training (Bai et al., 2025)."""

from __future__ import annotations

from collections.abc import Sequence

from datasets.base import TrainingView
from methods.base import Deviation, Kind, Method, MethodError, Shared, Stage, Supervision
from methods.dskd_gc.config import (
    PRESETS,
    CamStageConfig,
    CorrectedLabelConfig,
    DskdConfig,
    PredictConfig,
)
from methods.dskd_gc.experiments import EXPERIMENTS
from methods.layers.config import check_crops
from methods.pipeline import image_scores_stage
from methods.refiners import refiner_stages, uncorrected_stage
from methods.refiners.gc.config import check_correction
from methods.segmenters import segmentation_stages
from methods.unified import from_imagenet

SHARED_DEVIATIONS = (
    Deviation(
        "image sides that are no multiple of the patch",
        "not stated",
        "ToCo's: validation images are resized to 448²",
        "resized to the nearest multiple",
        "keeps the image's shape, and CAM and image aligned",
    ),
    Deviation(
        "scales of the test, and of the CAM",
        "not stated",
        "ToCo's: maximum over mirror images, sum over scales; CRF at test",
        "mean of the softmax at test, sum for CAMs; the same scales, the same CRF",
        "one inference serves all methods",
    ),
    Deviation(
        "initial weights",
        "ViT-B, ImageNet",
        "ToCo's: jx_vit_base_p16_224, timm's vit_base_patch16_224.orig_in21k_ft_in1k",
        "that file, by its timm name",
        "the bare timm name is another file today; ToCo reports 69.8 with DeiT-B's weights and 71.1 with these",
    ),
)
DEVIATIONS = (
    Deviation(
        "exponential average of the student",
        "Eq. 6: student = β teacher + (1 − β) student; .996 to 1 is called the teacher's momentum",
        "not published",
        "student = m student + (1 − m) teacher; distillation.average=literal for the printed one",
        "with β = .996 the printed one is a copy of the teacher",
    ),
    Deviation(
        "classification loss",
        "of the class token (Eq. 8)",
        "ToCo's: of the max-pooled patch tokens",
        "both, by one classifier; weights.patch_classification=0 for the printed one",
        "the CAM is made of patch tokens, on which the class token's weights alone were never trained",
    ),
    Deviation(
        "pooling of patch tokens",
        "not stated",
        "ToCo's: the maximum",
        "the maximum at paper scale, the mean at nano and small",
        "the maximum trains one token a channel at a time; not compared at the present nano schedule",
    ),
    Deviation(
        "loss of the auxiliary classifier",
        "not in the total (Eq. 23)",
        "ToCo's: 1.0 x binary cross-entropy of the pooled tokens",
        "ToCo's",
        "without it the auxiliary CAM, which labels the tokens, is never trained",
    ),
    Deviation(
        "patch contrast",
        "cos; both means in full (Eq. 4)",
        "ToCo's: |cos|, half of either mean, one added to the number of pairs; one label a class",
        "ToCo's; contrast.absolute=false for cos",
        "λ1 = .2 is ToCo's, for its form",
    ),
    Deviation(
        "β_l, β_h of the token labels",
        "not stated",
        "ToCo's: .25, .70",
        "ToCo's; contrast.low, contrast.high",
        "the contrast is ToCo's",
    ),
    Deviation(
        "ToCo's class token contrast, energy loss and PAR",
        "built on ToCo; neither in the total (Eq. 23) nor in a table",
        "not published",
        "left out; weights.class_contrast and labels.refinement=par bring the first and the last back",
        "Eq. 23 is complete, and the correction takes PAR's place",
    ),
    Deviation(
        "labels before the correction",
        "of the CAM; its background threshold is not stated",
        "ToCo's: .5 for scores; .25 and .70, between which pixels are ignored, for the decoder",
        ".5, for the decoder (labels.background_threshold) and for the pseudo-labels (background_threshold)",
        "not compared; where it lies decides what the correction finds",
    ),
    Deviation(
        "network that gives CAM, pseudo-labels and predictions",
        "not stated",
        "not published",
        "the teacher; which=student for the other",
        "the decoder learns in the teacher; the student's is its average",
    ),
    Deviation(
        "projector",
        "DINO's head; its widths are not stated",
        "DINO's: 2048, 2048, 256 and 65 536 outputs",
        "2048, 2048, 256 and 8 192; narrower at nano and small",
        "each token has a projection, not each image: 65 536 outputs of a batch of 4 are .8 GB a tensor",
    ),
    Deviation(
        "short trainings (nano, small)",
        "λ4 = .1; L_seg over all labelled pixels; warm-up of a tenth",
        "ToCo's decoder has no normalisation",
        "λ4 = 1, half of L_seg for the objects, a warm-up of .35 and .25, a narrower decoder with batch "
        "normalisation; at small a rate of 1e-5, 600 times that for the heads (paper: 6e-5, ToCo's code: 10 times)",
        "hundreds of iterations instead of 20 000",
    ),
    Deviation(
        "which losses act when, and on whom",
        "not stated; in the warm-up both networks are trained",
        "not published",
        "on the teacher: classification, auxiliary and patch contrast throughout; similarity in the warm-up; "
        "distillation, correction and segmentation after it, which start together. On the student: similarity in "
        "the warm-up, which reaches its transformer up to the auxiliary layer, and nothing else",
        "the order of the paper's Sec. 1.2; its only loss of the student is Eq. 7, of the middle tokens, and labels "
        "of a CAM that has hardly been trained would be noise",
    ),
    Deviation(
        "labels of the shared network under `unified`",
        "there is no such protocol",
        "not published",
        "the refiner that all methods share makes them of the method's CAM; its own corrected labels train that "
        "network under `paper` with --segmenters, and any CAM's, corrected by a pretrained network's tokens, under "
        "`unified` with --refiners gc",
        "one refiner for all tells what the CAM is worth; the correction is a refiner, too",
    ),
    Deviation(
        "mirroring after the warm-up",
        "the teacher sees the mirror image in the warm-up; not said afterwards",
        "not published",
        "throughout",
        "the two views of Eq. 10 would else be one",
    ),
    Deviation(
        "temperatures of the projected tokens",
        "softmax, without any (Eq. 10)",
        "DINO's, whose projector it is: .1 and .04",
        "DINO's; settings distillation.temperatures",
        "projections are cosines: over thousands of them a plain softmax is all but even",
    ),
    Deviation(
        "centring of the student's projections",
        "not stated",
        "DINO's: their moving average is taken off, momentum .9",
        "DINO's; distillation.centring=null for none",
        "without it the loss soon fell to almost nothing at nano, as where all projections are one",
    ),
    Deviation(
        "τ",
        "not stated",
        "not published",
        ".5",
        "half-way between what patch contrast drives tokens to: 1 within an object, 0 across its border",
    ),
    Deviation(
        "mixture of the noise",
        "of the CAM's confidences; not said of which pixels, nor whether an image's or a class's",
        "not published",
        "an image's highest CAM where above .01; correction.scope, correction.min_confidence",
        "zeros after the ReLU, most of an image, would be a component of their own; they stay background",
    ),
    Deviation(
        "noise of the CAM's peak",
        "the posterior of the component with the lower mean (Eq. 17)",
        "not published",
        "as printed; correction.posterior=capped takes confidences above the upper component's mean as that mean",
        "where the lower component is broad and the upper one narrow, the printed one rises again above the upper "
        "mean: of N(.25, .2) and N(.75, .05), weighted .7 and .3, it is .03 at .75 and .99 at 1, so an object's core "
        "is relabelled as noise",
    ),
    Deviation(
        "features of the neighbours",
        "of pixels; resolution not stated",
        "not published",
        "last patch tokens, neighbours one token apart; similarities are interpolated to pixels",
        "pixels within one patch have the same feature",
    ),
    Deviation(
        "degenerate mixtures",
        "not stated",
        "not published",
        "equal values, an empty component or no class leave the labels as they are",
        "there is no noise to tell apart",
    ),
    Deviation(
        "batch size, weight decay, learning rate's warm-up",
        "not stated",
        "ToCo's: 4, .01, 1 500 iterations; heads x10",
        "ToCo's, with the paper's cosine; on COCO too, over 80 000 iterations",
        "the method is built on it",
    ),
    *SHARED_DEVIATIONS,
)


def single_stage(name: str, config: DskdConfig, shared: Shared) -> list[Stage]:
    """The graph: train -> cam -> pseudo_label, and the network's own predictions.

    Under a protocol with a segmentation network for all, the pseudo-labels train that one. Raises MethodError for
    a setting that is none of its options.
    """
    _check(name, config)
    if shared.refiner is None and config.labels.refinement == "gc" and config.refiner.name != "none":
        raise MethodError(
            f"method.{name}.refiner.name={config.refiner.name} does nothing where labels.refinement=gc makes the "
            f"pseudo-labels; set method.{name}.labels.refinement=none, too, or use --refiners {config.refiner.name}"
        )
    if shared.segmenter is None and (config.weights.segmentation == 0 or config.phases.segmentation == 1):
        raise MethodError(
            f"method.{name}: with weights.segmentation={config.weights.segmentation} and phases.segmentation="
            f"{config.phases.segmentation} nothing trains the decoder, which predicts; give a weight above 0 and a "
            "phase below 1, or a segmentation network of its own (--segmenters)"
        )
    train = Stage(
        "train",
        "methods.dskd_gc.stages:train",
        config.training(),
        Kind.WEIGHTS,
        pretrained=(config.vit.weights,),
        profile="methods.dskd_gc.profile:train",
    )
    cam = Stage(
        "cam",
        "methods.dskd_gc.stages:cam",
        CamStageConfig(config.network, config.which, shared.inference or config.inference),
        Kind.CAM,
        inputs={"weights": train.name},
        seeded=False,
        fixed_threshold=config.background_threshold,
        profile="methods.dskd_gc.profile:cam",
    )
    scores = image_scores_stage("methods.dskd_gc.stages:image_scores", cam.settings, train)
    if shared.refiner is not None or config.labels.refinement != "gc":
        refined = refiner_stages(shared.refiner or config.refiner, cam)
    else:
        refined = _corrected(config, cam, train)
    if shared.segmenter is not None:
        return [train, cam, scores, *refined, *segmentation_stages(shared.segmenter, refined[-1].name)]
    predict = Stage(
        "predict",
        "methods.dskd_gc.stages:predict",
        PredictConfig(config.network, config.which, config.test),
        Kind.PREDICTION,
        inputs={"weights": train.name},
        splits=("val",),
        seeded=False,
        profile="methods.dskd_gc.profile:predict",
    )
    return [train, cam, scores, *refined, predict]


def _corrected(config: DskdConfig, cam: Stage, train: Stage) -> list[Stage]:
    corrected = Stage(
        "pseudo_label",
        "methods.dskd_gc.stages:pseudo_label",
        CorrectedLabelConfig(
            config.network,
            config.which,
            config.correction,
            config.background_threshold,
            config.inference.batch_size,
        ),
        Kind.PSEUDO_LABEL,
        inputs={"cam": cam.name, "weights": train.name},
        seeded=False,
        profile="methods.dskd_gc.profile:pseudo_label",
    )
    return [uncorrected_stage(cam, config.background_threshold), corrected]


def _check(name: str, config: DskdConfig) -> None:
    if config.which == "student" and not config.weights.distils:
        raise MethodError(
            f"method.{name}.which=student: there is none without weights.similarity or weights.uncertain"
        )
    if config.weights.classification == config.weights.patch_classification == 0:
        raise MethodError(
            f"method.{name}.weights: classification and patch_classification are 0, so nothing trains the classifier "
            "whose maps are the CAM; give one of them"
        )
    phases = config.phases
    for term, acts, phase in (
        ("similarity", phases.warm_up > 0, "in the warm-up"),
        ("uncertain", phases.warm_up < 1, "after the warm-up"),
    ):
        if getattr(config.weights, term) > 0 and not acts:
            raise MethodError(
                f"method.{name}.weights.{term} acts {phase} alone, which phases.warm_up={phases.warm_up} leaves out; "
                f"set weights.{term}=0, too, or another share"
            )
    if config.which == "student" and phases.warm_up == 1:
        raise MethodError(
            f"method.{name}.which=student: its classifier is the teacher's average, made after the warm-up; give "
            "phases.warm_up below 1"
        )
    if config.weights.distils and config.weights.segmentation > 0 and phases.segmentation < phases.warm_up:
        raise MethodError(
            f"method.{name}.phases: segmentation={phases.segmentation} is before the end of warm_up={phases.warm_up}, "
            "whose CAMs are not to be corrected yet; give at least that"
        )
    weights, contrast, distillation = config.weights, config.contrast, config.distillation
    if (weights.patch_contrast > 0 or weights.class_contrast > 0) and contrast.low > contrast.high:
        raise MethodError(
            f"method.{name}.contrast: low={contrast.low} must not be above high={contrast.high}; a token would be "
            "background and foreground"
        )
    if weights.uncertain > 0 and distillation.low > distillation.high:
        raise MethodError(
            f"method.{name}.distillation: low={distillation.low} must not be above high={distillation.high}; no CAM "
            "lies between them, so there is nothing to distil"
        )
    if weights.class_contrast > 0:
        local = config.class_contrast
        check_crops(f"method.{name}.class_contrast", local.size, local.crops, config.train.recipe.crop)
    labels = config.labels
    if labels.refinement == "par" and labels.low > labels.high:
        raise MethodError(
            f"method.{name}.labels: low={labels.low} must not be above high={labels.high}; a pixel would be background "
            "and foreground"
        )
    check_correction(f"method.{name}.correction", config.correction)


class DskdGc(Method):
    """Teacher and student -> CAM -> labels corrected by a Gaussian mixture; the teacher's decoder predicts."""

    name = "dskd_gc"
    title = "DSKD + GC"
    paper = "Bai et al., Dual-stage guided WSSS with Gaussian correction, J. Image and Graphics 30(12), 2025"
    summary = "single-stage: distillation between teacher and student, pseudo-labels corrected by a mixture"
    needs = "image labels, a pretrained vision transformer"
    supervision = frozenset({Supervision.LABELS})
    in_all = True
    config = DskdConfig
    presets = PRESETS
    unified = from_imagenet(PRESETS)
    deviations = DEVIATIONS
    reported_as = "DSKD + GC"
    experiments = EXPERIMENTS

    def stages(self, config: DskdConfig, view: TrainingView, shared: Shared) -> Sequence[Stage]:
        return single_stage(self.name, config, shared)


METHOD = DskdGc()
