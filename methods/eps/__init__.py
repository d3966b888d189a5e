"""EPS: explicit pseudo-pixel supervision (Lee et al., CVPR 2021)."""

from __future__ import annotations

from collections.abc import Sequence

from datasets.base import TrainingView
from methods.base import Deviation, Kind, Method, NotRunnable, Shared, Stage, Supervision
from methods.cam.config import CamStageConfig
from methods.eps.config import PRESETS, EpsConfig
from methods.eps.experiments import EXPERIMENTS
from methods.layers.saliency.config import resolve
from methods.layers.weights.released import released_stage
from methods.pipeline import image_scores_stage, stages_after_cam

DEVIATIONS = (
    Deviation(
        "momentum of SGD",
        "not stated",
        "PolyOptimizer passes the weight decay 5e-4 in momentum's place; the parameter groups keep their decay",
        "paper scale: momentum 5e-4, weight decay 5e-4; nano and small: AdamW",
        "the code's reading produced the paper's numbers; short schedules need real momentum",
    ),
    Deviation(
        "overlap ratio",
        "|B_i ∩ B_s| / |B_i| with B = value > .5 (Eq. 2)",
        "Σ round(p)·round(s) / Σ (round(p) + 1e-4)",
        "the code's",
        "they differ for maps that never pass .5: the code's ratio is 0, the paper's undefined",
    ),
    Deviation(
        "multi-scale sum",
        "scales .5, 1, 1.5, 2, not said at which size they are added",
        "each scale is upsampled to the image before adding",
        "added at the resolution of the largest scale, upsampled once when scored",
        "a fraction of the memory and disk for maps that agree to interpolation error",
    ),
    Deviation(
        "saliency detector",
        "PFAN, trained on DUTS",
        "maps to download",
        "a folder of maps; U²-Net through rembg at small; a miniature detector at nano",
        "the maps are not redistributable; the detector is named in the settings",
    ),
    Deviation(
        "recipe of the segmentation networks",
        "in the supplement: DeepLab V1 and V2 on VGG16 and ResNet-101",
        "deeplab-pytorch: V2 on ResNet-101, batch 10, losses at 3 scales and of their maximum; V1 learns at one scale",
        "that recipe for all four, V1 and VGG16 too: 20 000 iterations of 10 at 2.5e-4",
        "the networks then differ in head and backbone alone",
    ),
    Deviation(
        "scales of the segmentation networks' test",
        "not stated; CRF",
        "V2: the maximum of the logits at .5, .75 and 1; V1: one scale; no mirror images",
        "mean of the softmax at .5, .75, 1, 1.25 and 1.5, with mirror images; deeplab-pytorch's CRF",
        "the shared network's test; segmenter.test_scales and segmenter.test_flip set another",
    ),
    Deviation(
        "DeepLab V2's branches on VGG16",
        "Chen et al.: fc6, fc7 and fc8 in each of the four (ASPP-L), 1 024 wide, from the pretrained fc6 and fc7",
        "as printed",
        "one 3x3 convolution in each, as on ResNet-101",
        "one head serves all backbones",
    ),
    Deviation(
        "segmentation network on COCO",
        "DeepLab V2 on VGG16; its length is not stated",
        "not published",
        "100 000 iterations, the shared network's on COCO",
        "deeplab-pytorch's length on COCO's images",
    ),
    Deviation(
        "colour jitter",
        "not stated",
        "torchvision's jitter: hue in HSV, a clamp after each step",
        "one affine colour matrix a sample: hue as a rotation of chroma, one clamp at the end",
        "batched on the device; ranges are the code's",
    ),
)


class Eps(Method):
    """Joint classification and saliency loss -> CAM -> constant background -> segmentation network."""

    name = "eps"
    title = "EPS"
    paper = "Lee et al., Railroad is not a Train: Saliency as Pseudo-pixel Supervision for WSSS, CVPR 2021"
    summary = "saliency as pseudo-pixel supervision"
    needs = "image labels, saliency maps (a folder, the `saliency` extra, or the miniature detector at nano)"
    supervision = frozenset({Supervision.LABELS, Supervision.SALIENCY})
    in_all = True
    config = EpsConfig
    presets = PRESETS
    deviations = DEVIATIONS
    reported_as = "EPS"
    experiments = EXPERIMENTS

    def stages(self, config: EpsConfig, view: TrainingView, shared: Shared) -> Sequence[Stage]:
        if config.classifier_checkpoint is None:
            trained = self._joint_training(config, view)
        else:
            run = "methods.eps.stages:released"
            trained = [released_stage("classify", run, config.classifier_checkpoint, config.backbone)]
        classify = trained[-1]
        cam = Stage(
            "cam",
            "methods.eps.stages:cam",
            CamStageConfig(config.backbone, shared.inference or config.inference),
            Kind.CAM,
            inputs={"weights": classify.name},
            seeded=False,
            fixed_threshold=config.background_threshold,
            profile="methods.eps.profile:cam",
        )
        scores = image_scores_stage("methods.eps.stages:image_scores", cam.settings, classify)
        return [*trained, cam, scores, *stages_after_cam(cam, config.refiner, config.segmenter, shared)]

    def _joint_training(self, config: EpsConfig, view: TrainingView) -> list[Stage]:
        """Saliency, then the training with it."""
        _check_selection(config, view)
        detector = resolve(config.saliency, view)
        saliency = Stage(
            "saliency",
            "methods.layers.saliency.stage:detect",
            detector,
            Kind.SALIENCY,
            pretrained=detector.pretrained,
            seeded=False,
            profile="methods.layers.saliency.profile:detect",
        )
        classify = Stage(
            "classify",
            "methods.eps.stages:classify",
            config.joint_training(detector),
            Kind.WEIGHTS,
            inputs={"saliency": saliency.name},
            pretrained=(config.backbone.weights,),
            profile="methods.eps.profile:classify",
        )
        return [saliency, classify]


def _check_selection(config: EpsConfig, view: TrainingView) -> None:
    missing = [name for name in config.predefined_background if name not in view.classes]
    if config.map_selection == "predefined" and missing:
        raise NotRunnable(
            f"map_selection=predefined: {view.name} has no {', '.join(missing)}; name the classes that saliency "
            f"overlooks by method.eps.predefined_background=[NAME,...], some of {', '.join(view.classes)}"
        )


METHOD = Eps()
