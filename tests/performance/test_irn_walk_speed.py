"""IRNet's walk against the published squaring of the dense matrix, in one run, at a VOC image's 94 x 125 cells.

The published form squares a matrix of 11 750 x 11 750 eight times, 13 000 billion multiplications, which take
minutes on a CPU. So a twentieth of one squaring is timed, a block of rows, and multiplied by 20 and by 8. That
leaves out the making of the matrix and errs in the published form's favour. The whole of it is run by -m slow. That
both forms give the same is shown there, on a grid that is small enough for it, and on the golden vectors
(tests/unit/methods/refiners/test_irn_pairs.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from methods.refiners.irn.paths import path, path_offsets, walk_to_edges

RADIUS, BETA, EXP_TIMES = 5, 10.0, 8
SIZE = (94, 125)
PARTS = 20


def example(height: int, width: int, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(0)
    cams = torch.rand(1, classes, height, width, generator=source)
    return cams, 0.2 * torch.rand(1, 1, height, width, generator=source)


def walk(cams: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
    return walk_to_edges(cams, edges, RADIUS, BETA, EXP_TIMES)


def dense_matrix(edges: torch.Tensor) -> torch.Tensor:
    """T (h w, h w) of one image."""
    height, width = edges.shape[-2:]
    cells = torch.arange(height * width).view(height, width)
    matrix = torch.eye(height * width)
    for dy, dx in path_offsets(RADIUS):
        rows, columns = slice(0, height - dy), slice(max(0, -dx), width - max(0, dx))
        here = cells[rows, columns].flatten()
        along = [edges.flatten()[here + y * width + x] for y, x in path(dy, dx)]
        there = here + dy * width + dx
        matrix[here, there] = matrix[there, here] = (1 - torch.stack(along).amax(0)) ** BETA
    return matrix / matrix.sum(0, keepdim=True)


def dense(cams: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
    matrix = dense_matrix(edges)
    for _ in range(EXP_TIMES):
        matrix = matrix @ matrix
    return ((cams * (1 - edges)).flatten(2) @ matrix).view_as(cams)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def peak_bytes(cams: torch.Tensor, edges: torch.Tensor) -> int:
    """Most memory held at once by tensors that the walk makes."""
    walk(cams, edges)  # what is kept between walks is made here
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        walk(cams, edges)
    held = peak = 0
    for event in record.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


def test_both_forms_agree() -> None:
    inputs = example(20, 26)
    torch.testing.assert_close(walk(*inputs), dense(*inputs), rtol=1e-3, atol=1e-6)


def test_walk_against_squaring_the_dense_matrix(record_property: Callable[[str, object], None]) -> None:
    inputs = example(*SIZE)
    own = min(seconds(lambda: walk(*inputs)) for _ in range(2))
    matrix = dense_matrix(inputs[1])
    rows = matrix[: len(matrix) // PARTS]
    part = seconds(lambda: rows @ matrix)
    published = EXP_TIMES * PARTS * part
    memory, two_matrices = peak_bytes(*inputs), 2 * 4 * len(matrix) ** 2
    record_property("IRNet's walk, 94x125 cells: seconds of squaring / ours", f"{published / own:.0f}x")
    record_property("IRNet's walk, 94x125 cells: bytes of squaring / ours", f"{two_matrices / memory:.0f}x")
    assert two_matrices > 10 * memory


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_whole_published_form_walks_to_the_same_maps(
    record_property: Callable[[str, object], None],
) -> None:
    """Nothing extrapolated: eight squarings, minutes, two matrices of 527 MiB."""
    inputs = example(*SIZE)
    walk(*inputs)  # what is kept between walks is made here
    start = time.perf_counter()
    walked = walk(*inputs)
    own = time.perf_counter() - start
    start = time.perf_counter()
    published = dense(*inputs)
    other = time.perf_counter() - start
    record_property("IRNet's walk, whole: seconds of squaring / ours", f"{other / own:.0f}x")
    torch.testing.assert_close(walked, published, rtol=1e-4, atol=0)  # the maps vary by 4 %


def test_memory_grows_with_the_number_of_cells(record_property: Callable[[str, object], None]) -> None:
    small, large = peak_bytes(*example(24, 32)), peak_bytes(*example(48, 64))
    record_property("IRNet's walk: bytes of 48x64 cells / 24x32", f"{large / small:.1f}x")
    assert large < 5 * small
