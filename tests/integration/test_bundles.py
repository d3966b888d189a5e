"""A run as a bundle, verified as a stranger's: without its data, with them, with its network; and tampered with."""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from benchmark.bundles.accept import Acceptance, accept
from benchmark.bundles.contents import MANIFEST, RECORDS, RUNS, Bundle
from benchmark.bundles.form import form_at, read_form
from benchmark.bundles.rerun import recomputation
from benchmark.bundles.site import build_site
from benchmark.bundles.verify import verify
from benchmark.bundles.write import open_data, write_bundle
from benchmark.evaluation.evaluator import score_label_maps
from benchmark.failures import ConfigError
from datasets.base import DataError, Dataset
from datasets.files.images import write_labels
from methods.artifacts import label_map_path
from results.io import read_run
from results.submissions import read_submissions
from tests.helpers.tiny import data, sizes
from tests.helpers.toys import CommandLine

FORM = """
submitter: A. Researcher
affiliation: ""
contact: ""
paper: https://example.org/paper
code: ""
hardware: two CPU cores
hours: 0.1
masks_used: nothing
"""
VAL = 32

Members = dict[str, bytes]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    line = CommandLine(folder, folder / "data")
    done = line.run_on("cam", *data(line.data), f"dataset.val={VAL}", *sizes(["cam"]))
    assert done.code == 0, done.out + done.err
    return line.output


@pytest.fixture(scope="module")
def place(run_dir: Path) -> list[str]:
    return [f"dataset.root={run_dir.parent / 'data'}"]


@pytest.fixture(scope="module")
def bundle(run_dir: Path, place: list[str]) -> Path:
    output = run_dir.parent / "run.zip"
    write_bundle(run_dir, read_form(FORM, "form"), output, place, [])
    return output


@pytest.fixture(scope="module")
def dataset(bundle: Path, place: list[str]) -> Dataset:
    with Bundle(bundle) as opened:
        return open_data(opened.runs[0], place)


def test_an_honest_bundle_is_re_run(bundle: Path, dataset: Dataset, run_dir: Path) -> None:
    stage = next(s for s in read_run(run_dir).runs[0]["stages"] if s["name"] == "segment")
    with Bundle(bundle) as opened:
        assert verify(opened).level == "consistent"
        assert verify(opened, dataset).level == "re-scored"
        again = recomputation(run_dir / stage["path"], 3, dataset, "cpu")
        assert verify(opened, dataset, again).level == "re-run"


def test_it_says_nothing_of_the_machine_and_has_no_picture(bundle: Path, run_dir: Path) -> None:
    with zipfile.ZipFile(bundle) as packed:
        texts = [
            packed.read(name).decode() for name in packed.namelist() if name.endswith((".json", ".yaml"))
        ]
        assert not any(name.endswith((".webp", ".jpg")) for name in packed.namelist())
    for text in texts:
        assert str(run_dir.parent) not in text
        assert not re.search(r'"(/|~/|[A-Z]:\\\\)\w', text)


def _records(change: Callable[[pd.DataFrame], object]) -> Callable[[Members], None]:
    def tamper(members: Members) -> None:
        frame = pd.read_parquet(io.BytesIO(members[RECORDS]))
        change(frame)
        buffer = io.BytesIO()
        frame.to_parquet(buffer, index=False)
        members[RECORDS] = buffer.getvalue()

    return tamper


def _raise_a_score(frame: pd.DataFrame) -> None:
    row = frame.index[
        (frame["stage"] == "segmentation") & (frame["metric"] == "miou") & (frame["method"] == "cam")
    ]
    frame.loc[row, "value"] += 0.01


def _raise_a_cams_score(frame: pd.DataFrame) -> None:
    row = frame.index[
        (frame["stage"] == "cam") & (frame["variant"] == "oracle") & (frame["metric"] == "miou")
    ]
    frame.loc[row, "value"] += 0.01


def _under_another_runs_name(frame: pd.DataFrame) -> None:
    frame.loc[frame["stage"] == "segmentation", "key"] = "0" * 24
    frame.loc[frame["stage"] == "segmentation", "value"] = 0.99


def _a_second_time(frame: pd.DataFrame) -> None:
    row = frame.index[(frame["stage"] == "segmentation") & (frame["metric"] == "miou") & (frame["seed"] >= 0)]
    frame.loc[len(frame)] = frame.loc[row[0]]


