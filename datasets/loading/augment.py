"""Random augmentation of a batch on the device, with parameters of its own for every sample.

Resize, crop and flip are composed into one separable resampling, ``out = R_y · image · R_xᵀ``, whose
matrices carry the antialiasing triangle filter of Pillow's and torchvision's bilinear resize. Their rows have
few non-zero entries (two when enlarging), so they are kept as taps (indices and weights) and applied with
`embedding_bag`, a weighted sum of table rows: dense products would cost a hundred times the arithmetic.

Colour jitter is one affine map per sample. It differs from torchvision's ColorJitter in three ways: hue turns
the chroma plane of YIQ (torchvision shifts H of HSV); values are clamped to [0, 1] once, at the end
(torchvision clamps after each operation); contrast pivots on the mean grey of the crop's pixels inside the
image (torchvision's includes padding). There is no random order of the four: but for clamping, they commute. Grey is
a saturation of 0. A blur's taps reach three standard deviations, into the padding too, which has the mean's colour.

Random numbers come from a counter-based generator over (seed, epoch, sample index): no state to store.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional

from datasets.base import IGNORE
from datasets.recipe import ColoursOnly, Normalisation, Recipe, View

_CROP_ATTEMPTS = 10  # of resize_crop, as in torchvision
_ASPECT = (3 / 4, 4 / 3)
_CHUNK = (
    4  # images processed at a time on CPU, so that buffers stay in the allocator's reach and near the cache
)

_HALF = 0.5
"""From which on solarising inverts: Pillow does from 128 of 255 on."""
_LUMA = np.array([0.299, 0.587, 0.114])
_RGB_TO_YIQ = np.array([_LUMA, [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])
_YIQ_TO_RGB = np.linalg.inv(_RGB_TO_YIQ)


def _mix(x: np.ndarray) -> np.ndarray:
    """The output function of splitmix64 (Steele, Lea, Flood 2014) on uint64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def uniforms(seed: int, epoch: np.ndarray | int, index: np.ndarray, count: int) -> np.ndarray:
    """Uniform numbers in [0, 1), float64 (B, count), a pure function of (seed, epoch, index).

    epoch, index: integers (B,); `epoch` may be one integer.
    """
    golden = np.uint64(0x9E3779B97F4A7C15)
    stream = np.zeros(len(index), np.uint64)
    for part in (np.asarray(seed), np.asarray(epoch), index):
        stream = _mix(stream + part.astype(np.uint64) + golden)
    counters = np.arange(1, count + 1, dtype=np.uint64) * golden
    return (_mix(stream[:, None] + counters) >> np.uint64(11)) * 2.0**-53


def permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    """The order of an epoch: a permutation of range(size), int64, from (seed, epoch)."""
    # One column apart from those of `draw`, whose first columns belong to the samples' parameters.
    return np.argsort(uniforms(seed, epoch, np.arange(size), _ORDER + 1)[:, _ORDER], kind="stable")


# Columns of `uniforms`: fixed places, so that a recipe's settings do not shift another parameter's numbers.
_FLIP, _SIZE, _ROW, _COLUMN, _COLOUR, _ORDER = 0, 1, 2, 3, slice(4, 8), 8
_AREA, _SHAPE = slice(9, 9 + _CROP_ATTEMPTS), slice(9 + _CROP_ATTEMPTS, 9 + 2 * _CROP_ATTEMPTS)
_JITTER, _GREY, _BLUR, _SIGMA, _SOLARISE = range(9 + 2 * _CROP_ATTEMPTS, 14 + 2 * _CROP_ATTEMPTS)
_COLUMNS = 14 + 2 * _CROP_ATTEMPTS
_VIEW_SEEDS = 1 << 32  # apart from the seeds that users choose
_REACH = 3  # of a blur's taps, standard deviations


class Axis(NamedTuple):
    """One axis of every sample's geometry, each (B,): source [start, start + length) is resized to `resized`
    pixels, of which the output shows those from `offset` on (before the flip)."""

    start: np.ndarray
    length: np.ndarray
    resized: np.ndarray
    offset: np.ndarray
    flip: np.ndarray


