"""Training in less memory: batches that pass a network in parts, and activations that are computed a second time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

T = TypeVar("T")


class InParts(nn.Module):
    """A network that treats each image of a batch by itself, batch normalisation aside; see `saving_memory`.

    parts: in which a batch passes it; the activations of one at a time are kept
    """

    parts = 1

    def blocks(self) -> Sequence[nn.Module]:
        """Modules, one after the other, inside of which activations need not be kept."""
        return ()

    def in_parts(self, forward: Callable[[torch.Tensor], T], images: torch.Tensor) -> T:
        """What `forward` makes of images (B, ...) by this network: a tensor (B, ...), or a sequence of such results.

        With gradients, each part passes a second time when they are taken.
        """
        if min(self.parts, len(images)) <= 1:
            return forward(images)

        def whole(images: torch.Tensor) -> T:
            parts, self.parts = self.parts, 1
            try:
                return forward(images)
            finally:
                self.parts = parts

        return _joined([_recomputed(self, whole, part) for part in images.chunk(self.parts)])


@contextmanager
def saving_memory(network: nn.Module, parts: int, recompute: bool) -> Iterator[None]:
    """While it lasts, batches pass the backbones in `network` in parts, and with `recompute` blocks keep no activations.

    Results and gradients are the same up to rounding, with two exceptions: a batch normalisation in training takes the
    statistics of a part, and dropout draws other numbers where there are parts.
    """
    found = [module for module in network.modules() if isinstance(module, InParts)]
    blocks = [block for module in found for block in module.blocks()] if recompute else []
    for module in found:
        module.parts = parts
    for block in blocks:
        block.forward = partial(_recomputed, block, block.forward)
    try:
        yield
    finally:
        for module in found:
            module.parts = 1
        for block in blocks:
            del block.forward


def passes_in_parts(network: nn.Module) -> bool:
    """Whether there is anything in a network that `parts` acts on."""
    return any(isinstance(module, InParts) for module in network.modules())


def normalises_batches(network: nn.Module) -> bool:
    """Whether a batch normalisation in training is among what `parts` acts on."""
    backbones = [module for module in network.modules() if isinstance(module, InParts)]
    return any(isinstance(m, _BatchNorm) and m.training for backbone in backbones for m in backbone.modules())


def _recomputed(module: nn.Module, forward: Callable[..., Any], *inputs: Any) -> Any:
    """`forward` of parts of `module`, whose activations are made again when gradients are taken."""
    if not torch.is_grad_enabled():
        return forward(*inputs)
    contexts = partial(_contexts, module)
    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts)


def _contexts(module: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _keeping_statistics(module)


@contextmanager
def _keeping_statistics(module: nn.Module) -> Iterator[None]:
    """A second pass does not count in running statistics."""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.training]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before):
            norm.momentum, norm.num_batches_tracked = momentum, count


def _joined(results: Sequence[Any]) -> Any:
    """Results of parts as that of the whole."""
    first = results[0]
    if isinstance(first, torch.Tensor):
        return torch.cat(list(results))
    joined = [_joined(each) for each in zip(*results, strict=True)]
    return type(first)(*joined) if hasattr(first, "_fields") else type(first)(joined)
