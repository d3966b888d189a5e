"""Images, label maps and saliency maps as tensors, and writing of label maps."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from datasets.base import DataError
from datasets.files.decoding import image_size as image_size  # of the header alone, which needs no torch
from datasets.files.decoding import opened_whole, rgb
from datasets.files.palette import VOC_PALETTE, save_ids


def read_image(path: Path) -> torch.Tensor:
    """Decode an image as uint8 RGB (3, H, W): as `datasets.files.decoding.rgb`, with 16 bits scaled to 8.

    The result is a channels-last view.
    """
    pixels = rgb(path)
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    return torch.from_numpy(pixels).permute(2, 0, 1)


def read_labels(path: Path) -> torch.Tensor:
    """Class ids, uint8 (H, W), of an 8-bit single-channel or palette PNG (the indices, not the colours).

    Raises DataError for a file that is missing, truncated or of another format.
    """
    return _read_single_channel(path, ("L", "P", "1"))


def read_map(path: Path) -> torch.Tensor:
    """A dense map such as saliency: uint8 (H, W), 255 = full. Colour images are reduced to their luminance.

    Raises DataError for a file that is missing, truncated or of another format.
    """
    return _read_single_channel(path, ("L", "P", "1", "LA", "RGB", "RGBA"), convert="L")


def _read_single_channel(path: Path, modes: tuple[str, ...], convert: str | None = None) -> torch.Tensor:
    with opened_whole(path) as image:
        if image.mode not in modes:
            what = "a map in 8 bits" if convert else "class ids in an 8-bit single-channel or indexed PNG"
            remedy = "save it as 8-bit greyscale PNG" if convert else save_ids(path.parent)
            raise DataError(f"{path}: expected {what}, found mode {image.mode}; {remedy}")
        pixels = np.array(image.convert(convert) if convert else image)
    return torch.from_numpy(pixels.astype(np.uint8, copy=False))


def write_labels(path: Path, labels: torch.Tensor | np.ndarray, palette: bytes | None = VOC_PALETTE) -> None:
    """Write class ids, uint8 (H, W) on the CPU, as 8-bit PNG: complete or not at all.

    palette: 768 bytes of RGB to show the ids in; the pixel values remain the ids. None for plain greyscale.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.asarray(labels)
    if pixels.dtype != np.uint8 or pixels.ndim != 2:
        raise ValueError(f"labels must be uint8 (H, W), not {pixels.dtype} {pixels.shape}")
    image = Image.fromarray(pixels)
    if palette is not None:
        image.putpalette(palette)
    temporary = path.with_name(f".{threading.get_ident()}.tmp")  # the name may be as long as names can be
    image.save(temporary, format="PNG")
    temporary.replace(path)
