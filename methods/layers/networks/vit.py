"""Vision transformers with one class token a class (MCTformer, Xu et al., CVPR 2022), over timm's networks.

Any timm `VisionTransformer` with a class token will do: DeiT, ViT, DINOv2 (layer scale), register tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from datasets.recipe import IMAGENET, Normalisation
from methods.base import MethodError
from methods.layers.config import VitConfig
from methods.layers.networks.memory import InParts
from methods.layers.weights.files import load_into, load_state

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer

NANO: dict[str, Any] = {
    "img_size": 48,
    "patch_size": 8,
    "embed_dim": 96,
    "depth": 6,
    "num_heads": 4,
    "mlp_ratio": 2.0,
    "weight_init": "jax",
}
"""The miniature: DeiT-S's structure, a quarter as wide and half as deep, pretrained on views of 48 pixels. Xavier
initialisation: timm's default, made for ten times the width, starts so small here that hundreds of iterations pass."""
NANO_STEM = (32, 64)
"""Widths of the miniature's patch embedding, three convolutions of stride 2 in place of one of stride 8: an
embedding that sees edges learns from few pictures (Xiao et al., Early Convolutions, NeurIPS 2021)."""
POSITION_OFFSET = 0.1
"""Added to the grid's size before the scale factor is taken, as DINO's and MCTformer's code do; sampling
points then differ from those of plain resizing by up to .1 of a patch over the whole grid."""


class Tokens(NamedTuple):
    """Output tokens: classes (B, C, D), patches (B, D, h, w)."""

    classes: torch.Tensor
    patches: torch.Tensor


class Attention:
    """One layer's attention after the softmax, of which parts are taken as head means.

    weights: (B, heads, T, T), rows are queries; T = C class tokens, then registers, then N patches
    """

    def __init__(self, weights: torch.Tensor, classes: int, patches: int) -> None:
        self._weights, self._classes, self._patches = weights, classes, patches

    def class_to_patch(self) -> torch.Tensor:
        """(B, C, N): how much each class token attends to each patch."""
        return self._weights[:, :, : self._classes, -self._patches :].mean(1)

    def patch_to_patch(self) -> torch.Tensor:
        """(B, N, N): how much each patch (row) attends to each patch (column)."""
        return self._weights[:, :, -self._patches :, -self._patches :].mean(1)


Observer = Callable[[int, Attention], object]
"""Called with a layer's number (from 0) and its attention, which is freed when the call returns."""


