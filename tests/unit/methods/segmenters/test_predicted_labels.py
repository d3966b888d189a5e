"""Label maps from a network's logits: scales, mirror images, and the CRF at test time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from datasets.loading.loader import ImageBatch
from methods.layers.config import CrfConfig
from methods.layers.crf import CrfPool
from methods.segmenters.stages import label_maps, segmentation_probabilities

SIDE = 16


class Fixed(nn.Module):
    """Two classes besides the background; the middle is class 2 but for a speck of class 1."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(len(images), 3, SIDE, SIDE)
        logits[:, 0] = 1.0
        logits[:, 2, 4:12, 4:12] = 2.0
        logits[:, 1, 7, 7] = 2.5
        return logits


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Images whose middle is of another colour."""
    pixels = np.full((SIDE, SIDE, 3), 40, np.uint8)
    pixels[4:12, 4:12] = 200
    found = [tmp_path / f"{name}.png" for name in "ab"]
    for path in found:
        Image.fromarray(pixels).save(path)
    return found


def predicted(paths: list[Path], pool: CrfPool | None, flip: bool = False) -> torch.Tensor:
    batch = ImageBatch(("a", "b"), torch.zeros(2, 3, SIDE, SIDE), torch.zeros(2, 2), (SIDE, SIDE))
    return label_maps(segmentation_probabilities(Fixed(), batch.images, (1.0,), flip), paths, pool)


def test_without_a_crf_it_is_the_likeliest_class(paths: list[Path]) -> None:
    labels = predicted(paths, None)
    assert labels.dtype == torch.uint8
    assert labels.unique().tolist() == [0, 1, 2]
    assert (labels[:, 7, 7] == 1).all()


def test_the_crf_has_the_last_word(paths: list[Path]) -> None:
    with CrfPool(CrfConfig(), workers=1) as pool:
        labels = predicted(paths, pool)
    middle = torch.zeros(2, SIDE, SIDE, dtype=torch.uint8)
    middle[:, 4:12, 4:12] = 2
    assert torch.equal(labels, middle)


def test_mirror_images_are_turned_back(paths: list[Path]) -> None:
    labels = predicted(paths, None, flip=True)
    assert (labels[:, 7, 7] != 1).all()  # the speck is at two places, each half as likely
    assert (labels[:, 4:12, 4:12] == 2).all()
