"""The refiner IRNet, pairs of cells: the paths between them, the walk along them, and the losses."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.base import IGNORE
from methods.refiners.affinity_labels import affinity_labels
from methods.refiners.irn.network import inter_pixel_losses
from methods.refiners.irn.paths import (
    _path_rows,
    pair_displacements,
    path,
    path_affinities,
    path_offsets,
    paths_by_length,
    walk_to_edges,
)
from tests.conftest import golden

pytestmark = pytest.mark.usefixtures("seeded")

# --- paths ------------------------------------------------------------------------------------------------


def test_displacements_are_the_published_ones_in_their_order():
    vector = golden("irn_paths")
    assert [list(o) for o in path_offsets(5)] == vector["radius5_displacements"].tolist()
    assert len(path_offsets(10)) == int(vector["radius10_count"])


@pytest.mark.parametrize("radius", [2, 3, 5, 10])
def test_paths_lead_from_a_cell_to_its_partner(radius):
    for offset in path_offsets(radius):
        cells = path(*offset)
        assert {(0, 0), offset} <= set(cells)
        assert len(set(cells)) == len(cells)
        for y, x in cells:  # from cell to partner in steps to neighbours, itself included
            assert any(max(abs(y - v), abs(x - u)) == 1 for v, u in cells)
    lengths = [{len(path(*offset)) for offset in group} for group in paths_by_length(radius)]
    assert all(len(found) == 1 for found in lengths)


def path_loop(dy: int, dx: int) -> list[tuple[int, int]]:
    """Pixels of the bounding box at perpendicular distance < 1 from the segment."""
    box = product(range(min(0, dy), max(0, dy) + 1), range(min(0, dx), max(0, dx) + 1))
    return [(y, x) for y, x in box if abs(y * dx - x * dy) / math.hypot(dy, dx) < 1]


@pytest.mark.parametrize(("radius", "size"), [(2, (3, 5)), (3, (6, 8)), (5, (9, 11))])
def test_affinity_is_one_minus_the_strongest_edge_of_the_path(radius, size):
    edges = torch.rand(2, 1, *size, dtype=torch.float64)
    found = path_affinities(edges, radius)
    reach, offsets = radius - 1, path_offsets(radius)
    assert found.shape == (2, len(offsets), size[0] - reach, size[1] - 2 * reach)
    for n, p, y, x in np.ndindex(*found.shape):
        strongest = max(float(edges[n, 0, y + v, x + reach + u]) for v, u in path_loop(*offsets[p]))
        assert float(found[n, p, y, x]) == pytest.approx(1 - strongest)


# --- walk -------------------------------------------------------------------------------------------------


def test_walk_is_the_published_one():
    vector = golden("irn_walk_r5")
    cam, edge = torch.from_numpy(vector["cam"])[None], torch.from_numpy(vector["edge"])[None]
    walked = walk_to_edges(cam, edge, int(vector["radius"]), float(vector["beta"]), int(vector["exp_times"]))
    np.testing.assert_allclose(walked[0], vector["walked"], rtol=1e-3)


@settings(max_examples=20)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(2, 5))
def test_walk_keeps_the_size_of_any_grid(height, width, radius):
    cams, edges = torch.rand(2, 3, height, width), torch.rand(2, 1, height, width)
    walked = walk_to_edges(cams, edges, radius, 10, 3)
    assert walked.shape == cams.shape
    alone = walk_to_edges(cams[1:], edges[1:], radius, 10, 3)
    torch.testing.assert_close(walked[1:], alone)


def test_walk_does_not_pass_an_edge():
    cams, edges = torch.zeros(1, 1, 8, 12), torch.zeros(1, 1, 8, 12)
    cams[..., 4, 2] = 1
    edges[..., 6] = 1
    walked = walk_to_edges(cams, edges, 5, 10, 8)
    assert (walked[..., :6] > 0).all()
    assert walked[..., 6:].abs().max() < 1e-12


# --- losses -----------------------------------------------------------------------------------------------


def losses_loop(
    edges: np.ndarray, displacements: np.ndarray, labels: np.ndarray, stride: int, radius: int
) -> dict[str, float]:
    """The losses pair by pair; of first cells all of whose partners are in the grid."""
    cells = labels[:, ::stride, ::stride]
    batch, height, width = cells.shape
    reach = radius - 1
    sums: dict[str, list[float]] = {name: [] for name in ("bg", "fg", "neg", "dp_fg", "dp_bg")}
    for n, y, x, dy, dx in product(
        range(batch), range(height - reach), range(reach, width - reach), range(radius), range(-reach, radius)
    ):
        if not 0 < dy * dy + dx * dx < radius * radius or (dy == 0 and dx < 0):
            continue
        one, two = cells[n, y, x], cells[n, y + dy, x + dx]
        if IGNORE in (one, two):
            continue
        affinity = 1 - max(edges[n, 0, y + v, x + u] for v, u in path_loop(dy, dx))
        difference = displacements[n, :, y, x] - displacements[n, :, y + dy, x + dx]
        if one != two:
            sums["neg"].append(-math.log(1 - affinity))
        elif one == 0:
            sums["bg"].append(-math.log(affinity))
            sums["dp_bg"].append(np.abs(difference).mean())
        else:
            sums["fg"].append(-math.log(affinity))
            sums["dp_fg"].append(np.abs(difference - (dy, dx)).mean())
    mean = {name: sum(values) / max(len(values), 1) for name, values in sums.items()}
    return {
        "affinity_background": mean["bg"] / 4,
        "affinity_foreground": mean["fg"] / 4,
        "affinity_negative": mean["neg"] / 2,
        "displacement_foreground": mean["dp_fg"] / 2,
        "displacement_background": mean["dp_bg"] / 2,
    }


@pytest.mark.parametrize("only", [None, 0, 1, IGNORE])
@pytest.mark.parametrize(("radius", "stride"), [(2, 1), (3, 4), (5, 2)])
def test_losses_are_those_of_the_pairs(radius, stride, only):
    source = np.random.default_rng(radius)
    size = (radius + 4, 2 * radius + 3)
    labels = source.choice([0, 0, 1, 1, 2, IGNORE], (2, size[0] * stride, size[1] * stride))
    if only is not None:
        labels[:] = only
    edges = source.uniform(0.05, 0.95, (2, 1, *size))
    displacements = source.normal(0, 3, (2, 2, *size))
    found = inter_pixel_losses(*map(torch.from_numpy, (edges, displacements, labels)), stride, radius)
    expected = losses_loop(edges, displacements, labels, stride, radius)
    assert {k: float(v) for k, v in found.items()} == pytest.approx(expected, rel=1e-3, abs=1e-9)


def test_gradients_of_the_losses():
    edges = torch.rand(1, 1, 4, 6, dtype=torch.float64, requires_grad=True)
    displacements = torch.randn(1, 2, 4, 6, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([[0, 0, 1, 1, 2, 255]] * 2 + [[0, 1, 1, 2, 2, 0]] * 2)[None]

    def total(edges: torch.Tensor, displacements: torch.Tensor) -> torch.Tensor:
        return torch.stack([*inter_pixel_losses(edges, displacements, labels, 1, 3).values()]).sum()

    assert torch.autograd.gradcheck(total, (edges, displacements))


def test_training_after_inference_of_the_same_radius():
    """What is kept between calls must serve both: a second seed trains after the first one's walk."""
    _path_rows.cache_clear()
    edges = torch.rand(1, 1, 5, 9, requires_grad=True)
    with torch.inference_mode():
        path_affinities(edges, 3)
    path_affinities(edges, 3).sum().backward()
    assert edges.grad is not None


