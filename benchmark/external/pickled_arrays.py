"""Reading `np.save(path, {...})` without unpickling: dictionaries of arrays, NumPy's or torch's, and nothing else.

Published code saves CAMs as pickled dictionaries, and unpickling runs whatever a file says. Here the pickle is followed
by `benchmark.external.pickle_steps`, and what the few functions that such files name would have made is made here:
arrays of numbers, from bytes. Everything else is refused.
"""

from __future__ import annotations

import math
import re
import tokenize
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.external.pickle_steps import Made, Name, RefusedError, follow, of_type, value_of
from datasets.base import DataError

CONVERT = (
    "d = np.load('ID.npy', allow_pickle=True).item(); "
    "np.savez('ID.npz', keys=list(d), cam=np.stack(list(d.values())))"
)
"""What turns a dictionary of class -> map into a file without a pickle; for files that their owner trusts."""

_TORCH_TYPES = {
    "Bool": "?", "Byte": "u1", "Char": "i1", "Short": "<i2", "Int": "<i4", "Long": "<i8",
    "Half": "<f2", "Float": "<f4", "Double": "<f8",
}  # fmt: skip
_BROKEN = (
    ValueError, TypeError, LookupError, ArithmeticError, AttributeError, EOFError, RecursionError, SyntaxError,
    tokenize.TokenError,
)  # fmt: skip
"""What following damaged or crafted files raises."""
_NUMBERS = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")


def read_array_file(path: Path) -> np.ndarray | dict[Any, np.ndarray]:
    """Content of an .npy file: an array, or the dictionary of arrays that it pickles. Raises DataError."""
    # Read whole, lengths in a damaged file cannot ask for more memory than it has.
    file = BytesIO(path.read_bytes())
    try:
        version = np.lib.format.read_magic(file)
        read_header = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read_header(file)
        if not dtype.hasobject:
            array = np.frombuffer(file.read(), dtype, math.prod(shape))
            return array.reshape(shape, order="F" if fortran else "C")
        return _arrays(follow(file, _call, _build))
    except RefusedError as error:
        raise DataError(
            f"{path}: not read, since its pickle {error}; a dictionary of arrays is read as it is, other files are to "
            f"be converted where you trust them: {CONVERT}"
        ) from None
    except _BROKEN as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{path}: no array file, or a damaged one ({reason}); write it again with np.save"
        ) from error


def _arrays(content: Any) -> dict[Any, np.ndarray]:
    """The dictionary that an array of one object holds; lists of numbers are arrays too."""
    if isinstance(content, np.ndarray) and content.dtype.hasobject:
        content = content.item()
    found = {}
    for key, item in of_type(content, dict).items():
        value = value_of(item)
        if isinstance(value, list) and all(isinstance(number, int | float | np.number) for number in value):
            value = np.array(value)
        found[key] = np.asarray(of_type(value, np.ndarray, np.number))
    return found


def _call(name: str, arguments: tuple[Any, ...]) -> Any:
    """What the named function would have made of its arguments."""
    name = name.replace("numpy._core.", "numpy.core.")  # NumPy 2 moved it
    if name == "numpy.core.multiarray _reconstruct":
        return Made(None)
    if name == "numpy dtype":
        return Made(_dtype(arguments[0]))
    if name == "numpy.core.multiarray scalar":
        dtype, data = arguments
        return np.frombuffer(_bytes(data), _numbers(dtype))[0]
    if name == "numpy.core.numeric _frombuffer":
        data, dtype, shape, order, *axes = arguments
        array = np.frombuffer(_bytes(data), _numbers(dtype))
        if order == "K" and axes:  # the order of the axes in memory
            return array.reshape(shape).transpose(axes[0])
        return array.reshape(shape, order=order)
    if name == "_codecs encode":  # protocol 2 writes bytes as text
        text, encoding = arguments
        if encoding == "latin1":
            return text.encode("latin1")
    if name == "__builtin__ bytes" and not arguments:  # and no bytes like this
        return b""
    if name == "collections OrderedDict" and not arguments:
        return {}
    if name == "torch.storage _load_from_bytes":
        return _torch_storage(_bytes(arguments[0]))
    if name in ("torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_tensor"):
        storage, offset, size, stride = arguments[:4]
        return _strided(of_type(storage, np.ndarray), offset, size, stride)
    raise RefusedError(f"calls {name.replace(' ', '.')[:100]}")


def _build(made: Made, state: tuple[Any, ...]) -> None:
    """Give an array or a dtype its state."""
    if isinstance(made.value, np.dtype):
        if state[1] in ("<", ">"):
            made.value = made.value.newbyteorder(state[1])
        if any(part is not None for part in state[2:5]):
            raise RefusedError("holds arrays of records")
        return
    _, shape, dtype, fortran, data = state
    if value_of(dtype).hasobject:
        if shape != ():
            raise RefusedError("holds arrays of objects")
        made.value = np.empty((), object)
        made.value[()] = of_type(data, list)[0]
    else:
        array = np.frombuffer(_bytes(data), _numbers(dtype))
        made.value = array.reshape(shape, order="F" if fortran else "C")


def _dtype(text: Any) -> np.dtype[Any]:
    if text in ("O", "O8", "O4", "|O"):
        return np.dtype(object)
    if not isinstance(text, str) or _NUMBERS.fullmatch(text) is None:
        raise RefusedError(f"holds values of type {str(text)[:40]!r}, no numbers")
    return np.dtype(text)


def _numbers(dtype: Any) -> np.dtype[Any]:
    found = of_type(value_of(dtype), np.dtype)
    if found.hasobject:
        raise RefusedError("holds arrays of objects")
    return found


def _torch_storage(data: bytes) -> np.ndarray:
    """Numbers of a torch storage, (n,), from the file that torch pickles for one: five pickles, then the numbers."""
    file = BytesIO(data)
    for _ in range(3):  # magic number, protocol version, the machine's sizes
        follow(file, _call, _build)
    described = of_type(follow(file, _call, _build, outside=True), tuple)
    follow(file, _call, _build)  # keys, of which there is one
    kind, *_ = (of_type(part, Name).text for part in described if isinstance(part, Name))
    found = re.fullmatch(r"torch (\w+)Storage", kind)
    if found is None or found[1] not in _TORCH_TYPES:
        raise RefusedError(f"holds {kind[:100]}")
    count = int.from_bytes(file.read(8), "little")
    return np.frombuffer(file.read(), _TORCH_TYPES[found[1]], count)


def _strided(storage: np.ndarray, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> np.ndarray:
    """The view of a storage that a tensor is."""
    numbers = (offset, *size, *stride)
    if not len(size) == len(stride) <= 64 or not all(isinstance(n, int) and 0 <= n < 2**63 for n in numbers):
        raise RefusedError("holds a tensor of impossible size")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride))
    if math.prod(size) > len(storage) or (0 not in size and last >= len(storage)):
        raise RefusedError("holds a tensor larger than its storage")
    strides = [step * storage.itemsize for step in stride]
    view = np.lib.stride_tricks.as_strided(storage[offset:], size, strides, writeable=False)
    return np.array(view)


def _bytes(item: Any) -> bytes:
    return bytes(of_type(item, bytes, bytearray))
