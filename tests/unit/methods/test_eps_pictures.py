"""EPS leaves the saliency that its maps estimate beside the one that it is given, for the reports' pictures."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.nn.functional as F

from benchmark.config import compose
from datasets import open_dataset
from datasets.files.images import read_image, read_map
from datasets.shapes.dataset import NAMES
from methods.eps.config import PRESETS
from methods.eps.losses import saliency_loss
from methods.eps.network import EpsNetwork
from methods.layers.weights.files import load_state
from methods.pictures import pictures
from tests.helpers.toys import CommandLine


def artifact(store: Path, stage: str) -> Path:
    (manifest,) = store.glob(f"artifacts/{stage}/*/manifest.json")
    return manifest.parent


def test_the_estimated_saliency_is_that_of_eq_1(command_line: CommandLine) -> None:
    done = command_line.run("eps", "--until", "cam", "runtime.max_iterations=3")
    assert done.code == 0, done.err
    classify, cam = (artifact(command_line.store, stage) for stage in ("classify", "cam"))
    (cell,) = json.loads((command_line.output / "cells.json").read_text())["cells"]
    panels = [panel for panel in cell["panels"] if panel["split"] == "train"]
    assert all({"estimated saliency", "given saliency"} <= {s["name"] for s in p["steps"]} for p in panels)

    config = PRESETS["nano"]
    network = EpsNetwork.build(config.backbone, len(NAMES)).eval()
    network.load_state_dict(load_state(classify / "network.safetensors"))
    settings = ["dataset.train=6", "dataset.val=2", f"dataset.root={command_line.data}"]
    data = open_dataset(compose(["eps"], "shapes", "nano", "paper", settings).dataset)
    mean, deviation = (torch.tensor(part)[:, None, None] for part in network.normalisation)
    for panel in panels:
        left = pictures(cam, panel["id"])
        given = read_map(left["given saliency"].path)
        assert torch.equal(
            given, read_map(artifact(command_line.store, "saliency") / "maps" / f"{panel['id']}.png")
        )
        image = read_image(data.sample(panel["id"]).image)
        with torch.inference_mode():
            logits = network(((image / 255 - mean) / deviation)[None])
        labels = torch.tensor([[float(name in panel["labels"]) for name in NAMES]])
        weights = (config.overlap_threshold, config.foreground_weight, config.map_selection)
        expected = saliency_loss(logits, given[None, None] / 255, labels, *weights).estimated_saliency
        expected = F.interpolate(expected, size=image.shape[-2:], mode="bilinear")[0, 0]
        estimated = read_map(left["estimated saliency"].path).float()
        assert estimated.unique().numel() > 1
        torch.testing.assert_close(estimated, expected * 255, atol=1.0, rtol=0)
