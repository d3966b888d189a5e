"""Typed settings of the parts that methods share. Light to import (no torch)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Annotated, Any, TypeVar

from datasets.limits import (
    AtOnce,
    Batch,
    Conflicts,
    Count,
    Factor,
    Factors,
    Natural,
    NotNegative,
    OffByDefault,
    OneOf,
    Positive,
    Share,
    Within,
)
from datasets.recipe import Recipe

T = TypeVar("T")
BACKBONES = (
    "resnet38d", "resnet38d_nano", "vgg16", "resnet50", "resnet50_undilated", "resnet101", "resnet101_caffe"
)  # fmt: skip
TRANSFORMERS = ("vit_nano",)
NORMALISATIONS = ("pretrained", "imagenet")
TIMM = "timm/"
"""Prefix of the names of timm's networks."""
SMP = "smp/"
"""Prefix of the architectures and encoders of segmentation_models_pytorch."""
OPTIMISERS = ("sgd", "adamw")
SCHEDULES = ("poly", "cosine")
HEADS = ("largefov", "largefov_single", "largefov_resnet38d", "aspp")


@dataclass(frozen=True)
class BackboneConfig:
    """A feature extractor.

    name:          resnet38d, resnet38d_nano, vgg16, resnet50, resnet50_undilated (IRNet's and CLIMS's, whose last
                   stage does not stride and is not dilated either), resnet101, resnet101_caffe (the network of
                   the DeepLab authors' own weights), or timm/<model name>; smp/<encoder> under a head smp/...
    weights:       reference understood by `methods.layers.weights.files`: "none" (random initialisation),
                   "nano/<name>" (shipped), "timm/<name>", "torchvision/<name>", "smp/<encoder>", or a path
    output_stride: input pixels per feature cell
    frozen_stages: number of first stages that are not trained
    freeze_bn:     keep every batch normalisation's statistics, scale and shift as they were pretrained
    fixed_statistics: keep the statistics alone; scales and shifts learn (IRNet's FixedBatchNorm)
    """

    name: Annotated[str, OneOf(BACKBONES, (TIMM, SMP))] = "resnet38d"
    weights: str = "none"
    output_stride: Count = 8
    frozen_stages: Natural = 0
    freeze_bn: bool = False
    fixed_statistics: bool = False


@dataclass(frozen=True)
class VitConfig:
    """A vision transformer with one class token a class.

    name:       vit_nano, or timm/<model name>
    weights:    reference understood by `methods.layers.weights.files`: "none" (random initialisation),
                "nano/<name>" (shipped), "timm/<name>", or a path
    final_norm: apply the last LayerNorm to the output tokens (MCTformer does not)
    drop_path:  stochastic depth of the last layer, rising linearly from the first
    normalisation: of the images: "pretrained": the one that the weights were trained with, as timm has it;
                "imagenet": ImageNet's mean and deviation
    """

    name: Annotated[str, OneOf(TRANSFORMERS, (TIMM,))] = "timm/deit_small_patch16_224"
    weights: str = "none"
    final_norm: bool = False
    drop_path: Annotated[float, Within(0, 1, below=True)] = 0.0
    normalisation: Annotated[str, OneOf(NORMALISATIONS)] = "pretrained"


@dataclass(frozen=True)
class TrainConfig:
    """SGD or AdamW under a polynomial or a cosine schedule.

    iterations: length of training; batch_size: images an iteration, over all devices
    optimiser: sgd or adamw
    learning_rate: at its highest, for pretrained layers; `schedule` says how it falls
    weight_decay: of kernels and matrices; biases and normalisations have none
    momentum: the PSA family's PolyOptimizer passes weight decay in momentum's place, so their effective
              momentum is the weight decay's value; presets say which reading they take
    head_multiplier, bias_multiplier: factors on the learning rate of new layers and of biases
    schedule: poly or cosine (`methods.layers.optim.schedule`)
    power:    of poly: lr = base * (1 - iteration / iterations) ** power
    floor:    of cosine: what it falls to, as a factor on the learning rate
    warmup:   iterations of linear warm-up
    """

    iterations: Count = 20000
    batch_size: Batch = 8
    optimiser: Annotated[str, OneOf(OPTIMISERS)] = "sgd"
    learning_rate: Positive = 0.01
    momentum: Annotated[float, Within(0, 1, below=True)] = 0.9
    weight_decay: NotNegative = 5e-4
    head_multiplier: NotNegative = 10.0
    bias_multiplier: NotNegative = 2.0
    schedule: Annotated[str, OneOf(SCHEDULES)] = "poly"
    power: NotNegative = 0.9
    floor: Share = 0.0
    warmup: Natural = 0
    recipe: Recipe = field(default_factory=Recipe)


@dataclass(frozen=True)
class TilesConfig:
    """Tiles in which images larger than one pass a network (`methods.layers.tiles`).

    side:    of a tile, pixels at the scale in question; rounded down to whole strides of the network. 0: whole images
    overlap: pixels that a tile sees around what is kept of it, rounded up likewise. Of a convolutional network whose
             receptive field reaches no further, maps are those of the whole image
    """

    side: Annotated[int, Within(0, 65536)] = 0
    overlap: Annotated[int, Within(0, 16384)] = 256

    @property
    def on(self) -> bool:
        return self.side > 0

    def conflicts(self) -> Conflicts:
        if self.on and self.side <= 2 * self.overlap:
            yield (
                "side",
                f"{self.side} must be more than twice overlap={self.overlap}, which is at either side of what is kept; "
                "0: whole images",
            )


