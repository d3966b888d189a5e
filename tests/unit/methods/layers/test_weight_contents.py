"""Weight files: names and shapes from the header, tensors without the rest, and faults in our own words."""

from __future__ import annotations

import argparse
import datetime
import pickle
import re
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from methods.base import MethodError
from methods.layers.clip.config import ClipConfig
from methods.layers.sam.config import SamConfig
from methods.layers.weights.contents import read_shapes
from methods.layers.weights.files import load_into, load_state


class Own(nn.Module):
    """As released code has them, which cannot be imported where the file is read."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.register_buffer("passing", torch.ones(2), persistent=False)


def network() -> Own:
    torch.manual_seed(0)
    return Own()


class Config(dict):  # type: ignore[type-arg]
    """As mmcv's and omegaconf's."""

    def __setstate__(self, state: Any) -> None:
        raise AssertionError("nothing of a file is called")


class Dangerous:
    def __reduce__(self) -> Any:
        return eval, ("1/0",)


CONTENTS: list[Callable[[Own], Any]] = [
    lambda n: n.state_dict(),
    lambda n: {"state_dict": n.state_dict(), "args": argparse.Namespace(lr=0.1, path=Path("/x"))},
    lambda n: {"model": n.state_dict(), "best": np.float64(0.5), "when": datetime.datetime(2020, 1, 1)},
    lambda n: {"model_state_dict": n.state_dict(), "cfg": Config(a=Config(b=1)), "seen": {1, 2}},
    lambda n: {"epoch": 3, "generator": {f"module.{k}": v for k, v in n.state_dict().items()}},
    lambda n: {**n.state_dict(), "epoch": 3, "evil": Dangerous()},
    lambda n: {"net": n, "optimizer": torch.optim.SGD(n.parameters(), lr=0.1).state_dict()},
    lambda n: n,
    lambda n: nn.DataParallel(n),
    lambda n: {k: nn.Parameter(v, requires_grad=False) for k, v in n.state_dict().items()},
]


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("content", CONTENTS)
def test_tensors_are_read_and_the_rest_is_left_out(
    tmp_path: Path, content: Callable[[Own], Any], legacy: bool
) -> None:
    path = tmp_path / "net.pth"
    torch.save(content(network()), path, _use_new_zipfile_serialization=not legacy)
    expected = network().state_dict()
    shapes = read_shapes(path)
    assert shapes == {name: tuple(tensor.shape) for name, tensor in expected.items()}
    state = load_state(path)
    assert set(state) == set(expected)
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())


def test_headers_need_no_torch_and_no_data(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(3, 5)}, tmp_path / "a.pth")
    save_file({"b": torch.zeros(2)}, tmp_path / "b.safetensors")
    code = (
        "import sys; from pathlib import Path; from methods.layers.weights.contents import read_shapes;"
        f"print(read_shapes(Path({str(tmp_path / 'a.pth')!r})), read_shapes(Path({str(tmp_path / 'b.safetensors')!r})));"
        "assert 'torch' not in sys.modules"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert said.strip() == "{'a': (3, 5)} {'b': (2,)}"


def test_a_scripted_archive_is_converted_by_the_remedy(tmp_path: Path) -> None:
    """Pasted into a shell; OpenAI's CLIP files are such archives, with entries that are no weights."""
    scripted = torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)))
    path = tmp_path / "it's ViT-B-32.pt"
    scripted.save(str(path))
    with pytest.raises(
        MethodError, match="are a TorchScript archive, a program and no state dictionary"
    ) as error:
        load_state(path)
    said = str(error.value)
    assert "\n" not in said
    command = said[said.index(": python -c ") + 2 :]
    subprocess.run(command.replace("python", sys.executable, 1), shell=True, check=True)
    load_into(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), load_state(tmp_path / "it's ViT-B-32-weights.pth"),
              source=path)  # fmt: skip


