"""DSKD-GC's networks at paper scale: their sizes, and what a step costs on the CPU."""

from __future__ import annotations

import math
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import pytest
import torch
from torch import nn

from benchmark.execution.memory import PeakMemory
from datasets.loading.loader import Batch
from methods.dskd_gc import METHOD
from methods.toco import stages
from methods.toco.branch import build_branch
from methods.toco.config import SingleStageConfig
from methods.toco.network import SingleStageNetwork
from methods.toco.phases import phases


def paper_step(number: int, crop: int = 448, images: int = 2) -> tuple[float, float, float, float]:
    """A step of one phase of the paper's networks on the CPU: seconds, seconds of cores, peak GiB, and the loss.

    It follows on a step of the warm-up of a small picture, which gives the optimiser its moments, the student's too.
    """
    config = METHOD.presets["paper"]
    assert isinstance(config, SingleStageConfig)
    settings = replace(config, vit=replace(config.vit, weights="none")).training()
    torch.manual_seed(0)
    labels = torch.zeros(images, 20)
    labels[:, 3] = 1
    valid = torch.ones(images, 1, crop, crop, dtype=torch.bool)
    step = Batch(("0",) * images, torch.randn(images, 3, crop, crop), labels, {}, valid)
    with PeakMemory() as memory:
        both = SingleStageNetwork(build_branch(settings.network, 20, settings.distillation), settings).train()
        optimiser = stages.optimiser_of(both, settings)
        small = replace(step, images=step.images[..., :112, :112], valid=step.valid[..., :112, :112])
        for phase, part in ((phases(settings)[0], small), (phases(settings)[number], step)):
            both.begin(phase)
            began, worked = time.perf_counter(), time.process_time()
            optimiser.zero_grad()
            terms = stages.losses(both(part.images, part.labels, part.valid), part, settings)
            total = torch.stack(list(terms.values())).sum()
            total.backward()
            optimiser.step()
            seconds, of_cores = time.perf_counter() - began, time.process_time() - worked
    return seconds, of_cores, memory.host_mb * 1e6 / 2**30, float(total.detach())


@pytest.mark.slow
@pytest.mark.parametrize(("phase", "number"), [("warm-up", 0), ("segmentation", -1)])
def test_a_step_of_the_papers_networks(phase, number):
    """Each in a process of its own, which has freed nothing that another phase took; at half the paper's crop."""
    crop = 224
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        seconds, of_cores, peak, loss = process.submit(paper_step, number, crop).result()
    print(
        f"ViT-B teacher and student, {phase}, 2 x {crop}²: {seconds:.1f} s ({of_cores:.1f} s of cores), "
        f"{peak:.1f} GiB, loss {loss:.3f}"
    )
    assert math.isfinite(loss)
    assert 2 < peak < 16  # 173 M parameters with gradients, moments and activations


def test_the_papers_networks_have_their_sizes():
    config = METHOD.presets["paper"]
    assert isinstance(config, SingleStageConfig)
    with torch.device("meta"):
        branch = build_branch(replace(config.network, vit=replace(config.vit, weights="none")), 20)
    parameters = sum(p.numel() for p in branch.encoder.parameters())
    assert parameters == pytest.approx(85.8e6, rel=1e-3)
    shapes = [tuple(m.weight.shape) for m in branch.decoder if isinstance(m, nn.Conv2d)]
    assert shapes == [(512, 768, 3, 3), (512, 512, 3, 3), (21, 512, 1, 1)]
    assert branch._auxiliary_block == 9
