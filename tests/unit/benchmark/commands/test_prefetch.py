"""`prefetch`: what runs start from is here, whole, before they begin; afterwards nobody asks a library."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from methods.base import NotRunnable
from methods.layers.clip.config import ClipConfig
from methods.layers.weights import hubs
from methods.layers.weights.files import tokenizers
from tests.helpers.toys import CommandLine, Outcome, Toy, ToyConfig

FAMILIES = {
    "timm": "timm/resnet18",
    "torchvision": "torchvision/resnet50",
    "open_clip": "open_clip/ViT-B-32.openai",
}
DATA = ("dataset.train=6", "dataset.val=2")


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, bool]:
    """Libraries that serve any model while "up"; what they were asked for are further keys."""
    monkeypatch.delenv("WSSS_WEIGHTS", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    state = {"up": True}

    def server(family: str) -> Callable[[str], dict[str, torch.Tensor]]:
        def serve(name: str) -> dict[str, torch.Tensor]:
            state[f"{family}/{name}"] = True
            if not state["up"]:
                raise ConnectionError("no route to host")
            return {"weight": torch.full((2,), float(len(name)))}

        return serve

    for family in FAMILIES:
        monkeypatch.setattr(hubs, f"from_{family}", server(family))
    return state


@pytest.fixture
def prefetch(command_line: CommandLine) -> Callable[..., Outcome]:
    def call(methods: str, *arguments: str) -> Outcome:
        root = f"dataset.root={command_line.data}"
        store = f"runtime.store={command_line.store}"
        return command_line("prefetch", "--methods", methods, *DATA, root, store, *arguments)

    return call


def test_afterwards_no_library_is_asked(command_line, third_party, network, prefetch):
    third_party(*(Toy(family, pretrained=(reference,)) for family, reference in FAMILIES.items()))
    done = prefetch(",".join(FAMILIES))
    assert done.code == 0, done.out + done.err
    assert set(network) == {"up", *FAMILIES.values()}
    for reference in FAMILIES.values():
        assert f"ok  {reference}  " in done.out
    assert "All weights of 3 runs are here: " in done.out
    assert not command_line.store.exists()
    network.clear()
    network["up"] = False
    assert command_line.run(",".join(FAMILIES)).code == 0
    assert prefetch(",".join(FAMILIES)).code == 0
    assert set(network) == {"up"}


def test_what_cannot_be_had_is_named_and_the_rest_is_fetched(third_party, network, prefetch):
    third_party(Toy("none", pretrained=("resnet38d/own",)), Toy("some", pretrained=(FAMILIES["timm"],)))
    done = prefetch("none,some")
    assert done.code == 1
    assert f"ok  {FAMILIES['timm']}  " in done.out
    assert (
        "missing: weights 'resnet38d/own' not found: put own.safetensors or .pth into the weights folder"
        in done.out
    )
    assert "All weights" not in done.out
    network["up"] = False
    third_party(Toy("other", pretrained=("timm/resnet34",)))
    done = prefetch("other")
    assert done.code == 1
    assert "missing: timm could not fetch the weights of resnet34 (ConnectionError); put " in done.out


def test_files_are_read_whole(command_line, third_party, network, prefetch):
    third_party(Toy("one", pretrained=(FAMILIES["timm"],)))
    assert prefetch("one").code == 0
    (file,) = (command_line.folder / "cache").rglob("resnet18.safetensors")
    content = file.read_bytes()
    file.write_bytes(content[: len(content) - 4])
    done = prefetch("one")
    assert done.code == 1
    assert f"missing: weights {file} are truncated: " in done.out


def test_copies_are_found_where_the_home_folder_is_another(
    command_line, third_party, network, prefetch, monkeypatch
):
    third_party(*(Toy(family, pretrained=(reference,)) for family, reference in FAMILIES.items()))
    folder = command_line.folder / "the weights"
    done = prefetch(",".join(FAMILIES), "--into", str(folder))
    assert done.code == 0, done.err
    assert f"export WSSS_WEIGHTS='{folder}'\n" in done.out
    assert {str(path.relative_to(folder)) for path in folder.rglob("*.*")} == {
        f"{reference}.safetensors" for reference in FAMILIES.values()
    }
    shutil.rmtree(command_line.folder / "cache")
    network["up"] = False
    monkeypatch.setenv("WSSS_WEIGHTS", str(folder))
    assert command_line.run(",".join(FAMILIES)).code == 0


@dataclass(frozen=True)
class WithClip(ToyConfig):
    clip: ClipConfig = field(default_factory=lambda: ClipConfig("ViT-B-16", "none"))


class Speaker(Toy):
    config = WithClip
    presets = {"nano": WithClip()}  # noqa: RUF012


def test_tokenizers_come_with_the_weights_wherever_these_come_from(
    command_line, third_party, network, prefetch, monkeypatch
):
    asked = []
    monkeypatch.setattr("open_clip.get_tokenizer", lambda name, cache_dir: asked.append((name, cache_dir)))
    third_party(Toy("served", pretrained=(FAMILIES["open_clip"],)), Speaker("own"))
    assert prefetch("served,own").code == 0
    assert asked == [("ViT-B-16", None), ("ViT-B-32", None)]
    asked.clear()
    folder = command_line.folder / "weights"
    assert prefetch("served,own", "--into", str(folder)).code == 0
    assert asked == [(name, str(folder / "open_clip" / "tokenizers")) for name in ("ViT-B-16", "ViT-B-32")]
    assert tokenizers(None) is None
    (folder / "open_clip" / "tokenizers").mkdir(parents=True)
    assert tokenizers(folder / "open_clip" / "x.pt") == folder / "open_clip" / "tokenizers"
    monkeypatch.setenv("WSSS_WEIGHTS", str(folder))
    assert tokenizers(None) == folder / "open_clip" / "tokenizers"


def test_a_tokenizer_that_needs_a_package_says_which(third_party, network, prefetch, monkeypatch):
    def needs(name: str, cache_dir: str | None) -> None:
        raise ModuleNotFoundError("No module named 'transformers'", name="transformers")

    monkeypatch.setattr("open_clip.get_tokenizer", needs)
    third_party(Speaker("own"))
    done = prefetch("own")
    assert done.code == 1
    assert "missing: the tokenizer of ViT-B-16 needs a package: pip install transformers\n" in done.out


def test_runs_that_cannot_run_are_not_counted(third_party, network, prefetch):
    refused = Toy("three", refuses=NotRunnable("needs text embeddings"))
    third_party(Toy("one", pretrained=(FAMILIES["timm"],)), Toy("two"), refused)
    done = prefetch("one,two,three")
    assert done.code == 0, done.out
    assert "All weights of 2 runs are here: " in done.out


def test_tables_of_papers_say_their_methods_themselves(prefetch):
    done = prefetch("eps", "--experiment", "eps/table3")
    assert (done.code, done.err) == (
        2,
        "error: --experiment excludes --methods, --refiners and --segmenters: its table says them\n",
    )