class MultiClassTokenViT(InParts):
    """A vision transformer with C class tokens, copied from the pretrained one with its position embedding.

    trunk:         timm network with its weights; it is taken over, its class token and position embedding move
    classes:       C
    final_norm:    apply the trunk's last LayerNorm (MCTformer does not)
    normalisation: of the images
    """

    def __init__(
        self,
        trunk: VisionTransformer,
        classes: int,
        final_norm: bool = False,
        normalisation: Normalisation = IMAGENET,
    ) -> None:
        super().__init__()
        if trunk.cls_token is None or trunk.pos_embed is None or hasattr(trunk, "dist_token"):
            raise MethodError(
                f"{type(trunk).__name__} lacks a class token or a learned position embedding, or is a distilled "
                f"network; choose one such as timm/deit_small_patch16_224"
            )
        self.num_classes = classes
        self.channels: int = trunk.embed_dim
        self.depth = len(trunk.blocks)
        self.patch_size: tuple[int, int] = trunk.patch_embed.patch_size
        self.normalisation = normalisation
        self._grid: tuple[int, int] = trunk.patch_embed.grid_size
        class_token, positions = trunk.cls_token.detach(), trunk.pos_embed.detach()
        # Where prefix tokens have no position of their own, all positions are the patches'.
        prefix = 0 if trunk.no_embed_class else trunk.num_prefix_tokens
        if trunk.reg_token is not None and prefix:
            trunk.reg_token.data += positions[:, 1:prefix]
        self.class_tokens = nn.Parameter(class_token.repeat(1, classes, 1))
        self.class_positions = nn.Parameter(positions[:, :1].repeat(1, classes, 1)) if prefix else None
        self.patch_positions = nn.Parameter(positions[:, prefix:].clone())
        trunk.cls_token = trunk.pos_embed = None
        if not final_norm:
            trunk.norm = nn.Identity()
        self.trunk = trunk

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that do not decay, as timm has it: tokens and positions."""
        return {"class_tokens", "class_positions", "patch_positions", "trunk.reg_token"}

    def forward(
        self, images: torch.Tensor, layers: Collection[int] = (), observe: Observer | None = None
    ) -> Tokens:
        """Images (B, 3, H, W), normalised, sides multiples of the patch -> output tokens.

        layers:  those (from 0) whose attention `observe` is called with, in order; only these compute it
                 explicitly, all others keep fused attention
        Raises MethodError for sides that are no multiples of the patch.
        """
        if observe is None:
            return self.in_parts(self._tokens, images)
        return self._tokens(images, layers, observe)

    def blocks(self) -> list[nn.Module]:
        """The transformer's blocks."""
        return list(self.trunk.blocks)

    def _tokens(
        self, images: torch.Tensor, layers: Collection[int] = (), observe: Observer | None = None
    ) -> Tokens:
        height, width = images.shape[-2:]
        if height % self.patch_size[0] or width % self.patch_size[1]:
            raise MethodError(
                f"images of {height}x{width} do not divide into patches of {self.patch_size}; "
                f"resize them (see `whole_patches`) or choose a crop that does"
            )
        patches = self.trunk.patch_embed(images)  # (B, h, w, D)
        batch, rows, columns, _ = patches.shape
        tokens = torch.cat([self._prefix(batch), patches.flatten(1, 2) + self._positions(rows, columns)], 1)
        tokens = self.trunk.norm_pre(self.trunk.pos_drop(tokens))
        blocks: Iterable[Any] = self.trunk.blocks
        for layer, block in enumerate(blocks):
            if observe is not None and layer in layers:
                with _observed(block.attn, layer, observe, self.num_classes, rows * columns):
                    tokens = block(tokens)
            else:
                tokens = block(tokens)
        tokens = self.trunk.norm(tokens)
        image = tokens[:, -rows * columns :].transpose(1, 2).unflatten(2, (rows, columns))
        return Tokens(tokens[:, : self.num_classes], image)

    def with_middle(self, images: torch.Tensor, block: int) -> tuple[Tokens, torch.Tensor]:
        """As `forward`, and the patch tokens (B, D, h, w) that leave transformer block `block` (from 0)."""
        return self.in_parts(lambda part: self._with_middle(part, block), images)

    def _with_middle(self, images: torch.Tensor, block: int) -> tuple[Tokens, torch.Tensor]:
        kept: list[torch.Tensor] = []
        module: nn.Module = self.trunk.blocks[block]  # type: ignore[assignment]
        handle = module.register_forward_hook(lambda module, inputs, output: kept.append(output))
        try:
            tokens = self(images)
        finally:
            handle.remove()
        size = tokens.patches.shape[-2:]
        return tokens, kept[0][:, -size[0] * size[1] :].transpose(1, 2).unflatten(2, size)

    def _prefix(self, batch: int) -> torch.Tensor:
        """Class tokens, then registers: (B, C + R, D)."""
        tokens: torch.Tensor = self.class_tokens
        if self.class_positions is not None:
            tokens = tokens + self.class_positions
        if self.trunk.reg_token is not None:
            tokens = torch.cat([tokens, self.trunk.reg_token], dim=1)
        return tokens.expand(batch, -1, -1)

    def _positions(self, rows: int, columns: int) -> torch.Tensor:
        """Position embeddings of a grid of patches, (1, rows * columns, D): bicubic for another than their own."""
        if (rows, columns) == self._grid:
            return self.patch_positions
        grid = self.patch_positions.transpose(1, 2).unflatten(2, self._grid)
        factors = [(n + POSITION_OFFSET) / own for n, own in zip((rows, columns), self._grid)]
        return F.interpolate(grid, scale_factor=factors, mode="bicubic").flatten(2).transpose(1, 2)


