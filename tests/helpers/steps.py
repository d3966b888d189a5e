"""One optimiser step of a network, held to what every training promises."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


def step_once(network: nn.Module, optimiser: torch.optim.Optimizer, losses: Iterable[torch.Tensor]) -> None:
    """The sum of losses is finite; its step changes every parameter that learns and no other."""
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    total = torch.stack(list(losses)).sum()
    assert total.isfinite()
    total.backward()
    optimiser.step()
    for name, value in network.named_parameters():
        assert value.isfinite().all(), name
        assert torch.equal(value, before[name]) != value.requires_grad, name
