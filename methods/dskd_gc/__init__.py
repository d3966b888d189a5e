"""DSKD-GC: dual-stage distillation and Gaussian correction, in one training (Bai et al., 2025)."""

from __future__ import annotations

from collections.abc import Sequence

from datasets.base import TrainingView
from methods.base import Kind, Method, MethodError, Shared, Stage, Supervision
from methods.dskd_gc.config import (
    PRESETS,
    CamStageConfig,
    CorrectedLabelConfig,
    DskdConfig,
    PredictConfig,
)
from methods.layers.config import check_crops
from methods.pipeline import image_scores_stage
from methods.refiners import refiner_stages, uncorrected_stage
from methods.refiners.gc.config import check_correction
from methods.segmenters import segmentation_stages
from methods.unified import from_imagenet


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
    reported_as = "DSKD + GC"

    def stages(self, config: DskdConfig, view: TrainingView, shared: Shared) -> Sequence[Stage]:
        return single_stage(self.name, config, shared)


METHOD = DskdGc()
