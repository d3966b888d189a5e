"""Views within a fixed frame: what is turned, mirrored and scaled comes back where it was."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from methods.layers.sam.views import (
    Frame,
    View,
    _resized,
    all_views,
    draw_views,
    placed,
    placed_points,
    placed_size,
    restored,
    turned,
    turned_back,
)

sides = st.integers(1, 53)
turns = st.integers(0, 3)
scales = st.sampled_from([0.5, 1.0, 2.0])
fineness = st.sampled_from([1.0, 4 / 3, 2.0, 2.7])
"""SAM's frame to the longer side of the image, which the scale 2 fills: at scale .5 a view has then a quarter, a
third (128 pixels for 96, as at nano), half or two thirds of the image's pixels a side."""


@given(sides, sides, st.booleans(), turns, st.integers(0, 99))
def test_turning_back_is_exact_for_any_size(
    height: int, width: int, mirror: bool, turn: int, seed: int
) -> None:
    masks = torch.rand(2, height, width, generator=torch.Generator().manual_seed(seed)) > 0.5
    view = View(mirror, turn)
    seen = turned(masks, view)
    assert seen.shape == ((2, width, height) if turn % 2 else (2, height, width))
    assert torch.equal(turned_back(seen, view), masks)
    if min(height, width) > 3 and (mirror or turn):
        assert not torch.equal(turned(torch.arange(height * width).view(height, width), view).flatten()[:9],
                               torch.arange(9))  # fmt: skip


@given(sides, sides, st.booleans(), turns, st.integers(0, 99))
def test_views_of_the_frames_own_scale_come_back_exactly(
    height: int, width: int, mirror: bool, turn: int, seed: int
) -> None:
    images = torch.rand(1, 2, height, width, generator=torch.Generator().manual_seed(seed))
    view, frame = View(mirror, turn), Frame(max(height, width))
    assert torch.equal(restored(placed(images, view, frame), (height, width), view, frame), images)


@given(st.integers(30, 150), st.integers(30, 150), st.booleans(), turns, scales, fineness)
def test_scaling_comes_back_within_one_source_pixel(
    height: int, width: int, mirror: bool, turn: int, scale: float, fine: float
) -> None:
    """Ramps of the pixels' own coordinates: what comes back at a pixel is where it was taken from, border included.

    The view is smoothed at its border as any image that is resized; inside, the kernel's few samples take a pixel from
    a few hundredths of a coarse cell aside.
    """
    view, frame = View(mirror, turn, scale), Frame(round(fine * max(height, width)), largest=2.0)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    ramps = torch.stack([x, y]).float()[None]
    back = restored(placed(ramps, view, frame), (height, width), view, frame)
    assert back.shape == ramps.shape
    assert (back - ramps).abs().max() <= 1.0


@pytest.mark.parametrize(("before", "length"), [(96, 80), (75, 64), (64, 96), (96, 24), (33, 50)])
def test_what_lies_at_the_border_stays_there(before: int, length: int) -> None:
    """A steep border beside a flat inside: cells whose kernel does not reach the border are flat still."""
    maps = torch.zeros(1, 1, 3, before)
    maps[..., :2] = torch.tensor([9.0, 1.0])
    maps[..., -2:] = torch.tensor([1.0, 9.0])
    resized = _resized(maps, (3, length))
    rim = math.ceil(3 * max(length / before, 1)) + 1
    assert resized[..., rim:-rim].abs().max() < 1e-6
    assert resized[..., 0].min() > 1


@given(st.integers(60, 150), st.integers(60, 150), st.booleans(), turns, scales, fineness, st.integers(0, 99))
def test_the_edge_of_a_mask_moves_by_no_more_than_a_pixel(
    height: int, width: int, mirror: bool, turn: int, scale: float, fine: float, seed: int
) -> None:
    """Discs through a view and back: all that changes lies within one source pixel of the edge."""
    view, frame = View(mirror, turn, scale), Frame(round(fine * max(height, width)), largest=2.0)
    cx, cy, r = (torch.rand(3, generator=torch.Generator().manual_seed(seed)) * 0.2 + 0.4).tolist()
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    distance = torch.hypot(x - cx * width, y - cy * height) - r * 0.6 * min(height, width)
    mask = (distance < 0).float()[None, None]
    back = restored(placed(mask, view, frame), (height, width), view, frame) > 0.5
    changed = distance[back[0, 0] != mask[0, 0].bool()]
    assert (changed.abs() <= 1.0).all()


@given(
    st.integers(60, 150), st.integers(60, 150), st.booleans(), turns, scales, fineness, st.booleans(),
    st.floats(0, 1), st.floats(0, 1), st.floats(0, 2 * math.pi), st.floats(14, 60),
)  # fmt: skip
def test_masks_that_touch_the_border_come_back_within_one_source_pixel(
    height: int, width: int, mirror: bool, turn: int, scale: float, fine: float, straight: bool,
    along: float, into: float, angle: float, radius: float,
) -> None:  # fmt: skip
    """Half planes and discs whose edge leaves the image anywhere, corners included, at any angle.

    At a quarter of the image's size, 4x4 pixels are one number. Where they are the image's outermost and an edge ends
    in them, nothing beyond tells where: there it may be off by a pixel and a half.
    """
    view, frame = View(mirror, turn, scale), Frame(round(fine * max(height, width)), largest=2.0)
    x, y = along * width, 4 * into  # on the edge, within four pixels of the border
    if turn % 2:
        x, y = 4 * into, along * height
    down, right = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    if straight:
        distance = (right - x) * math.cos(angle) + (down - y) * math.sin(angle)
    else:
        centre = (x + radius * math.cos(angle), y + radius * math.sin(angle))
        distance = torch.hypot(right - centre[0], down - centre[1]) - radius
    mask = (distance < 0).float()[None, None]
    back = restored(placed(mask, view, frame), (height, width), view, frame) > 0.5
    off = distance.abs() * (back[0, 0] != mask[0, 0].bool())
    cell = 2 / (fine * scale)  # side of the view's pixels in the image's
    if cell <= 3.1:
        assert off.max() <= 1.0
    else:
        rim = math.ceil(cell)
        assert off[rim : height - rim, rim : width - rim].max() <= 1.0
        assert off.max() <= 1.5


