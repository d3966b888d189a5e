"""ToCo's released networks in place of a training; all other stages are `methods.dskd_gc.stages`."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from datasets.recipe import IMAGENET
from methods.base import MethodError, StageContext
from methods.dskd_gc.branch import build_branch
from methods.layers.weights.released import ReleasedConfig, Rule, renamed, write_released

_RULES: tuple[Rule, ...] = (
    (
        r"encoder\.head\..*|proj_head(_t)?\..*",
        None,
    ),  # ImageNet's classifier; heads of the contrast in training
    (r"encoder\.(class_tokens|class_positions|patch_positions)", r"\g<0>"),
    (r"encoder\.(.*)", r"encoder.trunk.\1"),
    (r"decoder\.conv([678])\.weight", lambda match: f"decoder.{2 * (int(match[1]) - 6)}.weight"),
    (r"aux_classifier\.weight", "auxiliary_classifier.weight"),
)


def released(context: StageContext, settings: ReleasedConfig) -> None:
    """The network of a checkpoint of ToCo's code. Writes teacher.safetensors."""
    network = build_branch(settings.network, len(context.view.classes))
    if network.encoder.normalisation != IMAGENET:
        raise MethodError(
            f"ToCo's networks expect ImageNet's normalisation, which {settings.network.vit.name} does not have; "
            "set method.toco.vit.name=timm/deit_base_patch16_224, the same network with it"
        )
    write_released(context, settings, network, network_names, "teacher.safetensors")


def network_names(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A released state under `Branch`'s names: positions apart, and the biases that its decoder does not have, 0."""
    found = dict(state)
    if "encoder.cls_token" in found and "encoder.pos_embed" in found:
        positions = found.pop("encoder.pos_embed")
        found["encoder.class_tokens"] = found.pop("encoder.cls_token")
        found["encoder.class_positions"] = positions[:, :1]
        found["encoder.patch_positions"] = positions[:, 1:]
    found = renamed(found, _RULES)
    for layer in (0, 2, 4):
        if (weight := found.get(f"decoder.{layer}.weight")) is not None:
            found.setdefault(f"decoder.{layer}.bias", weight.new_zeros(len(weight)))
    return found
