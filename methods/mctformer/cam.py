"""CAMs of a multi-class-token transformer, refined by its own attention in one forward pass.

MCTformer (Xu et al., CVPR 2022): ReLU(patch CAM) x class-to-patch attention, then the patch-to-patch attention
applied to it. Semantic modulation (Li et al., 2025) changes the class-to-patch attention in between.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch

from methods.base import MethodError
from methods.layers.networks.vit import Attention, whole_patches
from methods.mctformer.config import AttentionConfig

if TYPE_CHECKING:
    from methods.mctformer.network import MctformerNetwork

Modulate = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(class_to_patch (B, C, N), patch_to_patch (B, N, N)) -> modulated class_to_patch (B, C, N)."""


class CamStages(NamedTuple):
    """The CAM at every stage of its refinement, each (B, C, h, w), not normalised.

    original:  the patch CAM, rectified by default (Eq. 1)
    affinity:  the original refined by patch-to-patch attention alone (Tab. 4)
    modulated: the original times class-to-patch attention (Eq. 5), which MCTformer leaves unmodulated
    final:     the latter refined by patch-to-patch attention (Eq. 6)
    class_to_patch: the attention that the CAM was multiplied with
    """

    original: torch.Tensor
    affinity: torch.Tensor
    modulated: torch.Tensor
    final: torch.Tensor
    class_to_patch: torch.Tensor


class AttentionSums:
    """Observes a forward pass and keeps sums over layers only.

    class_to_patch: (B, C, N), summed over the last `class_to_patch_layers`
    patch_to_patch: (B, N, N), summed over the last `patch_to_patch_layers`
    modulate_layer: applied to each layer's own pair before the class-to-patch sum
    """

    def __init__(self, settings: AttentionConfig, depth: int, modulate_layer: Modulate | None = None) -> None:
        self._from_class = depth - _layers("class_to_patch_layers", settings.class_to_patch_layers, depth)
        self._from_patch = depth - _layers("patch_to_patch_layers", settings.patch_to_patch_layers, depth)
        self._modulate_layer = modulate_layer
        self.layers = range(min(self._from_class, self._from_patch), depth)
        self.class_to_patch = self.patch_to_patch = torch.zeros(())

    def __call__(self, layer: int, attention: Attention) -> None:
        if layer >= self._from_class:
            class_to_patch = attention.class_to_patch()
            if self._modulate_layer is not None:
                class_to_patch = self._modulate_layer(class_to_patch, attention.patch_to_patch())
            self.class_to_patch = self.class_to_patch + class_to_patch
        if layer >= self._from_patch:
            self.patch_to_patch = self.patch_to_patch + attention.patch_to_patch()


def _layers(key: str, count: int | None, depth: int) -> int:
    if count is None:
        return depth
    if not 1 <= count <= depth:
        raise MethodError(
            f"{key}={count}: the transformer has {depth} layers; choose 1 to {depth}, or null for all"
        )
    return count


def cam_stages(
    network: MctformerNetwork,
    images: torch.Tensor,
    settings: AttentionConfig,
    modulate: Modulate | None = None,
    modulate_layer: Modulate | None = None,
    per_patch: bool = False,
) -> CamStages:
    """CAMs of normalised images (B, 3, H, W) of any size, one forward pass.

    modulate: applied to the summed attention maps; modulate_layer: to each layer's; None: not at all
    per_patch: multiply class-to-patch attention by the number of patches, over which its softmax shares out 1; for maps
               of several image sizes, which are not comparable otherwise
    """
    images = whole_patches(images, network.vit.patch_size)
    sums = AttentionSums(settings, network.vit.depth, modulate_layer)
    original = network(images, sums.layers, sums).patch_cam
    if settings.rectify:
        original = original.relu()
    size = original.shape[-2:]
    class_to_patch, patch_to_patch = sums.class_to_patch, sums.patch_to_patch
    if modulate is not None:
        class_to_patch = modulate(class_to_patch, patch_to_patch)
    if per_patch:
        class_to_patch = class_to_patch * class_to_patch.shape[-1]
    flat = original.flatten(2)
    modulated = flat * class_to_patch  # Eq. 5
    # Query i gathers from keys j (MCTformer's code), or row vector times matrix (as Eq. 6 is printed).
    right = patch_to_patch.transpose(1, 2) if settings.patch_to_patch_side == "left" else patch_to_patch
    affinity, final = (torch.cat([flat, modulated], 1) @ right).chunk(2, 1)  # Eq. 6
    return CamStages(original, *(m.unflatten(2, size) for m in (affinity, modulated, final, class_to_patch)))
