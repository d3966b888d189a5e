"""The sparse walk: golden vectors of the dense one, and what holds for every transition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from methods.refiners.random_walk import SparseTransition, disc_offsets, random_walk
from tests.conftest import golden

OFFSETS = disc_offsets(5)


def dense_matrix(offsets, affinities: torch.Tensor, beta: float) -> torch.Tensor:
    """T (h w, h w) of one grid, pair by pair."""
    _, height, width = affinities.shape
    matrix = torch.eye(height * width, dtype=affinities.dtype)
    for p, (dy, dx) in enumerate(offsets):
        for y in range(height):
            for x in range(width):
                if y + dy < height and 0 <= x + dx < width:
                    here, there = y * width + x, (y + dy) * width + x + dx
                    matrix[here, there] = matrix[there, here] = affinities[p, y, x]
    matrix = matrix**beta
    return matrix / matrix.sum(0)


def taken_from(matrix: torch.Tensor, offsets, size: tuple[int, int]) -> torch.Tensor:
    """Affinities (P, h, w) out of a dense matrix (h w, h w); NaN for pairs that leave the grid."""
    cells = torch.arange(size[0] * size[1]).view(size)
    found = torch.full((len(offsets), *size), torch.nan, dtype=matrix.dtype)
    for p, (dy, dx) in enumerate(offsets):
        rows, columns = slice(0, size[0] - dy), slice(max(0, -dx), size[1] - max(0, dx))
        here = cells[rows, columns]
        found[p, rows, columns] = matrix[here, here + dy * size[1] + dx]
    return found


@pytest.mark.parametrize("logt", [6, 8])
def test_walk_equals_the_squared_dense_matrix(logt):
    vector = golden(f"psa_walk_logt{logt}")
    cam = torch.from_numpy(vector["cam"])
    affinities = taken_from(torch.from_numpy(vector["affinity"]), OFFSETS, (cam.shape[1], cam.shape[2]))
    transition = SparseTransition(OFFSETS, affinities[None], float(vector["beta"]))
    walked = random_walk(cam[None], transition, 2 ** int(vector["logt"]))
    np.testing.assert_allclose(walked[0], vector["walked"], rtol=1e-4)


def path(dy: int, dx: int) -> list[tuple[int, int]]:
    """Pixels of the bounding box at perpendicular distance < 1 from the segment (0, 0) to (dy, dx)."""
    box = [(y, x) for y in range(min(0, dy), max(0, dy) + 1) for x in range(min(0, dx), max(0, dx) + 1)]
    return [(y, x) for y, x in box if abs(y * dx - x * dy) < np.hypot(dy, dx)]


def test_walk_serves_irnet():
    vector = golden("irn_walk_r5")
    cam, edge = torch.from_numpy(vector["cam"]), torch.from_numpy(vector["edge"])[0]
    offsets = [(int(dy), int(dx)) for dy, dx in golden("irn_paths")["radius5_displacements"]]
    assert sorted(offsets) == sorted(OFFSETS)
    height, width = edge.shape
    padded = torch.ones(height + 8, width + 8)
    padded[4:-4, 4:-4] = edge
    affinities = torch.stack(
        [
            1
            - torch.stack([padded[4 + y : 4 + y + height, 4 + x : 4 + x + width] for y, x in path(*o)]).amax(
                0
            )
            for o in offsets
        ]
    )
    transition = SparseTransition(offsets, affinities[None], float(vector["beta"]))
    walked = random_walk((cam * (1 - edge))[None], transition, 2 ** int(vector["exp_times"]))
    np.testing.assert_allclose(walked[0], vector["walked"], rtol=1e-3)


grids = st.tuples(st.integers(1, 2), st.integers(1, 7), st.integers(1, 7))


def example(shape: tuple[int, int, int], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Affinities and scores of two classes in double precision."""
    batch, height, width = shape
    source = torch.Generator().manual_seed(seed)
    affinities = torch.rand(batch, len(OFFSETS), height, width, generator=source, dtype=torch.float64)
    return affinities, torch.rand(batch, 2, height, width, generator=source, dtype=torch.float64)


