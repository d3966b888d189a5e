"""NumPy's .npz files: what they say is held against what is allowed before room is made for it."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from datasets.files.arrays import ArraysError, read_npz


def test_arrays_are_read_as_numpy_reads_them(tmp_path: Path) -> None:
    arrays = {
        "miou": np.arange(6.0).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
        "names": np.array(["a", "bc"]),
        "none": np.empty((0, 7), np.float16),
        "text": np.array("one"),
    }
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    found = read_npz(tmp_path / "a.npz", 10**6)
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    assert list(read_npz(tmp_path / "a.npz", 10**6, {"text"})) == ["text"]


def header(shape: tuple[int, ...], dtype: str = "<f8") -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (header((50_000, 50_000)) + b"numbers", "too small"),
        (header((2**31, 2**31, 2**10)), "too big"),
        (header((-1, 3)), "negative"),
        (header((2,), "|O") + b"\x80\x02].", "pickles objects"),
        (b"no array", "ValueError"),
        (b"", "ValueError"),
    ],
)
def test_headers_that_lie_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as packed:
        packed.writestr("a.npy", content)
    with pytest.raises(ArraysError, match=words):
        read_npz(tmp_path / "a.npz", 10**6)


def test_what_inflates_is_refused_by_what_its_index_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "a.npz", cam=np.zeros(10**6))
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("it was unpacked"))
    with pytest.raises(ArraysError, match=r"8 MB of arrays in 0\.0 MB"):
        read_npz(tmp_path / "a.npz", 7 * 10**6)
    with pytest.raises(ArraysError, match="FileNotFoundError"):
        read_npz(tmp_path / "b.npz", 10**6)


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packing_that_is_undone_without_bound_is_refused(tmp_path: Path, packing: int) -> None:
    with zipfile.ZipFile(tmp_path / "maps.npz", "w", packing) as packed:
        packed.writestr("maps.npy", b"any")
    with pytest.raises(ArraysError, match="packed in a way"):
        read_npz(tmp_path / "maps.npz", 1e6)