def _another_label_map(members: Members) -> None:
    name = next(name for name in members if name.startswith("maps/"))
    labels = np.array(Image.open(io.BytesIO(members[name])))
    buffer = io.BytesIO()
    Image.fromarray((labels + 1) % 3).save(buffer, "PNG")
    members[name] = buffer.getvalue()


def _another_count(members: Members) -> None:
    with_maps = next(name.split("/")[1] for name in members if name.startswith("maps/"))
    name = f"counts/{with_maps}.parquet"
    table = pq.read_table(io.BytesIO(members[name]))
    counts = table["count"].to_numpy().copy()
    counts[np.argmax(counts)] += 500
    buffer = io.BytesIO()
    pq.write_table(
        table.set_column(table.column_names.index("count"), table.schema.field("count"), [counts]), buffer
    )
    members[name] = buffer.getvalue()


def _manifest(change: Callable[[dict], object]) -> Callable[[Members], None]:
    def tamper(members: Members) -> None:
        document = json.loads(members[MANIFEST])
        change(document)
        members[MANIFEST] = json.dumps(document).encode()

    return tamper


def _another_split(document: dict) -> None:
    document["dataset"]["splits"]["val"]["ids"] = document["dataset"]["splits"]["val"]["ids"][:-4]


def _runs(change: Callable[[dict], object]) -> Callable[[Members], None]:
    def tamper(members: Members) -> None:
        document = json.loads(members[RUNS])
        for run in document["runs"]:
            change(run)
        members[RUNS] = json.dumps(document).encode()

    return tamper


def _undisclosed_setting(run: dict) -> None:
    run["settings"]["method"]["train"]["learning_rate"] = 0.5


def _other_cams(members: Members) -> None:
    name = next(name for name in members if name.startswith("cams/"))
    length = int.from_bytes(members[name][:8], "little")
    content = bytearray(members[name])
    content[8 + length :] = bytes(len(content) - 8 - length)  # maps of zeros
    members[name] = bytes(content)


def _undisclosed_protocol(run: dict) -> None:
    run["settings"]["protocol"]["refiner"] = {"name": "crf"}


def _another_subset(run: dict) -> None:
    run["settings"]["dataset"]["subset"] = 3


def _impossible_classes(members: Members) -> None:
    for name in [name for name in members if name.startswith("maps/")]:
        labels = np.array(Image.open(io.BytesIO(members[name])))
        labels[:8] = 200
        buffer = io.BytesIO()
        Image.fromarray(labels).save(buffer, "PNG")
        members[name] = buffer.getvalue()


TAMPERED = {
    "a setting of the protocol": _runs(_undisclosed_protocol),
    "a setting of the data": _runs(_another_subset),
    "a class that there is not": _impossible_classes,
    "a score": _records(_raise_a_score),
    "a CAM's score": _records(_raise_a_cams_score),
    "scores of no stage": _records(_under_another_runs_name),
    "a score twice": _records(_a_second_time),
    "a label map": _another_label_map,
    "a count": _another_count,
    "another split": _manifest(_another_split),
    "a setting": _runs(_undisclosed_setting),
    "the CAMs": _other_cams,
}


def _repacked(bundle: Path, tamper: Callable[[Members], None], folder: Path) -> Path:
    """The bundle after somebody has tampered with it who knows how its hashes are made."""
    with zipfile.ZipFile(bundle) as packed:
        members = {name: packed.read(name) for name in packed.namelist()}
    tamper(members)
    document = json.loads(members[MANIFEST])
    document["files"] = {n: hashlib.sha256(d).hexdigest() for n, d in members.items() if n != MANIFEST}
    members[MANIFEST] = json.dumps(document).encode()
    path = folder / "tampered.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return path


@pytest.mark.parametrize("what", TAMPERED)
def test_tampering_is_found_without_the_data(bundle: Path, tmp_path: Path, what: str) -> None:
    with Bundle(_repacked(bundle, TAMPERED[what], tmp_path)) as opened:
        found = verify(opened)
    assert found.level == "claimed"
    assert any(check.faults for check in found.checks)


