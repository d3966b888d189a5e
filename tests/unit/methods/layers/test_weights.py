"""Weights by reference: where files are looked for, their fingerprints, and errors of wrong files."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from methods.base import MethodError
from methods.layers.weights import files as weights
from methods.layers.weights import hubs as weight_hubs
from methods.layers.weights import rembg as rembg_models


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_cache", lambda: tmp_path / "cache")
    monkeypatch.setattr(weights, "_digests", {})
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("U2NET_HOME", str(tmp_path / "u2net"))
    monkeypatch.delenv("WSSS_WEIGHTS", raising=False)


def _network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


def test_importing_the_module_does_not_import_torch() -> None:
    code = "import sys, methods.layers.weights.files; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_weights_means_no_file() -> None:
    assert weights.locate("none") is None
    assert weights.fetch("none") is None
    assert weights.fingerprint("none") == "none"


@pytest.mark.parametrize(
    "file", ["net.safetensors", "net.fp16.safetensors", "net.pth", "net.pt", "timm/net.bin"]
)
def test_finds_a_model_under_its_usual_file_names(tmp_path: Path, file: str) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).touch()
    assert weights.locate("timm/net", tmp_path) == tmp_path / file


def test_the_family_folder_keeps_models_of_one_name_apart(tmp_path: Path) -> None:
    for file in ("resnet50.pth", "timm/resnet50.pth"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    assert weights.locate("timm/resnet50", tmp_path) == tmp_path / "timm/resnet50.pth"
    assert weights.locate("torchvision/resnet50", tmp_path) == tmp_path / "resnet50.pth"


def test_finds_files_under_their_published_names_and_through_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WSSS_WEIGHTS", str(tmp_path))
    for reference, file in [
        ("torchvision/resnet101", "resnet101-63fe2227.pth"),
        ("resnet38d/res38_cls", "res38_cls.pth"),
        ("rembg/u2netp", "u2net/u2netp.onnx"),
    ]:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
        assert weights.locate(reference) == tmp_path / file


def test_a_path_is_itself_or_an_error(tmp_path: Path) -> None:
    (tmp_path / "mine.pth").touch()
    assert weights.locate(str(tmp_path / "mine.pth")) == tmp_path / "mine.pth"
    with pytest.raises(MethodError, match=r"other\.pth does not exist"):
        weights.locate(str(tmp_path / "other.pth"))


def test_fingerprint_is_the_content_and_follows_it(tmp_path: Path) -> None:
    file = tmp_path / "net.pth"
    file.write_bytes(b"first")
    first = weights.fingerprint("timm/net", tmp_path)
    assert first == hashlib.sha256(b"first").hexdigest()
    assert weights.fingerprint(str(file)) == first
    file.write_bytes(b"second!")
    assert weights.fingerprint("timm/net", tmp_path) == hashlib.sha256(b"second!").hexdigest()


def test_fingerprint_is_kept_across_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.pth").write_bytes(b"content")
    expected = weights.fingerprint("timm/net", tmp_path)
    weights._digests.clear()  # as in another process
    monkeypatch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("read the file again"))
    assert weights.fingerprint("timm/net", tmp_path) == expected


def test_no_fingerprint_without_a_file() -> None:
    assert weights.fingerprint("timm/some_network") is None
    assert weights.fingerprint("resnet38d/res38_cls") is None


@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: {"state_dict": s}, lambda s: {"model": s, "epoch": 3}]
)
def test_reads_torch_files_with_their_wrappers(tmp_path: Path, wrap) -> None:  # type: ignore[no-untyped-def]
    state = _network().state_dict()
    torch.save(wrap({f"module.{k}": v for k, v in state.items()}), tmp_path / "net.pth")
    read = weights.load_state(tmp_path / "net.pth")
    assert read.keys() == state.keys()
    assert all(torch.equal(read[k], state[k]) for k in state)


def test_half_precision_becomes_single(tmp_path: Path) -> None:
    save_file(
        {"w": torch.tensor([0.5], dtype=torch.float16), "n": torch.tensor([1])}, tmp_path / "net.safetensors"
    )
    read = weights.load_state(tmp_path / "net.safetensors")
    assert (read["w"].dtype, read["n"].dtype) == (torch.float32, torch.int64)


@pytest.mark.parametrize("file", ["net.pth", "net.safetensors"])
def test_a_damaged_file_is_one_clear_line(tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_bytes(b"not weights at all")
    with pytest.raises(MethodError, match="cannot read weights") as error:
        weights.load_state(tmp_path / file)
    assert "\n" not in str(error.value)


def test_wrong_weights_are_one_clear_line_and_change_nothing() -> None:
    network = _network()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    state = {**before, "0.weight": torch.zeros(9, 3, 1, 1), "extra": torch.zeros(1)}
    del state["1.bias"]
    with pytest.raises(MethodError) as error:
        weights.load_into(network, state, source="net.pth")
    message = str(error.value)
    for part in (
        "net.pth",
        "1 expected but not there (1.bias)",
        "1 there but not expected (extra)",
        "0.weight (9, 3, 1, 1), expected (4, 3, 1, 1)",
    ):
        assert part in message
    assert "\n" not in message
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_what_a_stage_trained_is_checked_key_by_key(tmp_path: Path) -> None:
    """torch's own message has a line a key, of which a summary would keep the first, with none of them."""
    network, file = _network(), tmp_path / "network.safetensors"
    trained = {k: v + 1 for k, v in network.state_dict().items()}
    save_file(trained, file)
    weights.load_trained(network, file)
    assert torch.equal(network.state_dict()["0.weight"], trained["0.weight"])
    save_file({**trained, "projector.weight": torch.zeros(1)}, file)
    weights.load_trained(network, file, ["projector.*"])
    with pytest.raises(MethodError, match=r"network\.safetensors do not fit .*projector\.weight") as error:
        weights.load_trained(network, file)
    assert "\n" not in str(error.value)