@contextmanager
def _observed(
    attention: nn.Module, layer: int, observe: Observer, classes: int, patches: int
) -> Iterator[None]:
    """Hand a timm attention module's weights to `observe` during one forward pass.

    Without fused attention, timm's modules put the softmaxed weights through `attn_drop`.
    """
    drop: Any = attention.attn_drop
    handle = drop.register_forward_hook(
        lambda module, inputs, output: observe(layer, Attention(inputs[0], classes, patches)) and None
    )
    fused, attention.fused_attn = attention.fused_attn, False  # type: ignore[assignment]
    try:
        yield
    finally:
        handle.remove()
        attention.fused_attn = fused


def whole_patches(images: torch.Tensor, patch_size: tuple[int, int]) -> torch.Tensor:
    """Images (B, 3, H, W) resized to the nearest multiples of the patch, at least one patch a side."""
    size = tuple(max(1, round(n / p)) * p for n, p in zip(images.shape[-2:], patch_size))
    if size == tuple(images.shape[-2:]):
        return images
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=True)


def build_trunk(
    config: VitConfig, weights_path: Path | None = None
) -> tuple[VisionTransformer, Normalisation]:
    """timm network of a configuration for any image size, without classifier, and the images' normalisation.

    Raises MethodError for an unknown name, another kind of network, or weights that do not fit.
    """
    from timm.models.vision_transformer import VisionTransformer

    options: dict[str, Any] = {"num_classes": 0, "dynamic_img_size": True, "drop_path_rate": config.drop_path}
    if config.name == "vit_nano":
        trunk, normalisation = VisionTransformer(**NANO, **options), IMAGENET
        trunk.patch_embed.proj = nano_stem()
    else:
        trunk = _timm(config.name, options)
        settings = trunk.pretrained_cfg
        normalisation = Normalisation(tuple(settings["mean"]), tuple(settings["std"]))
    if config.normalisation == "imagenet":
        normalisation = IMAGENET
    if weights_path is not None:
        optional = ["head.*", "mask_token"]
        load_into(trunk, load_state(weights_path), allow_unexpected=optional, source=weights_path)
    return trunk, normalisation


def build_vit(config: VitConfig, classes: int, weights_path: Path | None = None) -> MultiClassTokenViT:
    """Transformer of a configuration with `classes` class tokens; see `build_trunk`, also for what it raises."""
    trunk, normalisation = build_trunk(config, weights_path)
    return MultiClassTokenViT(trunk, classes, config.final_norm, normalisation)


def nano_stem() -> nn.Module:
    """The miniature's patch embedding: (B, 3, H, W) -> (B, D, H / 8, W / 8)."""
    widths = (3, *NANO_STEM)
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], NANO["embed_dim"], 3, 2, 1))


def _timm(reference: str, options: dict[str, Any]) -> Any:
    import timm
    from timm.models.vision_transformer import VisionTransformer

    name = reference.removeprefix("timm/")
    if name == reference:
        raise MethodError(f"unknown vision transformer {reference!r}; choose vit_nano or timm/<model>")
    if not timm.is_model(name):
        raise MethodError(f"timm has no model {name!r}; timm.list_models('*vit*') names them")
    try:
        trunk = timm.create_model(name, **options)
    except (TypeError, ValueError) as error:  # a convolutional network does not know these options
        raise _no_transformer(reference) from error
    if not isinstance(trunk, VisionTransformer):
        raise _no_transformer(reference)
    return trunk


def _no_transformer(reference: str) -> MethodError:
    return MethodError(
        f"{reference} is no plain vision transformer; choose one such as timm/deit_small_patch16_224"
    )
