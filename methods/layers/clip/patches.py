"""A frozen CLIP with a vision transformer, looked into: tokens of patches, attention, Grad-CAM of its classes.

Source: Lin et al., CLIP-ES, CVPR 2023, and clip/model.py and pytorch_grad_cam/ of its code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from methods.base import MethodError
from methods.layers.cam import resize
from methods.layers.clip.model import ClipModel
from methods.layers.clip.words import Texts, filled


class Patches(NamedTuple):
    """Tokens on their way through the image encoder, N = h w patches.

    tokens:    (B, 1 + N, D), which enter the last block, class token first
    grid:      (h, w)
    attention: of blocks before the last, head means from patch (row) to patch, (B, N, N) each
    outputs:   patch tokens that leave each block before the last, (B, D, h, w) each; empty unless asked for
    """

    tokens: torch.Tensor
    grid: tuple[int, int]
    attention: list[torch.Tensor]
    outputs: list[torch.Tensor]


class ClassMaps(NamedTuple):
    """Grad-CAM. maps: (B, C, h, w) in [0, 1], zero for absent classes; attention: the last block's, (B, N, N);
    probabilities: (B, C + W), zero for absent classes."""

    maps: torch.Tensor
    attention: torch.Tensor
    probabilities: torch.Tensor


def require_patches(key: str, clip: ClipModel) -> Any:
    """The image encoder, a vision transformer of open_clip's; MethodError for another.

    key: of the setting, such as "method.clip_es.clip"
    """
    from open_clip.transformer import ResidualAttentionBlock, VisionTransformer

    visual: Any = clip.model.visual
    plain = (
        isinstance(visual, VisionTransformer) and visual.attn_pool is None and not visual.final_ln_after_pool
    )
    if not plain or not all(
        isinstance(block, ResidualAttentionBlock) for block in visual.transformer.resblocks
    ):
        raise MethodError(
            f"{key}.name: its image encoder is no plain vision transformer, whose patches have maps; set "
            f"{key}.name=ViT-B-16-quickgelu {key}.weights=open_clip/ViT-B-16-quickgelu.openai"
        )
    return visual


def whole_patches(visual: Any, images: torch.Tensor) -> torch.Tensor:
    """Images (B, 3, H, W), bicubically enlarged to the next multiples of the patch."""
    size = [-(-side // patch) * patch for side, patch in zip(images.shape[-2:], visual.patch_size)]
    if size == list(images.shape[-2:]):
        return images
    return F.interpolate(images, size, mode="bicubic", align_corners=False, antialias=True)


@torch.no_grad()
def encode_patches(visual: Any, images: torch.Tensor, attended: int, outputs: bool = False) -> Patches:
    """Normalised images (B, 3, H, W), sides multiples of the patch -> tokens before the last block.

    attended: last blocks, the last one of all included, of which the attention is kept
    """
    found = visual.conv1(images)
    grid = (found.shape[-2], found.shape[-1])
    found = found.flatten(2).transpose(1, 2)
    first = visual.class_embedding.to(found.dtype).expand(len(found), 1, -1)
    tokens = visual.ln_pre(torch.cat([first, found], 1) + _positions(visual, grid))
    blocks = visual.transformer.resblocks
    attention, kept = [], []
    for number, block in enumerate(blocks[:-1]):
        watched = number >= len(blocks) - attended
        tokens, weights = _through(block, tokens, block.ln_1(tokens), watched)
        if watched:
            attention.append(weights[:, 1:, 1:])
        if outputs:
            kept.append(tokens[:, 1:].transpose(1, 2).unflatten(2, grid))
    return Patches(tokens, grid, attention, kept)


def softmax_grad_cam(
    visual: Any,
    tokens: torch.Tensor,
    grid: tuple[int, int],
    texts: torch.Tensor,
    scale: torch.Tensor,
    present: torch.Tensor,
) -> ClassMaps:
    """Grad-CAM of the probability of each present class, at the last block's normalised input.

    tokens, grid: of `Patches`; texts: unit-norm features (C + W, D'), classes before words of the background
    scale: of the cosines before the softmax; present: (B, C) bool, the classes that compete in each image
    The image's feature is the mean of its patches'; residual tokens are constants.
    """
    block, classes = visual.transformer.resblocks[-1], present.shape[1]
    with torch.inference_mode(False), torch.enable_grad():
        # what was made in inference mode takes no part in gradients
        tokens, texts, scale = tokens.detach().clone(), texts.detach().clone(), scale.detach().clone()
        normal = block.ln_1(tokens).detach().requires_grad_()
        last, attention = _through(block, tokens, normal, True)
        probabilities = _probabilities(visual, last, texts, scale, present)
        order, counts = present.int().argsort(dim=1, descending=True, stable=True), present.sum(1)
        found = tokens.new_zeros(
            len(tokens), classes + 1, grid[0] * grid[1]
        )  # the last row takes what pads a batch
        for k in range(int(counts.max()) if len(counts) else 0):
            chosen = torch.where(k < counts, order[:, k], classes)
            scores = probabilities.gather(1, chosen.clamp_max(len(texts) - 1)[:, None])
            (gradient,) = torch.autograd.grad(scores.sum(), normal, retain_graph=True)
            weights = gradient[:, 1:].mean(1, keepdim=True)
            maps = (normal.detach()[:, 1:] * weights).sum(2).relu()
            found.scatter_(1, chosen[:, None, None].expand(-1, 1, maps.shape[1]), maps[:, None])
    return ClassMaps(
        to_unit(found[:, :classes].unflatten(2, grid)), attention.detach()[:, 1:, 1:], probabilities.detach()
    )


@torch.no_grad()
def class_probabilities(
    visual: Any, images: torch.Tensor, texts: torch.Tensor, scale: torch.Tensor, present: torch.Tensor
) -> torch.Tensor:
    """What `softmax_grad_cam` is of, (B, C + W), without maps; images as for `encode_patches`."""
    tokens, block = encode_patches(visual, images, 1).tokens, visual.transformer.resblocks[-1]
    last, _ = _through(block, tokens, block.ln_1(tokens), False)
    return _probabilities(visual, last, texts, scale, present)


def to_unit(maps: torch.Tensor) -> torch.Tensor:
    """Each map of (..., h, w) less its minimum, over (its maximum then + 1e-7); a constant map becomes 0."""
    maps = maps - maps.amin((-2, -1), keepdim=True)
    return maps / (maps.amax((-2, -1), keepdim=True) + 1e-7)


def text_directions(clip: ClipModel, texts: Texts) -> torch.Tensor:
    """Unit-norm features of the classes and then of the common words of the background, (C + W, D): the mean over the
    prompts."""
    words: Sequence[str] = (*texts.names, *texts.common)
    each = clip.encode_texts([filled(prompt, word) for word in words for prompt in texts.prompts])
    return F.normalize(each.unflatten(0, (len(words), -1)).mean(1), dim=-1)


def _through(
    block: nn.Module, tokens: torch.Tensor, normal: torch.Tensor, watched: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """A block's output and, where `watched`, its attention (B, T, T), a mean over heads. normal: ln_1 of the tokens."""
    parts: Any = block
    attended, weights = parts.attn(normal, normal, normal, need_weights=watched)
    tokens = tokens + parts.ls_1(attended)
    return tokens + parts.ls_2(parts.mlp(parts.ln_2(tokens))), weights


def _probabilities(
    visual: Any, last: torch.Tensor, texts: torch.Tensor, scale: torch.Tensor, present: torch.Tensor
) -> torch.Tensor:
    """Softmax over the present classes and the other texts, by the mean of the last block's patches."""
    feature = F.normalize(visual.ln_post(last)[:, 1:].mean(1) @ visual.proj, dim=-1)
    absent = F.pad(~present, (0, len(texts) - present.shape[1]))
    return (scale * feature @ texts.T).masked_fill(absent, -torch.inf).softmax(1)


def _positions(visual: Any, grid: tuple[int, int]) -> torch.Tensor:
    """Position embeddings (1 + N, D) of a grid, bilinear for another than the encoder's own."""
    positions: torch.Tensor = visual.positional_embedding
    if grid == tuple(visual.grid_size):
        return positions
    patches = resize(positions[1:].T.unflatten(1, visual.grid_size)[None], grid)[0]
    return torch.cat([positions[:1], patches.flatten(1).T])
