"""Checkpoints of the papers' code in place of a training: the run, the plan, and what cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from benchmark.config import compose
from benchmark.planning.changes import run_changes
from benchmark.planning.plan import make_plan
from methods.eps.config import PRESETS as EPS
from methods.eps.network import EpsNetwork
from methods.layers.networks.backbones import build_backbone
from tests.helpers.released_states import State
from tests.helpers.toys import CommandLine


def checkpoint(path: Path, seed: int = 0) -> tuple[Path, State]:
    """EPS's file of the miniature, as its code names it, and what it holds under this project's names."""
    torch.manual_seed(seed)
    own = EpsNetwork(build_backbone(EPS["nano"].backbone), len(shapes_classes())).state_dict()
    names = {"classifier.weight": "fc8.weight"}
    released = {names.get(key, key.removeprefix("backbone.trunk.")): value for key, value in own.items()}
    torch.save({f"module.{key}": value for key, value in released.items()}, path)
    return path, own


def shapes_classes() -> tuple[str, ...]:
    from datasets.shapes.dataset import Shapes

    return Shapes.classes


def test_a_checkpoint_stands_where_the_training_would(command_line: CommandLine, tmp_path: Path) -> None:
    file, own = checkpoint(tmp_path / "eps.pth")
    chosen = f"method.eps.classifier_checkpoint={file}"
    done = command_line.run("eps", "--until", "cam", chosen, "method.eps.inference.scales=[1.0]")
    assert done.code == 0, done.out + done.err
    (written,) = command_line.store.glob("artifacts/classify/*/network.safetensors")
    found = load_file(written)
    assert set(found) == set(own)
    assert all(torch.equal(found[key], value) for key, value in own.items())
    assert not list(command_line.store.glob("artifacts/saliency/*"))
    from results.io import read_run

    (run,) = read_run(command_line.output).runs
    assert list(run["provenance"]["weights"]) == [str(file)]
    assert chosen.removeprefix("method.eps.") in run["changes"]

    torch.save({"conv1a.weight": torch.zeros(1)}, file)
    done = command_line.run("eps", "--until", "cam", chosen)
    assert done.code == 1
    (line,) = [line for line in done.out.splitlines() if line.startswith("failed: eps")]
    assert "do not fit EpsNetwork" in line
    assert "expected but not there (" in line
    assert "of another shape" in line


@pytest.mark.parametrize(
    ("method", "setting", "stage", "gone"),
    [
        ("eps", "classifier_checkpoint", "classify", {"saliency"}),
        ("cam", "classifier_checkpoint", "classify", set()),
        ("mctformer", "classifier_checkpoint", "classify", set()),
        ("semantic_modulation", "classifier_checkpoint", "classify", set()),
        ("clims", "classifier_checkpoint", "classify", set()),
        ("ca_cl", "classifier_checkpoint", "classify", set()),
        ("clims", "network_checkpoint", "guide", {"classify", "image_scores"}),
        ("toco", "network_checkpoint", "train", set()),
        ("clims", "refiner.irn.network_checkpoint", "inter_pixel", {"inter_pixel_label"}),
        ("mctformer", "refiner.psa.network_checkpoint", "affinity", {"affinity_label"}),
        ("cam", "segmenter.network_checkpoint", "segment", set()),
        ("supervised", "segmenter.network_checkpoint", "segment", set()),
    ],
)  # fmt: skip
def test_the_plan_has_the_files_content_in_its_key(
    method: str,
    setting: str,
    stage: str,
    gone: set[str],
    tmp_path: Path,
    generated: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data = ["dataset.train=4", "dataset.val=2", f"dataset.root={generated}"]
    file = tmp_path / "released.pth"

    def planned(*overrides: str) -> dict[str, Any]:
        config = compose([method], "shapes", overrides=[*data, *overrides])
        (run,) = make_plan(config, [0]).runs
        assert run.status == "planned", run.reason
        return {p.stage.name: p for p in run.stages} | {"changes": run_changes(config, method)}

    overrides = [f"method.{method}.{setting}={file}"]
    if setting.startswith("segmenter"):
        overrides.append(
            f"method.{method}.segmenter.init={'masks' if method == 'supervised' else 'pseudo-labels'}"
        )
    torch.save({"weight": torch.zeros(1)}, file)
    before, first = planned(), planned(*overrides)
    torch.save({"weight": torch.ones(1)}, file)
    second = planned(*overrides)
    assert set(before) - set(first) == gone
    assert list(first[stage].weights) == [str(file)]
    assert not first[stage].inputs
    assert not first[stage].stage.seeded
    assert len({before[stage].key, first[stage].key, second[stage].key}) == 3
    assert f"{setting}={file}" in first["changes"]


@pytest.mark.parametrize(
    ("method", "overrides", "words"),
    [
        ("cam", ["classifier_checkpoint=/nowhere.pth"], "weight file /nowhere.pth does not exist"),
        ("cam", ["classifier_checkpoint=none"], "give a file, or null to train the network"),
        ("cam", ["segmenter.network_checkpoint=/a.pth"], "segmenter.init='imagenet' has to say"),
        ("cam", ["segmenter.network_checkpoint=/a.pth", "segmenter.init=masks"], "are for --methods supervised"),
        ("clims", ["classifier_checkpoint=/a.pth", "initialisation=backbone"], "leave it out, or set initialisation"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line(method: str, overrides: list[str], words: str, generated: Path) -> None:
    data = ["dataset.train=4", "dataset.val=2", f"dataset.root={generated}"]
    config = compose([method], "shapes", overrides=[*data, *(f"method.{method}.{o}" for o in overrides)])
    (run,) = make_plan(config, [0]).runs
    assert run.status == "failed"
    assert words in run.reason
    assert "\n" not in run.reason
