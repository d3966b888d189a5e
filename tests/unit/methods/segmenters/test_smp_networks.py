"""Segmentation networks of segmentation_models_pytorch, by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.nn.functional import pad
from torch.testing import assert_close

from benchmark.config import compose
from benchmark.failures import ConfigError
from benchmark.planning.changes import run_identity
from benchmark.profiling.complexity import forward_pass_complexity
from methods.base import MethodError
from methods.layers.config import SegmenterConfig
from methods.layers.networks.deeplab import build_segmenter
from methods.layers.networks.smp import SmpNetwork
from methods.layers.weights.files import check_served
from methods.segmenters import SEGMENTERS, segmentation_stages
from methods.segmenters.networks import network_name, smp_network
from methods.segmenters.profile import segment
from methods.segmenters.released import network_names
from tests.helpers.toys import CommandLine


def config_of(name: str) -> SegmenterConfig:
    return smp_network(name, SEGMENTERS["nano"])


@pytest.fixture
def network(seeded: None) -> SmpNetwork:
    built = build_segmenter(config_of("smp/unet:resnet18"), 3).eval()
    assert isinstance(built, SmpNetwork)
    return built


@pytest.mark.parametrize("name", ["smp/segformer:mit_b0", "smp/pan:resnet18", "smp/dpt:tu-test_vit"])
def test_logits_have_the_size_of_any_image(name: str, seeded: None) -> None:
    built = build_segmenter(config_of(name), 3).eval()
    with torch.no_grad():
        assert built(torch.rand(2, 3, 40, 70)).shape == (2, 4, 40, 70)
    assert {id(p) for m in built.new_layers for p in m.parameters()} < {id(p) for p in built.parameters()}


def test_images_are_padded_at_the_right_and_below(network: SmpNetwork) -> None:
    images = torch.rand(1, 3, 40, 70)
    with torch.no_grad():
        assert_close(network(images), network.network(pad(images, (0, 26, 0, 24)))[..., :40, :70])


def test_the_recipe_is_the_scales(network: SmpNetwork) -> None:
    config = config_of("smp/unet:resnet18")
    shared = SEGMENTERS["nano"]
    same = ("head", "backbone", "init")
    assert replace(config, **{name: getattr(shared, name) for name in same}) == shared
    assert config.init == "none"


def test_pretrained_weights_are_asked_for_by_name() -> None:
    config = config_of("smp/segformer:mit_b0:imagenet")
    assert (config.backbone.weights, config.init) == ("smp/mit_b0", "imagenet")
    assert segmentation_stages(config)[0].pretrained == ("smp/mit_b0",)
    assert segmentation_stages(config_of("smp/segformer:mit_b0"))[0].pretrained == ("none",)
    check_served("smp/mit_b0")
    with pytest.raises(MethodError, match="did you mean 'resnet18'"):
        check_served("smp/resnet1B")


def test_an_encoder_starts_from_a_file(network: SmpNetwork, tmp_path: Path) -> None:
    save_file(network.network.encoder.state_dict(), tmp_path / "encoder.safetensors")
    other = build_segmenter(config_of("smp/fpn:resnet18"), 3, tmp_path / "encoder.safetensors")
    assert isinstance(other, SmpNetwork)
    assert_close(other.network.encoder.state_dict(), network.network.encoder.state_dict())


def test_a_checkpoint_has_the_librarys_names_or_the_stages(network: SmpNetwork) -> None:
    config = config_of("smp/unet:resnet18")
    own = network.state_dict()
    assert set(network_names(own, config)) == set(own)
    assert set(network_names(network.network.state_dict(), config)) == set(own)


@pytest.mark.parametrize(
    "name", ["smp/segformer:mit_b0", "smp/dpt:tu-test_vit", "smp/unet:resnet18:imagenet"]
)
@pytest.mark.parametrize("scale", ["nano", "small", "paper"])
def test_records_have_the_name_that_was_given(name: str, scale: str) -> None:
    config = compose(["cam"], None, scale, segmenter=name)
    assert config.protocol.segmenter is not None
    assert network_name(config.protocol.segmenter, scale) == name
    identity = run_identity(config, "cam", 0)
    assert (identity["segmenter"], identity["changes"]) == (name, "")


def test_operations_are_counted() -> None:
    """SegFormer-B0 with 150 classes on 512 x 512 pixels: 3.8 M and 8.4 G (Xie et al., NeurIPS 2021, Tab. 1)."""
    config = config_of("smp/segformer:mit_b0")
    recipe = replace(config.train.recipe, crop=512)
    with torch.device("meta"):
        (forward,) = segment(replace(config, train=replace(config.train, recipe=recipe)), {}, 149, (512, 512))
    found = forward_pass_complexity(forward)
    assert (round(found.parameters / 1e6, 1), round(found.macs / 1e9, 1)) == (3.8, 8.4)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("smp/segfomer:mit_b0", "has no architecture 'segfomer'; did you mean 'segformer'"),
        ("smp/unet:resnet1B", "has no encoder 'resnet1B'; did you mean 'resnet1"),
        ("smp/unet:tu-resnet1B", "has no encoder 'tu-resnet1B'; did you mean 'tu-resnet1"),
        (
            "smp/dpt:resnet18",
            r"smp/dpt on resnet18 cannot be built \(.*choose another encoder, such as tu-vit",
        ),
        (
            "smp/unet",
            r"write smp/<architecture>:<encoder>, such as smp/segformer:mit_b0, and :imagenet after it",
        ),
        ("smp/unet:resnet18:coco", "write smp/<architecture>:<encoder>"),
        ("smp", "unknown segmentation network of scale nano 'smp'"),
    ],
)
def test_an_unknown_network_is_one_line_with_the_closest(name: str, said: str) -> None:
    with pytest.raises((MethodError, ConfigError), match=said) as raised:
        compose(["cam"], segmenter=name)
    assert "\n" not in str(raised.value)


def test_what_is_not_offered_is_said() -> None:
    config = config_of("smp/unet:resnet18")
    with pytest.raises(MethodError, match=r"segmenter.backbone.freeze_bn is not offered with smp/unet"):
        build_segmenter(replace(config, backbone=replace(config.backbone, freeze_bn=True)), 3)
    with pytest.raises(MethodError, match=r"set segmenter.backbone.name=smp/resnet34, say"):
        build_segmenter(replace(config, backbone=SEGMENTERS["nano"].backbone), 3)


def test_it_is_trained_and_scored_as_the_shipped_ones(command_line: CommandLine) -> None:
    done = command_line.run("supervised", "--segmenters", "smp/unet:resnet18", "runtime.max_iterations=2")
    assert done.code == 0, done.err
    records = (command_line.output / "records.csv").read_text()
    assert "smp/unet:resnet18" in records
    assert "segmentation" in records