class Draw(NamedTuple):
    """Random parameters.

    colour: (B, 4), factors of brightness, contrast and saturation; hue in turns
    sigma:  (B,), standard deviation of the blur, pixels, 0 for none; None where the recipe has none
    solarised: (B,) bool, likewise
    """

    rows: Axis
    columns: Axis
    colour: np.ndarray
    sigma: np.ndarray | None = None
    solarised: np.ndarray | None = None


def draw(recipe: Recipe, seed: int, epochs: np.ndarray, indices: np.ndarray, sizes: np.ndarray) -> Draw:
    """The parameters of samples `indices` (B,) in `epochs` (B,), for images of `sizes` (B, 2) as (H, W)."""
    u = uniforms(seed, epochs, indices, _COLUMNS)
    sizes = sizes.astype(np.int64)
    crop = np.full_like(sizes, recipe.crop)
    position = u[:, [_ROW, _COLUMN]]
    if any(recipe.resize_crop):
        length = _boxes(recipe.resize_crop, u, sizes)
        start = np.floor(position * (sizes - length + 1)).astype(np.int64)
        resized, offset = crop, np.zeros_like(sizes)
    else:
        start, length = np.zeros_like(sizes), sizes
        if any(recipe.resize_long):
            low, high = recipe.resize_long
            factor = (low + np.floor(u[:, _SIZE] * (high - low + 1))) / sizes.max(1)
        else:
            factor = recipe.scale[0] + u[:, _SIZE] * (recipe.scale[1] - recipe.scale[0])
        resized = np.maximum(np.rint(sizes * factor[:, None]), 1).astype(np.int64)
        # Where the image is smaller than the crop, the offset is negative: it lies anywhere in the crop.
        slack = resized - crop
        offset = np.minimum(slack, 0) + np.floor(position * (np.abs(slack) + 1)).astype(np.int64)
    flip = u[:, _FLIP] < recipe.flip
    axes = [Axis(start[:, a], length[:, a], resized[:, a], offset[:, a], flip & (a == 1)) for a in (0, 1)]
    return Draw(axes[0], axes[1], *_colours(recipe, u))


