"""Bundles that strangers made to hang, fill or mislead `verify`: each is refused, or found out, in one line."""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save

from benchmark.bundles import contents
from benchmark.bundles.contents import FORM, MANIFEST, RECORDS, RUNS, Bundle
from benchmark.bundles.form import TEMPLATE, read_form
from benchmark.bundles.verify import verify
from benchmark.evaluation.counts import CountsHeader, CountsWriter
from benchmark.evaluation.scores import Naming
from benchmark.failures import printable
from datasets.base import DataError
from results.io import records_frame
from results.schema import Record

KEY, CAM_KEY = "a" * 24, "b" * 24
COUNTS, MAP, CAMS = f"counts/{KEY}.parquet", f"maps/{KEY}/0.png", f"cams/{CAM_KEY}.safetensors"
FILLED = TEMPLATE.replace('submitter: ""', "submitter: A").replace('hardware: ""', "hardware: B")
FILLED = FILLED.replace('masks_used: ""', "masks_used: nothing")


def stage(**changed: Any) -> dict[str, Any]:
    score = {"name": "score-predict", "key": "c" * 24, "stage": "segmentation", "split": "val"}
    return {"name": "predict", "key": KEY, "kind": "other", "score": score} | changed


def run(**changed: Any) -> dict[str, Any]:
    plain = {"dataset": "shapes", "method": "x", "scale": "nano", "protocol": "paper", "refiner": "own"}
    return (
        plain | {"segmenter": "own", "seed": 0, "status": "done", "stages": [stage()], "panels": []} | changed
    )


def record(metric: str = "miou", value: float = 1.0, method: str = "x", key: str = KEY) -> Record:
    return Record(
        "shapes", method, "nano", "paper", "own", "own", 0, "segmentation", "", "val", metric, value, images=1, key=key
    )  # fmt: skip


def parquet(frame: pd.DataFrame | pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(frame if isinstance(frame, pa.Table) else pa.Table.from_pandas(frame), buffer)
    return buffer.getvalue()


@pytest.fixture
def members(tmp_path: Path) -> dict[str, bytes]:
    path = tmp_path / "counts.parquet"
    with CountsWriter(path, CountsHeader(Naming("background", ("cat",), ()))) as writer:
        writer.add("i0", np.array([0, 1]), np.array([0, 1]), np.array([3, 3]))
    return {
        FORM: FILLED.encode(),
        RECORDS: parquet(records_frame([record()])),
        RUNS: json.dumps({"runs": [run()]}).encode(),
        COUNTS: path.read_bytes(),
    }


def packed(folder: Path, members: dict[str, bytes], **dataset: Any) -> Path:
    about = {"name": "shapes", "classes": ["cat"], "splits": {"val": {"ids": ["i0"]}}} | dataset
    files = {name: hashlib.sha256(data).hexdigest() for name, data in members.items()}
    path = folder / "b.zip"
    with zipfile.ZipFile(path, "w") as written:
        for name, data in members.items():
            written.writestr(name, data)
        written.writestr(MANIFEST, json.dumps({"format": 1, "dataset": about, "files": files}))
    return path


def faults(path: Path) -> list[str]:
    with Bundle(path) as bundle:
        return [fault for check in verify(bundle).checks for fault in check.faults]


def test_the_bundle_that_the_others_change_is_consistent(tmp_path: Path, members: dict[str, bytes]) -> None:
    assert faults(packed(tmp_path, members)) == []


@pytest.mark.parametrize(
    "hours", ["2001-99-99", "1" * 5000, "&a [1, *a]", "[&b [x, x], *b, *b]", "[" * 30_000]
)
def test_a_form_of_hostile_yaml_is_one_line(hours: str) -> None:
    with pytest.raises(DataError) as error:
        read_form(FILLED.replace("hours: 0", f"hours: {hours}"), "form")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "changed",
    [
        {"stages": [stage(key=None)]},
        {"stages": [stage(score=5)]},
        {"stages": [stage(score={"split": [1]})]},
        {"provenance": {"git": "x"}},
        {"provenance": {"git": {"commit": "a" * 10**6}}},
        {"seed": 10**400},
    ],
)
def test_runs_of_odd_types_are_refused(
    tmp_path: Path, members: dict[str, bytes], changed: dict[str, Any]
) -> None:
    members[RUNS] = json.dumps({"runs": [run(**changed)]}).encode()
    with pytest.raises(DataError, match=r"runs\.json"):
        Bundle(packed(tmp_path, members))