def test_displacements_to_a_centre_have_no_loss():
    """Where each cell of an object points to one place, and background nowhere."""
    radius, size = 3, (6, 9)
    cells = torch.stack(torch.meshgrid(*map(torch.arange, size), indexing="ij")).float()
    labels = torch.zeros(1, *size, dtype=torch.long)
    labels[:, 1:4, 2:7] = 1
    centre = torch.tensor([2.0, 4.0])[:, None, None]
    displacements = torch.where(labels == 1, centre - cells, 0.0)[None]
    losses = inter_pixel_losses(torch.full((1, 1, *size), 0.5), displacements, labels, 1, radius)
    assert float(losses["displacement_foreground"]) == 0
    assert float(losses["displacement_background"]) == 0


def test_pairs_of_labels_and_of_displacements_are_the_same():
    radius, size = 4, (7, 10)
    offsets = path_offsets(radius)
    grid = torch.arange(70).view(1, 1, *size).float()
    pairs = pair_displacements(torch.cat([grid, grid], 1), radius)
    for p, (dy, dx) in enumerate(offsets):
        assert (pairs[:, :, p] == -(dy * size[1] + dx)).all()
    labels = torch.zeros(1, *size, dtype=torch.uint8)
    assert affinity_labels(labels, offsets).negative.shape == path_affinities(grid, radius).shape
