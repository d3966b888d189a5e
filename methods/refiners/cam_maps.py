"""What refiners share: CAMs at a size of their own, pictures for a CRF, and class ids of the maps that win."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from datasets.files.images import read_image, write_labels
from methods.artifacts import Cam, label_map_path
from methods.layers.cam import resize


def resized_maps(cam: Cam, size: tuple[int, int], least: int = 0) -> torch.Tensor:
    """The maps of an image's K classes at `size`, (max(K, least), *size); what there are no classes for is zeros."""
    absent = max(0, least - len(cam.classes))
    if not cam.classes:
        return torch.zeros(absent, *size)
    return F.pad(resize(torch.from_numpy(cam.maps).float()[None], size)[0], (0, 0, 0, 0, 0, absent))


def background_score(maps: torch.Tensor, power: float) -> torch.Tensor:
    """(1 - max over K)^power: (..., K, h, w) in [0, 1] -> (..., 1, h, w); 1 where there are no maps."""
    highest = F.pad(maps, (0, 0, 0, 0, 0, 1)).amax(-3, keepdim=True)
    return (1 - highest) ** power


def crf_size(cam: Cam, stride: int) -> tuple[int, int]:
    """(H, W) of a CRF's grid with a cell each `stride` pixels of the CAM's image."""
    return -(-cam.size[0] // stride), -(-cam.size[1] // stride)


def crf_picture(path: Path, size: tuple[int, int]) -> np.ndarray:
    """An image as a CRF takes it, (*size, 3) uint8."""
    image = read_image(path)
    if image.shape[1:] != size:
        image = F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
    return image.permute(1, 2, 0).contiguous().numpy()


def class_ids(classes: Sequence[int], count: int | None = None) -> torch.Tensor:
    """Pixel values of the background and of an image's classes, uint8 (1 + K,), or (count,) with zeros behind."""
    values = torch.zeros(count or len(classes) + 1, dtype=torch.uint8)
    values[1 : len(classes) + 1] = torch.tensor(classes, dtype=torch.uint8) + 1
    return values


def write_winners(output: Path, ids: Iterable[str], cams: Iterable[Cam], winners: torch.Tensor) -> None:
    """Write the label maps of a batch.

    winners: (B, H, W) on the CPU: 0 background, k + 1 the k-th map; maps that pad a batch are background
    """
    count = int(winners.max()) + 1
    for sample_id, cam, winner in zip(ids, cams, winners, strict=True):
        values = class_ids(cam.classes, max(count, len(cam.classes) + 1))
        write_labels(label_map_path(output, sample_id), values[winner])
