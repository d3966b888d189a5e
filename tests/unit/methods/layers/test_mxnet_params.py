"""MXNet's parameter files, as this test writes them after MXNet's own layout."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from methods.base import MethodError
from methods.layers.config import BackboneConfig
from methods.layers.networks.backbones import NANO, build_backbone
from methods.layers.networks.resnet38d import ResNet38d
from methods.layers.weights import files as weights
from methods.layers.weights.mxnet import HEADS, LIST_MAGIC, TYPES, V1_MAGIC, V2_MAGIC, trunk_names

PARTS = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_var"}


def written(path: Path, arrays: Mapping[str, np.ndarray], version: int = 2) -> Path:
    """version: 0 (dimensions of 32 bits, no magic), 1 or 2"""
    content = struct.pack("<QQQ", LIST_MAGIC, 0, len(arrays))
    for array in arrays.values():
        if version == 2:
            content += struct.pack("<Ii", V2_MAGIC, 0)
        elif version == 1:
            content += struct.pack("<I", V1_MAGIC)
        content += struct.pack(f"<I{array.ndim}{'Q' if version else 'I'}", array.ndim, *array.shape)
        kind = [np.dtype(t) for t in TYPES].index(array.dtype)
        content += struct.pack("<iii", 1, 0, kind) + array.tobytes()
    content += struct.pack("<Q", len(arrays))
    for name in arrays:
        content += struct.pack("<Q", len(name)) + name.encode()
    path.write_bytes(content)
    return path


ARRAYS = {
    "arg:conv1a_weight": np.arange(54, dtype="<f4").reshape(2, 3, 3, 3),
    "aux:bn7_moving_mean": np.array([1.5, -2.0], "<f2"),
    "arg:steps": np.array([[3, 4, 5]], "<i8"),
}


@pytest.mark.parametrize("version", [0, 1, 2])
def test_arrays_come_back_by_name(tmp_path: Path, version: int) -> None:
    state = weights.load_state(written(tmp_path / "net.params", ARRAYS, version))
    assert list(state) == ["conv1a_weight", "bn7_moving_mean", "steps"]
    assert_close(state["conv1a_weight"], torch.arange(54.0).view(2, 3, 3, 3))
    assert_close(state["bn7_moving_mean"], torch.tensor([1.5, -2.0]))  # half precision becomes float32
    assert state["steps"].tolist() == [[3, 4, 5]]


def published(name: str) -> str:
    """The MXNet name of a ResNet-38d tensor, written out separately from `trunk_names`."""
    module, _, part = name.rpartition(".")
    if module == "conv1a":
        return "arg:conv1a_weight"
    if module == "bn7":
        layer = "bn7"
    else:
        block, _, layer = module.partition(".")
        stage, _, number = block[1:].partition("_")
        kind, branch = layer.split("_")
        layer = f"{'res' if kind == 'conv' else 'bn'}{stage}{f'b{number}' if number else 'a'}_{branch}"
        if kind == "conv":
            return f"arg:{layer}_weight"
    return f"{'aux' if 'running' in part else 'arg'}:{layer}_{PARTS[part]}"


def test_names_of_the_published_file_are_the_networks() -> None:
    with torch.device("meta"):
        expected = {k for k in ResNet38d().state_dict() if not k.endswith("num_batches_tracked")}
    names = {published(name).partition(":")[2]: torch.empty(0) for name in expected}
    assert "res3b1_branch2b1_weight" in names
    assert "res6a_branch1_weight" in names
    assert "bn5b2_branch2b1_moving_var" in names
    assert set(trunk_names(names)) == expected


def test_a_network_starts_from_the_file(tmp_path: Path) -> None:
    trunk = ResNet38d(**NANO)
    state = {k: v for k, v in trunk.state_dict().items() if not k.endswith("num_batches_tracked")}
    arrays = {published(k): v.numpy() for k, v in state.items()}
    arrays["arg:linear1000_weight"] = np.zeros((1000, 4), "<f4")
    file = written(tmp_path / "net.params", arrays)
    found = build_backbone(BackboneConfig("resnet38d_nano", str(file), 4), file).trunk.state_dict()
    for name, value in state.items():
        assert_close(found[name], value)
    assert HEADS == ("linear1000_*",)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda b: b[:-1], "ends 1 bytes too early"),
        (lambda b: b + b"x", "3 arrays, 3 names and 1 bytes behind them"),
        (lambda b: b[:100], "ends"),
        (lambda b: b"", "ends 8 bytes too early"),
        (lambda b: b"\x80\x04" + b[2:], "does not begin as an MXNet parameter file"),
        (lambda b: b[:16] + struct.pack("<Q", 2**60) + b[24:], "announces 1152921504606846976 entries"),
        (lambda b: b[:28] + struct.pack("<i", 1) + b[32:], "storage type 1, sparse"),
        (lambda b: b[:32] + struct.pack("<I", 99) + b[36:], "99 dimensions"),
        (lambda b: b[:36] + struct.pack("<Q", 2**62) + b[44:], "too early"),
        (lambda b: b.replace(b"arg:steps", b"arg:\xff\xfe\xff\xff\xff"), "decode"),
    ],
)
def test_a_wrong_file_gives_one_line(tmp_path: Path, spoil, reason: str) -> None:  # type: ignore[no-untyped-def]
    file = written(tmp_path / "net.params", ARRAYS)
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(MethodError, match=reason) as error:
        weights.load_state(file)
    assert "\n" not in str(error.value)
    assert str(file) in str(error.value)


def test_the_file_is_found_and_named_where_it_is_not(tmp_path: Path) -> None:
    reference = "resnet38d/ilsvrc-cls_rna-a1_cls1000_ep-0001"
    with pytest.raises(MethodError, match=r"put ilsvrc-cls_rna-a1_cls1000_ep-0001\.params into"):
        weights.fetch(reference, tmp_path)
    file = written(tmp_path / "ilsvrc-cls_rna-a1_cls1000_ep-0001.params", ARRAYS)
    assert weights.locate(reference, tmp_path) == file
    assert weights.locate(str(file)) == file
