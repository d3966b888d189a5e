"""Multiply-accumulate operations and parameters of a network, by two conventions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Complexity:
    """parameters: elements of all parameters
    layer_macs: over linear and convolution layers, what most papers print
    macs:       with the products of attention and other products of activations
    """

    parameters: int
    layer_macs: int
    macs: int


def complexity(network: nn.Module, run: Callable[[], object]) -> Complexity:
    """Count what `run()` executes, a forward pass of `network` on one image.

    Fused attention counts nothing in PyTorch's counter, so `run` is executed with the plain kernel.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    aten = torch.ops.aten
    layers = {aten.addmm, aten.mm, aten.convolution}
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            run()
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
    by_operation = counter.get_flop_counts().get("Global", {})
    return Complexity(
        sum(p.numel() for p in network.parameters()),
        sum(flops for operation, flops in by_operation.items() if operation in layers) // 2,
        sum(by_operation.values()) // 2,
    )
