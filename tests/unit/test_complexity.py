"""Counts of operations: by hand on a small network, and the figures of published ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from methods.layers.complexity import complexity
from methods.layers.config import VitConfig
from methods.mctformer.cam import cam_stages
from methods.mctformer.config import PRESETS, AttentionConfig
from methods.mctformer.network import MctformerNetwork, build_network
from methods.semantic_modulation.config import ModulationConfig
from methods.semantic_modulation.stages import modulated_cams


def test_convolution_and_linear_layers() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.Flatten(), nn.Linear(8 * 6 * 5, 10))
    counted = complexity(network, lambda: network(torch.zeros(1, 3, 6, 5)))
    assert counted.layer_macs == counted.macs == 6 * 5 * 9 * 3 * 8 + 8 * 6 * 5 * 10
    assert counted.parameters == 9 * 3 * 8 + 8 * 6 * 5 * 10 + 10


@pytest.mark.parametrize("network", [nn.MultiheadAttention(8, 2, batch_first=True).eval()])
def test_products_of_fused_attention(network: nn.Module) -> None:
    tokens = torch.zeros(1, 7, 8)
    counted = complexity(network, lambda: network(tokens, tokens, tokens, need_weights=False))
    assert counted.layer_macs == 4 * 7 * 8 * 8
    assert counted.macs == counted.layer_macs + 2 * 7 * 7 * 8


@pytest.fixture(scope="module")
def deit_small() -> MctformerNetwork:
    config = PRESETS["paper"].vit
    return build_network(VitConfig(config.name, "none"), 20).eval()


def test_paper_scale(deit_small: MctformerNetwork) -> None:
    """The paper's 4.7 G counts linear and convolution layers; 21.7 M parameters; both entries alike (Tab. 1)."""
    images = torch.zeros(1, 3, 224, 224)
    runs = {
        "training": lambda: deit_small(images),
        "mctformer": lambda: cam_stages(deit_small, images, AttentionConfig()),
        "semantic_modulation": lambda: modulated_cams(
            deit_small, images, AttentionConfig(), ModulationConfig()
        ),
    }
    for name, run in runs.items():
        counted = complexity(deit_small, run)
        print(
            f"{name}: {counted.layer_macs / 1e9:.3f} G, {counted.macs / 1e9:.3f} G, {counted.parameters / 1e6:.3f} M"
        )
        assert round(counted.layer_macs / 1e9, 2) == 4.66
        assert round(counted.macs / 1e9, 2) == 5.09
        assert 21.7e6 <= counted.parameters < 21.75e6
