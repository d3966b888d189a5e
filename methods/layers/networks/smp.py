"""Segmentation networks of segmentation_models_pytorch: any of its architectures on any of its encoders."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import pad

from datasets.limits import suggestion
from datasets.recipe import IMAGENET, Normalisation
from methods.base import MethodError
from methods.layers.config import SMP, SegmenterConfig
from methods.layers.weights.files import load_into, load_state
from methods.layers.weights.hubs import TIMM_ENCODER, check_name

MULTIPLE = 32
"""Of which sides of images are: the strides of most encoders."""
LEAST = {"pan": 128}
"""Sides below which an architecture has no cells left to pool, pixels."""
HALF = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
HALVES = ("inceptionresnetv2", "inceptionv4", "xception")
"""Encoders whose images are normalised by `HALF`."""


class SmpNetwork(nn.Module):
    """Images (B, 3, H, W) of any size -> logits (B, classes + 1, H, W), background first.

    Images are padded to whole strides at the right and below, by the normalisation's mean, and logits cut to their size.
    The modules `new_layers` learn at the head's rate.
    """

    def __init__(self, network: Any, normalisation: Normalisation, least: int = 0) -> None:
        super().__init__()
        self.network = network
        self.normalisation = normalisation
        self.new_layers: list[nn.Module] = [network.decoder, network.segmentation_head]
        stride = network.encoder.output_stride
        self._multiple = stride if MULTIPLE % stride else MULTIPLE
        self._least = least

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        height, width = images.shape[-2:]
        padded = pad(images, (0, self._missing(width), 0, self._missing(height)))
        return self.network(padded)[..., :height, :width]  # type: ignore[no-any-return]

    def _missing(self, side: int) -> int:
        return -side % self._multiple if side > self._least else self._least - side


def build_smp(config: SegmenterConfig, classes: int, weights: Path | None = None) -> SmpNetwork:
    """The network of a configuration; its encoder starts from `weights`, with names as in the library's encoder.

    Raises MethodError for unknown names, an encoder that the architecture does not take, and what is not offered here.
    """
    if not config.backbone.name.startswith(SMP):
        raise MethodError(
            f"segmenter.head={config.head} is on an encoder of the same library, not on {config.backbone.name}; set "
            f"segmenter.backbone.name={SMP}resnet34, say"
        )
    frozen = [n for n in ("frozen_stages", "freeze_bn", "fixed_statistics") if getattr(config.backbone, n)]
    if frozen:
        raise MethodError(
            f"segmenter.backbone.{frozen[0]} is not offered with {config.head}; leave it at its default"
        )
    network = _create(config.head.removeprefix(SMP), config.backbone.name.removeprefix(SMP), classes + 1)
    if weights is not None:
        load_into(network.network.encoder, load_state(weights), source=weights)
    return network


@cache
def check_names(architecture: str, encoder: str) -> None:
    """MethodError, with the closest names, unless the library has such a network and it takes images of any size."""
    with torch.device("meta"), torch.no_grad():
        network = _create(architecture, encoder, 2).eval()
        try:
            network(torch.empty(1, 3, 2 * MULTIPLE, 3 * MULTIPLE))
        except Exception as error:
            raise _cannot(architecture, encoder, "cannot take images of any size", error) from error


def _create(architecture: str, encoder: str, outputs: int) -> SmpNetwork:
    """The network, on the device in force. Raises MethodError."""
    import segmentation_models_pytorch as smp

    known = list(smp.MODEL_ARCHITECTURES_MAPPING)
    if architecture not in known:
        raise MethodError(
            f"segmentation_models_pytorch has no architecture {architecture!r}; {suggestion(architecture, known)}"
            f"there are {', '.join(known)}"
        )
    check_name("smp", encoder)
    parts: dict[str, Any] = {"encoder_weights": None, "classes": outputs}
    device = torch.get_default_device()
    try:
        with torch.device("cpu"):  # some encoders read values while they are built
            try:
                any_size = {"dynamic_img_size": True} if encoder.startswith(TIMM_ENCODER) else {}
                network = smp.create_model(architecture, encoder, **parts, **any_size)
            except TypeError:  # no transformer
                network = smp.create_model(architecture, encoder, **parts)
    except Exception as error:  # of the library and of timm, which share no base
        raise _cannot(architecture, encoder, "cannot be built", error) from error
    return SmpNetwork(network.to(device), _normalisation(encoder), LEAST.get(architecture, 0))


def _cannot(architecture: str, encoder: str, what: str, error: Exception) -> MethodError:
    said = " ".join(str(error).split())
    return MethodError(
        f"{SMP}{architecture} on {encoder} {what} ({said}); choose another encoder, such as "
        + ("tu-vit_base_patch16_224" if architecture == "dpt" else "resnet34")
    )


def _normalisation(encoder: str) -> Normalisation:
    """Of the images that the library's weights were trained on, whether these are loaded or not."""
    import timm

    if not encoder.startswith(TIMM_ENCODER):
        return HALF if encoder in HALVES else IMAGENET
    settings = timm.get_pretrained_cfg(encoder.removeprefix(TIMM_ENCODER))
    return IMAGENET if settings is None else Normalisation(settings.mean, settings.std)  # type: ignore[arg-type]
