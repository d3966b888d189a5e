"""The cut-up depthwise convolution is the dilated one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from methods.layers.networks.depthwise import DilatedDepthwise, faster_on_cpu


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("dilation", [2, 3])
@pytest.mark.parametrize("size", [(12, 12), (13, 8), (5, 7)])
def test_outputs_and_gradients_are_the_dilated_ones(kernel, dilation, size):
    torch.manual_seed(0)
    padding = dilation * (kernel // 2)
    plain = nn.Sequential(nn.Conv2d(4, 4, kernel, padding=padding, dilation=dilation, groups=4)).double()
    faster = nn.Sequential(nn.Conv2d(4, 4, kernel, padding=padding, dilation=dilation, groups=4)).double()
    faster.load_state_dict(plain.state_dict())
    faster_on_cpu(faster)
    assert isinstance(faster[0], DilatedDepthwise)
    images = torch.randn(2, 4, *size, dtype=torch.float64)
    gradients = []
    for network in (plain, faster):
        x = images.clone().requires_grad_()
        network(x).square().sum().backward()
        gradients.append((x.grad, network[0].weight.grad, network[0].bias.grad))
    torch.testing.assert_close(faster(images), plain(images))
    torch.testing.assert_close(gradients[1], gradients[0])


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 4, 3, padding=1, groups=4),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2),
        nn.Conv2d(4, 4, 3, padding=1, dilation=2, groups=4),
        nn.Conv2d(4, 4, 3, stride=2, padding=2, dilation=2, groups=4),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4, padding_mode="reflect"),
    ],
)
def test_others_are_left_alone(conv):
    network = nn.Sequential(conv)
    faster_on_cpu(network)
    assert network[0] is conv
