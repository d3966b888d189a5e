"""CAM arithmetic: multi-scale sums, normalisation, pseudo-labels."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.nn.functional import avg_pool2d, interpolate
from torch.testing import assert_close

from methods.layers.cam import multi_scale_cam, normalise, only_present, pseudo_labels


def _pooled(images: torch.Tensor) -> torch.Tensor:
    """Stands for a network of output stride 8."""
    return avg_pool2d(images, 8)


def test_one_scale_is_the_network_itself() -> None:
    images = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    assert_close(multi_scale_cam(_pooled, images, [1.0], flip=False), _pooled(images))


def test_flips_are_undone() -> None:
    images = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    assert_close(multi_scale_cam(_pooled, images, [1.0], flip=True), 2 * _pooled(images))


def test_mirrored_image_gives_the_mirrored_map() -> None:
    images = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))

    def forward(x: torch.Tensor) -> torch.Tensor:  # not symmetric: sees its left neighbour
        return _pooled(x) + _pooled(x.roll(8, dims=-1))

    scales = [0.5, 1.0, 2.0]
    ours = multi_scale_cam(forward, images, scales, flip=True)
    assert_close(multi_scale_cam(forward, images.flip(-1), scales, flip=True), ours.flip(-1))


def test_scales_are_summed_at_the_largest_resolution() -> None:
    images = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    seen = []

    def forward(x: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(x.shape))
        return _pooled(x)

    maps = multi_scale_cam(forward, images, [0.5, 1.0, 2.0], flip=False)
    assert seen == [(2, 3, 16, 24), (2, 3, 32, 48), (2, 3, 64, 96)]
    half = interpolate(images, (16, 24), mode="bilinear", antialias=True)
    double = interpolate(images, (64, 96), mode="bilinear")
    parts = [interpolate(_pooled(x), (8, 12), mode="bilinear") for x in (half, images)]
    assert_close(maps, parts[0] + parts[1] + _pooled(double))


def test_a_constant_map_stays_constant() -> None:
    maps = multi_scale_cam(_pooled, torch.full((1, 2, 40, 24), 0.5), [0.5, 1.0, 1.5, 2.0], flip=True)
    assert_close(maps, torch.full_like(maps, 4.0))


@given(arrays("float32", (2, 3, 4, 5), elements=st.floats(0, 1e4, width=32)))
def test_normalised_maps_lie_between_zero_and_one(values) -> None:  # type: ignore[no-untyped-def]
    maps = normalise(torch.from_numpy(values))
    assert ((maps >= 0) & (maps <= 1)).all()


def test_normalise_divides_each_class_by_its_own_maximum() -> None:
    maps = normalise(torch.tensor([[[1.0, 2.0]], [[10.0, 0.0]], [[0.0, 0.0]]]))
    assert_close(maps, torch.tensor([[[0.5, 1.0]], [[1.0, 0.0]], [[0.0, 0.0]]]), atol=1e-5, rtol=0)


def test_only_present_classes_in_their_order() -> None:
    maps = torch.arange(2 * 4).float().view(2, 4, 1, 1)
    kept = only_present(maps, [(3, 1), ()])
    assert kept[0].flatten().tolist() == [3.0, 1.0]
    assert kept[1].shape == (0, 1, 1)


def test_pseudo_labels_by_hand() -> None:
    maps = torch.tensor([[[0.1, 0.6, 0.2, 0.25]], [[0.2, 0.5, 0.9, 0.0]]])
    labels = pseudo_labels(maps, [4, 1], (1, 4), 0.25)
    assert labels.dtype == torch.uint8
    assert labels.tolist() == [[0, 5, 2, 0]]  # the tie at .25 is background


def test_an_image_without_classes_is_background() -> None:
    labels = pseudo_labels(torch.zeros(0, 2, 2), [], (3, 4), 0.2)
    assert labels.shape == (3, 4)
    assert not labels.any()


@given(
    arrays("float16", (3, 4, 5), elements=st.floats(0, 1, width=16)),
    st.floats(0.0, 1.0),
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
)
def test_pseudo_labels_are_the_argmax_over_maps_and_constant_background(values, threshold, size) -> None:  # type: ignore[no-untyped-def]
    classes = [0, 7, 254 - 1]
    labels = pseudo_labels(torch.from_numpy(values), classes, size, threshold)
    up = interpolate(torch.from_numpy(values).float()[None], size, mode="bilinear")[0]
    scores = torch.cat([torch.full((1, *size), threshold), up])
    expected = torch.tensor([0, 1, 8, 254], dtype=torch.uint8)[scores.argmax(0)]
    assert torch.equal(labels, expected)


def test_higher_thresholds_only_add_background() -> None:
    maps = torch.rand(2, 6, 6, generator=torch.Generator().manual_seed(0))
    counts = [int((pseudo_labels(maps, [0, 1], (24, 24), t) == 0).sum()) for t in (0.1, 0.3, 0.5, 0.7, 0.9)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


@pytest.mark.parametrize("scale", [0.01, 0.37])
def test_tiny_scales_keep_at_least_a_pixel(scale: float) -> None:
    maps = multi_scale_cam(lambda x: x[:, :1], torch.rand(1, 3, 5, 7), [scale], flip=True)
    assert min(maps.shape) >= 1
