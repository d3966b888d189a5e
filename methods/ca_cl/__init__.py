"""CA-CL: class-aware contrastive learning with CLIP (Bai et al., Acta Electronica Sinica 53(6), 2025)."""

from __future__ import annotations

from collections.abc import Sequence

from datasets.base import TrainingView
from methods.base import Deviation, Method, MethodError, Shared, Stage, Supervision
from methods.ca_cl.config import (
    PRESETS,
    CaClConfig,
    CaClTrainingConfig,
    SuppressionConfig,
)
from methods.ca_cl.experiments import EXPERIMENTS
from methods.clims import GUIDED_DEVIATIONS
from methods.clims.graph import guided_stages
from methods.layers.clip.covered import require_covered
from methods.layers.clip.words import CLASSES, resolve_texts

DEVIATIONS = (
    Deviation(
        "CLIP's variant",
        "not named",
        "CLIMS: OpenAI's ViT-B/32",
        "OpenAI's ViT-B/32 through open_clip; any other by clip.name and clip.weights",
        "the method is built on CLIMS",
    ),
    Deviation(
        "initial weights",
        "pretrained ResNet-50",
        "CLIMS starts from a trained CAM classifier",
        "CLIMS's; initialisation=backbone for the paper's wording",
        "a new classifier's sigmoid is .5 everywhere, and no loss tells it where the object is",
    ),
    Deviation(
        "gradient of the threshold θ",
        "Eq. 11 descends ∂L/∂θ, which the 0/1 gate of Eq. 10 does not have",
        "not published",
        "straight-through: the gate is 0 or 1, θ receives a sigmoid's gradient; suppression.gate=sigmoid",
        "without a surrogate θ never moves",
    ),
    Deviation(
        "where θ goes",
        "initial value, learning rate and end not stated",
        "CLIMS: fixed, .26 (COCO .285)",
        "starts at .26, kept in [.2, .3] (nano: .4, [.35, .45]); its course and what it selects are in guidance.json",
        "the loss falls as θ rises: without a bound it rises until nothing is selected",
    ),
    Deviation(
        "suppression over a batch",
        "Eq. 12 sums over classes and texts, and names no batch",
        "CLIMS: sum over the batch",
        "sum (nano: mean over images); suppression.reduction",
        "the weight β = 1 is CLIMS's, of a long training; summed, it outweighs the contrast in nano's 150 iterations",
    ),
    Deviation(
        "samples of the contrastive loss",
        "N samples",
        "CLIMS: pairs of an image and a present class",
        "pairs",
        "images with several classes count once a class",
    ),
    Deviation(
        "COCO's images",
        "82 783 for training and 40 504 for testing, those without an object included",
        "not published",
        "82 081 and 40 137 with an object; 20 epochs are counted on these, and so are the classifier's 5",
        "the images that the other methods are trained and scored on",
    ),
    Deviation(
        "background words",
        "asked of a language model, not printed",
        "not published",
        "reviewed lists in words/: 7 words a class, of which the first n are used",
        "results must not depend on a service",
    ),
    Deviation(
        "number of prompts (Tab. 7)",
        "best of all sets of m prompts, chosen by the score on train",
        "not published",
        "the first m in the paper's order",
        "choosing by the score is an oracle",
    ),
    Deviation(
        "momentum of the CAM network's SGD",
        "SGD, cosine annealing and decay 1e-4; no momentum stated (the segmentation network's is .9)",
        "not published; CLIMS's PolyOptimizer, which has no cosine, passes the decay 1e-4 in momentum's place",
        "paper scale: 1e-4, a guess; train.momentum=0.9 for the other (experiment open). nano and small: AdamW",
        "built on CLIMS, whose code ran with that; a cosine that is not PolyOptimizer's may mean any SGD, .9 included",
    ),
    Deviation(
        "rate of the segmentation network",
        "one learning rate, .005, and no factors",
        "DeepLab V2's: 2.5e-4, x10 for new layers and x20 for their biases, which is .005 for the latter alone",
        "paper scale: .005 for all layers",
        "as printed",
    ),
    Deviation(
        "crop, scales and CRF of the segmentation network",
        "not stated, but that there is a CRF at test",
        "DeepLab V2's: crop 321, scales .5 to 1.5, losses at three scales and of their maximum; test at .5, .75 and 1",
        "those; deeplab-pytorch's parameters of the CRF",
        "the network that the paper names",
    ),
    *GUIDED_DEVIATIONS,
)


class CaCl(Method):
    """Classifier -> training with CLIP's guidance -> CAM -> segmentation network."""

    name = "ca_cl"
    title = "CA-CL"
    paper = "Bai et al., Class-aware Contrastive Learning for WSSS, Acta Electronica Sinica 53(6), 2025"
    summary = "CAMs guided by CLIP: prompts chosen by image, background words by class"
    needs = (
        "image labels, class names and background words, a CLIP (open_clip weights, or the miniature at nano)"
    )
    supervision = frozenset({Supervision.LABELS, Supervision.TEXT})
    in_all = True
    config = CaClConfig
    presets = PRESETS
    deviations = DEVIATIONS
    reported_as = "CA-CL"
    experiments = EXPERIMENTS

    def stages(self, config: CaClConfig, view: TrainingView, shared: Shared) -> Sequence[Stage]:
        _check(config.suppression)
        background = {CLASSES} if config.weights.suppression > 0 else ()
        texts = resolve_texts("method.ca_cl", config.text, view, background)
        require_covered("method.ca_cl.clip", config.clip, texts)
        settings = CaClTrainingConfig(
            config.backbone,
            config.clip,
            texts,
            config.train,
            config.composition,
            config.initialisation,
            config.weights,
            config.margin,
            config.suppression,
        )
        return guided_stages(config, "methods.ca_cl.stages:guide", settings, shared)


def _check(suppression: SuppressionConfig) -> None:
    if not suppression.lower <= suppression.initial <= suppression.upper:
        raise MethodError(
            f"suppression.initial={suppression.initial}: must lie in "
            f"[suppression.lower={suppression.lower}, suppression.upper={suppression.upper}]"
        )


METHOD = CaCl()
