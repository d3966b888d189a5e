"""Tiles of large images: they cover each pixel once, and what is stitched is the whole image's."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, interpolate
from torch.testing import assert_close

from benchmark.config import plain
from datasets.limits import first_fault
from methods.layers.cam import multi_scale_cam
from methods.layers.config import CamInferenceConfig, ScoresConfig, SegmenterConfig, TilesConfig, with_tiles
from methods.layers.tiles import grid_of, spans, tiled, tiled_scores
from methods.segmenters.stages import segmentation_probabilities

TILES = TilesConfig(128, 32)
SIZES = ((203, 77), (97, 331), (160, 224), (129, 129))
"""(H, W): odd ones, ones of whole strides, one side that is not cut, a pixel more than a tile."""


def _images(height: int, width: int, count: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height)
    return torch.rand(count, 3, height, width, generator=generator, dtype=torch.float64)


def _network(*layers: tuple[int, int, int], pool: bool = False) -> nn.Module:
    """Convolutions of (kernel, stride, dilation), same-padded; with `pool`, a max pooling after the first."""
    torch.manual_seed(0)
    parts: list[nn.Module] = []
    for n, (kernel, stride, dilation) in enumerate(layers):
        padding = dilation * (kernel // 2)
        parts += [nn.Conv2d(4 if n else 3, 4, kernel, stride, padding, dilation), nn.ReLU()]
        parts += [nn.MaxPool2d(3, 2, 1, ceil_mode=True)] if pool and not n else []
    return nn.Sequential(*parts).double()


NETWORKS = {
    "stride 1": _network((3, 1, 1), (3, 1, 2)),
    "stride 4": _network((3, 2, 1), (3, 2, 1), (3, 1, 2)),  # reaches 1 + 2 + 8 pixels
    "stride 8": _network((3, 2, 1), (3, 2, 1), (3, 2, 1), (3, 1, 2)),  # 1 + 2 + 4 + 16
    "stride 8, adds a cell": _network((7, 2, 1), (3, 2, 1), (3, 1, 1), pool=True),
    "stride 16": _network((3, 4, 1), (3, 4, 1), (3, 1, 1)),
    "enlarged": nn.Sequential(_network((3, 2, 1), (3, 1, 1)), nn.Upsample(scale_factor=2, mode="bilinear")),
}


@given(st.integers(1, 2000), st.integers(1, 600), st.integers(0, 200), st.sampled_from([1, 8, 14, 16, 32]))
def test_every_pixel_is_kept_once_with_its_surroundings(
    length: int, side: int, overlap: int, grid: int
) -> None:
    found = spans(length, TilesConfig(side, overlap), grid)
    assert [pixel for span in found for pixel in range(span.first, span.last)] == list(range(length))
    for span in found:
        assert span.start % grid == 0
        assert span.first % grid == 0
        assert span.start == 0 or span.first - span.start >= overlap
        assert span.stop == length or span.stop - span.last >= overlap
        assert span.stop - span.start <= max(side, grid + 2 * (overlap + grid))
    assert len({span.stop - span.start for span in found[:-1]}) <= 1


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", NETWORKS)
def test_stitched_maps_are_those_of_the_whole_image(name: str, size: tuple[int, int]) -> None:
    images = _images(*size, count=2)
    if name == "enlarged":  # to whole cells, which is what such networks pad images to
        images = images[..., : size[0] // 2 * 2, : size[1] // 2 * 2]
    with torch.no_grad():
        whole, ours = NETWORKS[name](images), tiled(NETWORKS[name], TILES, 3)(images)
    assert_close(ours, whole, atol=1e-9, rtol=0)


def test_scales_and_mirror_images_are_tiled_alike() -> None:
    network, images = NETWORKS["stride 8"], _images(150, 211)

    def cam(forward: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        with torch.no_grad():
            return multi_scale_cam(forward, images, (0.5, 1.0, 1.5), flip=True)

    assert_close(cam(tiled(network, TILES, 2)), cam(network), atol=1e-9, rtol=0)


def test_softmax_of_a_prediction_comes_after_the_stitching() -> None:
    network, images = NETWORKS["stride 8"], _images(150, 211)
    whole = segmentation_probabilities(network, images, (1.0, 0.75), True)
    ours = segmentation_probabilities(tiled(network, TILES, 2), images, (1.0, 0.75), True)
    assert_close(ours, whole, atol=1e-9, rtol=0)


def test_an_overlap_below_the_receptive_field_shows() -> None:
    network, images = NETWORKS["stride 8"], _images(160, 224)
    with torch.no_grad():
        difference = tiled(network, TilesConfig(96, 0), 3)(images) - network(images)
    assert difference.abs().max() > 1e-3


def test_tiles_pass_in_batches_and_are_no_larger_than_asked() -> None:
    seen = []

    def forward(images: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(images.shape))
        return avg_pool2d(images, 8)

    tiled(forward, TILES, 4)(_images(320, 480))
    assert max(count for count, *_ in seen) == 4
    assert {shape[1:] for shape in seen} == {(3, 128, 128)}


def test_small_images_pass_whole() -> None:
    seen = []
    tiled(lambda images: seen.append(images.shape) or images, TILES, 1)(_images(128, 100, count=3))  # type: ignore[func-returns-value]
    assert seen == [(3, 3, 128, 100)]


def test_patches_that_are_no_power_of_two_keep_their_grid() -> None:
    class Patches(nn.Module):
        patch_size = (14, 14)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            size = [max(1, round(side / 14)) * 14 for side in images.shape[-2:]]
            return avg_pool2d(interpolate(images, size, mode="bilinear"), 14)

    network, images = nn.Sequential(Patches()), _images(14 * 20, 14 * 31)
    assert grid_of(network) == 14
    assert grid_of(NETWORKS["stride 8"]) == 32
    ours = tiled(network, TILES, 3, grid_of(network))(images)
    assert_close(ours, network(images), atol=1e-12, rtol=0)


def test_a_network_of_one_size_gives_cells_where_they_belong() -> None:
    """Seven cells a tile, whatever its size: a map of the image's coordinates stays one."""
    height, width = 300, 420
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    images = torch.stack([rows, columns, rows + columns])[None].double()
    ours = tiled(lambda x: adaptive_avg_pool2d(x, 7), TILES, 3)(images)
    expected = interpolate(images, ours.shape[-2:], mode="bilinear")
    assert ours.shape[-1] > 7
    assert (ours - expected)[..., 2:-2, 2:-2].abs().max() < 16  # half a cell


def test_the_score_of_an_image_is_its_highest_tile() -> None:
    images = torch.zeros(2, 3, 200, 300)
    images[0, :, 150:160, 250:260] = 9.0
    mean = lambda x: x.mean((2, 3))  # noqa: E731
    ours = tiled_scores(mean, TILES, 3)(images)
    assert_close(ours[0, 0], torch.tensor(900.0 / (200 - 96) / (300 - 192)))  # of the last tile
    assert not ours[1].any()


def test_tiles_that_are_off_are_in_no_key() -> None:
    for settings in (CamInferenceConfig(), SegmenterConfig(), ScoresConfig(4)):
        assert not [name for name in plain(settings) if "tiles" in name]
    on = CamInferenceConfig(tiles=TILES)
    assert plain(on)["tiles"] == {"side": 128, "overlap": 32}
    assert with_tiles(on, TilesConfig()) == CamInferenceConfig()
    assert with_tiles({"a": 1}, TILES) == {"a": 1}


def test_an_overlap_without_room_is_refused() -> None:
    fault = first_fault(CamInferenceConfig(tiles=TilesConfig(256, 128)), "method.cam.inference")
    assert fault is not None
    assert fault.startswith("method.cam.inference.tiles.side: 256 must be more than twice overlap=128")
