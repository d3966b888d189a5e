"""DeepLab heads: shapes, widths, dilation, initialisation."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from methods.base import MethodError
from methods.layers.config import BackboneConfig, SegmenterConfig
from methods.layers.networks.backbones import build_backbone
from methods.layers.networks.deeplab import DeepLab, LargeFOV, build_segmenter

NANO = BackboneConfig("resnet38d_nano", output_stride=4)


@pytest.mark.parametrize("head", ["largefov", "largefov_resnet38d", "aspp"])
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


@pytest.mark.parametrize("frozen", [False, True])
def test_batch_norm_is_frozen_as_set(frozen: bool) -> None:
    config = SegmenterConfig(dataclasses.replace(NANO, freeze_bn=frozen))
    network = build_segmenter(config, 5).train()
    assert {m.training for m in network.modules() if isinstance(m, nn.BatchNorm2d)} == {not frozen}


def test_unknown_head() -> None:
    with pytest.raises(MethodError, match="unknown head 'unet'; choose largefov"):
        build_segmenter(SegmenterConfig(NANO, "unet"), 5)
