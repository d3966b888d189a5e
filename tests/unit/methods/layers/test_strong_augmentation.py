"""Strong changes of colour: Pillow's arithmetic, drawn for every image."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import patch

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from methods.layers.strong_augmentation import strong_colours

PILLOW: list[Callable[[Image.Image], Image.Image]] = [
    ImageOps.autocontrast,
    ImageOps.equalize,
    lambda image: ImageOps.posterize(image, 2),
    lambda image: ImageEnhance.Color(image).enhance(0.7),
    lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    lambda image: ImageEnhance.Sharpness(image).enhance(0.7),
]


@pytest.fixture
def images() -> torch.Tensor:
    source = torch.Generator().manual_seed(0)
    smooth = torch.rand(3, 3, 6, 8, generator=source)
    return 0.1 + 0.7 * torch.nn.functional.interpolate(smooth, (36, 48), mode="bilinear")


@pytest.mark.parametrize("number", range(len(PILLOW)))
def test_each_step_is_pillows(images: torch.Tensor, number: int) -> None:
    with patch.object(torch, "randint", lambda *a, **k: torch.full((1, len(images)), number)):
        found = strong_colours(images, 1, 0.7, 2)
    for image, changed in zip(images, found):
        pixels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        expected = np.asarray(PILLOW[number](Image.fromarray(pixels))).astype(int)
        difference = np.abs(expected - (changed * 255).round().permute(1, 2, 0).numpy())
        assert difference.max() <= 2
        assert np.abs(expected - pixels).mean() > 0.2


def test_images_are_changed_apart_by_torchs_random_numbers(images: torch.Tensor) -> None:
    alike = images[:1].expand(8, -1, -1, -1)
    torch.manual_seed(3)
    first, later = strong_colours(alike, 2, 0.7, 2), strong_colours(alike, 2, 0.7, 2)
    torch.manual_seed(3)
    assert torch.equal(strong_colours(alike, 2, 0.7, 2), first)
    assert not torch.equal(first, later)
    assert len(torch.unique(first.flatten(1), dim=0)) > 3
    assert ((first >= 0) & (first <= 1)).all()


def test_no_steps_change_no_more_than_the_rounding(images: torch.Tensor) -> None:
    assert (strong_colours(images, 0, 0.7, 2) - images).abs().max() <= 0.5 / 255 + 1e-6
