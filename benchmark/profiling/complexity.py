"""Multiply-accumulate operations and parameters of a network, by two conventions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from methods.base import function_of

if TYPE_CHECKING:
    from methods.base import ForwardPass, Stage


@dataclass(frozen=True)
class Complexity:
    """parameters: elements of all parameters
    layer_macs: over linear and convolution layers, what most papers of this field print
    macs:       with the products of attention and other products of activations
    """

    parameters: int
    layer_macs: int
    macs: int


def complexity(network: nn.Module, run: Callable[[], object]) -> Complexity:
    """Count what `run()` executes, a forward pass of `network` on one image; the meta device will do."""
    from torch.utils.flop_counter import FlopCounterMode

    aten = torch.ops.aten
    layers = {aten.addmm, aten.mm, aten.convolution}
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = _NoModules()  # type: ignore[assignment]
    with torch.no_grad(), plain_attention(), counter, _ShapesAlone():
        run()
    by_operation = counter.get_flop_counts().get("Global", {})
    return Complexity(
        sum(p.numel() for p in network.parameters()),
        sum(flops for operation, flops in by_operation.items() if operation in layers) // 2,
        sum(by_operation.values()) // 2,
    )


class _NoModules(nullcontext[None]):
    """In place of what tells the counter which module is at work: only sums over all modules are wanted, and its hooks
    fail in passes that ask for a gradient with respect to a module's input, as Grad-CAM's do."""

    parents = frozenset({"Global"})


class _ShapesAlone(TorchFunctionMode):
    """On the meta device, what multiplies nothing that is counted hands on its input, and resizing to a given size an
    empty tensor: there each is dozens of operations in Python, and together they take most of a pass."""

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        options = options or {}
        given = arguments[0] if arguments else options.get("input")
        if isinstance(given, torch.Tensor) and given.is_meta:
            if function in _HANDED_ON:
                return given
            size = arguments[1] if len(arguments) > 1 else options.get("size")
            if function is functional.interpolate and isinstance(size, (tuple, list, torch.Size)):
                return given.new_empty(*given.shape[:2], *size)
        return function(*arguments, **options)


_HANDED_ON = {functional.batch_norm, functional.layer_norm, functional.gelu, functional.relu}


def stage_forward_passes(
    stage: Stage, inputs: Mapping[str, Any], classes: int, size: tuple[int, int]
) -> Sequence[ForwardPass]:
    """What a stage that has a profile passes images through, its networks built on the device in force.

    inputs: settings of its inputs' stages by role; classes: object classes; size: (H, W) of an image
    """
    assert stage.profile is not None
    return list(function_of(stage.profile)(stage.settings, inputs, classes, size))


def forward_pass_complexity(forward_pass: ForwardPass) -> Complexity:
    """Of one image; what follows the network is not in it. The forward pass's network lies on the meta device."""
    module = forward_pass.module
    if module is None:
        return Complexity(0, 0, 0)
    image = torch.empty(1, 3, *forward_pass.size, device="meta")
    return complexity(module, lambda: forward_pass.run(module, image))


@contextmanager
def plain_attention() -> Iterator[None]:
    """Attention as products and a softmax: PyTorch's counter counts nothing in fused kernels."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
