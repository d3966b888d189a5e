"""DSKD-GC's networks at paper scale: their sizes, and what a step costs on the CPU."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from datasets.loader import Batch
from methods.dskd_gc import METHOD, stages
from methods.dskd_gc.config import DskdConfig
from methods.dskd_gc.network import DskdNetwork, build_branch, phases


def paper_step(crop: int, images: int = 2) -> tuple[float, float, float]:
    """One step of the segmentation phase of the paper's networks on CPU: seconds, peak GiB, and the loss."""
    import resource
    import time

    config = METHOD.presets["paper"]
    assert isinstance(config, DskdConfig)
    settings = replace(config, vit=replace(config.vit, weights="none")).training()
    torch.manual_seed(0)
    both = DskdNetwork(build_branch(settings.network, 20, settings.distillation), settings).train()
    both.begin(phases(settings)[-1])
    optimiser = stages.optimiser_of(both, settings)
    labels = torch.zeros(images, 20)
    labels[:, 3] = 1
    valid = torch.ones(images, 1, crop, crop, dtype=torch.bool)
    step = Batch(("0",) * images, torch.randn(images, 3, crop, crop), labels, {}, valid)
    began = time.perf_counter()
    terms = stages.losses(both(step.images, step.labels), step, both, settings)
    total = torch.stack(list(terms.values())).sum()
    total.backward()
    optimiser.step()
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return seconds, peak, float(total.detach())


@pytest.mark.slow
@pytest.mark.parametrize(("crop", "images"), [(224, 1), (448, 2)])
def test_a_step_of_the_papers_networks(crop, images):
    seconds, peak, loss = paper_step(crop, images)
    print(f"ViT-B teacher and student, {images} x {crop}²: {seconds:.1f} s, {peak:.1f} GiB, loss {loss:.3f}")
    assert torch.isfinite(torch.tensor(loss))


def test_the_papers_networks_have_their_sizes():
    config = METHOD.presets["paper"]
    assert isinstance(config, DskdConfig)
    with torch.device("meta"):
        branch = build_branch(replace(config.network, vit=replace(config.vit, weights="none")), 20)
    parameters = sum(p.numel() for p in branch.encoder.parameters())
    assert parameters == pytest.approx(85.8e6, rel=1e-3)
    shapes = [tuple(m.weight.shape) for m in branch.decoder if isinstance(m, nn.Conv2d)]
    assert shapes == [(512, 768, 3, 3), (512, 512, 3, 3), (21, 512, 1, 1)]
    assert branch._auxiliary_block == 9