@given(st.integers(17, 90), st.integers(17, 90), st.booleans(), turns, scales, st.floats(0.3, 0.7))
def test_straight_edges_come_back_within_one_source_pixel(
    height: int, width: int, mirror: bool, turn: int, scale: float, at: float
) -> None:
    """An image as large as the frame: at scale .5 of 2 a cell is four pixels, and yet an edge stays in its place."""
    view, frame = View(mirror, turn, scale), Frame(max(height, width), largest=2.0)
    columns, rows = round(at * width), round(at * height)
    masks = torch.zeros(1, 2, height, width)
    masks[0, 0, :, :columns] = 1
    masks[0, 1, :rows] = 1
    back = restored(placed(masks, view, frame), (height, width), view, frame) > 0.5
    assert (back[0, 0].sum(1) - columns).abs().max() <= 1
    assert (back[0, 1].sum(0) - rows).abs().max() <= 1
    assert back[0, 0, :, 0].all()
    assert back[0, 1, 0].all()


@given(st.integers(1, 4), st.integers(90, 500), st.booleans(), st.booleans(), turns, scales)
def test_thin_images_come_back_in_their_place(
    short: int, long: int, upright: bool, mirror: bool, turn: int, scale: float
) -> None:
    """Whose view is a single row or column of pixels, of up to 15 of the image each."""
    view, frame = View(mirror, turn, scale), Frame(128, largest=2.0)
    ramp = torch.arange(long, dtype=torch.float32).expand(1, 1, short, long)
    images, size = (ramp.mT, (long, short)) if upright else (ramp, (short, long))
    assert 1 in placed_size(size, View(scale=0.5), frame)
    back = restored(placed(images, view, frame), size, view, frame)
    assert back.shape == images.shape
    cell = 2 / scale * long / 128
    assert (back - images).abs().max() <= max(1.0, 0.15 * cell)


@given(sides, sides, st.booleans(), turns, scales, st.sampled_from([64, 97]))
def test_a_view_lies_within_the_frame_at_its_own_scale(
    height: int, width: int, mirror: bool, turn: int, scale: float, side: int
) -> None:
    view, frame = View(mirror, turn, scale), Frame(side, largest=2.0)
    seen = placed(torch.ones(1, 1, height, width), view, frame)
    assert seen.shape == (1, 1, side, side)
    h, w = placed_size((height, width), view, frame)
    assert abs(max(h, w) - side * scale / 2) <= 0.5
    shape = (width, height) if turn % 2 else (height, width)
    assert abs(min(h, w) - max(1, min(shape) * side * scale / 2 / max(shape))) <= 0.5
    assert (h >= w) == (shape[0] >= shape[1]) or h == w
    assert (seen[..., :h, :w] > 0.99).all()
    assert seen[..., h:, :].abs().sum() == seen[..., :, w:].abs().sum() == 0


@given(st.integers(20, 90), st.integers(20, 90), st.booleans(), turns, scales, st.integers(0, 99))
def test_points_go_where_their_pixels_go(
    height: int, width: int, mirror: bool, turn: int, scale: float, seed: int
) -> None:
    view, frame = View(mirror, turn, scale), Frame(200, largest=2.0)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    ramps = placed(torch.stack([x, y]).float()[None], view, frame)
    inside = torch.tensor([width - 5, height - 5])
    points = torch.rand(6, 2, generator=torch.Generator().manual_seed(seed)) * inside + 2
    there = placed_points(points, (height, width), view, frame)
    read = torch.nn.functional.grid_sample(
        ramps, (2 * there + 1)[None, None] / 200 - 1, align_corners=False
    )[0, :, 0].T  # fmt: skip
    assert_close(read, points, atol=0.6, rtol=0)


def test_the_largest_scale_fills_the_frame_and_the_others_do_not() -> None:
    frame = Frame(128, largest=2.0)
    assert placed_size((72, 96), View(scale=2.0), frame) == (96, 128)
    assert placed_size((72, 96), View(turns=1, scale=1.0), frame) == (64, 48)
    assert placed_size((72, 96), View(scale=0.5), frame) == (24, 32)
    seen = placed(torch.ones(1, 1, 72, 96), View(scale=0.5), frame)
    assert seen.shape == (1, 1, 128, 128)
    assert seen.sum() == 24 * 32
    assert placed_size((1, 500), View(), Frame(64)) == (1, 64)


def test_views_are_listed_once_each_the_image_itself_first() -> None:
    views = all_views(True, (1, 2, 3, 4), (0.5, 1.0, 2.0))
    assert len(views) == len(set(views)) == 24
    assert views[0] == View()
    assert all_views(False, (4,), (1.0,)) == [View()]
    assert draw_views(views, None) == draw_views(views, 99) == views
    drawn = draw_views(views, 8)
    assert len(set(drawn)) == 8
    assert drawn[0] == View()
    assert drawn == draw_views(views, 8) != draw_views(views, 8, seed=1)
    with pytest.raises(AttributeError):
        drawn[0].turns = 2  # type: ignore[misc]