Tiles = Annotated[TilesConfig, OffByDefault()]


def with_tiles(settings: T, tiles: TilesConfig) -> T:
    """A stage's settings with these tiles wherever they have some."""
    if isinstance(settings, TilesConfig):
        return tiles  # type: ignore[return-value]
    if not is_dataclass(settings) or isinstance(settings, type):
        return settings
    parts = {each.name: getattr(settings, each.name) for each in fields(settings)}
    return replace(settings, **{name: with_tiles(value, tiles) for name, value in parts.items()})


@dataclass(frozen=True)
class CamInferenceConfig:
    """Multi-scale inference of CAMs.

    scales: factors on the image's size; flip: add the mirrored image
    batch_size: images of equal size, or tiles, at once
    """

    scales: Factors = (0.5, 1.0, 1.5, 2.0)
    flip: bool = True
    batch_size: AtOnce = 8
    tiles: Tiles = field(default_factory=TilesConfig)


@dataclass(frozen=True)
class TrainingConfig:
    """What the training of a CAM network depends on; a method adds what its losses need.

    network: the network's settings, with its pretrained `weights`; inference finds them in the trained artifact
    """

    network: Any
    train: TrainConfig


@dataclass(frozen=True)
class ReleasedConfig:
    """checkpoint: a path, or a reference of `methods.layers.weights.files`; network: the settings it is built with"""

    checkpoint: str
    network: Any


@dataclass(frozen=True, kw_only=True)
class CamStageConfig:
    """What CAM inference depends on, besides the trained network; a method adds what its maps need.

    trained: which of the networks that the training wrote
    """

    inference: CamInferenceConfig
    trained: str = "network"


@dataclass(frozen=True)
class ScoresConfig:
    """What the scores of images depend on, besides the trained network; batch_size: images, or tiles, at once."""

    batch_size: AtOnce
    trained: str = "network"
    tiles: Tiles = field(default_factory=TilesConfig)


@dataclass(frozen=True)
class CrfConfig:
    """Dense CRF (Krähenbühl & Koltun 2011).

    iterations: rounds of mean-field inference
    gaussian_sxy, bilateral_sxy: standard deviation of the kernel over positions, pixels
    bilateral_srgb: standard deviation of the bilateral kernel over colours, grey levels
    gaussian_compat, bilateral_compat: weight of the kernel
    """

    iterations: Natural = 10
    gaussian_sxy: Positive = 1.0
    gaussian_compat: NotNegative = 3.0
    bilateral_sxy: Positive = 67.0
    bilateral_srgb: Positive = 3.0
    bilateral_compat: NotNegative = 4.0


@dataclass(frozen=True)
class SegmenterConfig:
    """A segmentation network and its recipe.

    head: largefov (DeepLab V1), largefov_single (V1 as one branch of V2's head, on ResNets), largefov_resnet38d (V1's
          head of that backbone), aspp (V2), or smp/<architecture> of segmentation_models_pytorch, on smp/<encoder>
    head_dilation: of V1's heads, in cells (12 as published, at stride 8 and 321 pixels or more)
    head_norm: batch normalisation in V1's head; as published there is none, and a new head then needs
               thousands of iterations, which the nano scale does not have. With largefov_resnet38d: the head of
               SEAM's code, in place of MCTformer's
    init: what the weights have seen; "coco-masks" is flagged on the leaderboard as having seen pixel masks
    loss_scales: factors on the crop at which the network learns besides 1; with any, at the pixelwise maximum
               over all too (the reference V2 on ResNet-101: 0.75 and 0.5)
    test_scales: factors on the image's size at test time
    test_flip: add the mirrored image at test time
    test_crf: dense CRF on the predicted scores; null: none
    test_batch_size: images of equal size, or tiles, at once
    test_tiles: tiles at test time
    padding_is_background: label what lies outside an image background (MCTformer's code), in place of ignored
    network_checkpoint: a trained network of deeplab-pytorch, or of MCTformer's for ResNet-38d, in place of the
               training; `init` then says what it was trained with: "pseudo-labels", or true "masks"
    """

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    head: Annotated[str, OneOf(HEADS, (SMP,))] = "aspp"
    head_dilation: Count = 12
    head_norm: bool = False
    init: str = "imagenet"
    train: TrainConfig = field(default_factory=TrainConfig)
    loss_scales: tuple[Factor, ...] = ()
    test_scales: Factors = (1.0,)
    test_flip: bool = False
    test_crf: CrfConfig | None = None
    test_batch_size: AtOnce = 8
    padding_is_background: bool = False
    network_checkpoint: str | None = None
    test_tiles: Tiles = field(default_factory=TilesConfig)


def crops_without_room(size: int, count: int, crop: int) -> Iterator[str]:
    """What is wrong, where a training crop of side `crop` has no room for `count` local crops of side `size`."""
    if (places := max(0, crop - size) ** 2) < count:
        yield (
            f"{count} crops of size={size} have {places} places in a training image of train.recipe.crop={crop}; make "
            "them smaller or fewer"
        )
