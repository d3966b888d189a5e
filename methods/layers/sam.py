"""A promptable segmentation network (SAM, Kirillov et al., ICCV 2023) over many pictures at once.

segment_anything's own predictor takes one picture at a time, and its decoder the prompts of one picture. Here the
encoder sees a batch of frames once, and all prompts of all of them are decoded together, by the same modules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

POSITIVE, NEGATIVE, NO_POINT = 1, 0, -1
"""Labels of a prompt's points, as SAM has them; NO_POINT fills prompts up to a common number."""


class Masks(NamedTuple):
    """logits: (V, P, h, w), more than 0 inside the mask; quality: (V, P), the IoU that SAM predicts of it."""

    logits: torch.Tensor
    quality: torch.Tensor


def encode(sam: Sam, frames: torch.Tensor) -> torch.Tensor:
    """Frames (V, 3, S, S), normalised, padded with zeros -> embeddings (V, D, s, s)."""
    return sam.image_encoder(frames)  # type: ignore[no-any-return]


def decode(sam: Sam, embeddings: torch.Tensor, points: torch.Tensor, labels: torch.Tensor) -> Masks:
    """The mask of every prompt.

    embeddings: (V, D, s, s), of `encode`
    points:     (V, P, N, 2), x and y in pixels of the frame, of N points a prompt
    labels:     (V, P, N): POSITIVE, NEGATIVE or NO_POINT
    Returns masks at a quarter of the embedding's cells, (V, P, 4 s, 4 s). Of SAM's four mask tokens the first is
    taken, which is that for prompts of several points.
    """
    frames, prompts = labels.shape[:2]
    sparse, dense = sam.prompt_encoder(
        points=(points.flatten(0, 1).float(), labels.flatten(0, 1)), boxes=None, masks=None
    )
    decoder: Any = sam.mask_decoder
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([own.expand(frames * prompts, -1, -1), sparse], dim=1)
    source = embeddings.repeat_interleave(prompts, dim=0) + dense
    positions = sam.prompt_encoder.get_dense_pe().expand(frames * prompts, -1, -1, -1)
    tokens, source = decoder.transformer(source, positions, tokens)
    source = source.transpose(1, 2).unflatten(2, embeddings.shape[-2:])
    weights = decoder.output_hypernetworks_mlps[0](tokens[:, 1])
    masks = torch.einsum("pc,pchw->phw", weights, decoder.output_upscaling(source))
    quality = decoder.iou_prediction_head(tokens[:, 0])[:, 0]
    return Masks(masks.unflatten(0, (frames, prompts)), quality.unflatten(0, (frames, prompts)))
