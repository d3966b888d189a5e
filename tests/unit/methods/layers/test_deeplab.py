"""DeepLab heads: shapes, widths, dilation, initialisation."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from methods.base import MethodError
from methods.layers.config import BackboneConfig, SegmenterConfig, TrainConfig
from methods.layers.networks.backbones import build_backbone
from methods.layers.networks.deeplab import DeepLab, LargeFOV, build_segmenter
from methods.layers.optim import parameter_groups

NANO = BackboneConfig("resnet38d_nano", output_stride=4)


@pytest.mark.parametrize("head", ["largefov", "largefov_single", "largefov_resnet38d", "aspp"])
def test_logits_of_all_classes_and_background(head: str) -> None:
    torch.manual_seed(0)
    network = build_segmenter(SegmenterConfig(NANO, head), classes=5).eval()
    with torch.no_grad():
        assert network(torch.rand(2, 3, 50, 33)).shape == (2, 6, 13, 9)


def test_aspp_sums_four_dilated_branches() -> None:
    torch.manual_seed(0)
    head = build_segmenter(SegmenterConfig(NANO, "aspp"), classes=2).head
    convolutions = [m for m in head.modules() if isinstance(m, nn.Conv2d)]
    assert [c.dilation for c in convolutions] == [(6, 6), (12, 12), (18, 18), (24, 24)]
    features = torch.rand(1, 64, 9, 9)
    torch.testing.assert_close(head(features), sum(c(features) for c in convolutions))


def test_largefov_is_1024_wide_and_shrinks_with_the_miniature() -> None:
    def widths(head: nn.Module) -> list[int]:
        return [m.out_channels for m in head.modules() if isinstance(m, nn.Conv2d)]

    assert widths(build_segmenter(SegmenterConfig(NANO, "largefov"), classes=5).head) == [64, 64, 6]
    with torch.device("meta"):
        full = DeepLab(build_backbone(BackboneConfig("vgg16")), SegmenterConfig(head="largefov"), classes=20)
    assert isinstance(full.head, LargeFOV)
    assert widths(full.head) == [1024, 1024, 21]


def test_resnet38ds_head_is_seams_where_it_is_normalised() -> None:
    """4096 -> 512 -> 512 -> classes: 3x3 of dilation 12, 1x1, 1x1; the hidden ones normalised and without bias."""
    torch.manual_seed(0)
    network = build_segmenter(SegmenterConfig(NANO, "largefov_resnet38d", head_norm=True), classes=5)
    kinds = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Dropout, nn.Conv2d]
    assert [type(m) for m in network.head] == kinds
    wide, narrow, last = (m for m in network.head if isinstance(m, nn.Conv2d))
    assert (wide.kernel_size, wide.dilation, narrow.kernel_size) == ((3, 3), (12, 12), (1, 1))
    assert [m.bias is None for m in (wide, narrow, last)] == [True, True, False]
    expected = (2 / (9 * wide.out_channels)) ** 0.5  # He's, by the outputs
    assert wide.weight.std().item() == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("frozen", [False, True])
def test_batch_norm_is_frozen_as_set(frozen: bool) -> None:
    config = SegmenterConfig(dataclasses.replace(NANO, freeze_bn=frozen))
    network = build_segmenter(config, 5).train()
    assert {m.training for m in network.modules() if isinstance(m, nn.BatchNorm2d)} == {not frozen}


def test_unknown_head() -> None:
    with pytest.raises(MethodError, match="unknown head 'unet'; choose largefov"):
        build_segmenter(SegmenterConfig(NANO, "unet"), 5)


def test_the_single_branch_is_one_of_v2s() -> None:
    head = build_segmenter(SegmenterConfig(NANO, "largefov_single"), 5).head
    (layer,) = head
    assert (layer.kernel_size, layer.dilation, layer.out_channels) == ((3, 3), (12, 12), 6)


def test_v1_on_vgg16_starts_from_its_fully_connected_layers(tmp_path: Path) -> None:
    """Every fourth filter, rows and columns 1, 4 and 7 of fc6; the classifier alone is new."""
    state = {n: p.detach() for n, p in build_backbone(BackboneConfig("vgg16")).trunk.state_dict().items()}
    draw = torch.Generator().manual_seed(0)
    shapes = {"0.weight": (4096, 25088), "0.bias": (4096,), "3.weight": (4096, 4096), "3.bias": (4096,)}
    full = {f"classifier.{n}": torch.randn(s, generator=draw).bfloat16().float() for n, s in shapes.items()}
    file = tmp_path / "vgg16.safetensors"
    save_file(state | full, file)
    config = SegmenterConfig(BackboneConfig("vgg16"), "largefov")
    network = build_segmenter(config, 2, file)
    fc6, fc7 = network.head[0], network.head[3]
    assert (fc6.weight.shape, fc7.weight.shape) == ((1024, 512, 3, 3), (1024, 1024, 1, 1))
    original = full["classifier.0.weight"].view(4096, 512, 7, 7)
    assert torch.equal(fc6.weight[5, 7, 1, 2], original[20, 7, 3, 6])
    assert torch.equal(fc7.weight[5, 9, 0, 0], full["classifier.3.weight"][20, 36])
    assert torch.equal(fc7.bias, full["classifier.3.bias"][::4])
    groups = parameter_groups(network, network.new_layers, TrainConfig())
    rate = {id(p): g["lr"] for g in groups for p in g["params"]}
    assert rate[id(fc6.weight)] == rate[id(fc7.weight)] == rate[id(network.backbone.trunk.features[0].weight)]
    assert rate[id(network.head[-1].weight)] == 10 * rate[id(fc6.weight)]
    bare = tmp_path / "bare.safetensors"
    save_file(state, bare)
    with pytest.raises(MethodError, match="has no classifier"):
        build_segmenter(config, 2, bare)
