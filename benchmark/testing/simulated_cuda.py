"""A CUDA device without a GPU: tensors that say they are on it, refuse to meet CPU tensors, and have values.

torch's FakeTensorMode has the same rules, but its tensors have no values, so that whatever depends on them (`item`,
boolean indices, artifacts written and read again) stops there, and so does every backward pass. Here each tensor
holds a CPU tensor, on which the operations are carried out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import (
    TorchDispatchMode,
    _disable_current_modes,
    return_and_correct_aliasing,
)
from torch.utils._pytree import tree_leaves, tree_map

from datasets.loading import loader
from datasets.loading.prefetch import InFlight, Transfer

DEVICE = torch.device("cuda", 7)
"""An index of its own: what is kept by device (`lru_cache`) is not taken for a real GPU's."""

_aten = torch.ops.aten
_COPIES = {_aten.copy_, _aten._to_copy, _aten._has_compatible_shallow_copy_type}
_INDEXING = {
    _aten.index,
    _aten.index_put,
    _aten.index_put_,
    _aten._index_put_impl_,
    _aten._unsafe_index,
    _aten._unsafe_index_put,
}


class PlacementError(RuntimeError):
    """An operation on tensors of several devices, or with a random generator of another one than its result's."""


@contextmanager
def simulated_cuda() -> Iterator[torch.device]:
    """Makes `DEVICE` usable, and the loader's copies to it.

    What is not simulated: streams, and automatic mixed precision. Operations are those of the CPU: what CUDA lacks
    (float64 on some devices, deterministic kernels) is not found, nor are numbers equal to a GPU's.
    """
    swapped = torch.__future__.get_swap_module_params_on_conversion()
    lifted = torch._C._only_lift_cpu_tensors()
    with (
        patch.object(loader, "Transfer", _Transfer),
        patch.object(torch.cuda, "get_rng_state", lambda device: torch.get_rng_state()),
        _Mode(),
    ):
        try:
            torch._C._set_only_lift_cpu_tensors(
                True
            )  # torch.tensor(..., device="cuda") is made on the CPU first
            torch.__future__.set_swap_module_params_on_conversion(
                True
            )  # Module.to cannot change the data in place
            yield DEVICE
        finally:
            torch._C._set_only_lift_cpu_tensors(lifted)
            torch.__future__.set_swap_module_params_on_conversion(swapped)


class CudaTensor(torch.Tensor):
    """A tensor on `DEVICE`; `value` is the CPU tensor that it stands for.

    To torch's C++ code it is on the meta device: the CUDA device would be asked for streams in a backward pass.
    """

    value: torch.Tensor
    device = property(lambda self: DEVICE)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    is_meta = property(lambda self: False)  # type: ignore[assignment]
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, value: torch.Tensor) -> CudaTensor:
        place = (
            {"strides": value.stride(), "storage_offset": value.storage_offset()}
            if value.layout is torch.strided
            else {"layout": value.layout}
        )
        with torch.inference_mode(False):  # what is made inside it could be no view of what was made outside
            tensor: CudaTensor = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
                cls,
                value.shape,
                dtype=value.dtype,
                device=torch.device("meta"),
                **place,  # type: ignore[arg-type]
            )
        tensor.value = value
        return tensor

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return _dispatch(func, args, kwargs or {})

    def __repr__(self) -> str:  # type: ignore[override]
        return f"CudaTensor({self.value!r})"

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.value.__reduce_ex__(protocol)

    # torch's C++ code would make a tensor without values of what these are given in Python.

    def __getitem__(self, index: Any) -> torch.Tensor:
        return super().__getitem__(_indices(index))

    def __setitem__(self, index: Any, values: Any) -> None:
        super().__setitem__(_indices(index), values)

    def new_tensor(self, data: Any, *, dtype: Any = None, device: Any = None, **others: Any) -> torch.Tensor:  # type: ignore[override]
        return torch.tensor(data, dtype=dtype or self.dtype, device=device or DEVICE, **others)

    def tolist(self) -> Any:
        return self.value.tolist()

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.value.untyped_storage()


class _Mode(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self._mode_key = torch._C._TorchDispatchModeKey.FAKE  # torch then looks for no driver

    def __torch_dispatch__(  # type: ignore[override]
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if _is_composite(func):
            with self:
                return func.decompose(*args, **(kwargs or {}))
        return _dispatch(func, args, kwargs or {})


def _is_composite(func: Any) -> bool:
    """Whether it is made of other operations; in inference mode such ones come here whole."""
    return torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")


def _dispatch(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Carry an operation out on the values. Its result is on the device that it names, else on its tensors'."""
    packet, device = func.overloadpacket, kwargs.get("device")
    given = tree_leaves((args, kwargs))
    on_device = any(isinstance(x, CudaTensor) for x in given)
    if packet in _COPIES:
        result_on_device = isinstance(args[0], CudaTensor)
    else:
        if packet in _INDEXING and isinstance(args[0], CudaTensor):
            given = tree_leaves((args[0], args[2:]))  # indices may be on the CPU
        _check(func, given)
        result_on_device = on_device
    if device is not None:
        result_on_device = device.type in (DEVICE.type, "meta")
        kwargs = {**kwargs, "device": torch.device("cpu")}
    if result_on_device and isinstance(kwargs.get("generator"), torch.Generator):
        raise PlacementError(f"{func}: a generator on the CPU cannot fill a tensor on {DEVICE}")
    with _disable_current_modes():
        result = func(*tree_map(_value, args), **tree_map(_value, kwargs))
    if not result_on_device:
        return result
    result = tree_map(lambda x: CudaTensor(x) if isinstance(x, torch.Tensor) else x, result)
    return return_and_correct_aliasing(func, args, kwargs, result) if on_device else result


def _check(func: Any, given: Sequence[Any]) -> None:
    """As on a GPU, a CPU tensor without dimensions may meet others; PlacementError for any other one."""
    tensors = [x for x in given if isinstance(x, torch.Tensor)]
    assert not any(x.device.type == "meta" for x in tensors), f"{func}: a tensor without values"
    strays = [x for x in tensors if not isinstance(x, CudaTensor) and x.dim() > 0]
    if strays and len(strays) < len(tensors) and any(isinstance(x, CudaTensor) for x in tensors):
        found = ", ".join(f"{tuple(x.shape)} on {x.device}" for x in tensors)
        raise PlacementError(f"{func}: expected all tensors to be on the same device, but found {found}")


def _indices(index: Any) -> Any:
    """Lists as tensors on the CPU, as on a GPU."""
    if isinstance(index, tuple):
        return tuple(map(_indices, index))
    return torch.tensor(index) if isinstance(index, list) else index


def _value(x: Any) -> Any:
    return x.value if isinstance(x, CudaTensor) else x


class _Transfer(Transfer):
    """Copies when the consumer asks: the loader's threads do not know the simulation."""

    def __init__(self, device: torch.device) -> None:
        self.asynchronous = True
        self._device = device

    def empty(self, shape: tuple[int, ...]) -> torch.Tensor:
        return torch.empty(tuple(map(int, shape)), dtype=torch.uint8)

    def send(self, tensors: tuple[torch.Tensor, ...]) -> InFlight:
        return InFlight(tensors)

    def arrived(self, flight: InFlight) -> tuple[torch.Tensor, ...]:
        return tuple(tensor.to(self._device) for tensor in flight.tensors)
