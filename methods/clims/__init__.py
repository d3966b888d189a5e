"""CLIMS: cross language image matching (Xie et al., CVPR 2022), the baseline of CA-CL."""

from __future__ import annotations

from collections.abc import Sequence

from datasets.base import TrainingView
from methods.base import Deviation, Method, MethodError, Shared, Stage, Supervision
from methods.clims.config import CLIMS_TEXT, PRESETS, ClimsConfig, ClimsTrainingConfig
from methods.clims.graph import guided_stages
from methods.layers.clip.covered import require_covered
from methods.layers.clip.words import COMMON, TextConfig, Texts, resolve_texts

GUIDED_DEVIATIONS = (
    Deviation(
        "CLIP's normalisation",
        "not stated",
        "CLIMS hands over images normalised with ImageNet's statistics",
        "CLIP's own; clip.normalise=imagenet for the code's",
        "CLIP was trained with its own",
    ),
    Deviation(
        "resampling of image and map to CLIP's input",
        "not stated",
        "bilinear with aligned corners, not smoothed, then multiplied",
        "bilinear without aligned corners, the image smoothed when shrunk, then multiplied",
        "CLIP was trained on smoothed images; aligned corners shift map against image",
    ),
    Deviation(
        "multiplied image",
        "X P",
        "the normalised image: what a map leaves out becomes the mean colour",
        "the normalised image; composition=pixels makes it black",
        "the paper does not say; the code's",
    ),
    Deviation(
        "CAM at inference",
        "sigmoid",
        "ReLU of the logits, summed over scales and mirror images, / maximum",
        "the code's; activation=sigmoid for the paper's",
        "the code produced the published numbers",
    ),
    Deviation(
        "last block of ResNet-50 at stride 16",
        "not stated",
        "stride removed, not dilated",
        "stride removed, dilated by 2",
        "keeps the pretrained filters' field of view; torchvision's option",
    ),
)


class Clims(Method):
    """Classifier -> training with CLIP's guidance -> CAM -> segmentation network."""

    name = "clims"
    title = "CLIMS"
    paper = "Xie et al., CLIMS: Cross Language Image Matching for WSSS, CVPR 2022"
    summary = "CAMs that CLIP matches with class and background texts"
    needs = "image labels, class names, a CLIP (open_clip weights, or the miniature at nano)"
    supervision = frozenset({Supervision.LABELS, Supervision.TEXT})
    config = ClimsConfig
    presets = PRESETS
    deviations = (
        *GUIDED_DEVIATIONS,
        Deviation(
            "momentum of SGD",
            "not stated",
            "PolyOptimizer passes the weight decay 1e-4 in momentum's place",
            "paper scale: momentum 1e-4; nano and small: AdamW",
            "the code's reading produced CLIMS's numbers; short schedules need real momentum",
        ),
        Deviation(
            "lengths on COCO",
            "not stated",
            "weights 2, 14, 1.25 and .2 and the threshold .285 are COCO's own",
            "those; VOC's epochs (5 and 15), counted on COCO's 82 081 images with an object; segmentation 100 000",
            "equal passes over the data",
        ),
        Deviation(
            "common background words",
            "one set for all classes",
            "10 words for VOC, 87 for COCO",
            "VOC's 10; for COCO 40 of our own, reviewed; text.words=FILE for others",
            "the words are data of the method, kept with the class names",
        ),
        Deviation(
            "class names",
            "the class's name",
            '"player" for person',
            "paper scale: the code's; text.names for others",
            "the code produced the published numbers",
        ),
    )
    reported_as = "CLIMS"

    def stages(self, config: ClimsConfig, view: TrainingView, shared: Shared) -> Sequence[Stage]:
        texts = resolve_texts("method.clims", config.text, view, {COMMON})
        _check(config.text, texts)
        require_covered("method.clims.clip", config.clip, texts)
        settings = ClimsTrainingConfig(
            config.backbone,
            config.clip,
            texts,
            config.train,
            config.composition,
            config.initialisation,
            config.weights,
            config.threshold,
        )
        return guided_stages(
            config, "methods.clims.stages:guide", settings, shared, config.network_checkpoint
        )


def _check(config: TextConfig, texts: Texts) -> None:
    """What `TextConfig` offers and CLIMS has no use for."""
    key = "method.clims.text"
    if len(texts.prompts) > 1:
        source = "prompts" if config.prompts_file is None else f"prompts_file={config.prompts_file}"
        raise MethodError(f"{key}.{source}: {len(texts.prompts)} prompts, and CLIMS has one; give one")
    if config.words_per_class != CLIMS_TEXT.words_per_class:
        raise MethodError(
            f"{key}.words_per_class={config.words_per_class}: CLIMS has background words of any class, no class's "
            f"own; leave it out, or give its `{COMMON}` words with text.words"
        )


METHOD = Clims()
