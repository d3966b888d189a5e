"""Whole networks of timm and torchvision, and users' checkpoints of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.testing import assert_close

from benchmark.config import compose
from benchmark.failures import ConfigError
from datasets.base import TrainingView
from methods.activation.config import ClassifierConfig
from methods.activation.whole import WholeClassifier
from methods.base import MethodError, Shared
from methods.layers.weights.files import load_into, load_state
from methods.registry import find_method
from tests.helpers.toys import CommandLine
from tests.unit.methods.activation.test_rules import settings_of

VIEW = TrainingView("shapes", ("boat", "cat", "train"), {"train": (), "val": ()}, generated=True)


@pytest.mark.parametrize(
    ("name", "layer", "cells"),
    [
        ("timm/test_resnet", "layer4", (3, 4)),
        ("timm/test_efficientnet", "bn2", (3, 4)),
        ("timm/test_convnext", "norm_pre", (3, 4)),
        ("timm/test_vit", "blocks.5.norm1", (6, 8)),
        ("torchvision/squeezenet1_1", "classifier.2", (5, 7)),
        ("torchvision/mobilenet_v3_small", "features", (3, 4)),
        ("torchvision/shufflenet_v2_x0_5", "conv5", (3, 4)),
    ],
)
def test_the_last_layer_with_a_map_is_found(
    name: str, layer: str, cells: tuple[int, int], seeded: None
) -> None:
    network = WholeClassifier.build(ClassifierConfig(name), 3).eval()
    images = torch.rand(2, 3, 96, 128)
    assert network.last_layer == layer
    maps = network.maps(images, settings_of("gradcam"))
    assert maps.shape == (2, 3, *cells)
    assert network.maps(images, settings_of("layercam")).any()
    assert [head.weight.shape[0] for head in network.heads()] == [3]


def test_a_tokens_place_in_the_map_is_its_patchs() -> None:
    network = WholeClassifier.build(ClassifierConfig("timm/test_vit"), 3)
    images = torch.zeros(1, 3, 96, 128)  # 6 by 8 patches
    tokens = torch.arange(1 + 48.0).view(1, 49, 1)
    assert network.as_maps(tokens, images, "norm")[0, 0].flatten().tolist() == list(range(1, 49))
    with pytest.raises(ValueError):
        network.as_maps(tokens[:, 1:], images, "norm")


def test_channels_that_come_last_are_found() -> None:
    swin = WholeClassifier.build(ClassifierConfig("torchvision/swin_t"), 2)
    output, images = torch.zeros(1, 7, 7, 768), torch.zeros(1, 3, 224, 224)
    assert swin.as_maps(output, images, "norm").shape == (1, 768, 7, 7)
    assert swin.as_maps(output.permute(0, 3, 1, 2), images, "permute").shape == (1, 768, 7, 7)


def test_images_of_a_network_that_takes_one_size_are_resized(seeded: None) -> None:
    network = WholeClassifier.build(ClassifierConfig("timm/test_resnet", side=64), 2).eval()
    images = torch.rand(1, 3, 40, 90)
    assert network.maps(images, settings_of("gradcam")).shape == (1, 2, 2, 2)
    fixed = WholeClassifier.build(ClassifierConfig("timm/xcit_nano_12_p16_224"), 2).eval()
    assert fixed.maps(images, settings_of("gradcam")).shape == (1, 2, 14, 14)


# ---------------------------------------------------------------- a user's checkpoint


@pytest.fixture
def checkpoint(tmp_path: Path, seeded: None) -> tuple[Path, torch.nn.Module]:
    """A network with four outputs, as timm saves it."""
    network = timm.create_model("test_resnet", num_classes=4).eval()
    save_file(network.state_dict(), tmp_path / "mine.safetensors")
    return tmp_path / "mine.safetensors", network


def loaded(path: Path, config: ClassifierConfig, classes: int) -> WholeClassifier:
    network = WholeClassifier.build(config, classes)
    load_into(network, network.names(load_state(path), config), source=path)
    return network.eval()


def test_outputs_of_a_checkpoint_are_chosen(checkpoint: tuple[Path, torch.nn.Module]) -> None:
    path, own = checkpoint
    images = torch.rand(2, 3, 64, 64)
    all_four = loaded(path, ClassifierConfig("timm/test_resnet"), 4)
    assert_close(all_four.scores(images), own(images))
    two = loaded(path, ClassifierConfig("timm/test_resnet", outputs=(3, 0)), 2)
    assert_close(two.scores(images), own(images)[:, [3, 0]])
    with pytest.raises(MethodError, match="names output 4, and the checkpoint has 4, numbered from 0"):
        loaded(path, ClassifierConfig("timm/test_resnet", outputs=(4, 0)), 2)
    with pytest.raises(MethodError, match=r"fc.bias \(4,\), expected \(3,\)"):
        loaded(path, ClassifierConfig("timm/test_resnet"), 3)


def test_a_prefix_that_all_names_have_is_left_out(checkpoint: tuple[Path, torch.nn.Module]) -> None:
    path, own = checkpoint
    torch.save(
        {"state_dict": {f"model.{k}": v for k, v in own.state_dict().items()}}, path.with_suffix(".pth")
    )
    images = torch.rand(1, 3, 64, 64)
    assert_close(
        loaded(path.with_suffix(".pth"), ClassifierConfig("timm/test_resnet"), 4).scores(images), own(images)
    )


def test_pretrained_weights_are_those_of_all_but_the_head(checkpoint: tuple[Path, torch.nn.Module]) -> None:
    path, own = checkpoint
    network = WholeClassifier.build(ClassifierConfig("timm/test_resnet"), 3, path)
    assert_close(network.network.layer1.state_dict(), own.layer1.state_dict())


def test_colours_are_normalised_as_said() -> None:
    config = ClassifierConfig("timm/test_vit")
    assert WholeClassifier.build(config, 2).normalisation.mean == (0.5, 0.5, 0.5)
    config = replace(config, mean=(0.0, 0.0, 0.0), deviation=(1.0, 1.0, 1.0))
    assert WholeClassifier.build(config, 2).normalisation == ((0, 0, 0), (1, 1, 1))


# ---------------------------------------------------------------- the graph


def stages(*settings: str) -> dict[str, Any]:
    method = find_method("activation")
    config = compose(["activation"], overrides=[f"method.activation.{each}" for each in settings])
    return {stage.name: stage for stage in method.stages(config.method["activation"], VIEW, Shared())}


def test_by_default_training_and_scores_are_cams() -> None:
    cam = find_method("cam")
    of_cam = {stage.name: stage for stage in cam.stages(cam.presets["nano"], VIEW, Shared())}
    own = stages()
    assert [name for name in own if own[name] == of_cam[name]] == [
        *("classify", "image_scores", "pseudo_label", "segment", "predict")
    ]


def test_with_a_checkpoint_nothing_is_trained_for_the_maps() -> None:
    classify = stages("network.name=timm/resnet50", "classifier_checkpoint=mine.pth")["classify"]
    assert classify.run.endswith("WholeClassifier.released")
    assert classify.pretrained == ("mine.pth",)
    assert stages("network.name=torchvision/resnet18")["classify"].pretrained == ("torchvision/resnet18",)
    assert stages("network.name=timm/resnet50", "network.weights=none")["classify"].pretrained == ("none",)


def test_every_rule_can_be_named_on_the_command_line() -> None:
    assert [stages(f"rule={rule}")["cam"].settings.rule for rule in ("gradcam", "gradcam++")] == [
        *("gradcam", "gradcam++")
    ]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            ["network.outputs=[0,1,2]"],
            "is of a whole network's checkpoint; set method.activation.network.name",
        ),
        (
            ["network.outputs=[0,1]", "network.name=timm/resnet50", "classifier_checkpoint=a.pth"],
            "names 2 outputs, and data set shapes has 3 classes; name one for each of boat, cat, train",
        ),
        (["network.mean=[0.5]"], r"method.activation.network.mean: must have three numbers"),
        (["network.name=tim/resnet50"], "there are cam, timm/<name>, torchvision/<name>"),
    ],
)
def test_wrong_settings_are_one_line(settings: list[str], said: str) -> None:
    with pytest.raises((MethodError, ConfigError), match=said) as raised:
        stages(*settings)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("timm/resnet5O", "timm has no classifier 'resnet5O'; did you mean 'resnet50'"),
        ("torchvision/resnt18", "torchvision has no classifier 'resnt18'; did you mean 'resnet18'"),
        ("torchvision/fcn_resnet50", "torchvision has no classifier"),
    ],
)
def test_an_unknown_network_is_one_line_with_the_closest(name: str, said: str) -> None:
    with pytest.raises(MethodError, match=said) as raised:
        WholeClassifier.build(ClassifierConfig(name), 3)
    assert "\n" not in str(raised.value)


def test_an_image_without_a_layer_of_that_kind_is_one_line() -> None:
    network = WholeClassifier.build(ClassifierConfig("timm/test_resnet"), 3).eval()
    with pytest.raises(MethodError, match=r"layer=fc: its output .* is no map of the image"):
        network.maps(torch.rand(1, 3, 64, 64), settings_of("gradcam", "fc"))


def test_a_users_network_is_run_without_a_training(
    command_line: CommandLine, tmp_path: Path, seeded: None
) -> None:
    torch.save(timm.create_model("test_vit", num_classes=12).state_dict(), tmp_path / "mine.pth")
    outputs = ",".join(map(str, range(1, 11)))
    done = command_line.run(
        *("activation", "--until", "cam", "method.activation.network.name=timm/test_vit"),
        f"method.activation.classifier_checkpoint={tmp_path / 'mine.pth'}",
        f"method.activation.network.outputs=[{outputs}]",
    )
    assert done.code == 0, done.err
    assert "Activation maps" in done.out
    assert not list(command_line.store.rglob("losses-*.json"))
