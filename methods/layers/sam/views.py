"""Views of an image for a network with a fixed square frame: mirrored, turned by right angles, scaled, and back.

SAM resizes every image until its longer side fills the frame, which would undo a scaling. So a scaled view is placed
inside the frame: the largest scale in use fills it, smaller ones leave the rest empty (Eq. 3 of Liu, 2025, asks for
masks of .5, 1 and 2 times the image's size).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class View:
    """mirror: left and right exchanged, before turning; turns: right angles, counterclockwise, 0 to 3;
    scale: of the view's sides, relative to other views of the same image"""

    mirror: bool = False
    turns: int = 0
    scale: float = 1.0


@dataclass(frozen=True)
class Frame:
    """A square of `side` pixels, which an image scaled by `largest` fills with its longer side."""

    side: int
    largest: float = 1.0


def all_views(mirror: bool, turns: Sequence[int], scales: Sequence[float]) -> list[View]:
    """Every combination, once each, the untouched image first if it is among them."""
    flips = (False, True) if mirror else (False,)
    views = dict.fromkeys(View(f, t % 4, s) for f, t, s in product(flips, turns, scales))
    return sorted(views, key=lambda view: view != View())


def draw_views(views: Sequence[View], count: int | None, seed: int = 0) -> list[View]:
    """The first view and `count` - 1 random ones of the others; all of them for None, or where there are no more."""
    if count is None or count >= len(views):
        return list(views)
    stream = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(views) - 1, generator=stream, device="cpu")[: count - 1]
    return [views[0], *(views[i + 1] for i in sorted(order.tolist()))]


def turned(maps: torch.Tensor, view: View) -> torch.Tensor:
    """Maps (..., H, W) mirrored and turned: (..., H, W) or (..., W, H)."""
    return (maps.flip(-1) if view.mirror else maps).rot90(view.turns, (-2, -1))


def turned_back(maps: torch.Tensor, view: View) -> torch.Tensor:
    """The inverse of `turned`, exact for any size."""
    maps = maps.rot90(-view.turns, (-2, -1))
    return maps.flip(-1) if view.mirror else maps


def turned_size(size: tuple[int, int], view: View) -> tuple[int, int]:
    """(H, W) of an image of `size` after `turned`."""
    return (size[1], size[0]) if view.turns % 2 else size


def placed_size(size: tuple[int, int], view: View, frame: Frame) -> tuple[int, int]:
    """(h, w) that the view of an image of `size` (H, W) takes up in the frame's upper left corner."""
    factor = frame.side * view.scale / (max(size) * frame.largest)
    height, width = (min(frame.side, max(1, round(n * factor))) for n in turned_size(size, view))
    return height, width


def placed(images: torch.Tensor, view: View, frame: Frame) -> torch.Tensor:
    """Views of images (B, C, H, W) within their frames (B, C, side, side), 0 elsewhere; smoothed when shrinking."""
    height, width = placed_size((images.shape[-2], images.shape[-1]), view, frame)
    seen = _interpolated(turned(images, view), (height, width))
    return F.pad(seen, (0, frame.side - width, 0, frame.side - height))


def placed_points(points: torch.Tensor, size: tuple[int, int], view: View, frame: Frame) -> torch.Tensor:
    """Where points (..., 2), x and y of pixels' centres in an image of `size` (H, W), lie in the frame."""
    height, width = size
    x, y = points.float().unbind(-1)
    if view.mirror:
        x = width - 1 - x
    for _ in range(view.turns):
        x, y = y, width - 1 - x
        height, width = width, height
    h, w = placed_size(size, view, frame)
    return torch.stack([(x + 0.5) * (w / width) - 0.5, (y + 0.5) * (h / height) - 0.5], dim=-1)


def restored(maps: torch.Tensor, size: tuple[int, int], view: View, frame: Frame) -> torch.Tensor:
    """Maps (B, P, side, side) of a view brought back to the image: (B, P, *size). The inverse of `placed`."""
    height, width = placed_size(size, view, frame)
    return turned_back(_resized(maps[..., :height, :width], turned_size(size, view)), view)


def _interpolated(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Maps (B, C, H, W) -> (B, C, *size), bilinear, smoothed when shrinking.

    A single column is made as a row: torch (2.15) takes all of it from the place of its first pixel.
    """
    if size[1] == 1:
        return _interpolated(maps.mT, (1, size[0])).mT if size[0] > 1 else maps.mean((-2, -1), keepdim=True)
    return F.interpolate(maps, size, mode="bilinear", align_corners=False, antialias=True)


def _resized(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Bilinear, smoothed when shrinking: corners of the outermost pixels stay corners, so nothing shifts."""
    return _resized_along(_resized_along(maps, size[1]).mT, size[0]).mT


def _resized_along(maps: torch.Tensor, length: int) -> torch.Tensor:
    """Maps (B, C, H, W) resized along the last axis.

    At the ends torch drops what lies outside and weighs up the rest, so that the outermost pixels are taken from
    further inside than where they lie, by up to half a cell of the coarser grid: an edge that ends at the border would
    come back from a quarter of its size off by two pixels. They are moved back along the slope there, so that a ramp
    comes out as a ramp, border included.
    """
    before = maps.shape[-1]
    if before == length:
        return maps

    if before == 1:
        return maps.expand(*maps.shape[:-1], length)

    def interpolated(values: torch.Tensor) -> torch.Tensor:
        return _interpolated(values, (values.shape[-2], length))

    resized = interpolated(maps)
    if length == 1:
        return resized
    own = torch.arange(before, dtype=torch.float64, device="cpu")
    taken = interpolated(own[None, None, None])[0, 0, 0]
    wanted = (torch.arange(length, dtype=torch.float64, device="cpu") + 0.5) * (before / length) - 0.5
    reach = max(before / length, 1.0)  # of the kernel, either way; cut where it takes cells beyond the ends
    cut = (wanted - reach < -1) | (wanted + reach > before)
    off = torch.where(cut, wanted - taken, 0).to(maps)
    coarse, places = (maps, own) if before < length else (resized, taken)
    first, last = (
        (coarse[..., k + 1 : k + 2] - coarse[..., k : k + 1]) / (places[k + 1] - places[k]).item()
        for k in (0, len(places) - 2)
    )
    half = length // 2
    return torch.cat([resized[..., :half] + off[:half] * first, resized[..., half:] + off[half:] * last], -1)
