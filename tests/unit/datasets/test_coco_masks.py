"""Masks of COCO: polygons and run lengths against pycocotools, what lies over what, COCO-Stuff's values."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.base import IGNORE, DataError
from datasets.coco.annotations import CATEGORY_IDS, CLASSES
from datasets.coco.masks import Instance, from_stuff, read_instances, render, stuff_table

HEIGHT, WIDTH = 24, 32
# fmt: off
PYCOCOTOOLS = {
    "triangle": (
        [3.2, 2.7, 28.4, 5.1, 12.9, 21.6],
        [99, 2, 22, 4, 20, 6, 18, 8, 16, 10, 14, 12, 12, 14, 11, 15, 9, 17, 7, 17, 7, 16, 8, 15, 9, 14, 10, 13, 11, 12,
         12, 11, 13, 10, 15, 7, 17, 6, 18, 5, 19, 4, 20, 3, 21, 2, 22, 1, 114]),
    "star": (
        [16, 1, 19.3, 9.2, 28.5, 9.6, 21.2, 15.1, 24.1, 23.4, 16, 18.3, 7.6, 22.9, 10.5, 14.8, 3.4, 9.7, 12.6, 9.1],
        [130, 1, 23, 2, 22, 3, 20, 4, 7, 2, 11, 5, 4, 4, 11, 12, 12, 12, 12, 11, 11, 13, 9, 14, 7, 17, 7, 17, 10, 14,
         12, 13, 13, 11, 13, 12, 12, 6, 1, 6, 11, 5, 5, 3, 11, 4, 8, 2, 10, 4, 20, 3, 22, 1, 133]),
    "leaves the image": (
        [20.5, 10.5, 40, 3, 36, 30, 18.2, 23.9],
        [454, 2, 17, 7, 11, 13, 10, 14, 10, 14, 9, 15, 9, 15, 9, 15, 8, 16, 8, 16, 7, 17, 7, 17, 7, 17, 6, 18]),
    "crosses itself": (
        [4, 4, 28, 20, 28, 4, 4, 20],
        [100, 16, 9, 14, 11, 12, 12, 12, 13, 10, 15, 8, 16, 8, 17, 6, 19, 4, 20, 4, 21, 2, 70, 2, 21, 4, 20, 4, 19, 6,
         17, 8, 16, 8, 15, 10, 13, 12, 12, 12, 11, 14, 9, 16, 100]),
}
"""Polygons, and the run lengths that pycocotools 2.0.8 makes of them in an image of 32x24."""
# fmt: on


def filled(corners: list[float]) -> np.ndarray:
    return render([Instance(0, False, (np.array(corners).reshape(-1, 2),))], HEIGHT, WIDTH)


def unrolled(counts: list[int], height: int, width: int) -> np.ndarray:
    """Mask (H, W) of lengths of runs that alternate from 0 to 1 and go down the columns."""
    return np.repeat(np.arange(len(counts)) % 2, counts).reshape(width, height).T


def rectangle(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


@pytest.mark.parametrize("name", PYCOCOTOOLS)
def test_polygons_are_filled_as_pycocotools_fills_them(name: str) -> None:
    corners, counts = PYCOCOTOOLS[name]
    assert np.array_equal(filled(corners), unrolled(counts, HEIGHT, WIDTH))


@given(st.lists(st.tuples(st.integers(-9, 40), st.integers(-9, 30)), min_size=3, max_size=12))
def test_a_pixel_is_set_where_its_centre_lies_inside(corners: list[tuple[int, int]]) -> None:
    """By the even-odd rule, against a ray for every pixel; away from edges, which pycocotools draws in fifths."""
    points = [(float(x), float(y)) for x, y in corners]
    mask = filled([c for point in points for c in point])
    for row, column in [(0, 0), (5, 7), (12, 16), (23, 31), (18, 3)]:
        x, y, inside = column + 0.5, row + 0.5, False
        close = False
        for (x0, y0), (x1, y1) in zip(points, [*points[1:], points[0]]):
            along = (x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)
            share = min(max(along / (((x1 - x0) ** 2 + (y1 - y0) ** 2) or 1), 0), 1)
            close |= np.hypot(x0 + share * (x1 - x0) - x, y0 + share * (y1 - y0) - y) < 0.75
            if (y0 <= y) != (y1 <= y):
                inside ^= x0 + (y - y0) * (x1 - x0) / (y1 - y0) <= x
        assert close or mask[row, column] == inside


@given(st.lists(st.integers(0, 40), min_size=1, max_size=9).filter(any), st.data())
def test_run_lengths_go_down_the_columns(runs: list[int], data: st.DataObject) -> None:
    total = sum(runs)
    height = data.draw(st.sampled_from([h for h in range(1, total + 1) if total % h == 0]))
    mask = render([Instance(0, False, counts=np.array(runs))], height, total // height)
    flat = [k % 2 for k, run in enumerate(runs) for _ in range(run)]
    assert mask.T.reshape(-1).tolist() == flat


@pytest.mark.parametrize("corner", [1e9, -1e9, float("inf"), float("nan"), 1e300, 10**400])
def test_corners_that_would_crash_pycocotools_are_refused(corner: float, tmp_path: Path) -> None:
    content = {
        "categories": [{"id": i, "name": n} for i, n in zip(CATEGORY_IDS, CLASSES)],
        "images": [{"id": 7, "file_name": "COCO_val2014_000000000007.jpg", "height": 9, "width": 9}],
        "annotations": [
            {
                "id": 3,
                "image_id": 7,
                "category_id": 1,
                "segmentation": [[1, 1, 5, corner, 5, 5], [1, 1, 4, 1, 4, 4]],
            }
        ],
    }
    (tmp_path / "instances.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="annotation 3 has no outline that can be drawn"):
        read_instances(tmp_path / "instances.json")


@pytest.mark.parametrize("corners", [[], [1, 1], [1, 1, 8, 8]])
def test_fewer_than_three_corners_have_no_inside(corners: list[float]) -> None:
    assert not filled(corners).any()
    assert not render([Instance(0, False)], HEIGHT, WIDTH).any()


def test_smaller_objects_lie_over_larger_ones_and_crowds_under_all() -> None:
    large, small = rectangle(0, 0, 20, 20), rectangle(5, 5, 10, 10)
    crowd = np.array([0, HEIGHT * WIDTH])  # all over the image
    objects = [
        Instance(3, False, (small,)),
        Instance(0, True, counts=crowd),
        Instance(79, False, (large,)),
    ]
    expected = np.full((HEIGHT, WIDTH), IGNORE, np.uint8)
    expected[:20, :20] = 80
    expected[5:10, 5:10] = 4
    for order in (objects, objects[::-1]):
        assert np.array_equal(render(order, HEIGHT, WIDTH), expected)


def test_an_object_in_parts_is_their_union() -> None:
    parts = (rectangle(0, 0, 8, 8), rectangle(4, 4, 12, 12), rectangle(20, 2, 22, 4))
    mask = render([Instance(0, False, parts)], HEIGHT, WIDTH)
    assert mask.sum() == 64 + 64 - 16 + 4


@pytest.mark.parametrize("counts", [[5, 5], [HEIGHT * WIDTH + 4, -4]])
def test_run_lengths_that_do_not_fill_the_image(counts: list[int]) -> None:
    with pytest.raises(DataError, match=r"run lengths of .* pixels for an image of 32x24"):
        render([Instance(0, False, counts=np.array(counts))], HEIGHT, WIDTH)


def test_values_of_coco_stuff_become_the_eighty_classes() -> None:
    table = stuff_table()
    named = {"person": 0, "stop sign": 12, "backpack": 26, "toilet": 69, "toothbrush": 89}
    for name, value in named.items():
        assert table[value] == CLASSES.index(name) + 1
    assert table[255] == 255
    assert table[91:182].max() == 0  # stuff
    assert sorted(table[table > 0].tolist()) == [*range(1, 81), 255]
    assert len(CATEGORY_IDS) == len(CLASSES) == 80


def test_maps_of_another_size_or_with_other_values() -> None:
    assert from_stuff(np.array([[0, 255, 150]], np.uint8), (1, 3), "x").tolist() == [[1, 255, 0]]
    with pytest.raises(DataError, match="x: map of 3x1 for an image of 2x2"):
        from_stuff(np.zeros((1, 3), np.uint8), (2, 2), "x")
    with pytest.raises(DataError, match=r"x: value 182, but COCO-Stuff has 0\.\.181 and 255"):
        from_stuff(np.array([[182]], np.uint8), (1, 1), "x")
