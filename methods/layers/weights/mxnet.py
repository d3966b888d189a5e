"""MXNet's parameter files (`.params`), read without MXNet: bytes are interpreted as numbers, nothing is executed.

The layout is that of `NDArray::Save` (apache/mxnet, src/ndarray/ndarray.cc), little-endian: a head, every array with
its own head, then their names. ResNet-38d's ImageNet weights circulate in this form (itijyou/ademxapp).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

SUFFIX = ".params"
LIST_MAGIC = 0x112
V1_MAGIC, V2_MAGIC, V3_MAGIC = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
"""First word of an array; in the oldest files it is the number of dimensions."""
TYPES = ("<f4", "<f8", "<f2", "u1", "<i4", "i1", "<i8")
"""By the file's number of a type."""
MOST_DIMENSIONS = 32

HEADS = ("linear1000_*",)
"""Names of the ImageNet classifier on ResNet-38d in `trunk_names`."""
_BLOCK = re.compile(r"(res|bn)(\d)(?:a|b(\d+))_(branch\w+?)_(weight|gamma|beta|moving_mean|moving_var)")
_NORMS = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_var": "running_var",
}


def read_params(path: Path) -> dict[str, torch.Tensor]:
    """Arrays of a file by name, without their prefixes "arg:" and "aux:". ValueError for anything else."""
    import torch

    file = _Reader(path.read_bytes())
    if file.numbers("Q")[0] != LIST_MAGIC:
        raise ValueError("it does not begin as an MXNet parameter file")
    _, count = file.numbers("QQ")
    arrays = [file.array() for _ in range(file.plausible(count))]
    names = [file.text(*file.numbers("Q")) for _ in range(file.plausible(*file.numbers("Q")))]
    names = [name.removeprefix("arg:").removeprefix("aux:") for name in names]
    if len(names) != len(arrays) or len(set(names)) != len(names) or file.left:
        raise ValueError(
            f"it has {len(arrays)} arrays, {len(set(names))} names and {file.left} bytes behind them"
        )
    return {name: torch.from_numpy(array.copy()) for name, array in zip(names, arrays)}


def trunk_names(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """ResNet-38d's MXNet names under those of `ResNet38d`: res4b2_branch2a_weight -> b4_2.conv_branch2a.weight.

    Other names stay as they are.
    """
    return {_trunk_name(name): value for name, value in state.items()}


def _trunk_name(name: str) -> str:
    if name == "conv1a_weight":
        return "conv1a.weight"
    if name.startswith("bn7_") and name.removeprefix("bn7_") in _NORMS:
        return f"bn7.{_NORMS[name.removeprefix('bn7_')]}"
    match = _BLOCK.fullmatch(name)
    if match is None:
        return name
    kind, stage, number, branch, part = match.groups()
    block = f"b{stage}_{number}" if number else f"b{stage}"
    return f"{block}.conv_{branch}.{part}" if kind == "res" else f"{block}.bn_{branch}.{_NORMS[part]}"


class _Reader:
    """Numbers, texts and arrays from the front of `content`; ValueError where it ends too early."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    @property
    def left(self) -> int:
        return len(self._content) - self._at

    def plausible(self, count: int) -> int:
        """A number of things of 8 bytes or more that are still to come."""
        if count > self.left // 8:
            raise ValueError(f"it announces {count} entries and ends before them")
        return count

    def numbers(self, layout: str) -> tuple[Any, ...]:
        return struct.unpack(f"<{layout}", self._take(struct.calcsize(f"<{layout}")))

    def text(self, length: int) -> str:
        return self._take(length).decode("utf-8")

    def array(self) -> np.ndarray:
        magic = self.numbers("I")[0]
        if magic in (V2_MAGIC, V3_MAGIC) and (storage := self.numbers("i")[0]) != 0:
            raise ValueError(f"an array has storage type {storage}, sparse; only dense ones are read")
        wide = magic in (V1_MAGIC, V2_MAGIC, V3_MAGIC)
        dimensions = self.numbers("I")[0] if wide else magic
        if not 1 <= dimensions <= MOST_DIMENSIONS:
            raise ValueError(f"an array has {dimensions} dimensions")
        shape = self.numbers(f"{dimensions}{'Q' if wide else 'I'}")
        _, _, kind = self.numbers("iii")  # the device it was on, and its type
        if not 0 <= kind < len(TYPES):
            raise ValueError(f"an array has the unknown type {kind}")
        dtype = np.dtype(TYPES[kind])
        size = dtype.itemsize
        for side in shape:
            size *= side
        return np.frombuffer(self._take(size), dtype).reshape(shape)

    def _take(self, size: int) -> bytes:
        if size > self.left:
            raise ValueError(f"it ends {size - self.left} bytes too early")
        self._at += size
        return self._content[self._at - size : self._at]
