"""Decoding of images, label maps and saliency maps, and writing of label maps.

Every file is read through Python's `open`, so that `datasets.files.guard` sees it.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_image

from datasets.base import DataError
from datasets.files.broken_files import too_large, undecodable
from datasets.files.orientation import image_size as image_size  # of the header alone, which needs no torch
from datasets.files.palette import VOC_PALETTE, save_ids

_PNG = b"\x89PNG\r\n\x1a\n"


def read_image(path: Path) -> torch.Tensor:
    """Decode a JPEG, PNG or WebP as uint8 RGB (3, H, W): as `decode`, with 16 bits scaled to 8."""
    image = decode(path)
    if image.dtype == torch.uint16:
        image = ((image.to(torch.int32) * 255 + 32767) // 65535).to(torch.uint8)
    return image


def decode(path: Path) -> torch.Tensor:
    """RGB (3, H, W) of a JPEG, PNG or WebP, uint16 of 16-bit files, else uint8; upright by its EXIF orientation.

    Greyscale is expanded, alpha is dropped. The result may be a channels-last view.
    Raises DataError for a file that is missing, truncated or no image.
    """
    try:
        with path.open("rb") as file:
            encoded = np.fromfile(file, dtype=np.uint8)
    except FileNotFoundError:
        raise DataError(f"{path}: no such image; restore it, or remove it from the list of images") from None
    if not _sound_png(encoded):
        raise undecodable(path)
    try:
        image = decode_image(torch.from_numpy(encoded), ImageReadMode.RGB, apply_exif_orientation=True)
    except (RuntimeError, ValueError) as error:
        raise undecodable(path) from error
    if image.ndim != 3:
        raise DataError(f"{path}: an animation of {len(image)} frames; keep one frame, as PNG")
    return image


def _sound_png(encoded: np.ndarray) -> bool:
    """Whether every chunk of a PNG has its checksum; True for other files.

    Damaged pixel data make torchvision's decoder end the process instead of raising.
    """
    content, position = memoryview(encoded.data), len(_PNG)
    if bytes(content[:position]) != _PNG:
        return True
    while position + 12 <= len(content):
        length = int.from_bytes(content[position : position + 4], "big")
        checked = content[position + 4 : position + 8 + length]
        if zlib.crc32(checked) != int.from_bytes(
            content[position + 8 + length : position + 12 + length], "big"
        ):
            return False
        position += 12 + length
        if checked[:4] == b"IEND":
            return True
    return False


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
    # Pillow and not torchvision: torchvision expands palettes to colours and loses the indices.
    try:
        with path.open("rb") as file, Image.open(file) as image:
            if image.mode not in modes:
                what = "a map in 8 bits" if convert else "class ids in an 8-bit single-channel or indexed PNG"
                remedy = "save it as 8-bit greyscale PNG" if convert else save_ids(path.parent)
                raise DataError(f"{path}: expected {what}, found mode {image.mode}; {remedy}")
            pixels = np.array(image.convert(convert) if convert else image)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; make it, or remove its image from the list") from None
    except PermissionError:  # the guard's: it is about the caller, not about the file
        raise
    except Image.DecompressionBombError:
        raise too_large(path) from None
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for broken files
        raise undecodable(path) from error
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
    temporary = path.with_name(path.name + ".tmp")
    image.save(temporary, format="PNG")
    temporary.replace(path)
