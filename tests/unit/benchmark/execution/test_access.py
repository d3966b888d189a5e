"""What a stage opened is recorded in its artifact, and the run's certificate says it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.execution.access import access_record
from methods.base import Supervision
from results.certificate import CERTIFICATE, CLOSED, OPENED
from tests.helpers.evaluation_data import TinyDataset
from tests.helpers.toys import CommandLine, Toy, ToyConfig


class Halves(TinyDataset):
    def ids(self, split: str) -> tuple[str, ...]:
        return self.all_ids[:2] if split == "train" else self.all_ids[2:]


@pytest.fixture
def data(tmp_path: Path) -> Halves:
    return Halves(tmp_path / "some" / "data", {f"i{n}": np.zeros((4, 4), np.uint8) for n in range(4)})


def recorded(data: Halves, *opened: Path, closed: bool = True) -> dict[str, Any]:
    root = data.root.parents[1]
    for path in opened:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    store = root / "store"
    inputs = {"cam": store / "artifacts" / "cam" / "k1"}
    return access_record(data, map(str, opened), closed, inputs, store / "work" / "x", store)


def test_files_are_told_apart(data: Halves) -> None:
    root = data.root.parents[1]
    found = recorded(
        data,
        data.sample("i0").image,
        data.sample("i3").image,
        data.root / "masks" / "list.txt",
        data.root / "labels.csv",
        root / "store" / "artifacts" / "cam" / "k1" / "0.safetensors",
        root / "store" / "artifacts" / "segment" / "k2" / "model.safetensors",
        root / "store" / "work" / "x" / "shard-size",
        root / "weights" / "vit.pth",
        root / "notes.json",
        root / "plugin.py",
    )
    assert found["images"] == {"train": 1, "val": 1}
    assert {kind: opened["files"] for kind, opened in found["opened"].items()} == {
        "images": 2, "data": 1, "inputs": 1, "undeclared": 1, "weights": 1
    }  # fmt: skip
    assert (found["masks_closed"], found["refused"]) == (True, 1)
    assert (found["elsewhere"], found["endings"]) == (1, {".json": 1})


def test_hashes_do_not_depend_on_where_the_data_are(data: Halves, tmp_path: Path) -> None:
    moved = Halves(tmp_path / "another" / "place", {i: np.zeros((4, 4), np.uint8) for i in data.all_ids})
    one, other = (
        recorded(d, d.sample("i0").image, d.root / "labels.csv", d.root / "masks" / "i0.png", closed=False)[
            "opened"
        ]
        for d in (data, moved)
    )
    assert one["images"] == other["images"]
    assert one["masks"] == other["masks"]
    assert one["images"]["sha256"] == hashlib.sha256(b"train/i0\n").hexdigest()


def test_what_a_thread_notes_late_does_not_count(data: Halves, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = {str(data.sample("i0").image.with_name("other.json"))}
    is_file = Path.is_file

    def noting(path: Path) -> bool:
        opened.add("/late.json")
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", noting)
    root = data.root.parents[1]
    assert access_record(data, opened, True, {}, root / "x", root)["elsewhere"] == 0
    assert len(opened) == 2


def test_a_link_to_a_mask_is_a_mask(data: Halves, tmp_path: Path) -> None:
    link = tmp_path / "harmless.png"
    link.symlink_to(data.root / "masks" / "i0.png")
    assert recorded(data, link, closed=False)["opened"]["masks"]["files"] == 1


def test_masks_beside_images_are_masks_and_like_names_are_two(
    data: Halves, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = [data.root / kind / "000_mask.png" for kind in ("scratch", "dent")]
    for path in beside:
        path.parent.mkdir()
        path.touch()
    monkeypatch.setattr(type(data), "mask_files", lambda self: tuple(beside))
    assert recorded(data, *beside, closed=False)["opened"]["masks"]["files"] == 2
    assert recorded(data, *beside)["refused"] == 2


def test_the_record_does_not_grow_with_the_files(tmp_path: Path) -> None:
    few, many = (
        Halves(tmp_path / f"d{n}", {f"i{k}": np.zeros((1, 1), np.uint8) for k in range(n)}) for n in (10, 300)
    )
    sizes = [len(json.dumps(recorded(d, *(d.sample(i).image for i in d.all_ids)))) for d in (few, many)]
    assert sizes[1] - sizes[0] < 8  # digits


class TestRun:
    @pytest.fixture
    def certificate(
        self, command_line: CommandLine, third_party: Callable[..., None], tmp_path: Path
    ) -> Callable[..., dict[str, Any]]:
        """The certificate of a run of toys; returns a function of them."""

        def run(*toys: Toy, settings: tuple[str, ...] = ()) -> dict[str, Any]:
            third_party(*toys)
            done = command_line.run(",".join(toy.name for toy in toys), *settings)
            assert done.code == 0, done.err
            return json.loads((command_line.output / CERTIFICATE).read_text())  # type: ignore[no-any-return]

        return run

    def test_masks_are_closed_unless_declared(self, certificate: Callable[..., dict[str, Any]]) -> None:
        class Declared(Toy):
            supervision = frozenset({Supervision.MASKS})

        found = certificate(Toy("blind"), Declared("sighted", run="tests.helpers.toys:open_masks"))
        stages = {run["method"]: run["stages"][0] for run in found["runs"]}
        assert (stages["blind"]["masks"], stages["blind"]["seen"]) == (CLOSED, [])
        assert (stages["sighted"]["masks"], stages["sighted"]["seen"]) == (OPENED, ["shapes"])
        images = stages["blind"]["images"]
        assert images["train"] > 0 == images["val"]
        assert stages["sighted"]["opened"]["masks"]["files"] == images["train"]
        assert (found["summary"][CLOSED], found["summary"][OPENED], found["summary"]["refused"]) == (1, 1, 0)
        assert len(stages["blind"]["sha256"]) == 64

    def test_a_refusal_that_is_hushed_up_is_told(
        self, certificate: Callable[..., dict[str, Any]], command_line: CommandLine, tmp_path: Path
    ) -> None:
        command_line.data = tmp_path / "data"  # where all tests draw, other data sets have masks, too
        assert certificate(Toy("honest"))["summary"]["refused"] == 0
        mask = next(path for path in sorted(command_line.data.rglob("*.png")) if "mask" in str(path.parent))

        class Asks(Toy):
            presets = {"nano": ToyConfig(note=str(mask))}  # noqa: RUF012

        found = certificate(Asks("asks", run="tests.helpers.toys:ask_for_a_mask"))
        assert found["summary"]["refused"] == 1
        assert [run["stages"][0]["refused"] for run in found["runs"]] == [0, 1]
        assert "Leak certificate" in (command_line.output / "report.html").read_text()
