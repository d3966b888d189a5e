"""The refiner IRNet's network: its levels on any backbone, its published layers, what it trains."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from datasets.base import IGNORE
from methods.base import MethodError
from methods.layers.config import BackboneConfig
from methods.layers.networks.backbones import build_backbone
from methods.layers.optim import build_optimiser, parameter_groups
from methods.refiners import IRN
from methods.refiners.irn.config import IrnConfig
from methods.refiners.irn.network import InterPixelNetwork, inter_pixel_losses
from tests.helpers.steps import step_once

pytestmark = pytest.mark.usefixtures("seeded")

MINIATURE = BackboneConfig("resnet38d_nano", "none", 4)


@pytest.mark.parametrize(
    ("name", "stride", "levels"),
    [
        ("resnet38d_nano", 4, 5),
        ("vgg16", 8, 4),
        ("resnet50", 16, 5),
        ("timm/tf_efficientnet_lite0", 16, 4),
        ("timm/resnet18", 32, 5),
        ("timm/convnext_atto", 32, 4),
    ],
)
def test_network_takes_several_levels_of_any_backbone(name, stride, levels):
    with torch.device("cpu" if name == "resnet38d_nano" else "meta"):
        network = InterPixelNetwork(build_backbone(BackboneConfig(name, "none", stride)))
        images = torch.rand(2, 3, 75, 50)
        edges, displacements = network(images)
        boundaries = network.boundaries(images)
    assert (len(network.edge_levels), network.stride) == (levels, 4)
    assert (edges.shape, displacements.shape) == ((2, 1, 19, 13), (2, 2, 19, 13))
    assert boundaries.shape == edges.shape


@pytest.mark.parametrize("size", [(20, 30), (3, 3), (32, 33)])
def test_an_image_smaller_than_a_cell_of_the_last_level_has_cells(size):
    network = InterPixelNetwork(build_backbone(BackboneConfig("timm/convnext_atto", "none", 32))).eval()
    with torch.no_grad():
        edges, displacements = network(torch.rand(1, 3, *size))
    grid = tuple(-(-side // 4) for side in size)
    assert (edges.shape[2:], displacements.shape[2:]) == (grid, grid)
    assert edges.isfinite().all()


def test_what_rounds_down_loses_no_pixel_at_the_border():
    """ConvNeXt itself does not look at the last pixels of 75 x 50; its cells there have to."""
    network = InterPixelNetwork(build_backbone(BackboneConfig("timm/convnext_atto", "none", 32))).eval()
    images = torch.rand(1, 3, 75, 50)
    other = images.clone()
    other[..., 72:, :] = 0
    with torch.no_grad():
        assert torch.equal(network.backbone(images), network.backbone(other))
        assert not torch.equal(network(images)[0], network(other)[0])
    whole = torch.rand(1, 3, 64, 96)  # whole cells: as the backbone alone
    with torch.no_grad():
        assert torch.equal(network._pyramid(whole)[-1], network.backbone(whole))


def test_network_has_the_published_layers_at_paper_scale():
    with torch.device("meta"):
        network = InterPixelNetwork(build_backbone(replace(IrnConfig().backbone, weights="none")))
    assert [tuple(m[0].weight.shape[:2]) for m in network.edge_levels] == [
        (32, c) for c in (64, 256, 512, 1024, 2048)
    ]
    assert [m[0].out_channels for m in network.displacement_levels] == [64, 128, 256, 256, 256]
    assert [m[1].num_groups for m in network.displacement_levels] == [8, 16, 16, 16, 16]
    assert {m[1].num_groups for m in network.edge_levels} == {4}
    assert network.displacement_coarse[0].in_channels == 768
    assert network.displacement[0][0].in_channels == 448
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    reductions = 32 * 3904 + 5 * 64 + 161  # weights, scales and shifts, and the last layer with its bias
    displacement = 64 * 64 + 128 * 256 + 256 * 3584 + 256 * 768 + 256 * 448 + 2 * 256
    assert trained == reductions + displacement + 2 * (64 + 128 + 5 * 256)


def test_backbone_stays_as_it_was_and_displacements_learn_ten_times_faster():
    network = InterPixelNetwork(build_backbone(MINIATURE)).train()
    assert not any(m.training for m in network.backbone.modules())
    groups = parameter_groups(network, network.displacement_branch, IrnConfig().train)
    assert {g["lr"] for g in groups} == {0.1, 1.0}
    count = sum(p.numel() for g in groups for p in g["params"])
    assert count == sum(p.numel() for n, p in network.named_parameters() if "backbone" not in n)
    before = {k: v.clone() for k, v in network.backbone.state_dict().items()}
    edges, displacements = network(torch.rand(2, 3, 32, 32))
    (edges.sum() + displacements.sum()).backward()
    assert all(torch.equal(v, before[k]) for k, v in network.backbone.state_dict().items())


def test_mean_displacement_is_subtracted_but_in_training():
    network = InterPixelNetwork(build_backbone(MINIATURE))
    images = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        _, raw = network(images)
        network.mean_displacement.copy_(torch.tensor([0.5, -2.0]))
        torch.testing.assert_close(network(images)[1], raw)
        network.eval()
        torch.testing.assert_close(
            raw - network(images)[1], torch.tensor([0.5, -2.0]).view(1, 2, 1, 1).expand_as(raw)
        )


def test_boundaries_of_a_mirror_image_are_mirrored():
    network = InterPixelNetwork(build_backbone(MINIATURE)).eval()
    images = torch.rand(1, 3, 32, 48)
    with torch.no_grad():
        torch.testing.assert_close(
            network.boundaries(images.flip(-1)), network.boundaries(images).flip(-1), rtol=1e-4, atol=1e-5
        )


def test_a_network_without_levels_is_refused():
    backbone = build_backbone(MINIATURE)
    backbone.trunk = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1))
    with pytest.raises(MethodError, match=r"four levels in Sequential .*; choose"):
        InterPixelNetwork(backbone)


@pytest.mark.parametrize(("name", "stride"), [("timm/hrnet_w18_small", 32), ("resnet101_caffe", 8)])
def test_levels_that_do_not_nest_are_refused_before_a_training(name, stride):
    """Networks whose levels lie side by side, or that add a cell."""
    with torch.device("meta"):
        backbone = build_backbone(BackboneConfig(name, "none", stride))
    with pytest.raises(MethodError, match=r"refiner irn finds no four levels in \w+ .*; choose"):
        InterPixelNetwork(backbone)


@pytest.mark.slow
def test_a_step_at_paper_scale_on_cpu():
    """ResNet-50 at the published crop and radius, with random weights: a batch of one."""
    paper = IRN["paper"]
    network = InterPixelNetwork(build_backbone(replace(paper.backbone, weights="none"))).train()
    optimiser = build_optimiser(network, network.displacement_branch, paper.train)
    crop = paper.train.recipe.crop
    labels = torch.zeros(1, crop, crop, dtype=torch.int64)
    labels[:, 100:300, 100:300], labels[:, 250:350, 250:350], labels[:, 400:] = 1, 2, IGNORE
    edges, displacements = network(torch.randn(1, 3, crop, crop))
    assert edges.shape == (1, 1, crop // 4, crop // 4)
    losses = inter_pixel_losses(edges.sigmoid(), displacements, labels, network.stride, paper.training_radius)
    assert len(losses) == 5
    assert all(value > 0 for value in losses.values())
    step_once(network, optimiser, losses.values())
