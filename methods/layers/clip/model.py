"""A frozen CLIP through open_clip: unit-norm features of images, differentiable, and of texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from datasets.recipe import IMAGENET, Normalisation
from methods.base import MethodError
from methods.layers.clip.config import MINIATURES, OPEN_CLIP, ClipConfig
from methods.layers.weights.files import NONE, load_into, load_state, tokenizers

_NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size", "attn_mask")
"""Entries of OpenAI's own files and of older releases' that are no parameters."""


class ClipModel(nn.Module):
    """CLIP in evaluation mode, its parameters fixed; gradients flow to the images.

    image_size: (height, width) of the image encoder's input
    """

    def __init__(self, model: nn.Module, tokenizer: Any, normalisation: Normalisation) -> None:
        """model: an open_clip model; tokenizer: texts -> (n, context length) token ids"""
        super().__init__()
        self.model = model.requires_grad_(False)
        self.tokenizer = tokenizer
        size: Any = model.visual.image_size  # type: ignore[union-attr]
        self.image_size: tuple[int, int] = (size, size) if isinstance(size, int) else (size[0], size[1])
        self.register_buffer("mean", torch.tensor(normalisation.mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(normalisation.std)[:, None, None], persistent=False)
        self.mean: torch.Tensor
        self.std: torch.Tensor
        self.eval()

    def train(self, mode: bool = True) -> ClipModel:
        """Frozen: stays in evaluation mode."""
        return super().train(False)

    def resize(self, images: torch.Tensor) -> torch.Tensor:
        """Images (B, C, H, W) -> (B, C, *image_size), bilinear, smoothed when shrinking."""
        if images.shape[-2:] == self.image_size:
            return images
        return F.interpolate(
            images, size=self.image_size, mode="bilinear", align_corners=False, antialias=True
        )

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """Images (B, 3, H, W) in [0, 1] -> of the statistics that the encoder is given."""
        return (images - self.mean) / self.std

    def encode_normalised(self, images: torch.Tensor) -> torch.Tensor:
        """Normalised images (B, 3, *image_size) -> unit-norm features (B, D); B may be 0."""
        if not len(images):  # attention refuses empty batches
            return self.encode_normalised(F.pad(images, (0, 0, 0, 0, 0, 0, 0, 1)))[:0]
        return F.normalize(self.model.encode_image(images), dim=-1)  # type: ignore[operator]

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """n > 0 texts -> unit-norm features (n, D)."""
        parts = [
            self.model.encode_text(self.tokenizer(list(texts[i : i + 256])).to(self.mean.device))  # type: ignore[operator]
            for i in range(0, len(texts), 256)
        ]
        return F.normalize(torch.cat(parts), dim=-1)


def load_clip(config: ClipConfig, path: Path | None = None) -> ClipModel:
    """CLIP of a configuration, with the weights of `path` (None: random initialisation).

    Raises MethodError for an unknown model, weights that do not fit it, or unknown statistics of their images.
    """
    if config.name in MINIATURES:
        model, tokenizer = _nano(config.name, path)
    else:
        model, tokenizer = _open_clip(config.name, path)
    return ClipModel(model, tokenizer, normalisation(config))


def normalisation(config: ClipConfig) -> Normalisation:
    """Of the images that these weights were trained on. MethodError where open_clip does not say."""
    from open_clip import get_pretrained_cfg, list_pretrained_tags_by_model
    from open_clip.constants import INCEPTION_MEAN, INCEPTION_STD, OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

    openai = Normalisation(OPENAI_DATASET_MEAN, OPENAI_DATASET_STD)
    inception = Normalisation(INCEPTION_MEAN, INCEPTION_STD)
    stated = {"imagenet": IMAGENET, "openai": openai, "inception": inception}
    if config.normalise in stated:
        return stated[config.normalise]
    if config.name in MINIATURES or config.weights == NONE:  # trained with OpenAI's, or on no images at all
        return openai
    model, _, tag = config.weights.removeprefix(OPEN_CLIP).partition(".")
    if config.weights.startswith(OPEN_CLIP) and (known := get_pretrained_cfg(model, tag)):
        return Normalisation(tuple(known["mean"]), tuple(known["std"]))
    every = (get_pretrained_cfg(config.name, tag) for tag in list_pretrained_tags_by_model(config.name))
    found = {Normalisation(tuple(known["mean"]), tuple(known["std"])) for known in every}
    if len(found) != 1:
        why = "they differ between its weights" if found else "it lists no weights of it"
        raise MethodError(
            f"clip.weights={config.weights}: open_clip does not say by which statistics images of {config.name} are "
            f"normalised ({why}); set clip.normalise to openai, inception (.5) or imagenet"
        )
    return found.pop()


def _nano(name: str, path: Path | None) -> tuple[nn.Module, Any]:
    from methods.layers.clip.nano import build_clip_nano, clip_nano_tokenizer, restore_clip_nano

    return build_clip_nano(name) if path is None else restore_clip_nano(path, name), clip_nano_tokenizer()


def _open_clip(name: str, path: Path | None) -> tuple[nn.Module, Any]:
    import open_clip

    if open_clip.get_model_config(name) is None:
        raise MethodError(f"open_clip has no model {name!r}; open_clip.list_models() names them")
    # Without a tag nothing is downloaded but text towers of other libraries, and with the switch not these.
    model = open_clip.create_model(name, pretrained_text=False, device=torch.get_default_device())
    if path is not None:
        load_into(model, load_state(path), allow_unexpected=_NOT_WEIGHTS, source=path)
    folder = tokenizers(path)
    return model, open_clip.get_tokenizer(name, cache_dir=folder and str(folder))