@given(grids, st.integers(0, 99), st.integers(0, 40))
def test_walk_equals_the_power_of_the_matrix(shape, seed, steps):
    affinities, scores = example(shape, seed)
    walked = random_walk(scores, SparseTransition(OFFSETS, affinities, 3), steps)
    for one, values, result in zip(affinities, scores, walked):
        power = torch.linalg.matrix_power(dense_matrix(OFFSETS, one, 3), steps)
        torch.testing.assert_close(result.flatten(1), values.flatten(1) @ power, rtol=1e-6, atol=1e-7)


@given(grids, st.integers(0, 99))
def test_columns_of_the_transition_sum_to_one_and_hold_probabilities(shape, seed):
    affinities, _ = example(shape, seed)
    batch, height, width = shape
    transition = SparseTransition(OFFSETS, affinities, 8)
    transposed = transition(torch.eye(batch * height * width, dtype=torch.float64))
    assert (transposed >= 0).all()
    torch.testing.assert_close(transposed.sum(1), torch.ones_like(transposed[0]))


@given(grids, st.integers(0, 99), st.integers(0, 300), st.just(0.0) | st.floats(1e-6, 1))
def test_a_constant_map_stays_what_it_is(shape, seed, steps, value):
    affinities, scores = example(shape, seed)
    transition = SparseTransition(OFFSETS, affinities.float(), 8)
    constant = torch.full_like(scores, value, dtype=torch.float32)
    torch.testing.assert_close(random_walk(constant, transition, steps), constant, rtol=1e-4, atol=0)


@given(grids, st.integers(0, 99), st.integers(0, 70), st.integers(0, 70))
def test_two_walks_are_one_longer_walk(shape, seed, first, second):
    affinities, scores = example(shape, seed)
    transition = SparseTransition(OFFSETS, affinities, 2)
    twice = random_walk(random_walk(scores, transition, first), transition, second)
    torch.testing.assert_close(twice, random_walk(scores, transition, first + second), rtol=1e-6, atol=1e-7)


def test_a_batch_walks_as_its_images_do():
    affinities, scores = example((2, 6, 9), 0)
    together = random_walk(scores, SparseTransition(OFFSETS, affinities, 8), 64)
    for i in range(2):
        alone = random_walk(scores[i : i + 1], SparseTransition(OFFSETS, affinities[i : i + 1], 8), 64)
        torch.testing.assert_close(together[i : i + 1], alone)


def test_scores_do_not_pass_a_wall_of_zero_affinity():
    affinities = torch.ones(1, len(OFFSETS), 6, 8)
    for p, (_, dx) in enumerate(OFFSETS):
        for x in range(8):
            if (x < 4) != (x + dx < 4):
                affinities[0, p, :, x] = 0
    scores = torch.zeros(1, 1, 6, 8)
    scores[0, 0, 2, 1] = 1
    walked = random_walk(scores, SparseTransition(OFFSETS, affinities, 8), 256)
    assert (walked[..., :4] > 0).all()
    assert (walked[..., 4:] == 0).all()


def test_offsets_are_half_a_disc():
    assert len(OFFSETS) == 34
    mirrored = {(-dy, -dx) for dy, dx in OFFSETS}
    disc = {(y, x) for y in range(-4, 5) for x in range(-4, 5) if 0 < y * y + x * x < 25}
    assert {*OFFSETS, *mirrored} == disc
    assert len(disc) == 68


def test_negative_steps_are_refused():
    affinities, scores = example((1, 3, 3), 0)
    with pytest.raises(ValueError, match="-1 steps"):
        random_walk(scores, SparseTransition(OFFSETS, affinities), -1)


@pytest.mark.gpu
def test_gpu_walks_as_the_cpu_does():
    affinities, scores = example((2, 9, 11), 0)
    expected = random_walk(scores, SparseTransition(OFFSETS, affinities, 8), 256)
    walked = random_walk(scores.cuda(), SparseTransition(OFFSETS, affinities.cuda(), 8), 256)
    torch.testing.assert_close(walked.cpu(), expected)
