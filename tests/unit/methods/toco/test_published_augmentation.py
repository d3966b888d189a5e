"""ToCo's views at paper scale: 10 000 draws against the ranges and probabilities of datasets/voc.py in its code."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest

from datasets.loading.augment import Draw, draw, draw_views
from datasets.recipe import ColoursOnly
from methods.toco.presets import PRESETS

COUNT = 10_000
HEIGHT, WIDTH = 375, 500


@pytest.fixture(scope="module", params=["paper", "paper/coco2014"])
def views(request: pytest.FixtureRequest) -> list[Draw]:
    """global_view1, which is the training image; global_view2; local_view."""
    settings = PRESETS[request.param].training()
    epochs, indices = np.zeros(COUNT, int), np.arange(COUNT)
    sizes = np.tile([[HEIGHT, WIDTH]], (COUNT, 1))
    first = draw(settings.train.recipe, 0, epochs, indices, sizes)
    assert isinstance(settings.views()[1], ColoursOnly)
    return [first, *draw_views(settings.views(), first, 0, epochs, indices, sizes)]


def uniform(values: np.ndarray, low: float, high: float) -> None:
    assert low <= values.min() <= values.max() <= high
    assert kstest((values - low) / (high - low), "uniform").pvalue > 0.001


@pytest.mark.parametrize(("number", "blur", "solarise"), [(0, 1.0, 0.0), (1, 0.1, 0.2), (2, 0.5, 0.0)])
def test_colours(views: list[Draw], number: int, blur: float, solarise: float) -> None:
    """ColorJitter(.4, .4, .2, .1) with p .8; RandomGrayscale(.2); GaussianBlur(p, .1 to 2); Solarization(.2)."""
    view = views[number]
    brightness, contrast, saturation, hue = view.colour.T
    jittered = brightness != 1
    assert abs(jittered.mean() - 0.8) < 0.015
    assert ((contrast != 1) == jittered).all()
    assert ((hue != 0) == jittered).all()
    grey = saturation == 0
    assert abs(grey.mean() - 0.2) < 0.015
    assert abs(grey[jittered].mean() - 0.2) < 0.015  # whether jittered or not
    uniform(brightness[jittered], 0.6, 1.4)
    uniform(contrast[jittered], 0.6, 1.4)
    uniform(saturation[jittered & ~grey], 0.8, 1.2)
    uniform(hue[jittered], -0.1, 0.1)
    assert view.sigma is not None
    blurred = view.sigma > 0
    assert abs(blurred.mean() - blur) < 0.015
    uniform(view.sigma[blurred], 0.1, 2.0)
    assert abs((0.0 if view.solarised is None else view.solarised.mean()) - solarise) < 0.015


def test_the_training_image_is_scaled_mirrored_and_cropped(views: list[Draw]) -> None:
    """random_scaling in (.5, 2), a fair flip, and a crop of 448 anywhere, or the image anywhere in it."""
    rows, columns = views[0].rows, views[0].columns
    uniform(rows.resized, 0.5 * HEIGHT - 0.5, 2 * HEIGHT + 0.5)
    assert np.abs(rows.resized / HEIGHT - columns.resized / WIDTH).max() < 0.003
    assert abs(columns.flip.mean() - 0.5) < 0.015
    assert (rows.length == HEIGHT).all()
    slack = rows.resized - 448
    assert (np.minimum(slack, 0) <= rows.offset).all()
    assert (rows.offset <= np.maximum(slack, 0)).all()


def test_the_second_image_is_a_random_resized_crop(views: list[Draw]) -> None:
    """RandomResizedCrop(448, scale=(.4, 1)): torchvision's aspect ratios, 3/4 to 4/3."""
    rows, columns = views[1].rows, views[1].columns
    assert (rows.resized == 448).all()
    assert (columns.resized == 448).all()
    area, aspect = rows.length * columns.length / (HEIGHT * WIDTH), columns.length / rows.length
    assert 0.4 - 0.005 < area.min() < 0.41
    assert 0.95 < area.max() <= 1
    assert 0.75 - 0.01 < aspect.min() < 0.77
    assert 1.3 < aspect.max() < 4 / 3 + 0.01
    assert abs(columns.flip.mean() - 0.5) < 0.015


def test_local_crops_are_cut_from_the_training_image_in_other_colours(views: list[Draw]) -> None:
    first, second, local = views
    assert local[:2] == first[:2]
    for other in (second, local):
        assert abs(np.corrcoef(other.colour[:, 0], first.colour[:, 0])[0, 1]) < 0.04
    assert abs(np.corrcoef(second.columns.flip, first.columns.flip)[0, 1]) < 0.04
