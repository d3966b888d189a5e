"""A promptable segmentation network (SAM, Kirillov et al., ICCV 2023) over many pictures at once.

segment_anything's own predictor takes one picture at a time, and its decoder the prompts of one picture. Here the
encoder sees a batch of frames once, and all prompts of all of them are decoded together, by the same modules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F

from datasets.recipe import Normalisation
from methods.base import MethodError
from methods.layers.sam.config import NANO, SamConfig
from methods.layers.sam.views import Frame, View, placed, placed_points, restored
from methods.layers.weights.files import load_into, load_state

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

POSITIVE, NEGATIVE, NO_POINT = 1, 0, -1
"""Labels of a prompt's points, as SAM has them; NO_POINT fills prompts up to a common number."""

_NEEDED = attrgetter(
    "image_encoder.img_size",
    "pixel_mean",
    "prompt_encoder.get_dense_pe",
    "mask_decoder.transformer",
    "mask_decoder.iou_token",
    "mask_decoder.mask_tokens",
    "mask_decoder.output_upscaling",
    "mask_decoder.output_hypernetworks_mlps",
    "mask_decoder.iou_prediction_head",
)
"""What `decode` and its callers take from a model; segment_anything's relatives have it too."""


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
    sparse, dense = sam.prompt_encoder(
        points=(points.flatten(0, 1).float(), labels.flatten(0, 1)), boxes=None, masks=None
    )
    return decode_prompts(sam, embeddings, sparse, dense)


def decode_by_length(sam: Sam, embeddings: torch.Tensor, points: torch.Tensor, labels: torch.Tensor) -> Masks:
    """As `decode`, but prompts of each number of points by themselves and without fillers, as SamPredictor has them.

    SAM adds one point that is none to every prompt and has seen no more of them: further ones change the masks.
    """
    frames, prompts = labels.shape[:2]
    places, marks = points.flatten(0, 1).float(), labels.flatten(0, 1)
    fillers_last = (marks == NO_POINT).int().argsort(dim=1, stable=True)
    places = places.gather(1, fillers_last[..., None].expand_as(places))
    marks = marks.gather(1, fillers_last)
    lengths = (marks != NO_POINT).sum(1)
    rows, parts = [], []
    for length in lengths.unique().tolist():
        own = (lengths == length).nonzero()[:, 0]
        clicks = (places[own, :length], marks[own, :length])
        sparse, dense = sam.prompt_encoder(points=clicks, boxes=None, masks=None)
        rows.append(own)
        parts.append(decode_prompts(sam, embeddings[own // prompts], sparse, dense))
    back = torch.cat(rows).argsort()
    logits, quality = (torch.cat(each)[back, 0].unflatten(0, (frames, prompts)) for each in zip(*parts))
    return Masks(logits, quality)


def decode_prompts(sam: Sam, embeddings: torch.Tensor, sparse: torch.Tensor, dense: torch.Tensor) -> Masks:
    """As `decode`, of what the prompt encoder makes of points: sparse (V P, N + 1, D), dense (V P, D, s, s)."""
    frames = len(embeddings)
    prompts = len(sparse) // frames
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


def load_sam(config: SamConfig, path: Path | None) -> Sam:
    """SAM of a configuration with the weights of `path` (None: random initialisation), frozen, for inference.

    Raises MethodError for an unknown registry or name, another structure, or weights that do not fit.
    """
    if config.name == NANO:
        from methods.layers.sam.nano import build_sam_nano, restore_sam_nano

        sam = build_sam_nano() if path is None else restore_sam_nano(path)
    else:
        registry = _registry(config.registry)
        if config.name not in registry:
            raise MethodError(f"sam.name={config.name!r}: {config.registry} has {', '.join(registry)}")
        # Its own loading is left alone: it unpickles whatever the file holds.
        sam = registry[config.name](checkpoint=None)
        if path is not None:
            load_into(sam, load_state(path), source=path)
    try:
        _NEEDED(sam)
    except AttributeError as error:
        raise MethodError(
            f"sam.name={config.name!r}: what {config.registry} builds is not segment_anything's Sam: {error}"
        ) from error
    return sam.eval().requires_grad_(False)  # type: ignore[no-any-return]


def _registry(reference: str) -> Mapping[str, Any]:
    package, _, attribute = reference.partition(":")
    try:
        registry = getattr(import_module(package), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise MethodError(
            f"sam.registry={reference!r} is not there ({error}); install the package, or write package:attribute"
        ) from error
    if not isinstance(registry, Mapping):
        raise MethodError(f"sam.registry={reference!r} is no mapping of names to builders")
    return registry


def normalisation_of(sam: Sam) -> Normalisation:
    """Of the images that a SAM was trained on."""
    mean, deviation = ((getattr(sam, f"pixel_{of}").flatten() / 255).tolist() for of in ("mean", "std"))
    return Normalisation(tuple(mean), tuple(deviation))


@torch.inference_mode()
def masks_of_views(
    sam: Sam,
    images: torch.Tensor,
    points: torch.Tensor,
    labels: torch.Tensor,
    views: Sequence[View],
    frames: int,
    fills: float,
    precision: str = "float32",
    fillers: bool = False,
) -> torch.Tensor:
    """The mask of every prompt in every view, brought back to the image: (K, B, P, H, W) bool.

    images: (B, 3, H, W), normalised; points (B, P, N, 2) and labels (B, P, N), as `decode` takes them, in pixels of
            the images. A prompt without a positive point has an empty mask.
    frames: most frames that the network is given at once, B at least; each is encoded once
    precision: of the encoder on a GPU. Prompts are encoded and decoded in float32: a point's place among 1024 pixels
            needs 11 bits, and bfloat16 has 8, so that points would move by a pixel or two
    fills:  the scale that fills the frame, no less than any view's
    fillers: decode all prompts together with their fillers, as `SamConfig.fillers` says
    """
    decoded = decode if fillers else decode_by_length
    size = (images.shape[-2], images.shape[-1])
    frame = Frame(sam.image_encoder.img_size, fills)
    at_once = max(1, frames // len(images))
    found = []
    for start in range(0, len(views), at_once):
        part = views[start : start + at_once]
        pictures = torch.cat([placed(images, view, frame) for view in part])
        prompts = torch.cat([placed_points(points, size, view, frame) for view in part])
        with _autocast(images.device, precision):
            embeddings = encode(sam, pictures).float()
        logits = decoded(sam, embeddings, prompts, labels.repeat(len(part), 1, 1)).logits
        whole = F.interpolate(logits, (frame.side, frame.side), mode="bilinear", align_corners=False)
        found += [restored(maps, size, view, frame) > 0 for maps, view in zip(whole.chunk(len(part)), part)]
    asked = (labels == POSITIVE).any(2)
    return torch.stack(found) & asked[:, :, None, None]


def _autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    if device.type != "cuda" or precision == "float32":
        return nullcontext()
    return torch.autocast("cuda", getattr(torch, precision))