def test_an_accepted_bundle_keeps_its_small_parts(bundle: Path, tmp_path: Path, dataset: Dataset) -> None:
    board = Acceptance(tmp_path / "board", "https://example.org/run.zip")
    board.folder.mkdir()
    with Bundle(bundle) as opened:
        folder = accept(opened, verify(opened), board)
        again = accept(opened, verify(opened, dataset), board)
        with pytest.raises(DataError, match="re-scored before, now it is only consistent"):
            accept(opened, verify(opened), board)
        keys = opened.keys("counts")
        scores = opened.records[opened.records["seed"] >= 0]
    assert again == folder
    (found,) = read_submissions(board.folder)
    assert found.verification["level"] == "re-scored"
    assert found.bundle["sha256"] == hashlib.sha256(bundle.read_bytes()).hexdigest()
    assert sorted(found.counts) == keys
    assert all(each["kept"] for each in found.counts.values())
    assert [each["images"] for each in found.maps.values()] == [VAL]
    assert len(found.stored.records) == len(scores)
    assert found.stored.records["value"].sum() == pytest.approx(scores["value"].sum())
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert names == {"records.parquet", "cells.json", "submission.json", *(f"{key}.parquet" for key in keys)}
    page = build_site(board.folder, tmp_path / "site").read_text()
    assert "A. Researcher" in page
    assert "re-scored" in page
    assert "IoU of every class" in (tmp_path / "site" / "shapes-nano-paper" / "report.html").read_text()


