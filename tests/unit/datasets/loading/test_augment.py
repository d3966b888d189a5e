"""Augmentation on the device: equal to torchvision's operations, aligned, reproducible."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as tv

from datasets.loading.augment import (
    Augmented,
    Axis,
    Draw,
    augment,
    draw,
    draw_views,
    permutation,
    plan,
    uniforms,
)
from datasets.recipe import IMAGENET, ColoursOnly, Normalisation, Recipe

RAW = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
STILL = np.array([[1.0, 1.0, 1.0, 0.0]])


def carry_out(
    parameters: Draw,
    sources: list[torch.Tensor],
    crop: int,
    maps: int = 0,
    normalisation: Normalisation = RAW,
) -> Augmented:
    """Augment sources, each uint8 (C, H, W), the way the loader does: windows in one canvas."""
    steps, windows = plan(parameters, crop, normalisation)
    top, bottom, left, right = windows.T
    canvas = torch.zeros(
        (len(sources), int((right - left).max()), len(sources[0]), int((bottom - top).max())),
        dtype=torch.uint8,
    )
    for j, source in enumerate(sources):
        window = source[:, top[j] : bottom[j], left[j] : right[j]].permute(2, 0, 1)
        canvas[j, : window.shape[0], :, : window.shape[2]] = window
    return augment(canvas, steps, normalisation, maps)


def drawn(recipe: Recipe, sources: list[torch.Tensor], seed: int = 0, epoch: int = 0) -> Draw:
    count = len(sources)
    sizes = np.array([s.shape[1:] for s in sources])
    return draw(recipe, seed, np.full(count, epoch), np.arange(count), sizes)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def fixed(size: tuple[int, int], resized: tuple[int, int], offset: tuple[int, int], flip: bool) -> Draw:
    axes = [
        Axis(np.array([0]), np.array([size[a]]), np.array([resized[a]]), np.array([offset[a]]), np.array([f]))
        for a, f in ((0, False), (1, flip))
    ]
    return Draw(axes[0], axes[1], STILL)


@pytest.mark.parametrize("resized", [(37, 50), (20, 27), (9, 12), (74, 100), (37, 61), (90, 31)])
@pytest.mark.parametrize("flip", [False, True])
def test_equals_resize_crop_and_flip_of_the_whole_image(resized: tuple[int, int], flip: bool) -> None:
    image, crop = noise(3, 37, 50), 24
    offset = (min(3, resized[0] - crop), min(5, resized[1] - crop))
    ours = carry_out(fixed((37, 50), resized, offset, flip), [image], crop)

    expected = tv.resize(image.float(), list(resized), antialias=True) / 255
    expected = tv.crop(expected, *offset, crop, crop)  # pads with zeros where the image is smaller
    inside = tv.crop(torch.ones(1, *resized), *offset, crop, crop)
    if flip:
        expected, inside = expected.flip(-1), inside.flip(-1)
    torch.testing.assert_close(ours.images[0], expected, atol=2e-5, rtol=0)
    assert torch.equal(ours.valid[0], inside.bool())


@given(st.integers(5, 40), st.integers(5, 40), st.floats(0.3, 2.5), st.integers(0, 10**6))
def test_any_scale_equals_torchvision(height: int, width: int, factor: float, seed: int) -> None:
    image = noise(3, height, width, seed=seed)
    recipe = Recipe(crop=16, scale=(factor, factor), flip=0)
    parameters = drawn(recipe, [image], seed)
    resized = [max(round(height * factor), 1), max(round(width * factor), 1)]
    expected = tv.resize(image.float(), resized, antialias=True) / 255
    offset = int(parameters.rows.offset[0]), int(parameters.columns.offset[0])
    expected = tv.crop(expected, *offset, 16, 16)
    torch.testing.assert_close(carry_out(parameters, [image], 16).images[0], expected, atol=2e-5, rtol=0)


def test_resize_crop_equals_torchvision() -> None:
    images = [noise(3, 30, 44, seed=i) for i in range(8)]
    parameters = drawn(Recipe(crop=20, resize_crop=(0.2, 1.0), flip=0), images)
    ours = carry_out(parameters, images, 20)
    assert ours.valid.all()
    for j, image in enumerate(images):
        box = [int(a[j]) for axis in (0, 1) for a in (parameters[0][axis], parameters[1][axis])]
        expected = tv.resized_crop(image.float(), *box, [20, 20], antialias=True) / 255
        torch.testing.assert_close(ours.images[j], expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("size", [(30, 40), (10, 200), (200, 10)])
def test_resize_crop_boxes_stay_inside(size: tuple[int, int]) -> None:
    images = [torch.zeros(3, *size, dtype=torch.uint8)] * 200
    rows, columns, *_ = drawn(Recipe(crop=8, resize_crop=(0.08, 1.0)), images)
    assert (rows.start >= 0).all()
    assert (rows.start + rows.length <= size[0]).all()
    assert (columns.start + columns.length <= size[1]).all()
    aspect = columns.length / rows.length
    assert ((aspect > 0.6) & (aspect < 1.7)).all()  # 3/4 to 4/3 up to rounding


def position_image(height: int, width: int) -> torch.Tensor:
    """Pixels that encode their position: red = row, green = column."""
    rows = torch.arange(height, dtype=torch.uint8)[:, None].expand(height, width)
    columns = torch.arange(width, dtype=torch.uint8)[None].expand(height, width)
    return torch.stack([rows, columns, torch.zeros_like(rows)])


@given(st.integers(0, 10**6), st.sampled_from(["long", "scale", "area"]))
def test_dense_maps_move_along(seed: int, kind: str) -> None:
    recipe = {
        "long": Recipe(crop=32, resize_long=(24, 70)),
        "scale": Recipe(crop=32, scale=(0.4, 2.0)),
        "area": Recipe(crop=32, resize_crop=(0.1, 1.0)),
    }[kind]
    image = position_image(40, 55)
    # The red channel again as a continuous map and as labels.
    source = torch.cat([image, image[:1], image[:1]])
    result = carry_out(drawn(recipe, [source], seed), [source], 32, maps=1)
    inside = result.valid[0, 0]
    torch.testing.assert_close(result.maps[0, 0], result.images[0, 0], atol=1e-6, rtol=0)
    assert (result.images[0][:, ~inside] == 0).all()
    assert (result.labels[0, 0][~inside] == 255).all()
    assert (result.maps[0, 0][~inside] == 0).all()
    # Nearest labels are the rows: within half a step of the bilinear ramp, away from its ends.
    rows = result.images[0, 0] * 255
    away = inside & (rows > 2) & (rows < 37)
    assert ((result.labels[0, 0] - rows).abs()[away] <= 0.51).all()


def test_labels_are_nearest_and_never_mixed() -> None:
    labels = torch.where(noise(1, 30, 30) > 127, 255, 3).to(torch.uint8)
    source = torch.cat([noise(3, 30, 30), labels])
    result = carry_out(drawn(Recipe(crop=50, scale=(1.3, 1.3), flip=0), [source]), [source], 50)
    assert set(result.labels.unique().tolist()) <= {3, 255}
    assert result.labels.dtype == torch.int64
    expected = tv.resize(labels, [39, 39], interpolation=tv.InterpolationMode.NEAREST_EXACT)
    inside = result.valid[0, 0]
    assert torch.equal(result.labels[0, 0][inside], expected.flatten().long())


def test_outside_becomes_the_mean_after_normalising() -> None:
    image = noise(3, 10, 10)
    recipe = Recipe(crop=20, brightness=0.5, contrast=0.5, hue=0.2)
    result = carry_out(drawn(recipe, [image]), [image], 20, normalisation=IMAGENET)
    assert (result.images[0][:, ~result.valid[0, 0]] == 0).all()
    assert int(result.valid.sum()) == 100


def test_samples_do_not_depend_on_their_batch() -> None:
    recipe = Recipe(crop=32, resize_long=(24, 80), brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1)
    sources = [noise(3, 20 + 5 * i, 60 - 6 * i, seed=i) for i in range(6)]
    together = drawn(recipe, sources)
    images = carry_out(together, sources, 32, normalisation=IMAGENET).images
    sizes = np.array([sources[4].shape[1:]])
    alone = draw(recipe, 0, np.array([0]), np.array([4]), sizes)
    torch.testing.assert_close(
        images[4], carry_out(alone, [sources[4]], 32, normalisation=IMAGENET).images[0]
    )


# Colour


def coloured(image: torch.Tensor, *factors: float) -> torch.Tensor:
    size = (image.shape[1], image.shape[2])
    parameters = fixed(size, size, (0, 0), False)._replace(colour=np.array([factors]))
    return carry_out(parameters, [image], size[0]).images[0]


@pytest.mark.parametrize(
    ("factors", "reference"),
    [
        ((1.3, 1, 1, 0), lambda x: tv.adjust_brightness(x, 1.3)),
        ((1, 0.6, 1, 0), lambda x: tv.adjust_contrast(x, 0.6)),
        ((1, 1.4, 1, 0), lambda x: tv.adjust_contrast(x, 1.4)),
        ((1, 1, 0.5, 0), lambda x: tv.adjust_saturation(x, 0.5)),
        ((1, 1, 1.5, 0), lambda x: tv.adjust_saturation(x, 1.5)),
        ((0.8, 0.7, 0.9, 0), lambda x: tv.adjust_saturation(tv.adjust_contrast(x * 0.8, 0.7), 0.9)),
    ],
)
def test_jitter_agrees_with_torchvision(factors, reference) -> None:
    image = noise(3, 24, 24)
    # 2e-3: torchvision's grey weights are rounded to sum to .9999
    torch.testing.assert_close(coloured(image, *factors), reference(image / 255), atol=2e-3, rtol=0)


def test_hue_turns_chroma_and_keeps_luma() -> None:
    image = (noise(3, 16, 16) // 4 + 96).to(torch.uint8)  # far from the clamp
    luma = torch.tensor([0.299, 0.587, 0.114])
    turned = coloured(image, 1, 1, 1, 0.25)
    torch.testing.assert_close(
        torch.einsum("c,chw->hw", luma, turned),
        torch.einsum("c,chw->hw", luma, image / 255),
        atol=1e-5,
        rtol=0,
    )
    assert (turned - image / 255).abs().max() > 0.05
    torch.testing.assert_close(coloured(image, 1, 1, 1, 1.0), image / 255, atol=1e-5, rtol=0)


def test_contrast_pivots_on_the_pixels_inside() -> None:
    image = torch.full((3, 8, 8), 100, dtype=torch.uint8)
    parameters = fixed((8, 8), (8, 8), (-4, -4), False)._replace(colour=np.array([[1, 0.2, 1, 0]]))
    result = carry_out(parameters, [image], 16)
    torch.testing.assert_close(result.images[0, 0][result.valid[0, 0]], torch.full((64,), 100 / 255))


def test_values_are_clamped_before_normalising() -> None:
    image = torch.full((3, 8, 8), 200, dtype=torch.uint8)
    parameters = fixed((8, 8), (8, 8), (0, 0), False)._replace(colour=np.array([[2.0, 1, 1, 0]]))
    result = carry_out(parameters, [image], 8, normalisation=IMAGENET).images[0, :, 0, 0]
    expected = [(1 - m) / s for m, s in zip(*IMAGENET)]
    torch.testing.assert_close(result, torch.tensor(expected))


def test_a_saturation_of_0_is_torchvisions_grey() -> None:
    image = noise(3, 24, 24)
    expected = tv.rgb_to_grayscale(image / 255, num_output_channels=3)
    torch.testing.assert_close(coloured(image, 1, 1, 0, 0.3), expected, atol=2e-3, rtol=0)


def repeated(parameters: Draw, count: int) -> Draw:
    """Those of one sample for several."""
    axes = [Axis(*(a.repeat(count) for a in axis)) for axis in parameters[:2]]
    return Draw(axes[0], axes[1], parameters.colour.repeat(count, 0))


def test_every_image_is_blurred_by_its_own_sigma() -> None:
    images = [noise(3, 40, 36, seed=i) for i in range(3)]
    sigma = np.array([0.0, 0.5, 2.0])
    still = repeated(fixed((40, 36), (40, 36), (0, 0), False), 3)
    found = carry_out(still._replace(sigma=sigma), images, 40).images[..., :36]
    assert torch.equal(found[0], carry_out(still, images, 40).images[0, :, :, :36])
    for j in (1, 2):
        expected = tv.gaussian_blur(images[j] / 255, [13, 13], [sigma[j]] * 2)
        # Near the border torchvision mirrors the image, and the padding has a part in ours.
        torch.testing.assert_close(found[j, :, 6:-6, 6:-6], expected[:, 6:-6, 6:-6], atol=1e-5, rtol=0)
    assert found[2].var() < found[1].var() < found[0].var()


@pytest.mark.parametrize("normalisation", [RAW, IMAGENET])
def test_solarising_inverts_the_brighter_half(normalisation: Normalisation) -> None:
    images = [noise(3, 24, 24, seed=i) for i in range(2)]
    still = repeated(fixed((24, 24), (24, 24), (0, 0), False), 2)
    found = carry_out(
        still._replace(solarised=np.array([True, False])), images, 24, normalisation=normalisation
    )
    for image, expected in zip(found.images, (tv.solarize(images[0], 128), images[1])):
        torch.testing.assert_close(image, tv.normalize(expected / 255, *normalisation), atol=1e-5, rtol=0)


# Random parameters


def test_parameters_follow_from_seed_epoch_and_sample() -> None:
    recipe = Recipe(crop=32, resize_long=(24, 80), brightness=0.3, hue=0.1)
    sizes = np.array([[40, 50]] * 5)
    indices = np.array([3, 1, 4, 1, 5])
    first = draw(recipe, 7, np.zeros(5, int), indices, sizes)
    order = [2, 0, 4, 1, 3]
    shuffled = draw(recipe, 7, np.zeros(5, int), indices[order], sizes)
    assert np.array_equal(first.colour[order], shuffled.colour)
    assert np.array_equal(first.rows.resized[order], shuffled.rows.resized)
    assert np.array_equal(first.colour[1], first.colour[3])
    for other in (
        draw(recipe, 8, np.zeros(5, int), indices, sizes),
        draw(recipe, 7, np.ones(5, int), indices, sizes),
    ):
        assert not np.isclose(first.colour, other.colour)[:, [0, 3]].any()


def test_settings_do_not_shift_each_others_numbers() -> None:
    sizes = np.array([[40, 50]] * 64)
    indices, epochs = np.arange(64), np.zeros(64, int)
    plain = draw(Recipe(crop=32, resize_long=(40, 80)), 0, epochs, indices, sizes)
    jittered = draw(Recipe(crop=32, resize_long=(40, 80), hue=0.1), 0, epochs, indices, sizes)
    assert np.array_equal(plain.columns.flip, jittered.columns.flip)
    assert np.array_equal(plain.rows.offset, jittered.rows.offset)


def test_ranges_are_covered() -> None:
    recipe = Recipe(
        crop=32, resize_long=(40, 44), flip=0.3, brightness=0.3, contrast=0.2, saturation=0.1, hue=0.05
    )
    sizes = np.array([[30, 20]] * 4000)
    rows, columns, colour, *_ = draw(recipe, 0, np.zeros(4000, int), np.arange(4000), sizes)
    assert set(rows.resized) == {40, 41, 42, 43, 44}
    assert set(rows.offset[rows.resized == 44]) == set(range(13))
    assert set(columns.offset[columns.resized == 27]) == set(range(-5, 1))
    assert abs(columns.flip.mean() - 0.3) < 0.03
    assert not rows.flip.any()
    spread = np.abs(colour - [1, 1, 1, 0]).max(0)
    assert np.allclose(spread, [0.3, 0.2, 0.1, 0.05], rtol=0.01)


def test_a_view_in_other_colours_shows_the_same_part() -> None:
    sizes = np.array([[40, 50]] * 500)
    epochs, indices = np.zeros(500, int), np.arange(500)
    recipe = Recipe(crop=32, scale=(0.5, 2.0), hue=0.1, blur=0.5)
    first = draw(recipe, 3, epochs, indices, sizes)
    colours, crop = draw_views([ColoursOnly(recipe), recipe], first, 3, epochs, indices, sizes)
    assert colours[:2] == first[:2]
    for other in (colours, crop):
        assert abs(np.corrcoef(other.colour[:, 3], first.colour[:, 3])[0, 1]) < 0.15
        assert abs(np.corrcoef(other.sigma, first.sigma)[0, 1]) < 0.15
    assert not np.array_equal(crop.rows.resized, first.rows.resized)


def test_uniforms_are_uniform_and_independent() -> None:
    u = uniforms(0, 3, np.arange(20000), 4)
    assert u.min() >= 0
    assert u.max() < 1
    assert np.abs(u.mean(0) - 0.5).max() < 0.01
    assert np.abs(u.var(0) - 1 / 12).max() < 0.002
    assert np.abs(np.corrcoef(u.T) - np.eye(4)).max() < 0.03
    assert abs(np.corrcoef(u[1:, 0], u[:-1, 0])[0, 1]) < 0.03


def test_uniforms_are_pinned() -> None:
    """Artifacts of earlier runs depend on these numbers."""
    expected = [0.1300857085561754, 0.4373184320319292]
    assert np.allclose(uniforms(1, 2, np.array([3]), 2), [expected], atol=1e-12)


@given(st.integers(0, 2**31), st.integers(0, 1000), st.integers(1, 200))
def test_orders_are_permutations(seed: int, epoch: int, size: int) -> None:
    order = permutation(seed, epoch, size)
    assert np.array_equal(np.sort(order), np.arange(size))
    assert np.array_equal(order, permutation(seed, epoch, size))


def test_orders_differ_by_epoch_and_seed() -> None:
    orders = [permutation(s, e, 100).tolist() for s in (0, 1) for e in (0, 1)]
    assert len({tuple(o) for o in orders}) == 4


def test_defaults_leave_an_image_of_the_crop_s_size_alone() -> None:
    image = noise(3, 24, 24)
    result = carry_out(drawn(replace(Recipe(), crop=24, flip=0), [image]), [image], 24)
    torch.testing.assert_close(result.images[0], image / 255, atol=1e-6, rtol=0)