def test_patterns_excuse_heads_and_old_counters() -> None:
    network, state = _network(), {k: v + 1 for k, v in _network().state_dict().items()}
    state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")} | {
        "fc8.weight": torch.ones(1)
    }
    weights.load_into(network, state, allow_unexpected=["fc8.*"], source="net.pth")
    assert torch.equal(network.state_dict()["0.bias"], state["0.bias"])


@pytest.mark.parametrize(
    ("reference", "library"), [("timm/resnet18", "from_timm"), ("torchvision/resnet18", "from_torchvision")]
)
def test_fetched_weights_are_kept(reference: str, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    state = _network().state_dict()
    monkeypatch.setattr(weight_hubs, library, lambda name: state)
    path = weights.fetch(reference)
    assert path is not None
    assert weights.locate(reference) == path
    assert torch.equal(weights.load_state(path)["0.weight"], state["0.weight"])


def test_a_failing_download_names_the_file_to_provide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(name: str) -> dict[str, torch.Tensor]:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(weight_hubs, "from_timm", unreachable)
    with pytest.raises(MethodError, match=r"put resnet18\.safetensors into") as error:
        weights.fetch("timm/resnet18", tmp_path)
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("timm/no_such_model", "timm has no model"),
        ("torchvision/no_such_model", "torchvision has no model"),
        ("nano/no_such_file", "no shipped weights"),
        ("resnet38d/res38_cls", r"put res38_cls\.safetensors or \.pth"),
        ("nonsense", "'nonsense' not found"),
    ],
)
def test_what_nobody_serves_is_an_error(reference: str, expected: str) -> None:
    with pytest.raises(MethodError, match=expected):
        weights.fetch(reference)
    with pytest.raises(MethodError, match=expected):
        weights.check_served(reference)


def test_rembg_keeps_its_models_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_session(model: str, folder: Path) -> None:
        folder.mkdir()
        (folder / f"{model}.onnx").write_bytes(b"network")

    monkeypatch.setattr(weight_hubs, "check_installed", lambda: None)
    monkeypatch.setattr(weights, "open_session", open_session)
    assert (
        weights.fetch("rembg/u2netp") == tmp_path / "u2net" / "u2netp.onnx" == weights.locate("rembg/u2netp")
    )


def test_without_rembg_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rembg_models.importlib.util, "find_spec", lambda name: None)
    for ask in (weights.fetch, weights.check_served):
        with pytest.raises(MethodError, match=r"pip install 'rembg\[cpu\]'"):
            ask("rembg/u2netp")


@pytest.mark.skipif(importlib.util.find_spec("rembg") is None, reason="extra saliency not installed")
def test_offline_rembgs_file_to_provide_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pooch

    def offline(*arguments: object, **settings: object) -> str:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(pooch, "retrieve", offline)
    message = r"rembg could not fetch the weights of u2netp \(ConnectionError\); put u2netp\.onnx into"
    with pytest.raises(MethodError, match=message):
        weights.fetch("rembg/u2netp")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("folder.pth", "folder.pth is a folder; name the file in it"),
        ("pipe.pth", "pipe.pth is no regular file; name one"),
        ("folder", "folder is a folder; name the file in it"),
        ("absent.pth", "absent.pth does not exist; correct the path"),
        ("net.ckpt", "net.ckpt: files ending in .ckpt are not read; convert it, or rename it"),
        ("net", "net: files ending in nothing are not read"),
    ],
)
def test_paths_of_no_weights_file_say_what_they_are(tmp_path: Path, name: str, words: str) -> None:
    for folder in ("folder.pth", "folder"):
        (tmp_path / folder).mkdir()
    os.mkfifo(tmp_path / "pipe.pth")
    for file in ("net.ckpt", "net"):
        (tmp_path / file).touch()
    with pytest.raises(MethodError, match=re.escape(words)):
        weights.locate(str(tmp_path / name))


class Hostile:
    def __reduce__(self) -> tuple:
        return (print, ("run",))


@pytest.mark.parametrize("content", ["hostile", "empty", "text", "cut", "101"])
def test_refused_files_are_not_advised_to_be_trusted(tmp_path: Path, content: str, capsys) -> None:
    path = tmp_path / "net.pth"
    if content == "hostile":
        torch.save({"a": Hostile()}, path)
    elif content == "cut":
        torch.save(_network().state_dict(), path)
        path.write_bytes(path.read_bytes()[:900])
    else:
        path.write_bytes({"empty": b"", "text": b"no weights", "101": b"e" * 50}[content])
    with pytest.raises(MethodError) as refused:
        weights.load_state(path)
    said = str(refused.value)
    assert said.startswith((f"cannot read weights {path}: ", f"{path} holds no state dictionary"))
    assert said.endswith(("fetch or export the file again", "export model.state_dict() to it"))
    assert "weights_only" not in said
    assert "trust" not in said
    assert "\n" not in said
    assert capsys.readouterr().out == ""