def _colours(recipe: Recipe, u: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """`Draw`'s colour, sigma and solarised."""
    ranges = np.array([recipe.brightness, recipe.contrast, recipe.saturation, recipe.hue])
    ranges = ranges * (u[:, _JITTER, None] < recipe.jitter)
    colour = np.array([1.0, 1.0, 1.0, 0.0]) + (2 * u[:, _COLOUR] - 1) * ranges
    colour[u[:, _GREY] < recipe.grey, 2] = 0
    low, high = recipe.blur_sigma
    sigma = np.where(u[:, _BLUR] < recipe.blur, low + u[:, _SIGMA] * (high - low), 0.0)
    return (
        colour,
        sigma if recipe.blur else None,
        u[:, _SOLARISE] < recipe.solarise if recipe.solarise else None,
    )


def draw_views(
    views: Sequence[View], first: Draw, seed: int, epochs: np.ndarray, indices: np.ndarray, sizes: np.ndarray
) -> list[Draw]:
    """The parameters of each image's further views; arguments as `draw`'s, first: the images' own.

    A view's random numbers are those of another seed.
    """
    found = []
    for number, view in enumerate(views, 1):
        other = seed + number * _VIEW_SEEDS
        if isinstance(view, ColoursOnly):
            u = uniforms(other, epochs, indices, _COLUMNS)
            found.append(Draw(first.rows, first.columns, *_colours(view.recipe, u)))
        else:
            found.append(draw(view, other, epochs, indices, sizes))
    return found


def _boxes(area: tuple[float, float], u: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Heights and widths (B, 2) of RandomResizedCrop's boxes: the first of ten that fits, or the largest."""
    pixels = sizes.prod(1)[:, None] * (area[0] + u[:, _AREA] * (area[1] - area[0]))
    aspect = np.exp(np.log(_ASPECT[0]) + u[:, _SHAPE] * (np.log(_ASPECT[1]) - np.log(_ASPECT[0])))
    tried = np.rint(np.sqrt(np.stack([pixels / aspect, pixels * aspect], -1))).astype(np.int64)  # (B, 10, 2)
    fits = ((tried >= 1) & (tried <= sizes[:, None])).all(-1)
    chosen = tried[np.arange(len(sizes)), fits.argmax(1)]
    height, width = sizes[:, 0], sizes[:, 1]
    largest = np.stack([np.minimum(height, width / _ASPECT[0]), np.minimum(width, height * _ASPECT[1])], -1)
    return np.where(fits.any(1)[:, None], chosen, np.maximum(np.rint(largest), 1).astype(np.int64))


class Plan(NamedTuple):
    """What the device needs, as tensors with the batch first; taps index into the samples' source windows.

    {row,column}_taps:    (B, crop, K) int32
    {row,column}_weights: (B, crop, K) float32, zero outside the image
    {row,column}_nearest: (B, crop) int64
    {row,column}_inside:  (B, crop) bool: the output's pixels that lie inside the image
    Colour jitter and normalisation of values in 0..255 are ``linear · pixel + pivot · mean pixel + shift``:
    linear, pivot: (B, 3, 3) float32; shift: (B, 3) float32
    blur:      (B, K) float32, odd K, what a pixel's neighbours along either axis weigh; (B, 0) for no blur
    solarised: (B, 1) bool; (B, 0) for none
    """

    row_taps: torch.Tensor
    row_weights: torch.Tensor
    row_nearest: torch.Tensor
    row_inside: torch.Tensor
    column_taps: torch.Tensor
    column_weights: torch.Tensor
    column_nearest: torch.Tensor
    column_inside: torch.Tensor
    linear: torch.Tensor
    pivot: torch.Tensor
    shift: torch.Tensor
    blur: torch.Tensor
    solarised: torch.Tensor


def plan(parameters: Draw, crop: int, normalisation: Normalisation) -> tuple[Plan, np.ndarray]:
    """Turn parameters into taps, and give the part of each source that they read.

    Returns the plan and windows (B, 4): row start, row stop, column start, column stop, in source pixels.
    """
    *rows, row_window = _taps(parameters.rows, crop)
    *columns, column_window = _taps(parameters.columns, crop)
    colour = (a.astype(np.float32) for a in _colour_maps(parameters.colour, normalisation))
    none = np.zeros((len(parameters.colour), 0))
    blur = none if parameters.sigma is None else _blur_taps(parameters.sigma)
    solarised = none if parameters.solarised is None else parameters.solarised[:, None]
    last = (blur.astype(np.float32), solarised.astype(bool))
    steps = Plan(*map(torch.from_numpy, (*rows, *columns, *colour, *last)))
    return steps, np.concatenate([row_window, column_window], 1)


def _taps(axis: Axis, crop: int) -> tuple[np.ndarray, ...]:
    start, length, resized, offset = (a[:, None, None].astype(np.float64) for a in axis[:4])
    forward = np.arange(crop)
    output = np.where(axis.flip[:, None], crop - 1 - forward, forward)[:, :, None] + offset
    inside = (output >= 0) & (output < resized)
    ratio = length / resized
    centre = start + (output + 0.5) * ratio
    support = np.maximum(ratio, 1.0)  # the triangle's half width: widened when reducing, hence antialiased
    first = np.floor(centre - support + 0.5)
    taps = first + np.arange(int(np.ceil(2 * support.max())))
    usable = inside & (taps >= start) & (taps < start + length)
    weights = np.where(usable, np.maximum(1 - np.abs(taps + 0.5 - centre) / support, 0), 0)
    weights /= np.maximum(weights.sum(2, keepdims=True), 1e-12)

    read = weights > 0
    low = np.where(read, taps, np.inf).min((1, 2)).astype(np.int64)
    high = np.where(read, taps, -np.inf).max((1, 2)).astype(np.int64) + 1
    last = (high - low - 1)[:, None]
    local = np.clip(taps - low[:, None, None], 0, last[:, :, None])
    nearest = np.clip(np.floor(centre[:, :, 0]).astype(np.int64) - low[:, None], 0, last)
    window = np.stack([low, high], 1)
    return local.astype(np.int32), weights.astype(np.float32), nearest, inside[:, :, 0], window


def _blur_taps(sigma: np.ndarray) -> np.ndarray:
    """Weights (B, K) of a pixel's neighbours, as many as the widest of the blurs needs."""
    reach = int(np.ceil(_REACH * sigma.max()))
    distance = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (distance / np.maximum(sigma, 1e-3)[:, None]) ** 2)  # 0: the pixel itself alone
    return weights / weights.sum(1, keepdims=True)


def _colour_maps(colour: np.ndarray, normalisation: Normalisation) -> tuple[np.ndarray, ...]:
    """`Plan`'s linear, pivot and shift. Contrast c is c · x + (1 - c) · grey, the crop's mean luma."""
    brightness, contrast, saturation, hue = colour.T[:, :, None, None]
    deviation = np.array(normalisation.std)[:, None]
    linear = _chroma(saturation[:, 0, 0], hue[:, 0, 0]) * brightness * contrast / (255 * deviation)
    pivot = brightness * (1 - contrast) * _LUMA / (255 * deviation)
    shift = -np.array(normalisation.mean) / normalisation.std
    return linear, pivot, np.broadcast_to(shift, (len(colour), 3))


def _chroma(saturation: np.ndarray, hue: np.ndarray) -> np.ndarray:
    """Matrices (B, 3, 3) on RGB that scale (saturation) and turn (hue, in turns) the chroma plane of YIQ."""
    cosine, sine = saturation * np.cos(2 * np.pi * hue), saturation * np.sin(2 * np.pi * hue)
    turn = np.zeros((len(hue), 3, 3))
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = cosine
    turn[:, 1, 2], turn[:, 2, 1] = -sine, sine
    return _YIQ_TO_RGB @ turn @ _RGB_TO_YIQ


class Augmented(NamedTuple):
    """images (B, 3, crop, crop) normalised, 0 outside; maps (B, n, crop, crop) in [0, 1], 0 outside;
    labels (B, m, crop, crop) int64, 255 outside; valid (B, 1, crop, crop) bool."""

    images: torch.Tensor
    maps: torch.Tensor
    labels: torch.Tensor
    valid: torch.Tensor


@torch.no_grad()
def augment(canvas: torch.Tensor, steps: Plan, normalisation: Normalisation, maps: int) -> Augmented:
    """Carry out a plan on the device where its tensors are.

    canvas: uint8 (B, W, 3 + maps + m, H): the source windows, column by column; channels are red, green,
            blue, then `maps` continuous maps, then m label maps
    """
    batch, channels = canvas.shape[0], canvas.shape[2]
    crop = steps.row_nearest.shape[1]
    # Products of bytes: they are vectorised on CPU, those of booleans are not.
    rows, columns = (t.view(torch.uint8) for t in (steps.row_inside, steps.column_inside))
    valid = (rows[:, None, :, None] * columns[:, None, None, :]).view(torch.bool)
    images = canvas.new_empty((batch, 3, crop, crop), dtype=torch.float32)
    continuous = canvas.new_empty((batch, maps, crop, crop), dtype=torch.float32)
    labels = canvas.new_empty((batch, channels - 3 - maps, crop, crop), dtype=torch.int64)
    size = _CHUNK if canvas.device.type == "cpu" else batch
    with torch.autocast(canvas.device.type, enabled=False):
        for low in range(0, batch, size):
            chunk = slice(low, low + size)
            part = Plan(*(t[chunk] for t in steps))
            resampled = _resample(canvas[chunk, :, : 3 + maps], part)
            _colour(resampled[:, :3], part, normalisation, images[chunk])
            if maps:
                torch.div(resampled[:, 3:], 255, out=continuous[chunk])
            if labels.shape[1]:
                nearest = _nearest(canvas[chunk, :, 3 + maps :], part)
                labels[chunk] = nearest.masked_fill_(~valid[chunk], IGNORE)
    return Augmented(images, continuous, labels, valid)


def _resample(canvas: torch.Tensor, steps: Plan) -> torch.Tensor:
    """uint8 (B, W, C, H) -> float32 (B, C, crop, crop), in 0..255, zero outside the image."""
    batch, width, channels, height = canvas.shape
    crop = steps.row_nearest.shape[1]
    table = canvas.to(torch.float32, memory_format=torch.contiguous_format).view(
        batch * width, channels * height
    )
    across = _weighted_rows(table, steps.column_taps, steps.column_weights, width)
    table = across.view(batch, crop, -1).transpose(1, 2).reshape(batch * channels * height, crop)
    taps = steps.row_taps[:, None].expand(-1, channels, -1, -1).flatten(0, 1)
    weights = steps.row_weights[:, None].expand(-1, channels, -1, -1).flatten(0, 1)
    return _weighted_rows(table, taps, weights, height).view(batch, channels, crop, crop)


def _weighted_rows(table: torch.Tensor, taps: torch.Tensor, weights: torch.Tensor, rows: int) -> torch.Tensor:
    """Sums of rows of `table` (N · rows, F): taps and weights (N, crop, K) -> (N · crop, F)."""
    block = torch.arange(0, len(taps) * rows, rows, dtype=torch.int32, device=taps.device)
    return functional.embedding_bag(
        (taps + block[:, None, None]).flatten(0, 1),
        table,
        mode="sum",
        per_sample_weights=weights.flatten(0, 1),
    )


def _blur(out: torch.Tensor, steps: Plan) -> None:
    """Blur `out` (B, 3, crop, crop) in place: every image by its own taps, columns, then rows."""
    out *= steps.row_inside.float()[:, None, :, None]
    out *= steps.column_inside.float()[:, None, None, :]
    taps = steps.blur.repeat_interleave(3, 0)[:, None]  # (B 3, 1, K): a channel is a group
    reach = taps.shape[-1] // 2
    flat = functional.pad(out.flatten(0, 1)[None], (reach, reach, reach, reach), mode="replicate")
    flat = functional.conv2d(flat, taps[:, :, :, None], groups=len(taps))
    flat = functional.conv2d(flat, taps[:, :, None], groups=len(taps))
    out.copy_(flat[0].unflatten(0, out.shape[:2]))


def _nearest(canvas: torch.Tensor, steps: Plan) -> torch.Tensor:
    """uint8 (B, W, C, H) -> int64 (B, C, crop, crop) by one gather."""
    batch, _, channels, _ = canvas.shape
    sample = torch.arange(batch, device=canvas.device)[:, None, None, None]
    channel = torch.arange(channels, device=canvas.device)[None, :, None, None]
    columns, rows = steps.column_nearest[:, None, None, :], steps.row_nearest[:, None, :, None]
    return canvas[sample, columns, channel, rows].long()


def _colour(pixels: torch.Tensor, steps: Plan, normalisation: Normalisation, out: torch.Tensor) -> None:
    """Jitter and normalise `pixels` (B, 3, crop, crop), in 0..255 and zero outside the image, into `out`."""
    inside = steps.row_inside.sum(1) * steps.column_inside.sum(1)
    mean = pixels.sum((2, 3)) / inside[:, None]  # padding is zero and does not count
    offset = (steps.pivot * mean[:, None]).sum(2) + steps.shift
    torch.bmm(steps.linear, pixels.flatten(2), out=out.flatten(2))
    out += offset[:, :, None, None]
    for channel, (m, s) in enumerate(zip(*normalisation, strict=True)):
        out[:, channel].clamp_((0 - m) / s, (1 - m) / s)
    if steps.blur.shape[1]:
        _blur(out, steps)
    if steps.solarised.shape[1]:
        for channel, (m, s) in enumerate(zip(*normalisation, strict=True)):
            values = out[:, channel]
            inverted = (1 - 2 * m) / s - values
            bright = steps.solarised[:, :, None] & (values >= (_HALF - m) / s)
            out[:, channel] = torch.where(bright, inverted, values)
    out *= steps.row_inside.float()[:, None, :, None]
    out *= steps.column_inside.float()[:, None, None, :]
