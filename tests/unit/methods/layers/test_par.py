"""PAR against the reference's numbers, and what follows from its definition; the refiner made of it."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from methods.base import Kind, Stage
from methods.layers.par import DILATIONS, pixel_adaptive_refinement
from methods.refiners import refiner_stages
from methods.refiners.config import ParConfig, RefinerConfig
from tests.conftest import golden

CAM = Stage("cam", "tests:cam", None, Kind.CAM, fixed_threshold=0.3)


def test_refined_maps_are_the_references():
    vector = {name: torch.from_numpy(array) for name, array in golden("par").items()}
    refined = pixel_adaptive_refinement(
        vector["image"], vector["mask"], vector["dilations"].tolist(), int(vector["iterations"])
    )
    torch.testing.assert_close(refined, vector["refined"], rtol=1e-3, atol=1e-6)
    assert tuple(vector["dilations"].tolist()) == DILATIONS


def test_an_affine_change_of_the_colours_changes_nothing():
    torch.manual_seed(0)
    images, maps = torch.rand(2, 3, 20, 24, dtype=torch.float64), torch.rand(2, 4, 20, 24).double()
    refined = pixel_adaptive_refinement(images, maps, (1, 2))
    torch.testing.assert_close(
        pixel_adaptive_refinement(255 * images - 30, maps, (1, 2)), refined, rtol=1e-6, atol=1e-8
    )


def test_weights_of_a_round_sum_to_one_and_a_hundredth():
    images, maps = torch.rand(1, 3, 12, 12), torch.ones(1, 2, 12, 12)
    torch.testing.assert_close(pixel_adaptive_refinement(images, maps, (1, 3), 2), maps * 1.01**2)


def test_one_round_is_the_weighted_mean_of_the_neighbours():
    torch.manual_seed(1)
    images, maps = torch.rand(1, 3, 5, 6, dtype=torch.float64), torch.rand(1, 1, 5, 6).double()
    offsets = [
        (dy * d, dx * d) for d in (1, 2) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)
    ]
    distances = torch.tensor([math.hypot(*o) for o in offsets], dtype=torch.float64)
    near = (-((distances / (distances.std() + 1e-8) / 0.3) ** 2)).softmax(0)
    y, x = 0, 4  # at the border, where the nearest pixel is repeated
    there = [(min(max(y + dy, 0), 4), min(max(x + dx, 0), 5)) for dy, dx in offsets]
    colours = torch.stack([images[0, :, a, b] for a, b in there])
    alike = -(((colours - images[0, :, y, x]) / (colours.std(0) + 1e-8) / 0.3) ** 2).mean(1)
    weights = alike.softmax(0) + 0.01 * near
    expected = sum(w * maps[0, 0, a, b] for w, (a, b) in zip(weights, there))
    refined = pixel_adaptive_refinement(images, maps, (1, 2), 1)
    torch.testing.assert_close(refined[0, 0, y, x], expected)


def test_smaller_maps_are_brought_to_the_images_size():
    images, maps = torch.rand(1, 3, 16, 20), torch.rand(1, 2, 4, 5)
    larger = F.interpolate(maps, (16, 20), mode="bilinear", align_corners=True)
    torch.testing.assert_close(
        pixel_adaptive_refinement(images, maps), pixel_adaptive_refinement(images, larger)
    )


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_an_even_image_gives_finite_maps(value):
    refined = pixel_adaptive_refinement(torch.full((1, 3, 9, 9), value), torch.rand(1, 2, 9, 9))
    assert refined.isfinite().all()


def test_the_refiner_has_one_stage_with_its_settings():
    (stage,) = refiner_stages(RefinerConfig("par", par=ParConfig((1, 2), 3)), CAM)
    assert (stage.name, stage.yields, stage.run) == (
        "pseudo_label",
        Kind.PSEUDO_LABEL,
        "methods.refiners.par:pseudo_label",
    )
    assert (stage.settings.background_threshold, stage.settings.dilations, stage.settings.iterations) == (
        0.3,
        (1, 2),
        3,
    )