def truncated(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.pth", b"", "the file is empty"),
        ("a.pth", b"<!DOCTYPE html><html>", "it is a web page"),
        ("a.safetensors", b"<html>404", "it is a web page"),
        ("a.pt", b"version https://git-lfs.github.com/spec/v1\noid", "a pointer of Git LFS"),
        ("a.pth", b"PK\x03\x04nothing more", "the archive is truncated or damaged"),
        ("a.pth", b"\x80\x02garbage", "it is damaged, or no .pth file"),
        ("a.bin", b"\x1b[31mno weights\x1b[0m", "it is damaged, or no .bin file"),
        ("a.safetensors", b"\xff" * 100, "it is damaged, or no .safetensors file"),
    ],
)
def test_what_is_no_weight_file_is_said(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    for read in (read_shapes, load_state):
        with pytest.raises(MethodError, match=re.escape(words)) as error:
            read(tmp_path / name)
        assert "\n" not in str(error.value)
        assert "\x1b" not in str(error.value)
        assert "torch.load" not in str(error.value)


def test_a_pickle_cannot_ask_for_more_memory_than_it_has(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(
        b"\x80\x02K\x01r" + struct.pack("<I", 2**26) + b"."
    )  # the object of that number
    tracemalloc.start()
    with pytest.raises(MethodError, match=r"it is damaged, or no \.pth file"):
        read_shapes(tmp_path / "a.pth")
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()


def test_archives_that_were_compressed_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a/data.pkl", pickle.dumps({"a": 1}))
    with pytest.raises(MethodError, match=r"were packed again; save them with torch\.save"):
        read_shapes(tmp_path / "a.pth")


@pytest.mark.parametrize(
    "header",
    ["[" * 20_000, '{"a": {"shape": ["x"], "data_offsets": [0, 1]}}', '{"a": {"shape": [1], "data_offsets": [0, "4"]}}',
     '{"a": {"shape": [-1], "data_offsets": [0, 4]}}', '{"a": {"shape": [1], "data_offsets": []}}'],
)  # fmt: skip
def test_headers_of_no_sizes_are_damage(tmp_path: Path, header: str) -> None:
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header.encode() + bytes(4))
    with pytest.raises(MethodError, match=r"it is damaged, or no \.safetensors file"):
        read_shapes(tmp_path / "a.safetensors")


def nested(depth: int) -> Any:
    """A dictionary with twice the same dictionary, and so on; as a tree it would have 2 ** depth parts."""
    inner: dict[str, Any] = {}
    for _ in range(depth):
        inner = {"a": inner, "b": inner}
    return inner


def endless(key: str) -> Any:
    content: dict[str, Any] = {"epoch": 3}
    content[key] = content
    return content


def module(state: Any) -> Any:
    found = nn.Identity()
    found.__dict__ = state
    return found


def endless_module() -> Any:
    found = module({"_modules": {}})
    found.__dict__["_modules"]["a"] = found
    return {"model": found}


@pytest.mark.parametrize(
    "content",
    [lambda: nested(60), lambda: endless("model"), lambda: endless("other"), endless_module,
     lambda: module({"_parameters": 3, "_buffers": "x", "_modules": [1], "_non_persistent_buffers_set": 5})],
)  # fmt: skip
def test_what_holds_itself_or_no_containers_is_no_state_dictionary(
    tmp_path: Path, content: Callable[[], Any]
) -> None:
    torch.save(content(), tmp_path / "a.pth")
    with pytest.raises(MethodError, match="holds no state dictionary"):
        read_shapes(tmp_path / "a.pth")


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_truncated_files(tmp_path: Path, name: str) -> None:
    state = {"a": torch.zeros(100, 100)}
    torch.save(state, tmp_path / name) if name.endswith("pth") else save_file(state, tmp_path / name)
    truncated(tmp_path / name, 0.7)
    with pytest.raises(MethodError, match="truncated"):
        read_shapes(tmp_path / name)


@pytest.mark.parametrize(
    "content",
    [[1, 2], {"epoch": 3}, {"student": {"a": torch.zeros(1)}, "teacher": {"a": torch.zeros(1)}}, "text"],
)
def test_no_state_dictionary(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "a.pth")
    for read in (read_shapes, load_state):
        with pytest.raises(MethodError, match=r"holds no state dictionary \(name -> tensor\); it has"):
            read(tmp_path / "a.pth")


def test_a_sam_of_another_size() -> None:
    shapes = {"image_encoder.patch_embed.proj.weight": (1280, 3, 16, 16)}
    SamConfig(name="vit_h").require_weights(Path("x.pth"), shapes)
    with pytest.raises(
        MethodError, match=r"x\.pth are the weights of vit_h, and sam\.name is vit_b; set its name"
    ):
        SamConfig().require_weights(Path("x.pth"), shapes)
    with pytest.raises(MethodError, match="no weights of segment_anything's SAM"):
        SamConfig(name="default").require_weights(Path("x.pth"), {"a": (1,)})
    SamConfig(name="vit_t", registry="mobile_sam:sam_model_registry").require_weights(
        Path("x.pth"), {"a": (1,)}
    )


def test_a_clip_of_another_size() -> None:
    shapes = {"visual.conv1.weight": (768, 3, 16, 16)}
    ClipConfig(name="ViT-B-16").require_weights(Path("x.pth"), shapes)
    with pytest.raises(
        MethodError, match=r"patches of 16 pixels and 768 channels, and clip\.name=ViT-B-32-quickgelu"
    ):
        ClipConfig().require_weights(Path("x.pth"), shapes)
    with pytest.raises(MethodError, match="are none of a CLIP"):
        ClipConfig().require_weights(Path("x.pth"), {"a": (1,)})
