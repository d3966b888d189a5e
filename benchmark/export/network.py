"""A trained network with what comes before and after it, as one module that can be traced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.nn.functional import interpolate
from torch.nn.modules.module import register_module_forward_pre_hook

from benchmark.failures import ConfigError, one_line
from benchmark.prediction.networks import Predictor
from benchmark.prediction.predict import segment
from datasets.base import Sample
from datasets.recipe import Normalisation
from methods.base import ForwardPass, function_of
from methods.layers.networks.depthwise import DilatedDepthwise

ANY_SIZE = (96, 128)
"""(H, W) of an image at which stages say what they pass it through."""


@dataclass(frozen=True)
class Segmentation:
    """What a stage that segments passes images through.

    network: trained, evaluating, on the CPU
    run:     (network, images (B, 3, H, W), normalised) -> probabilities (B, C + 1, H, W), background first
    covers:  scales and mirror images that `run` takes, for people
    crf:     whether something follows that is no network
    """

    network: nn.Module
    run: Callable[[Any, torch.Tensor], torch.Tensor]
    normalisation: Normalisation
    covers: str
    crf: bool


def segmentation_of(
    predictor: Predictor, samples: Sequence[Sample], work: Path
) -> tuple[Segmentation, dict[str, torch.Tensor]]:
    """The trained network, and the probabilities that the stage reports of the samples: name -> (C + 1, H, W).

    The stage runs once, as `predict` runs it, and the network is taken from that: so it is the one that segments,
    whatever its files are called. What it is passed through is what the stage's profile says.

    work: folder for what the stage writes
    Raises ConfigError where the stage has no profile, or passes images through another network.
    """
    declared = _declared(predictor)
    network: list[nn.Module] = []
    probabilities: dict[str, torch.Tensor] = {}

    def passed(module: nn.Module, arguments: Any) -> None:
        if not network and type(module) is type(declared[0].module):
            network.append(module)

    def finished(sample_id: str, scores: torch.Tensor | None) -> None:
        if scores is not None:
            probabilities[sample_id] = scores.float().cpu()

    hook = register_module_forward_pre_hook(passed)
    try:
        segment(predictor, samples, work, "cpu", finished=finished)
    finally:
        hook.remove()
    normalisation = getattr(network[0], "normalisation", None) if network else None
    if normalisation is None or len(probabilities) < len(samples):
        raise ConfigError(
            f"{predictor.function}: cannot be exported; its stage has to report its probabilities, and to segment with "
            "the network that its profile names, which has a `normalisation`"
        )
    copied = deepcopy(network[0]).eval().requires_grad_(False)  # a stage may have loaded it in inference mode
    for module in copied.modules():
        if (
            type(module) is DilatedDepthwise
        ):  # cuts by the image's size: as hard to trace as it is needless there
            module.__class__ = nn.Conv2d  # type: ignore[assignment]
    followed = any(each.finish is not None for each in declared)
    return Segmentation(copied, declared[0].run, normalisation, declared[0].covers, followed), probabilities


def _declared(predictor: Predictor) -> Sequence[ForwardPass]:
    """The forward passes of the stage's profile, the plain one first; their networks are on the meta device."""
    if predictor.profile is None:
        raise ConfigError(
            f"{predictor.function}: cannot be exported; its stage has no `profile`, which says what it segments with"
        )
    try:
        with torch.device("meta"):
            declared = function_of(predictor.profile)(
                predictor.settings, {}, len(predictor.classes), ANY_SIZE
            )
        found: Sequence[ForwardPass] = [each for each in declared if each.module is not None]
        if found:
            return found
        said = "it has no network"
    except Exception as error:  # of a plug-in's function
        said = one_line(error, Path.cwd())
    raise ConfigError(f"{predictor.profile}: cannot be exported by this profile ({said})")


class Exportable(nn.Module):
    """An image as a camera gives it -> its label map and probabilities.

    forward: (H, W, 3) uint8 RGB -> labels (H, W) uint8, 0 is background; probabilities (C + 1, h, w) float32, where
             h and w are H and W, or what `longest_side` leaves of them
    longest_side: as `datasets.base.Conversion`'s, 0 for any
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, segmentation: Segmentation, longest_side: int) -> None:
        super().__init__()
        self.network = segmentation.network
        self._run = segmentation.run
        self._longest_side = longest_side
        mean, deviation = (torch.tensor(values)[:, None, None] for values in segmentation.normalisation)
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        height, width = image.shape[0], image.shape[1]
        pixels = image.permute(2, 0, 1)[None].float()
        rows, columns = height, width
        if self._longest_side:
            rows, columns = (reduced(side, height, width, self._longest_side) for side in (height, width))
            for size in ((height, columns), (rows, columns)):  # one direction after the other, as Pillow does
                pixels = interpolate(pixels, size, mode="bilinear", align_corners=False, antialias=True)
                pixels = pixels.round()
        images = (pixels / 255 - self.mean) / self.deviation
        probabilities = self._run(self.network, images)[0]
        labels = probabilities.argmax(0).to(torch.uint8)
        if self._longest_side:
            labels = labels.index_select(0, _nearest(height, rows)).index_select(1, _nearest(width, columns))
        return labels, probabilities


def reduced(side: int, height: int, width: int, longest_side: int) -> int:
    """A side of an image of `height` and `width` that is reduced to `longest_side`, as `folder.copies.Header.reduced`.

    In operations that can be traced, for images of any size: round(side * limit / longest), halves to even.
    """
    longest = torch.sym_max(height, width)
    limit = torch.sym_min(longest, longest_side)
    doubled = 2 * side * limit + longest
    nearest = doubled // (2 * longest)
    is_half = 1 - torch.sym_min(doubled - nearest * 2 * longest, 1)
    is_odd = nearest - nearest // 2 * 2
    return cast(int, torch.sym_max(1, nearest - is_half * is_odd))  # in a trace a symbol


def _nearest(new: int, old: int) -> torch.Tensor:
    """Which of `old` rows each of `new` ones shows."""
    return (2 * torch.arange(new) + 1) * old // (2 * new)
