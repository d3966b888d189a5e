"""Dictionaries of arrays are read from .npy files without unpickling, and nothing else in such files runs."""

from __future__ import annotations

import collections
import contextlib
import datetime
import os
import pickle
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from benchmark.external.pickled_arrays import read_array_file
from datasets.base import DataError

PROTOCOLS = (2, 3, 4, 5)
HEADER = {"descr": "|O", "fortran_order": False, "shape": ()}


def save(path: Path, content: Any, protocol: int) -> Path:
    """As np.save, which has no choice of protocol."""
    array = np.empty((), object)
    array[()] = content
    save_bytes(path, pickle.dumps(array, protocol))
    return path


def save_bytes(path: Path, pickled: bytes) -> Path:
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, HEADER)
        file.write(pickled)
    return path


def same(found: Any, wanted: dict[Any, Any]) -> None:
    assert list(found) == list(wanted)
    for key, value in wanted.items():
        expected = np.asarray(value)
        assert found[key].dtype == expected.dtype
        np.testing.assert_array_equal(found[key], expected)


MAPS = np.random.default_rng(0).random((3, 5, 7))


def published() -> dict[str, dict[Any, Any]]:
    return {
        "psa": dict(zip((0, 14, 19), MAPS.astype(np.float32))),
        "numpy keys": dict(zip(np.array([0, 14, 19]), MAPS)),
        "irn": {
            "keys": torch.tensor([0, 14, 19]),
            "cam": torch.from_numpy(MAPS).float()[:, ::2, ::3],
            "high_res": MAPS.astype(np.float32),
        },
        "irn, a part of a larger tensor": {"keys": torch.nonzero(torch.tensor([0.0, 1.0, 1.0]))[:, 0]},
        "clip-es": {"keys": np.array([0, 14, 19]), "attn_highres": MAPS.astype(np.float16)},
        "column by column": {2: np.asfortranarray(MAPS[0])},
        "another byte order": {2: MAPS[0].astype(">f4")},
        "the same map twice": {1: MAPS[0], 2: MAPS[0]},
        "half and bool tensors": {1: torch.ones(2, 3).half(), 2: torch.ones(4) > 0},
        "none": {},
    }


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", published())
def test_published_formats_are_read(kind: str, protocol: int, tmp_path: Path) -> None:
    content = published()[kind]
    same(read_array_file(save(tmp_path / "a.npy", content, protocol)), content)


@pytest.mark.parametrize("kind", published())
def test_what_np_save_writes_is_read(kind: str, tmp_path: Path) -> None:
    content = published()[kind]
    np.save(tmp_path / "a.npy", content)  # type: ignore[arg-type]
    same(read_array_file(tmp_path / "a.npy"), content)


ARRAYS = npst.arrays(
    st.sampled_from([np.float16, np.float32, np.float64, np.int64, np.uint8, np.bool_]),
    npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)


@given(
    st.dictionaries(st.integers(-5, 2**40) | st.text(max_size=4), ARRAYS, max_size=4),
    st.sampled_from(PROTOCOLS),
)
def test_any_dictionary_of_arrays_is_read(
    tmp_path_factory: Any, content: dict[Any, Any], protocol: int
) -> None:
    found = read_array_file(save(tmp_path_factory.mktemp("a") / "a.npy", content, protocol))
    same(found, content)


