"""What the methods' `profile` modules share: forward passes through a network alone, at several scales, and a CRF.

Networks are built with random weights: neither operations nor speed depend on them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from methods.base import ForwardPass, Pictures
from methods.layers.cam import multi_scale_cam
from methods.layers.config import CamInferenceConfig, CrfConfig, TilesConfig
from methods.layers.crf import CrfPool
from methods.layers.tiles import grid_of, tiled

ALONE = "network alone"
BACKGROUND = 0.3
"""Score of the constant background beside a batch's CAMs; what follows costs the same for any."""


def alone(network: str, module: nn.Module, side: int, covers: str = ALONE) -> ForwardPass:
    """One forward pass at the training crop, as papers count it."""
    return ForwardPass(network, covers, (side, side), module)


def multi_scale_cams(
    network: str,
    module: nn.Module,
    forward: Callable[[Any, torch.Tensor], torch.Tensor],
    settings: CamInferenceConfig,
    size: tuple[int, int],
    steps: str = "",
) -> ForwardPass:
    """CAMs of whole images; forward: (module, images (B, 3, H, W)) -> maps (B, C, h, w), steps: what else it does."""

    def run(module: nn.Module, images: torch.Tensor) -> torch.Tensor:
        own = tiled(lambda x: forward(module, x), settings.tiles, settings.batch_size, grid_of(module))
        return multi_scale_cam(own, images, settings.scales, settings.flip)

    covers = steps + scales_text(settings.scales, settings.flip, settings.tiles)
    return ForwardPass(network, covers, size, module, run)


def scales_text(scales: Sequence[float], flip: bool, tiles: TilesConfig) -> str:
    """ "scales 0.5, 1; mirrored; tiles of 1024" """
    text = f"scale{'s' if len(scales) > 1 else ''} {', '.join(f'{scale:g}' for scale in scales)}"
    return text + ("; mirrored" if flip else "") + (f"; tiles of {tiles.side}" if tiles.on else "")


def scores_with_background(cams: torch.Tensor) -> torch.Tensor:
    """(B, K, H, W) -> (B, 1 + K, H, W), the constant background first."""
    return F.pad(cams, (0, 0, 0, 0, 1, 0), value=BACKGROUND)


class CrfFinish:
    """`ForwardPass.finish` of a dense CRF over the present classes and background.

    An image alone is the work of one core; a batch's images are spread over the cores, as a stage's are, once the
    finish is entered as a context manager. It is run from the pictures' CAMs: an untrained network's output would
    have other classes present.
    """

    def __init__(self, config: CrfConfig) -> None:
        self._pool, self._alone = CrfPool(config), CrfPool(config, workers=1)

    def __enter__(self) -> CrfFinish:
        self._pool.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.__exit__(kind, error, trace)

    def __call__(self, output: Any, pictures: Pictures) -> None:
        scores = scores_with_background(pictures.cams)
        probabilities = (scores / scores.sum(1, keepdim=True)).cpu().numpy()
        images = pictures.pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        pool = self._alone if len(images) == 1 else self._pool
        for _ in pool.map(zip(images, probabilities)):
            pass
