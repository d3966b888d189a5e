"""Names in checkpoints of ToCo's code, and those of `methods.toco.branch.Branch`."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from methods.layers.weights.released import Rule, renamed

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