def test_a_bundle_without_a_run_is_refused(tmp_path: Path, members: dict[str, bytes]) -> None:
    members[RUNS] = b'{"runs": []}'
    with pytest.raises(DataError, match="no run"):
        Bundle(packed(tmp_path, members))


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_python_would_unpack_at_once_is_refused(
    tmp_path: Path, members: dict[str, bytes], packing: int
) -> None:
    path = packed(tmp_path, members)
    with zipfile.ZipFile(path, "a", packing) as written:
        written.writestr(MAP, bytes(10**6))
    with pytest.raises(DataError, match="packed in a way that `bundle` does not write"):
        Bundle(path)


@pytest.mark.parametrize("ids", ["i0", ["\ud800"], ["i0", "i0"], [""]])
def test_ids_are_a_list_of_different_texts(tmp_path: Path, members: dict[str, bytes], ids: Any) -> None:
    with pytest.raises(DataError, match=r"bundle\.json"):
        Bundle(packed(tmp_path, members, splits={"val": {"ids": ids}}))


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("value", ["x"]), ("value", [[1.0]]), ("threshold", ["x"]), ("schema_version", [[1]]), ("images", [None]),
        ("metric", [{"a": 1}]), ("key", [5]),
    ],
)  # fmt: skip
def test_records_of_other_types_are_refused(
    tmp_path: Path, members: dict[str, bytes], column: str, values: list[Any]
) -> None:
    table = pa.Table.from_pandas(records_frame([record()]))
    members[RECORDS] = parquet(table.set_column(table.column_names.index(column), column, pa.array(values)))
    with pytest.raises(DataError, match=r"records\.parquet is damaged"):
        faults(packed(tmp_path, members))


def test_records_that_grow_in_memory_are_refused(
    tmp_path: Path, members: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "MOST_UNPACKED", 10**6)
    members[RECORDS] = parquet(records_frame([record(method="x" * 1000)] * 2000))  # a dictionary of one text
    with pytest.raises(DataError, match="texts are too long"):
        faults(packed(tmp_path, members))


@pytest.mark.parametrize(
    ("records", "fault"),
    [
        ([record(), record(key="d" * 24)], "scores that no stage of their run has"),
        ([record(), record(method="other")], "scores that no stage of their run has"),
        ([record("mIoU")], "counts and no scores"),
        ([], "counts and no scores"),
    ],
)
def test_scores_that_no_counts_hold_are_found(
    tmp_path: Path, members: dict[str, bytes], records: list[Record], fault: str
) -> None:
    members[RECORDS] = parquet(records_frame(records))
    assert any(fault in each for each in faults(packed(tmp_path, members)))


@pytest.mark.parametrize("held_out", ["x", None, float("nan"), 5.0])
def test_a_held_out_share_is_a_share(tmp_path: Path, members: dict[str, bytes], held_out: Any) -> None:
    members[RUNS] = json.dumps({"runs": [run(settings={"evaluation": {"held_out": held_out}})]}).encode()
    assert any("held_out" in each for each in faults(packed(tmp_path, members)))


@pytest.mark.parametrize(
    ("column", "array"),
    [
        ("gt", pa.array([-1, 0], pa.int8())), ("pred", pa.array([-1, 0], pa.int8())), ("count", pa.array([2**62, 1])),
        ("gt", pa.array([9, 0], pa.uint8())), ("count", pa.array([-1, 0], pa.int32())),
    ],
)  # fmt: skip
def test_counts_out_of_range_are_refused(
    tmp_path: Path, members: dict[str, bytes], column: str, array: pa.Array
) -> None:
    table = pq.read_table(io.BytesIO(members[COUNTS]))
    members[COUNTS] = parquet(table.set_column(table.column_names.index(column), column, array))
    with pytest.raises(DataError, match="cannot be"):
        faults(packed(tmp_path, members))


