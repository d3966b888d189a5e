"""Pretrained weights at planning: fetched before keys are made, and what cannot be had fails before anything runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from methods.layers.weights import files as weights
from methods.layers.weights import hubs as weight_hubs
from methods.registry import all_methods
from results.io import read_run
from tests.helpers.toys import CommandLine, Outcome, Toy
from tests.helpers.trees import write_folder

HUB = "timm/resnet18"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models that a library was asked for; it serves any."""
    monkeypatch.delenv("WSSS_WEIGHTS", raising=False)
    asked: list[str] = []

    def serve(name: str) -> dict[str, torch.Tensor]:
        asked.append(name)
        return {"weight": torch.ones(2)}

    monkeypatch.setattr(weight_hubs, "from_timm", serve)
    return asked


@pytest.fixture
def no_home(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """No file of another test's or of this machine's is found."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


pytestmark = pytest.mark.usefixtures("no_home")
Register = Callable[..., None]


def test_the_key_is_the_contents_from_the_first_run_on(
    command_line: CommandLine, third_party: Register, hub: list[str]
) -> None:
    third_party(Toy("one", pretrained=(HUB,)))
    assert command_line.run("one", "--seeds", "0,1").code == 0
    assert hub == ["resnet18"]
    first = read_run(command_line.output).runs
    assert command_line.run("one", "--seeds", "0,1").code == 0
    again = read_run(command_line.output).runs
    assert [c["stages"][0]["key"] for c in first] == [c["stages"][0]["key"] for c in again]
    assert all(stage["cached"] for c in again for stage in c["stages"])
    assert hub == ["resnet18"], "kept"


def test_a_dry_run_downloads_nothing_and_says_what_would_be(
    command_line: CommandLine, third_party: Register, hub: list[str]
) -> None:
    third_party(Toy("one", pretrained=(HUB,)), Toy("two"))
    done = command_line.run("one,two", "--dry-run")
    assert done.code == 0
    assert hub == []
    assert f"would be fetched first: weights {HUB}" in done.out
    lines = [line.split() for line in done.out.splitlines() if "labels" in line]
    assert lines[0][1:3] == ["after", "fetch"]
    assert len(lines[1][1]) == 12
    assert not command_line.store.exists()
    command_line.run("one,two")
    done = command_line.run("one,two", "--dry-run")
    assert "fetch" not in done.out
    assert done.out.count("  stored") == 2


def test_real_photographs_at_small_scale_plan_every_method_that_covers_them(
    command_line: CommandLine, tmp_path: Path, hub: list[str]
) -> None:
    """Miniatures of CLIP and SAM have seen drawn pictures alone: their methods are rows that say what they need."""
    data = write_folder(tmp_path / "defects", ["a,rust,train", "b,dent,train", "c,dent,val"])

    def plan(*settings: str) -> tuple[Outcome, dict[str, str]]:
        done = command_line.run_on(
            "all", "--dataset", "folder", "--scale", "small", "--dry-run", f"dataset.root={data}", *settings
        )
        parts = done.out.split("folder · ")[1:]
        return done, {part.split(" · ")[0]: part for part in parts}

    done, runs = plan()
    assert done.code == 0, done.out + done.err
    assert set(runs) == {name for name, method in all_methods().items() if method.default}
    not_run = {name: text for name, text in runs.items() if "\n  not run: " in text}
    assert set(not_run) == {"ca_cl", "sam_fused"}
    assert (
        "needs a SAM that does: set method.sam_fused.sam.name=vit_b method.sam_fused.sam.weights=FILE"
        in not_run["sam_fused"]
    )
    assert "set method.ca_cl.text.words=FILE, and a CLIP that knows these words" in not_run["ca_cl"]
    assert all("to do, about" in runs[name] for name in set(runs) - set(not_run))
    assert "failed" not in done.out
    assert "would be fetched first: weights timm/" in done.out
    assert hub == []

    sam = tmp_path / "sam_vit_b_01ec64.safetensors"
    save_file({"image_encoder.patch_embed.proj.weight": torch.ones(768, 1)}, sam)
    given = ("method.sam_fused.sam.name=vit_b", f"method.sam_fused.sam.weights={sam}")
    done, runs = plan(*given)
    assert done.code == 0, done.out + done.err
    assert "to do, about" in runs["sam_fused"]
    assert {name for name, text in runs.items() if "\n  not run: " in text} == {"ca_cl"}

    sam.unlink()
    done, runs = plan(*given)
    assert done.code == 1
    assert f"failed: weight file {sam} does not exist" in runs["sam_fused"]


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("resnet38d/gone", "weights 'resnet38d/gone' not found: put gone.safetensors or .pth into"),
        ("nano/gone", "no shipped weights 'nano/gone'"),
        ("timm/no_such_model", "timm has no model 'no_such_model'"),
    ],
)
def test_absent_weights_are_said_before_others_run(
    command_line: CommandLine, third_party: Register, hub: list[str], reference: str, reason: str
) -> None:
    third_party(Toy("able"), Toy("poor", pretrained=(reference,)))
    dry = command_line.run("able,poor", "--seeds", "0,1", "--dry-run")
    assert dry.code == 1
    assert f"failed: {reason}" in dry.out
    assert dry.out.splitlines()[-1] == "2 of 4 runs cannot begin (poor): see above"
    done = command_line.run("able,poor")
    assert done.code == 1
    assert 0 <= done.out.index(f"poor · seed 0: failed: {reason}") < done.out.index("able · seed 0 · labels")
    status = {c["method"]: c["status"] for c in read_run(command_line.output).runs}
    assert status == {"able": "done", "poor": "failed"}
    assert hub == []


def test_what_cannot_be_fetched_is_tried_once(
    command_line: CommandLine, third_party: Register, monkeypatch: pytest.MonkeyPatch, hub: list[str]
) -> None:
    tried: list[str] = []

    def unreachable(name: str) -> dict[str, torch.Tensor]:
        tried.append(name)
        raise ConnectionError("no route to host")

    monkeypatch.setattr(weight_hubs, "from_timm", unreachable)
    third_party(Toy("one", pretrained=(HUB,)), Toy("two", pretrained=(HUB,)))
    done = command_line.run("one,two", "--seeds", "0,1")
    assert done.code == 1
    assert tried == ["resnet18"]
    assert done.out.count("could not fetch the weights of resnet18 (ConnectionError); put resnet18") >= 4


def test_the_records_hold_the_weights_hashes(
    command_line: CommandLine, third_party: Register, hub: list[str]
) -> None:
    third_party(Toy("one", pretrained=(HUB, "none")), Toy("two"))
    for _ in range(2):  # made, and found stored
        command_line.run("one,two")
        one, two = read_run(command_line.output).runs
        path = weights.locate(HUB)
        assert path is not None
        expected = {HUB: hashlib.sha256(path.read_bytes()).hexdigest(), "none": "none"}
        assert one["provenance"]["weights"] == expected
        assert two["provenance"]["weights"] == {}
    (manifest,) = (
        json.loads(p.read_text())
        for p in command_line.store.glob("artifacts/labels/*/manifest.json")
        if one["stages"][0]["key"] in str(p)
    )
    assert manifest["provenance"]["weights"] == expected


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<html>", "it is a web page"),
        (b"PK\x03\x04", "the archive is truncated"),
        (b"", "the file is empty"),
    ],
)
def test_a_file_that_cannot_be_read_is_said_while_planning(
    command_line: CommandLine, third_party, tmp_path: Path, content: bytes, words: str
) -> None:
    (tmp_path / "net.pth").write_bytes(content)
    third_party(Toy("toy", pretrained=(str(tmp_path / "net.pth"),)))
    done = command_line("run", "--methods", "toy", "--dry-run", f"dataset.root={command_line.data}")
    assert done.code == 1
    assert f"failed: cannot read weights {tmp_path / 'net.pth'}: {words}" in done.out.replace("\n", " ")
