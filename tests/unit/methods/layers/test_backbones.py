"""Backbones: the contract on shapes, freezing, loading, and errors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from datasets.recipe import IMAGENET
from methods.base import MethodError
from methods.layers.config import BackboneConfig
from methods.layers.networks.backbones import build_backbone
from methods.layers.weights.files import load_state

pytestmark = pytest.mark.usefixtures("seeded")

LITE0 = "timm/tf_efficientnet_lite0"
NANO = BackboneConfig("resnet38d_nano", output_stride=4)
STRIDES = {LITE0: 16, NANO.name: NANO.output_stride}


@pytest.mark.parametrize(
    ("name", "stride", "channels"),
    [
        ("resnet38d_nano", 4, 64),
        ("vgg16", 8, 512),
        ("resnet50", 8, 2048),
        ("resnet50", 16, 2048),
        ("resnet101", 8, 2048),
        (LITE0, 16, 1280),
        (LITE0, 8, 1280),
        ("timm/resnet18", 8, 512),
        ("timm/regnetx_002", 16, 368),
    ],
)
def test_shapes(name: str, stride: int, channels: int) -> None:
    with torch.device("cpu" if name == NANO.name else "meta"), torch.no_grad():
        backbone = build_backbone(BackboneConfig(name, output_stride=stride)).eval()
        features = backbone(torch.rand(1, 3, 65, 48))
    assert (backbone.channels, backbone.output_stride) == (channels, stride)
    assert features.shape == (1, channels, -(-65 // stride), -(-48 // stride))


def test_normalisation_is_that_of_the_weights() -> None:
    assert build_backbone(NANO).normalisation == IMAGENET
    assert build_backbone(BackboneConfig(LITE0, output_stride=16)).normalisation == ((0.5,) * 3, (0.5,) * 3)


def test_miniature_is_small() -> None:
    parameters = sum(p.numel() for p in build_backbone(NANO).parameters())
    assert parameters < 0.6e6


@pytest.mark.parametrize("name", ["resnet38d_nano", "vgg16", "resnet50", LITE0])
def test_first_stages_are_frozen(name: str) -> None:
    stride = STRIDES.get(name, 8)
    with torch.device("meta"):
        backbone = build_backbone(BackboneConfig(name, output_stride=stride, frozen_stages=2))
    parameters = list(backbone.parameters())
    frozen = [not p.requires_grad for p in parameters]
    assert frozen[0]
    assert not frozen[-1]
    assert 0 < sum(frozen) < len(parameters) / 2


@pytest.mark.parametrize("name", ["resnet38d_nano", LITE0])
def test_frozen_batch_norm_keeps_everything(name: str) -> None:
    stride = STRIDES.get(name, 8)
    backbone = build_backbone(BackboneConfig(name, output_stride=stride, freeze_bn=True))
    norms = [m for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    for module in (backbone, backbone.train()):
        module(torch.rand(2, 3, 32, 32))
    assert not any(m.training or m.weight.requires_grad or m.bias.requires_grad for m in norms)
    assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())
    assert backbone.training


def test_fixed_statistics_let_scales_and_shifts_learn() -> None:
    backbone = build_backbone(replace(NANO, frozen_stages=1, fixed_statistics=True)).train()
    norms = [m for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    backbone(torch.rand(2, 3, 32, 32)).square().mean().backward()
    assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())
    assert not any(m.training for m in norms)
    learning = [m for m in norms if m.weight.requires_grad]
    assert learning
    assert all(m.weight.grad is not None and m.bias.grad is not None for m in learning)


def test_unfrozen_batch_norm_learns_statistics() -> None:
    backbone = build_backbone(replace(NANO, frozen_stages=2))
    trunk = backbone.trunk
    before = {k: v.clone() for k, v in trunk.state_dict().items() if k.endswith("running_mean")}
    backbone.train()(torch.rand(2, 3, 32, 32))
    changed = {k for k, v in before.items() if not torch.equal(v, trunk.state_dict()[k])}
    assert changed == {k for k in before if not k.startswith("b2")}


def test_vgg_is_dilated_after_its_last_striding_pool() -> None:
    with torch.device("meta"):
        features = build_backbone(BackboneConfig("vgg16")).trunk.get_submodule("features")
    convolutions = [m for m in features.modules() if isinstance(m, nn.Conv2d)]
    assert [c.dilation[0] for c in convolutions] == [1] * 10 + [2] * 3


def test_torchvision_weights_load_without_their_classifiers(tmp_path: Path) -> None:
    from torchvision.models import get_model

    for name in ("resnet50", "vgg16"):
        with torch.device("meta"):
            named = get_model(name, weights=None).state_dict()
        state = {
            key: torch.full(value.shape, number, dtype=value.dtype)  # no two alike
            for number, (key, value) in enumerate(named.items())
            if not key.startswith("classifier.") or value.ndim == 1  # its matrices are half a gigabyte
        }
        assert any(key.startswith(("fc.", "classifier.")) for key in state)
        torch.save(state, tmp_path / f"{name}.pth")
        trunk = build_backbone(BackboneConfig(name), tmp_path / f"{name}.pth").trunk
        assert all(torch.equal(value, state[key]) for key, value in trunk.state_dict().items())


def test_real_efficientnet_weights_load_exactly(shared: Path) -> None:
    """The backbone's features are what the full pretrained classifier pools."""
    import timm

    path = shared / "weights" / "tf_efficientnet_lite0.safetensors"
    classifier = timm.create_model("tf_efficientnet_lite0").eval()
    classifier.load_state_dict(load_state(path))
    backbone = build_backbone(BackboneConfig(LITE0, LITE0, output_stride=32), path).eval()
    images = torch.rand(2, 3, 96, 96)
    with torch.no_grad():
        pooled = classifier.get_classifier()(backbone(images).mean((2, 3)))
        assert_close(pooled, classifier(images))
    dilated = build_backbone(BackboneConfig(LITE0, LITE0, output_stride=16), path)
    assert dilated.trunk.state_dict().keys() == backbone.trunk.state_dict().keys()


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (BackboneConfig("resnet39"), "unknown backbone 'resnet39'; choose resnet38d"),
        (BackboneConfig("timm/resnet39"), "timm has no model 'resnet39'"),
        (replace(NANO, output_stride=16), "no output_stride 16; choose 4"),
        (BackboneConfig("timm/vit_tiny_patch16_224"), "cannot be built with output_stride=8"),
    ],
)
def test_errors_name_the_remedy(config: BackboneConfig, expected: str) -> None:
    with pytest.raises(MethodError, match=expected) as error:
        build_backbone(config)
    assert "\n" not in str(error.value)


def test_wrong_weight_file_is_one_line(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "linear.pth")
    with pytest.raises(MethodError, match=r"linear\.pth do not fit ResNet38d") as error:
        build_backbone(NANO, tmp_path / "linear.pth")
    assert "\n" not in str(error.value)


def test_too_many_frozen_stages() -> None:
    with pytest.raises(MethodError, match="frozen_stages=9"):
        build_backbone(replace(NANO, frozen_stages=9))
