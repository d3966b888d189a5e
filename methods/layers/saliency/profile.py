"""What `profile` measures of the saliency detector."""

from __future__ import annotations

from methods.base import ForwardPass, Inputs
from methods.layers.forward_passes import ALONE
from methods.layers.saliency.config import SaliencyConfig
from methods.layers.saliency.nano import SaliencyNet


def detect(
    settings: SaliencyConfig, inputs: Inputs, classes: int, size: tuple[int, int]
) -> list[ForwardPass]:
    """The miniature. Maps in a folder need no network, and rembg's is none of torch's: `run` records its time."""
    if settings.source != "nano":
        return []
    return [ForwardPass("saliency detector", ALONE, size, SaliencyNet().eval())]
