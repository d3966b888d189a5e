"""Batches in parts and activations that are computed again: gradients, running statistics, and what is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import nn

from methods.layers.config import BackboneConfig, VitConfig
from methods.layers.networks.backbones import build_backbone
from methods.layers.networks.levels import LastLevels
from methods.layers.networks.memory import normalises_batches, passes_in_parts, saving_memory
from methods.layers.networks.vit import build_vit

Forward = Callable[[torch.Tensor], Sequence[torch.Tensor]]


def convolutional(name: str, stride: int, freeze_bn: bool) -> tuple[nn.Module, Forward]:
    """A backbone and, of it, the levels that PSA and SEAM take by hooks."""
    torch.manual_seed(0)
    backbone = build_backbone(BackboneConfig(name, "none", stride, freeze_bn=freeze_bn))
    return backbone, LastLevels(backbone, "backbone")


def transformer() -> tuple[nn.Module, Forward]:
    """A transformer and its last tokens, with those of an early block. Its stem's normalisation does not train."""
    torch.manual_seed(0)
    vit = build_vit(VitConfig("vit_nano"), classes=3)
    vit.trunk.patch_embed.eval()

    def forward(images: torch.Tensor) -> list[torch.Tensor]:
        tokens, early = vit.with_middle(images, 2)
        return [*vit(images), *tokens, early]

    return vit, forward


NETWORKS = {
    "resnet38d": lambda: convolutional("resnet38d_nano", 4, freeze_bn=True),
    "resnet50": lambda: convolutional("resnet50", 16, freeze_bn=True),
    "efficientnet": lambda: convolutional("timm/tf_efficientnet_lite0", 16, freeze_bn=True),
    "transformer": transformer,
}
IMAGES = torch.rand(5, 3, 48, 48, generator=torch.Generator().manual_seed(1))


def step(network: nn.Module, forward: Forward, parts: int, recompute: bool) -> tuple[float, torch.Tensor]:
    """A loss that relates the images of the batch to each other, and its gradient."""
    network.zero_grad()
    torch.manual_seed(2)
    with saving_memory(network, parts, recompute):
        images = IMAGES.to(next(network.parameters()).dtype)
        flat = torch.cat([level.flatten(1) for level in forward(images)], 1)
        similar = nn.functional.normalize(flat) @ nn.functional.normalize(flat).T
        loss = similar.mul(5).log_softmax(1).diagonal().mean() + flat.square().mean()
        loss.backward()
    gradients = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
    return loss.item(), torch.cat(gradients)


@pytest.mark.parametrize(("parts", "recompute"), [(1, True), (2, False), (9, True)])
@pytest.mark.parametrize("name", NETWORKS)
def test_loss_and_gradients_are_those_of_the_plain_step(name, parts, recompute):
    network, forward = NETWORKS[name]()
    network.double()  # a processor's rounding may depend on the size of the batch
    loss, gradient = step(network, forward, 1, False)
    saved_loss, saved = step(network, forward, parts, recompute)
    assert saved_loss == pytest.approx(loss, rel=1e-12)
    assert saved.shape == gradient.shape
    assert (saved - gradient).abs().max() <= 1e-10 * max(1.0, float(gradient.abs().max()))


def test_statistics_of_a_second_pass_do_not_count():
    states = []
    for recompute in (False, True):
        network, forward = convolutional("resnet38d_nano", 4, freeze_bn=False)
        step(network, forward, 1, recompute)
        states.append(network.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def kept_bytes(network: nn.Module, parts: int, recompute: bool) -> int:
    """What a forward pass keeps for the gradients."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.data_ptr()] = tensor.nbytes
        return tensor

    with (
        saving_memory(network, parts, recompute),
        torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x),
    ):
        network(IMAGES)
    weights = {p.data_ptr() for p in network.state_dict().values()}
    return sum(size for pointer, size in kept.items() if pointer not in weights)


@pytest.mark.parametrize("name", NETWORKS)
def test_less_is_kept(name):
    network, _ = NETWORKS[name]()
    plain = kept_bytes(network, 1, False)
    assert kept_bytes(network, 1, True) < 0.5 * plain  # what goes into each block
    assert kept_bytes(network, 5, False) < 0.1 * plain  # the images


def test_all_is_as_before_afterwards():
    network, _ = NETWORKS["resnet38d"]()
    with pytest.raises(KeyError), saving_memory(network, 3, True):
        raise KeyError
    assert network.parts == 1
    assert not any("forward" in vars(module) for module in network.modules())


def test_what_parts_act_on_is_told():
    frozen, trained = (convolutional("resnet38d_nano", 4, freeze_bn=frozen)[0] for frozen in (True, False))
    head = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    assert [passes_in_parts(n) for n in (head, nn.Sequential(frozen, head))] == [False, True]
    assert [normalises_batches(nn.Sequential(n, head)) for n in (frozen, trained)] == [False, True]
    assert not normalises_batches(trained.eval())
