"""Example panels: label maps in PASCAL VOC's colours, overlays of labels and of class activation maps."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from datasets.base import IGNORE, DataError
from datasets.files.decoding import opened_whole

IGNORE_COLOUR = (224, 224, 224)
"""Of pixels that are not scored: VOC's cream made neutral, so that it is no class's colour."""

_FLAT_COLOURS = 64
"""Images with at most this many colours are label maps: scaled without mixing, compressed without loss."""

_WEBP_QUALITY = 80

_KINDS = ((0, 114, 178), (240, 228, 66), (213, 94, 0))
"""Blue, yellow and vermilion of Okabe and Ito (2008), which differ to the colour-blind too, and in lightness."""


def voc_palette() -> np.ndarray:
    """(256, 3) uint8: PASCAL VOC's colour map: the label's bits, three a step, over the channels' bits."""
    labels, channels = np.arange(256)[:, None], np.arange(3)
    palette = np.zeros((256, 3), dtype=np.uint8)
    for step in range(3):
        palette |= (((labels >> (3 * step + channels)) & 1) << (7 - step)).astype(np.uint8)
    palette[IGNORE] = IGNORE_COLOUR
    return palette


def colour_labels(label_map: np.ndarray) -> np.ndarray:
    """Label map (H, W) uint8 -> (H, W, 3) uint8; 0 (background) is black, 255 (ignored) light grey."""
    return voc_palette()[np.asarray(label_map, dtype=np.uint8)]


def class_colour(value: int) -> str:
    """`#rrggbb` of a label-map value (object class i is i + 1) as overlays show it."""
    red, green, blue = _vivid(voc_palette()[value]).astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"


def overlay(image: np.ndarray, labels: np.ndarray, opacity: float = 0.6) -> np.ndarray:
    """Label colours over an image, background left clear.

    image: (H, W, 3) uint8; labels: (H, W) uint8 as in `colour_labels`; opacity in [0, 1].
    Returns (H, W, 3) uint8.
    """
    alpha = np.where(labels == 0, 0.0, opacity)[..., None]
    return _blend(image.astype(np.float32), _vivid(colour_labels(labels)), alpha)


def cam_overlay(
    image: np.ndarray, maps: np.ndarray, classes: Sequence[int], opacity: float = 0.85
) -> np.ndarray:
    """Activation over the greyed image, each class in the hue that `colour_labels` gives its label.

    image:   (H, W, 3) uint8
    maps:    (K, h, w) in [0, 1], upsampled bilinearly to the image
    classes: K object-class indices (from 0)
    opacity: in [0, 1], where the activation is 1; it falls linearly with the activation
    Returns (H, W, 3) uint8. Where classes overlap their colours mix, the stronger prevailing.
    """
    height, width = image.shape[:2]
    grey = image.astype(np.float32).mean(axis=2, keepdims=True).repeat(3, axis=2)
    if len(classes) == 0:
        return grey.astype(np.uint8)
    activation = np.stack([_resize_map(m, (width, height)) for m in np.asarray(maps, dtype=np.float32)])
    colours = _vivid(voc_palette()[np.asarray(classes) + 1])  # (K, 3)
    weights = activation**2 / np.maximum((activation**2).sum(axis=0), 1e-12)
    mixed = np.einsum("khw,kc->hwc", weights, colours)
    return _blend(grey, mixed, opacity * activation.max(axis=0)[..., None])


def kinds_overlay(image: np.ndarray, kinds: np.ndarray, opacity: float = 0.85) -> np.ndarray:
    """Kinds of pixels over the greyed image; kind 0 is left clear, the others are coloured as `kind_colour` says.

    image: (H, W, 3) uint8; kinds: (H, W) uint8, 0 to 3; opacity in [0, 1]. Returns (H, W, 3) uint8.
    """
    grey = image.astype(np.float32).mean(axis=2, keepdims=True).repeat(3, axis=2)
    alpha = np.where(kinds == 0, 0.0, opacity)[..., None]
    return _blend(grey, np.array(((0, 0, 0), *_KINDS), dtype=np.float32)[kinds], alpha)


def kind_colour(kind: int) -> str:
    """`#rrggbb` of a kind of pixels, 1 to 3."""
    red, green, blue = _KINDS[kind - 1]
    return f"#{red:02x}{green:02x}{blue:02x}"


def save_panel(path: Path, rgb: np.ndarray, longest: int = 320) -> None:
    """Save an (H, W, 3) uint8 image scaled down to `longest` pixels, as its suffix says (.png, .jpg, .webp)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = _shrink(Image.fromarray(rgb), longest)
    if path.suffix == ".png" and _is_flat(picture):
        picture = picture.quantize(_FLAT_COLOURS, dither=Image.Dither.NONE)
    options: dict[str, Any] = {".png": {}, ".webp": {"quality": _WEBP_QUALITY}}.get(
        path.suffix, {"quality": 85}
    )
    picture.save(path, optimize=True, **options)


@dataclass(frozen=True)
class Encoded:
    """An image file's content in memory; `size` is (width, height)."""

    kind: Literal["image/png", "image/webp"]
    content: bytes
    size: tuple[int, int]


def named_by_content(path: Path) -> Path:
    """Rename a picture `<name>.<ending>` to `<name>-<12 digits of its SHA-256>.<ending>`, and return that."""
    return path.replace(path.with_stem(f"{path.stem}-{_digest(path)}"))


def is_as_saved(path: Path) -> bool:
    """Whether a picture whose name ends in its hash is what was saved; True for other names."""
    digest = path.stem.rpartition("-")[2]
    return re.fullmatch("[0-9a-f]{12}", digest) is None or digest == _digest(path)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def encode(path: Path, longest: int) -> Encoded:
    """An image file scaled down for a page: PNG with a palette for label maps, WebP for the rest.

    A WebP file that is small enough is taken as it is. Raises DataError for a file that is damaged.
    """
    with opened_whole(path) as opened:
        if not is_as_saved(path):
            raise DataError(f"{path}: damaged; run the command of its run again, which draws it anew")
        if opened.format == "WEBP" and max(opened.size) <= longest:
            return Encoded("image/webp", path.read_bytes(), opened.size)
        picture = _shrink(opened.convert("RGB"), longest)
    buffer = io.BytesIO()
    if _is_flat(picture):
        picture.quantize(_FLAT_COLOURS, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
        return Encoded("image/png", buffer.getvalue(), picture.size)
    picture.save(buffer, "WEBP", quality=_WEBP_QUALITY)
    return Encoded("image/webp", buffer.getvalue(), picture.size)


def _vivid(colours: np.ndarray) -> np.ndarray:
    """VOC's colours lie at half intensity; over a photograph they need to be brighter."""
    return np.minimum(colours.astype(np.float32) * 1.5, 255)


def _blend(base: np.ndarray, top: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.clip(base * (1 - alpha) + top * alpha + 0.5, 0, 255).astype(np.uint8)


def _resize_map(activation: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    resized = Image.fromarray(activation, mode="F").resize(size, Image.Resampling.BILINEAR)
    return np.clip(np.asarray(resized), 0, 1)


def _is_flat(picture: Image.Image) -> bool:
    return picture.getcolors(_FLAT_COLOURS) is not None


def _shrink(picture: Image.Image, longest: int) -> Image.Image:
    factor = longest / max(picture.size)
    if factor >= 1:
        return picture
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    return picture.resize(size, Image.Resampling.NEAREST if _is_flat(picture) else Image.Resampling.LANCZOS)