@pytest.mark.parametrize(
    "header", [{"classes": ["c"] * 10**5}, {"contexts": [["a", 0, 3]] * 10**4}, {"classes": [[1]]}]
)
def test_counts_of_too_many_classes_are_refused(
    tmp_path: Path, members: dict[str, bytes], header: dict[str, Any]
) -> None:
    table = pq.read_table(io.BytesIO(members[COUNTS]))
    known = json.loads(table.schema.metadata[b"wsss_counts"])
    members[COUNTS] = parquet(table.replace_schema_metadata({b"wsss_counts": json.dumps(known | header)}))
    with pytest.raises(DataError, match=r"cannot be|damaged"):
        faults(packed(tmp_path, members))


@pytest.mark.parametrize(
    ("thresholds", "sound"), [((0.1, 0.2), True), ((), False), ((0.2, 0.1), False), ((float("nan"),), False)]
)
def test_thresholds_ascend(thresholds: tuple[float, ...], sound: bool) -> None:
    assert contents._are_thresholds(thresholds) == sound
    assert not contents._are_thresholds(tuple(np.linspace(0, 1, 10**4)))


@pytest.mark.parametrize("side", [2**31 - 1, 15_000, 12_000, 6_000])
def test_a_picture_that_unpacks_to_a_huge_one_is_refused(
    tmp_path: Path, members: dict[str, bytes], side: int
) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    members[MAP] = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    with Bundle(packed(tmp_path, members)) as bundle, pytest.raises(DataError, match=r"0\.png"):
        bundle.label_map(KEY, 0)


@pytest.mark.parametrize(
    ("maps", "classes", "size"),
    [
        (np.zeros((200, 1, 1), np.float16), [0] * 200, [5000, 5000]),
        (np.zeros((1, 0, 0), np.float16), [0], [4, 4]),
        (np.zeros((1, 2, 2), np.complex64), [0], [4, 4]),
        (np.zeros((1, 2, 2), np.float16), [0], [float("inf"), 4]),
        (np.full((1, 2, 2), np.nan, np.float16), [0], [4, 4]),
    ],
)
def test_cams_that_cannot_be_are_refused(
    tmp_path: Path, members: dict[str, bytes], maps: np.ndarray, classes: list[int], size: list[float]
) -> None:
    index = json.dumps({"i0": {"classes": classes, "size": size}})
    members[CAMS] = save({"i0": maps}, {"index": index})
    with Bundle(packed(tmp_path, members)) as bundle, pytest.raises(DataError, match="damaged"):
        bundle.cams(CAM_KEY)


def test_an_index_of_cams_that_is_a_list_is_refused(tmp_path: Path, members: dict[str, bytes]) -> None:
    members[CAMS] = save({}, {"index": "[]"})
    with Bundle(packed(tmp_path, members)) as bundle, pytest.raises(DataError, match="damaged"):
        bundle.cams(CAM_KEY)


def test_a_pipe_is_no_bundle(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="no file"):
        Bundle(tmp_path / "pipe")


def test_members_are_counted_before_they_are_listed(
    tmp_path: Path, members: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = packed(tmp_path, members)
    monkeypatch.setattr(contents, "MOST_MEMBERS", 4)
    monkeypatch.setattr(zipfile, "ZipFile", None)  # would list them
    with pytest.raises(DataError, match="too many files"):
        Bundle(path)


def test_a_form_as_large_as_a_book_is_refused(tmp_path: Path, members: dict[str, bytes]) -> None:
    members[FORM] += b"#" * 10**5
    with pytest.raises(DataError, match="unpacks to more"):
        Bundle(packed(tmp_path, members))


def test_control_characters_do_nothing_to_a_terminal() -> None:
    assert printable("a\x1b[2Jb\nok \ud800 é") == "a\\x1b[2Jb\\nok \\ud800 é"
    assert len(printable("x" * 10**6)) < 1000