def test_counts_that_are_large_are_kept_by_hash(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmark.bundles.accept.LARGEST_COUNTS", 10)
    with Bundle(bundle) as opened:
        folder = accept(opened, verify(opened), Acceptance(tmp_path))
    assert not (folder / "counts").exists()
    assert not any(each["kept"] for each in read_submissions(tmp_path)[0].counts.values())
    assert build_site(tmp_path, tmp_path / "site").is_file()


def test_counts_changed_after_they_were_accepted_are_found(bundle: Path, tmp_path: Path) -> None:
    with Bundle(bundle) as opened:
        folder = accept(opened, verify(opened), Acceptance(tmp_path))
    path = next((folder / "counts").iterdir())
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(DataError, match="not those that were accepted"):
        read_submissions(tmp_path)
    with Bundle(bundle) as opened:  # as it says
        assert accept(opened, verify(opened), Acceptance(tmp_path)) == folder
    assert len(read_submissions(tmp_path)) == 1


def test_another_bundle_of_the_same_run_is_refused_replaces_or_stands_beside(
    bundle: Path, run_dir: Path, place: list[str], tmp_path: Path
) -> None:
    def accepted(form: str, name: str, replace: bool = False) -> list[str]:
        path = tmp_path / name
        write_bundle(run_dir, read_form(form, "form"), path, place, [])
        with Bundle(path) as opened:
            accept(opened, verify(opened), Acceptance(board, replace=replace))
        return sorted(each.form["hardware"] for each in read_submissions(board))

    board = tmp_path / "board"
    board.mkdir()
    assert accepted(FORM, "a.zip") == ["two CPU cores"]
    other = FORM.replace("two CPU cores", "four")
    with pytest.raises(DataError, match="add --replace"):
        accepted(other, "b.zip")
    assert accepted(other, "b.zip", replace=True) == ["four"]
    assert accepted(FORM.replace("A. Researcher", "B. Other"), "c.zip") == ["four", "two CPU cores"]


def test_a_tampered_bundle_is_not_accepted(bundle: Path, tmp_path: Path) -> None:
    line = CommandLine(tmp_path, tmp_path)
    path = _repacked(bundle, TAMPERED["a score"], tmp_path)
    done = line("verify", str(path), "--accept", "--leaderboard", str(tmp_path / "board"))
    assert done.code == 2
    assert "not accepted, it is only claimed" in done.err
    assert not list((tmp_path / "board").iterdir())


def test_from_the_command_line_a_bundle_is_accepted_and_shown(bundle: Path, tmp_path: Path) -> None:
    line, board = CommandLine(tmp_path, tmp_path), ("--leaderboard", str(tmp_path / "board"))
    done = line("verify", str(bundle), "--accept", "--address", "https://example.org/run.zip", *board)
    assert done.code == 0, done.out + done.err
    assert "accepted: " in done.out
    done = line("site", "--output", str(tmp_path / "site"), *board)
    assert done.code == 0, done.out + done.err
    assert "https://example.org/run.zip" in (tmp_path / "site" / "index.html").read_text()
    assert line("verify", str(bundle), "--replace").code == 2


def test_labels_known_at_test_time_are_found(bundle: Path, tmp_path: Path, dataset: Dataset) -> None:
    """Classes that an image does not have become background, in maps, counts and scores alike."""

    def tamper(members: Members) -> None:
        key = next(name.split("/")[1] for name in members if name.startswith("maps/"))
        ids = json.loads(members[MANIFEST])["dataset"]["splits"]["val"]["ids"]
        for number, image in enumerate(ids):
            labels = np.array(Image.open(io.BytesIO(members[f"maps/{key}/{number}.png"])))
            present = [0, *(label + 1 for label in dataset.sample(image).labels)]
            known = np.where(np.isin(labels, present), labels, 0).astype(np.uint8)
            known[:2, :2] = present[-1]
            write_labels(label_map_path(tmp_path / "maps", image), known, None)
            members[f"maps/{key}/{number}.png"] = label_map_path(tmp_path / "maps", image).read_bytes()
        counts = tmp_path / "counts.parquet"
        scores = score_label_maps(tmp_path / "maps", dataset, "val", stage="segmentation", counts_path=counts)
        members[f"counts/{key}.parquet"] = counts.read_bytes()
        values = {(r.metric, r.class_name): r.value for r in scores.rows}

        def change(frame: pd.DataFrame) -> None:
            own = frame.index[frame["key"] == key]
            for i in own:
                frame.loc[i, "value"] = values.get((frame.loc[i, "metric"], frame.loc[i, "class_name"]), 0.0)

        _records(change)(members)

    with Bundle(_repacked(bundle, tamper, tmp_path)) as opened:
        found = verify(opened)
    faulty = [check.what for check in found.checks if check.faults]
    assert faulty == [
        "sampled CAMs are those that were counted",
        "predictions were made without the labels of the images",
    ]


def test_classes_that_there_are_not_are_found_with_the_data(
    bundle: Path, tmp_path: Path, dataset: Dataset
) -> None:
    with Bundle(_repacked(bundle, _impossible_classes, tmp_path)) as opened:
        assert verify(opened, dataset).level == "claimed"


def test_other_data_are_found(bundle: Path, place: list[str]) -> None:
    with Bundle(bundle) as opened:
        other = open_data(opened.runs[0], [*place, "dataset.seed=1"])
        assert verify(opened, other).level == "claimed"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("../evil.json", b"{}", "which no bundle has"),
        ("extra.txt", b"x", "which no bundle has"),
        ("maps/0123456789abcdef01234567/0.png", b"x", "is not listed"),
    ],
)
def test_what_is_no_bundle_is_refused_in_one_line(
    bundle: Path, tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    path = tmp_path / "odd.zip"
    path.write_bytes(bundle.read_bytes())
    with zipfile.ZipFile(path, "a") as packed:
        packed.writestr(name, content)
    with pytest.raises(DataError, match=says) as error:
        Bundle(path)
    assert "\n" not in str(error.value)


def test_a_changed_member_is_refused(bundle: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(bundle) as packed:
        members = {name: packed.read(name) for name in packed.namelist()}
    path = tmp_path / "changed.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for name, content in members.items():
            packed.writestr(name, content + b" " if name == RUNS else content)
    with pytest.raises(DataError, match="SHA-256 differs"):
        Bundle(path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("submitter: A. Researcher", "submitter: ''"), "submitter is empty"),
        (("hours: 0.1", "hours: many"), "hours is 'many'"),
        (("hardware:", "hardwear:"), "unknown key 'hardwear'"),
        (("https://example.org", "example.org"), "https://"),
        (("submitter:", "- submitter:"), "no YAML"),
    ],
)
def test_a_form_that_is_not_filled_in_is_refused(change: tuple[str, str], says: str) -> None:
    with pytest.raises(DataError, match=says):
        read_form(FORM.replace(*change), "form.yaml")


def test_a_bundle_of_nothing_is_refused(run_dir: Path, place: list[str], tmp_path: Path) -> None:
    form = tmp_path / "form.yaml"
    form.write_text(FORM)
    with pytest.raises(ConfigError, match="no run of eps"):
        write_bundle(run_dir, form_at(form), tmp_path / "x.zip", place, ["eps"])
    with pytest.raises(DataError, match="not a run folder"):
        write_bundle(tmp_path, form_at(form), tmp_path / "x.zip", place, [])
