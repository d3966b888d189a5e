"""Which functions of a method run under inference mode is documented, and so is the way out of it."""

from __future__ import annotations

import ast
from pathlib import Path

import torch

from datasets.base import Sample, TrainingView
from datasets.recipe import IMAGENET
from methods.artifacts import CamReader
from methods.base import StageContext
from methods.layers.cam_inference import write_multi_scale_cams
from methods.layers.config import CamInferenceConfig
from tests.conftest import ROOT
from tests.helpers.refining import context
from tests.helpers.trees import write_image


def test_every_shared_function_that_calls_a_methods_own_under_inference_mode_is_named() -> None:
    found = [
        f"{'.'.join(path.relative_to(ROOT).with_suffix('').parts)}.{node.name}"
        for path in sorted((ROOT / "methods" / "layers").rglob("*.py"))
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
        if any("inference_mode()" in ast.unparse(decorator) for decorator in node.decorator_list)
        if any("Callable" in ast.unparse(a.annotation) for a in node.args.args if a.annotation)
    ]
    assert len(found) >= 2
    assert [name for name in found if f"`{name}`" not in str(StageContext.__doc__)] == []


def test_gradients_can_be_taken_there_as_documented(tmp_path: Path, seeded: None) -> None:
    image = tmp_path / "a.png"
    write_image(image)
    view = TrainingView("drawn", ("cat", "dog"), {"train": (Sample("a", image, (1,)),), "val": ()})
    layer = torch.nn.Conv2d(3, 2, 1)

    def forward(images: torch.Tensor) -> torch.Tensor:
        """Grad-CAM in short: activations weighted by the mean gradient of the score."""
        assert torch.is_inference_mode_enabled()
        with torch.inference_mode(False), torch.enable_grad():
            activations = layer(images.clone())
            scores = activations.pow(2).mean((2, 3)).sum()
            (gradient,) = torch.autograd.grad(scores, activations)
        return (gradient.mean((2, 3), keepdim=True) * activations).relu()

    output = tmp_path / "cam"
    settings = CamInferenceConfig(scales=(1.0,), batch_size=1)
    write_multi_scale_cams(context(view, {}, output), forward, IMAGENET, settings)
    (maps,) = (cam.maps for _, cam in CamReader(output))
    assert maps.max() > 0.9
