"""What a method asks of the loader: sizes, ranges, normalisation. Light to import; part of typed settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NamedTuple

from datasets.limits import Natural, NotNegative, Positive, Rising, Share, Side, Within


@dataclass(frozen=True)
class Recipe:
    """Random augmentation of training images. Everything is drawn per sample from (seed, epoch, sample).

    crop:        side of the square output, pixels
    resize_long: range the longest side is resized to, pixels; (0, 0) to use `scale` instead
    scale:       range of the factor on the image's size
    resize_crop: range of the crop's area as a fraction of the image, with aspect ratio in [3/4, 4/3]
                 (RandomResizedCrop); (0, 0) to use `resize_long` or `scale`
    flip:        probability of a horizontal flip
    brightness, contrast, saturation: factors are drawn from [1 - x, 1 + x]
    hue:         rotation drawn from [-x, x], in turns (0.5 = half a turn)
    jitter:      probability of these four; grey: of taking the colour away after them
    blur:        probability of a Gaussian blur; blur_sigma: range of its standard deviation, pixels
    solarise:    probability of inverting, last of all, the values of half the range and more
    Crops larger than the image are padded with the normalisation's mean; label maps with 255.
    """

    crop: Side = 448
    resize_long: Annotated[tuple[Natural, Natural], Rising()] = (0, 0)
    scale: Annotated[tuple[Positive, Positive], Rising()] = (1.0, 1.0)
    resize_crop: Annotated[tuple[Share, Share], Rising()] = (0.0, 0.0)
    flip: Share = 0.5
    brightness: NotNegative = 0.0
    contrast: NotNegative = 0.0
    saturation: NotNegative = 0.0
    hue: Annotated[float, Within(0, 0.5)] = 0.0
    jitter: Share = 1.0
    grey: Share = 0.0
    blur: Share = 0.0
    blur_sigma: Annotated[tuple[Positive, Positive], Rising()] = (0.1, 2.0)
    solarise: Share = 0.0


class ColoursOnly(NamedTuple):
    """A second view of a training image that shows the same part of it, mirrored alike, in colours of its own.

    recipe: what the colours are drawn by; its geometry is not used
    """

    recipe: Recipe


View = Recipe | ColoursOnly
"""Another view of a training image, drawn besides the image itself; a recipe has a crop of its own."""


class Normalisation(NamedTuple):
    """Per-channel mean and standard deviation, for images in [0, 1]."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
