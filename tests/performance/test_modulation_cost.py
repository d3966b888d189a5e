"""What semantic modulation costs: CAM inference against MCTformer's, same weights, same run, paper scale.

The paper's own implementation takes 1.66 times MCTformer's (15.5 against 9.36 images a second).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import pytest
import torch

from methods.layers.cam import multi_scale_cam
from methods.layers.config import VitConfig
from methods.mctformer.cam import CamStages, cam_stages
from methods.mctformer.network import MctformerNetwork
from methods.semantic_modulation.config import PRESETS
from methods.semantic_modulation.network import modulated_cams

ROUNDS = 3


@pytest.mark.parametrize("batch", [1, 4])
def test_cam_inference_at_paper_scale(batch: int, record_property: Callable[[str, object], None]) -> None:
    preset = PRESETS["paper"]
    torch.manual_seed(0)
    network = MctformerNetwork.build(VitConfig(preset.vit.name, "none"), 20).eval()
    images = torch.randn(batch, 3, 224, 224)

    def seconds(refine: Callable[[torch.Tensor], CamStages]) -> float:
        start = time.process_time()
        multi_scale_cam(lambda x: torch.cat(refine(x), 1), images, (1.0,), flip=True)
        return time.process_time() - start

    def baseline(x: torch.Tensor) -> CamStages:
        return cam_stages(network, x, preset.attention)

    def modulated(x: torch.Tensor) -> CamStages:
        return modulated_cams(network, x, preset.attention, preset.modulation)

    with torch.inference_mode():
        seconds(baseline)
        assert [part.shape for part in modulated(images)] == [part.shape for part in baseline(images)]
        # Interleaved, so that what else the machine does falls on both; CPU time, the median of fixed rounds.
        times = [(seconds(baseline), seconds(modulated)) for _ in range(ROUNDS)]
    plain, ours = (median(column) for column in zip(*times))
    record_property(
        f"CAMs of {batch} images of 224x224: seconds of semantic_modulation / mctformer",
        f"{ours / plain:.3f}x",
    )