def test_a_plain_array_is_read(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", MAPS)
    np.testing.assert_array_equal(read_array_file(tmp_path / "a.npy"), MAPS)


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("content", "named"),
    [
        (Calls(os.system, "touch {mark}"), "system"),
        (Calls(eval, "open('{mark}', 'w')"), "eval"),
        (Calls(subprocess.call, ["touch", "{mark}"]), "call"),
        (Calls(getattr, os, "system"), ""),
        ({1: MAPS[0], 2: Calls(os.mkdir, "{mark}")}, "mkdir"),
        ({1: datetime.date(2020, 1, 1)}, "date"),
        ({1: np.array([Calls(os.mkdir, "{mark}")], object)}, ""),
        ({1: collections.Counter("ab")}, "Counter"),
        ({1: {2, 3}}, ""),
    ],
)  # fmt: skip
def test_nothing_else_is_followed_or_run(content: Any, named: str, protocol: int, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    if isinstance(content, Calls):
        function, arguments = content.call
        filled = [a.format(mark=mark) if isinstance(a, str) else a for a in arguments]
        content = Calls(function, *filled)
    try:
        path = save(tmp_path / "a.npy", content, protocol)
    except TypeError:  # a module does not pickle: by hand
        path = save_bytes(tmp_path / "a.npy", b"cos\nsystem\n(S'touch " + str(mark).encode() + b"'\ntR.")
    with pytest.raises(DataError, match="not read, since its pickle") as caught:
        read_array_file(path)
    assert "\n" not in str(caught.value)
    assert named in str(caught.value)
    assert "np.savez" in str(caught.value)
    assert not mark.exists()


@pytest.mark.parametrize(
    "pickled",
    [
        b"cos\nsystem\n(S'true'\ntR.",  # text opcodes
        b"(S'true'\nios\nsystem\n.",  # INST
        b"\x80\x02ctorch.storage\n_load_from_bytes\nC\x04junk\x85R.",
        b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00O8\x85R.",
        b"\x80\x02]\x94h\x00h\x00\x86.",
        b"\x80\x02h\x07.",
        b"\x80\x02.",
        b"\x80\x02R.",
        b"\x80\x02u.",
        b"\x80\x02}q\x00K\x01h\x00s.",  # a dictionary that holds itself
        b"",
        b"\xff\xff",
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",
    ],
)
def test_broken_or_crafted_pickles_are_one_line(pickled: bytes, tmp_path: Path) -> None:
    path = save_bytes(tmp_path / "a.npy", pickled)
    with pytest.raises(DataError, match=re.escape(str(path))) as caught:
        read_array_file(path)
    assert "\n" not in str(caught.value)


def test_a_small_file_does_not_unfold_into_a_large_one(tmp_path: Path) -> None:
    content: dict[int, Any] = {}
    for _ in range(60):
        content = {1: content, 2: content}
    with pytest.raises(DataError, match="holds a dict where a ndarray belongs"):
        read_array_file(save(tmp_path / "a.npy", content, 4))


TEXT = b"X\x40\x42\x0f\x00" + b"a" * 1_000_000 + b"q\x00"  # a million letters, numbered 0
GLOBALS = {
    "array": b"cnumpy.core.multiarray\n_reconstruct\n",
    "dtype": b"cnumpy\ndtype\nX\x02\x00\x00\x00f8\x85R",
}


@pytest.mark.parametrize(
    "pickled",
    {
        "a function of a module within one": b"\x80\x04\x8c\x02os\x8c\x0bpath.system\x93\x8c\x04true\x85R.",
        "getattr of getattr": b"\x80\x02cbuiltins\ngetattr\n"
        + b"(cbuiltins\ngetattr\n(cos\n__dict__\nX\x03\x00\x00\x00gettRtR.",
        "allowed function within a refused one": b"\x80\x02cos\nsystem\n" + GLOBALS["dtype"] + b"\x85R.",
        "a class made without its constructor": b"\x80\x02csubprocess\nPopen\n)\x81.",
        "the same, with keywords": b"\x80\x04\x8c\nsubprocess\x8c\x05Popen\x93)}\x92.",
        "OBJ": b"(cos\nsystem\nX\x04\x00\x00\x00trueo.",
        "number of a registered function": b"\x80\x02\x82\x01.",
        "the same, four bytes": b"\x80\x02\x84\x01\x00\x00\x00.",
        "something outside, as text": b"Pos.system\n.",
        "something outside": b"\x80\x02X\x02\x00\x00\x00osQ.",
        "a buffer beside the file": b"\x80\x05\x97.",
        "the same, read-only": b"\x80\x05\x97\x98.",
        "attributes for a named function": b"\x80\x02" + GLOBALS["array"]
        + b"N}X\x0c\x00\x00\x00__defaults__Ns\x86b.",
        "attributes for a dictionary": b"\x80\x02}}X\x09\x00\x00\x00__class__Nsb.",
        "state for an array that is whole": b"\x80\x02cnumpy.core.multiarray\nscalar\n"
        + GLOBALS["dtype"] + b"C\x08aaaaaaaa\x86R(K\x01(tNNNtb.",
        "an array of records": b"\x80\x02" + GLOBALS["dtype"]
        + b"(K\x03X\x01\x00\x00\x00<K\x01NNJ\xff\xff\xff\xffK\x00K\x00tb.",
        "an array larger than its bytes": b"\x80\x02" + GLOBALS["array"] + b")R(K\x01J\xff\xff\xff\x7f\x85"
        + GLOBALS["dtype"] + b"\x89C\x08aaaaaaaatb.",
        "bytes of 2**62": b"\x80\x04\x8e\x00\x00\x00\x00\x00\x00\x00\x40a.",
        "text of 2**62": b"\x80\x04\x8d\x00\x00\x00\x00\x00\x00\x00\x40a.",
        "a byte array of 2**62": b"\x80\x05\x96\x00\x00\x00\x00\x00\x00\x00\x40a.",
        "a number of 2**31 digits": b"\x80\x02\x8b\xff\xff\xff\x7fa.",
        "a number of -1 digits": b"\x80\x02\x8b\xff\xff\xff\xffa.",
        "a number in text of a million digits": b"I" + b"9" * 1_000_000 + b"\n.",
        "an entry of the memo of number 2**32 - 1": b"\x80\x02Nr\xff\xff\xff\xff.",
        "the same, as text": b"Np99999999999999999999\n.",
        "a key of tuples within tuples": b"\x80\x02}K\x01" + b"\x85" * 1_000_000 + b"K\x01s.",
        "tuples within tuples": b"\x80\x02K\x01" + b"\x85" * 1_000_000 + b".",
        "lists within lists": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
        "a long stack and many marks": b"\x80\x02" + b"K\x01" * 200_000 + b"(t" * 200_000 + b".",
        "text encoded again and again": b"\x80\x02" + TEXT + b"X\x06\x00\x00\x00latin1q\x01c_codecs\nencode\nq\x02"
        + b"h\x02h\x00h\x01\x86R" * 300_000 + b".",
    }.items(),
    ids=lambda case: case[0],
)  # fmt: skip
def test_hostile_pickles_are_one_line_and_take_no_memory(pickled: tuple[str, bytes], tmp_path: Path) -> None:
    path = save_bytes(tmp_path / "a.npy", pickled[1])
    before = psutil.Process().memory_info().rss
    with pytest.raises(DataError, match=re.escape(str(path))) as caught:
        read_array_file(path)
    assert psutil.Process().memory_info().rss - before < 128e6
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize(
    ("size", "stride", "reason"),
    [
        ((2, 2), (2, 1), "a tensor larger than its storage"),
        ((1,) * 100_000, (1,) * 100_000, "a tensor of impossible size"),
        ((2**70,), (1,), "a tensor of impossible size"),
        ((2,), (-1,), "a tensor of impossible size"),
    ],
    ids=["beyond its end", "100 000 sides", "a side of 2**70", "backwards"],
)
def test_a_tensor_that_its_storage_does_not_hold_is_refused(
    size: tuple[int, ...], stride: tuple[int, ...], reason: str, tmp_path: Path
) -> None:
    class Beyond:
        def __reduce__(self) -> Any:
            from torch._utils import _rebuild_tensor_v2

            storage = torch.arange(4.0).storage()
            return _rebuild_tensor_v2, (storage, 2, size, stride, False, collections.OrderedDict())

    with pytest.raises(DataError, match=reason):
        read_array_file(save(tmp_path / "a.npy", {1: Beyond()}, 4))


@settings(max_examples=150)
@given(st.data())
def test_damaged_files_are_one_line(tmp_path_factory: Any, data: Any) -> None:
    """Any byte changed, any end cut off: read as something, or a DataError."""
    path = tmp_path_factory.mktemp("a") / "a.npy"
    save(
        path,
        published()[data.draw(st.sampled_from(["psa", "irn", "clip-es"]))],
        data.draw(st.sampled_from(PROTOCOLS)),
    )
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[position] = data.draw(st.integers(0, 255))
    else:
        del content[position:]
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        read_array_file(path)
