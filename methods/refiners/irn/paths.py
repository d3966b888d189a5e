"""IRNet's affinities (Ahn, Cho and Kwak, CVPR 2019), 1 - the strongest edge between two cells, and the walk.

Paths are grouped by their number of cells, so that a group is one selection and one maximum, whatever the number
of images, cells and paths in it.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F

from methods.refiners.random_walk import Offsets, SparseTransition, disc_offsets, random_walk

Path = tuple[tuple[int, int], ...]
"""(y, x) of a path's cells, from its first cell, (0, 0)."""


def path(dy: int, dx: int) -> Path:
    """Cells of the bounding box of (0, 0) and (dy, dx) at perpendicular distance < 1 from the segment."""
    ys, xs = range(min(0, dy), max(0, dy) + 1), range(min(0, dx), max(0, dx) + 1)
    return tuple((y, x) for y in ys for x in xs if (dy * x - dx * y) ** 2 < dy * dy + dx * dx)


@lru_cache(maxsize=16)
def paths_by_length(radius: int) -> tuple[Offsets, ...]:
    """Offsets to the cells nearer than `radius`, those with equally long paths together, short paths first."""
    offsets = disc_offsets(radius)
    lengths = sorted({len(path(*offset)) for offset in offsets})
    return tuple(tuple(o for o in offsets if len(path(*o)) == length) for length in lengths)


def path_offsets(radius: int) -> Offsets:
    """The pairs of a radius in the order of all results here: (dy, dx); 34 at radius 5, 152 at radius 10."""
    return tuple(offset for group in paths_by_length(radius) for offset in group)


def path_affinities(edges: torch.Tensor, radius: int) -> torch.Tensor:
    """1 - the maximum of the edges on the path between two cells, both included.

    edges: (B, 1, h, w) in [0, 1]; with reach = radius - 1, h > reach and w > 2 reach
    Returns (B, P, h - reach, w - 2 reach), for the first cells all of whose partners are in the grid, as
    `affinity_labels`: cell (y, x) of it is (y, x + reach) of the edges.
    """
    height, width = edges.shape[-2:]
    reach = radius - 1
    windows = _windows(edges, reach)[:, 0]
    strongest = [
        # `max` keeps one index a path for its gradient, `amax` would keep the edges of all its cells.
        windows.index_select(1, rows.flatten()).unflatten(1, rows.shape).max(2).values
        for rows in _path_rows(radius, edges.device)
    ]
    return (1 - torch.cat(strongest, 1)).unflatten(2, (height - reach, width - 2 * reach))


def pair_displacements(displacements: torch.Tensor, radius: int) -> torch.Tensor:
    """Displacement of a pair's first cell minus that of its second.

    displacements: (B, 2, h, w) as (dy, dx) -> (B, 2, P, h - reach, w - 2 reach), cells as in `path_affinities`
    """
    height, width = displacements.shape[-2:]
    reach = radius - 1
    windows = _windows(displacements, reach)
    ends = _rows(path_offsets(radius), reach, displacements.device)
    pairs = windows[:, :, reach : reach + 1] - windows.index_select(2, ends)
    return pairs.unflatten(3, (height - reach, width - 2 * reach))


def walk_to_edges(
    cams: torch.Tensor, edges: torch.Tensor, radius: int, beta: float, exp_times: int
) -> torch.Tensor:
    """The CAM, weakened at edges, after 2^exp_times steps along affinities: (cam (1 - edge)) T^(2^exp_times).

    cams: (B, K, h, w); edges: (B, 1, h, w) in [0, 1] -> (B, K, h, w), not normalised. Any h and w will do.
    """
    reach = radius - 1
    # Beyond the grid are edges, though the pairs that leave it are not looked at.
    padded = F.pad(edges, (reach, reach, 0, reach), value=1.0)
    transition = SparseTransition(path_offsets(radius), path_affinities(padded, radius), beta)
    return random_walk(cams * (1 - edges), transition, 2**exp_times)


def _windows(maps: torch.Tensor, reach: int) -> torch.Tensor:
    """(B, C, h, w) -> (B, C, W, N): every one of N first cells' neighbours right of and below it, row by row."""
    kernel = (reach + 1, 2 * reach + 1)
    return F.unfold(maps, kernel).unflatten(1, (maps.shape[1], kernel[0] * kernel[1]))


def _rows(cells: Offsets | Path, reach: int, device: torch.device) -> torch.Tensor:
    """Where the cells are in a window of `_windows`."""
    return torch.tensor([y * (2 * reach + 1) + x + reach for y, x in cells], device=device)


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # kept for trainings too, whoever asks first
def _path_rows(radius: int, device: torch.device) -> tuple[torch.Tensor, ...]:
    """Of each group of paths (P, L): where their cells are in a window."""
    return tuple(
        torch.stack([_rows(path(*offset), radius - 1, device) for offset in group])
        for group in paths_by_length(radius)
    )
