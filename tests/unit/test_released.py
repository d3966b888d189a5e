"""Checkpoints of the papers' code: every parameter of the paper's network is loaded, and nothing else passes.

The names and shapes below are the released files', written down from the code that saves them and not from ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from benchmark.changes import cell_changes
from benchmark.config import compose
from benchmark.plan import make_plan
from methods.base import MethodError
from methods.cam.config import PRESETS as CAM
from methods.cam.stages import CamNetwork
from methods.clims.config import PRESETS as CLIMS
from methods.dskd_gc.config import DecoderConfig, NetworkConfig
from methods.dskd_gc.network import build_branch
from methods.eps.config import PRESETS as EPS
from methods.eps.network import EpsNetwork
from methods.layers.backbones import build_backbone
from methods.layers.config import BackboneConfig, VitConfig
from methods.layers.deeplab import build_segmenter
from methods.layers.released import CAM_NETWORK, UNDILATED, renamed, require_undilated
from methods.layers.weights import load_into
from methods.mctformer.config import PRESETS as MCTFORMER
from methods.mctformer.network import build_network
from methods.mctformer.stages import network_names as mctformer_names
from methods.refiners.irn.network import InterPixelNetwork
from methods.refiners.irn.stages import RELEASED as IRN
from methods.refiners.psa.network import AffinityNetwork
from methods.refiners.psa.stages import RELEASED as PSA
from methods.segmenters import DEEPLAB_V2_COCO
from methods.segmenters.released import network_names as segmenter_names
from methods.toco.config import PRESETS as TOCO
from methods.toco.stages import network_names as toco_names
from tests.toys import CommandLine, command_line

__all__ = ["command_line"]  # fixture

State = dict[str, torch.Tensor]
CLASSES = 20


def tensors(**shapes: tuple[int, ...]) -> State:
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def convolution(name: str, outputs: int, inputs: int, side: int = 1, bias: bool = False) -> State:
    found = {f"{name}.weight": (outputs, inputs, side, side)}
    return tensors(**found, **({f"{name}.bias": (outputs,)} if bias else {}))


def linear(name: str, outputs: int, inputs: int) -> State:
    return tensors(**{f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)})


def scale(name: str, channels: int) -> State:
    """Of layer and group normalisation."""
    return tensors(**{f"{name}.weight": (channels,), f"{name}.bias": (channels,)})


def batch_norm(name: str, channels: int) -> State:
    statistics = {f"{name}.running_mean": (channels,), f"{name}.running_var": (channels,)}
    return {**scale(name, channels), **tensors(**statistics, **{f"{name}.num_batches_tracked": ()})}


def resnet38d() -> State:
    state = convolution("conv1a", 64, 3, 3)
    inputs = 64
    for stage, middle, outputs, depth in (
        (2, 128, 128, 3),
        (3, 256, 256, 3),
        (4, 512, 512, 6),
        (5, 512, 1024, 3),
    ):
        for n in range(depth):
            block = f"b{stage}_{n}" if n else f"b{stage}"
            state |= batch_norm(f"{block}.bn_branch2a", inputs) | batch_norm(f"{block}.bn_branch2b1", middle)
            state |= convolution(f"{block}.conv_branch2a", middle, inputs, 3)
            state |= convolution(f"{block}.conv_branch2b1", outputs, middle, 3)
            if n == 0:
                state |= convolution(f"{block}.conv_branch1", outputs, inputs)
            inputs = outputs
    for block, inputs, outputs in (("b6", 1024, 2048), ("b7", 2048, 4096)):
        quarter, half = outputs // 4, outputs // 2
        state |= batch_norm(f"{block}.bn_branch2a", inputs) | convolution(
            f"{block}.conv_branch2a", quarter, inputs
        )
        state |= batch_norm(f"{block}.bn_branch2b1", quarter)
        state |= convolution(f"{block}.conv_branch2b1", half, quarter, 3)
        state |= batch_norm(f"{block}.bn_branch2b2", half) | convolution(
            f"{block}.conv_branch2b2", outputs, half
        )
        state |= convolution(f"{block}.conv_branch1", outputs, inputs)
    return state | batch_norm("bn7", 4096)


def resnet50() -> State:
    """Layers of torchvision's names, without a classifier."""
    state = convolution("conv1", 64, 3, 7) | batch_norm("bn1", 64)
    inputs = 64
    for stage, (width, depth) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), 1):
        for n in range(depth):
            block = f"layer{stage}.{n}"
            state |= convolution(f"{block}.conv1", width, inputs) | batch_norm(f"{block}.bn1", width)
            state |= convolution(f"{block}.conv2", width, width, 3) | batch_norm(f"{block}.bn2", width)
            state |= convolution(f"{block}.conv3", 4 * width, width) | batch_norm(f"{block}.bn3", 4 * width)
            if n == 0:
                state |= convolution(f"{block}.downsample.0", 4 * width, inputs)
                state |= batch_norm(f"{block}.downsample.1", 4 * width)
            inputs = 4 * width
    return state


def twice(parts: Mapping[str, tuple[str, ...]]) -> State:
    """ResNet-50 as IRNet's code saves it: under `resnet50` and, by parts, under `stageN` and `backbone.N`.

    parts: stage -> the resnet's attributes that its Sequential lists
    """
    trunk = resnet50()
    state = {f"resnet50.{key}": value for key, value in trunk.items()}
    for number, (stage, names) in enumerate(parts.items()):
        for position, name in enumerate(names):
            for key, value in trunk.items():
                if key.startswith(f"{name}."):
                    rest = key.removeprefix(name)
                    state[f"{stage}.{position}{rest}"] = value
                    state[f"backbone.{number}.{position}{rest}"] = value
    return state


def irn_classifier() -> State:
    first = ("conv1", "bn1", "relu", "maxpool", "layer1")
    state = twice({"stage1": first, "stage2": ("layer2",), "stage3": ("layer3",), "stage4": ("layer4",)})
    state |= convolution("classifier", CLASSES, 2048)
    return state | convolution("newly_added.0", CLASSES, 2048)


def irn_network() -> State:
    deeper = {f"stage{n}": (f"layer{n - 1}",) for n in range(2, 6)}
    state = twice({"stage1": ("conv1", "bn1", "relu", "maxpool"), **deeper})
    edge: State = {}
    for n, channels in enumerate((64, 256, 512, 1024, 2048), 1):
        edge |= convolution(f"fc_edge{n}.0", 32, channels) | scale(f"fc_edge{n}.1", 32)
    edge |= convolution("fc_edge6", 1, 160, bias=True)
    branch: State = {}
    widths = ((64, 64), (256, 128), (512, 256), (1024, 256), (2048, 256), (768, 256), (448, 256))
    for n, (inputs, outputs) in enumerate(widths, 1):
        branch |= convolution(f"fc_dp{n}.0", outputs, inputs) | scale(f"fc_dp{n}.1", outputs)
    branch |= convolution("fc_dp7.3", 2, 256) | tensors(**{"fc_dp7.4.running_mean": (2,)})
    state |= edge | branch | tensors(**{"mean_shift.running_mean": (2,), "disp_target": (1, 2, 152, 1)})
    state |= {f"path_indices{n}": torch.empty(4, 4, 4, device="meta") for n in range(8)}
    for list_name, prefix, layers in (("edge_layers", "fc_edge", edge), ("dp_layers", "fc_dp", branch)):
        for key, value in layers.items():
            number, _, rest = key.removeprefix(prefix).partition(".")
            state[f"{list_name}.{int(number) - 1}.{rest}"] = value
    return state


def transformer(width: int, tokens: int) -> State:
    state = tensors(cls_token=(1, tokens, width), pos_embed=(1, tokens + 196, width))
    state |= convolution("patch_embed.proj", width, 3, 16, bias=True)
    for n in range(12):
        block = f"blocks.{n}"
        state |= scale(f"{block}.norm1", width) | scale(f"{block}.norm2", width)
        state |= linear(f"{block}.attn.qkv", 3 * width, width) | linear(f"{block}.attn.proj", width, width)
        state |= linear(f"{block}.mlp.fc1", 4 * width, width) | linear(f"{block}.mlp.fc2", width, 4 * width)
    return state | scale("norm", width)


def mctformer() -> State:
    return transformer(384, CLASSES) | convolution("head", CLASSES, 384, 3, bias=True)


def toco() -> State:
    encoder = transformer(768, 1) | linear("head", 1000, 768)
    state = {f"encoder.{key}": value for key, value in encoder.items()}
    for head in ("proj_head", "proj_head_t"):
        state |= linear(f"{head}.mlp.0", 2048, 768) | linear(f"{head}.mlp.2", 2048, 2048)
        state |= linear(f"{head}.mlp.4", 256, 2048)
        state |= tensors(
            **{f"{head}.last_layer.weight_g": (1024, 1), f"{head}.last_layer.weight_v": (1024, 256)}
        )
    state |= convolution("decoder.conv6", 512, 768, 3) | convolution("decoder.conv7", 512, 512, 3)
    state |= convolution("decoder.conv8", CLASSES + 1, 512)
    return state | convolution("classifier", CLASSES, 768) | convolution("aux_classifier", CLASSES, 768)


def deeplab(prefix: str, shortcut: str, aspp: str) -> State:
    """ResNet-101 with ASPP of deeplab-pytorch, whose names have changed over time."""
    state = convolution("layer1.conv1.conv", 64, 3, 7) | batch_norm("layer1.conv1.bn", 64)
    inputs = 64
    for stage, (width, depth) in enumerate(((64, 3), (128, 4), (256, 23), (512, 3)), 2):
        for n in range(1, depth + 1):
            block = f"layer{stage}.block{n}"
            layers = [
                ("reduce", width, inputs, 1),
                ("conv3x3", width, width, 3),
                ("increase", 4 * width, width, 1),
            ]
            if n == 1:
                layers.append((shortcut, 4 * width, inputs, 1))
            for layer, outputs, of, side in layers:
                state |= convolution(f"{block}.{layer}.conv", outputs, of, side)
                state |= batch_norm(f"{block}.{layer}.bn", outputs)
            inputs = 4 * width
    for n in range(4):
        state |= convolution(f"{aspp}.c{n}", CLASSES + 1, 2048, 3, bias=True)
    return {f"{prefix}{key}": value for key, value in state.items()}


def mctformer_segmentation() -> State:
    state = resnet38d() | convolution("fc8_seg_conv1", 512, 4096, 3, bias=True)
    return state | convolution("fc8_seg_conv2", CLASSES + 1, 512, 3, bias=True)


RESNET50 = replace(CLIMS["paper"].backbone, name=UNDILATED)


def cam_network(backbone: BackboneConfig) -> nn.Module:
    trunk = build_backbone(backbone)
    return CamNetwork(trunk, trunk.channels, CLASSES)


SEGMENTER = MCTFORMER["paper"].segmenter
Case = tuple[Callable[[], nn.Module], Callable[[State], Mapping[str, torch.Tensor]], Callable[[], State]]
CASES: dict[str, Case] = {
    "EPS": (
        lambda: EpsNetwork(build_backbone(EPS["paper"].backbone), CLASSES),
        lambda state: renamed(state, CAM_NETWORK),
        lambda: resnet38d() | convolution("fc8", CLASSES + 1, 4096),
    ),
    "PSA, classifier": (
        lambda: cam_network(CAM["paper"].backbone),
        lambda state: renamed(state, CAM_NETWORK),
        lambda: resnet38d() | convolution("fc8", CLASSES, 4096),
    ),
    "PSA, affinities": (
        lambda: AffinityNetwork(build_backbone(CAM["paper"].refiner.psa.backbone)),
        lambda state: renamed(state, PSA),
        lambda: (
            resnet38d()
            | convolution("f8_3", 64, 512)
            | convolution("f8_4", 128, 1024)
            | convolution("f8_5", 256, 4096)
            | convolution("f9", 448, 448)
        ),
    ),
    "IRNet and CLIMS, CAM network": (
        lambda: cam_network(RESNET50),
        lambda state: renamed(state, CAM_NETWORK),
        irn_classifier,
    ),
    "IRNet": (
        lambda: InterPixelNetwork(build_backbone(RESNET50)),
        lambda state: renamed(state, IRN),
        irn_network,
    ),
    "MCTformer": (lambda: build_network(MCTFORMER["paper"].vit, CLASSES), mctformer_names, mctformer),
    "ToCo": (lambda: build_branch(TOCO["paper"].network, CLASSES), toco_names, toco),
    "deeplab-pytorch": (
        lambda: build_segmenter(DEEPLAB_V2_COCO, CLASSES),
        lambda state: segmenter_names(state, DEEPLAB_V2_COCO),
        lambda: deeplab("base.", "shortcut", "aspp"),
    ),
    "deeplab-pytorch, older": (
        lambda: build_segmenter(DEEPLAB_V2_COCO, CLASSES),
        lambda state: segmenter_names(state, DEEPLAB_V2_COCO),
        lambda: deeplab("scale.", "proj", "aspp.stages"),
    ),
    "MCTformer, segmentation": (
        lambda: build_segmenter(SEGMENTER, CLASSES),
        lambda state: segmenter_names(state, SEGMENTER),
        mctformer_segmentation,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_every_parameter_of_the_papers_network_is_loaded(case: str) -> None:
    build, names, released = CASES[case]
    with torch.device("meta"):
        network = build()
    state = released()
    mapped, own = names(state), network.state_dict()
    assert set(mapped) == set(own)
    assert {key: value.shape for key, value in mapped.items()} == {
        key: value.shape for key, value in own.items()
    }
    load_into(network, mapped, source=case)

    used = next(key for key in mapped if key.endswith("weight"))
    with pytest.raises(MethodError, match="1 expected but not there") as caught:
        load_into(network, {key: value for key, value in mapped.items() if key != used}, source=case)
    assert used in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(MethodError, match="1 there but not expected"):
        load_into(network, names(state | tensors(surprise=(1,))), source=case)


@pytest.mark.parametrize("case", ["MCTformer", "ToCo"])
def test_tokens_and_positions_are_told_apart(case: str) -> None:
    """The released layout of a miniature's own weights comes back as these."""
    vit = VitConfig("vit_nano", final_norm=case == "ToCo")
    if case == "MCTformer":
        network: nn.Module = build_network(vit, 3)
        prefix, trunk, names = "vit.", "", mctformer_names
    else:
        network = build_branch(NetworkConfig(vit, 3, "max", DecoderConfig(width=8)), 3)
        prefix, trunk, names = "encoder.", "encoder.", toco_names
    own = {key: torch.rand_like(value.float()) for key, value in network.state_dict().items()}
    own |= {
        key: torch.zeros_like(value)
        for key, value in own.items()
        if key.startswith("decoder") and "bias" in key
    }
    positions = [own[f"{prefix}class_positions"], own[f"{prefix}patch_positions"]]
    released = {
        f"{trunk}cls_token": own[f"{prefix}class_tokens"],
        f"{trunk}pos_embed": torch.cat(positions, 1),
    }
    for key, value in own.items():
        if key.startswith(f"{prefix}trunk."):
            released[trunk + key.removeprefix(f"{prefix}trunk.")] = value
        elif key.startswith("decoder.") and "weight" in key:
            released[f"decoder.conv{int(key.split('.')[1]) // 2 + 6}.weight"] = value
        elif not key.startswith((prefix, "decoder.")):
            released[key.replace("auxiliary_", "aux_")] = value
    mapped = names(released)
    assert set(mapped) == set(own)
    assert all(torch.equal(mapped[key], value) for key, value in own.items())


def test_deeplab_pytorchs_first_layer_is_turned_to_rgb() -> None:
    state = deeplab("base.", "shortcut", "aspp")
    state["base.layer1.conv1.conv.weight"] = weight = torch.randn(64, 3, 7, 7)
    mapped = segmenter_names(state, DEEPLAB_V2_COCO)
    assert torch.equal(mapped["backbone.trunk.conv1.weight"], weight.flip(1))


def test_files_of_another_network_that_would_fit_are_refused() -> None:
    with pytest.raises(MethodError, match=r"segmenter\.backbone\.name=resnet101_caffe segmenter\.head=aspp"):
        segmenter_names(deeplab("base.", "shortcut", "aspp"), CAM["paper"].segmenter)
    with pytest.raises(MethodError, match="of MCTformer's segmentation, and not of resnet101 with head aspp"):
        segmenter_names(mctformer_segmentation(), CAM["paper"].segmenter)
    with pytest.raises(MethodError, match=f"set method.clims.backbone.name={UNDILATED}"):
        require_undilated(irn_classifier(), CLIMS["paper"].backbone, "method.clims.backbone")


def test_the_last_stage_of_irnets_trunk_is_neither_strided_nor_dilated() -> None:
    with torch.device("meta"):
        backbone = build_backbone(RESNET50)
        features = backbone.eval()(torch.empty(1, 3, 64, 96))
    assert features.shape == (1, 2048, 4, 6)
    trunk: Any = backbone.trunk
    assert all(block.conv2.dilation == block.conv2.stride == (1, 1) for block in trunk.layer4)


def checkpoint(path: Path, seed: int = 0) -> tuple[Path, State]:
    """EPS's file of the miniature, as its code names it, and what it holds under this project's names."""
    torch.manual_seed(seed)
    own = EpsNetwork(build_backbone(EPS["nano"].backbone), len(shapes_classes())).state_dict()
    names = {"classifier.weight": "fc8.weight"}
    released = {names.get(key, key.removeprefix("backbone.trunk.")): value for key, value in own.items()}
    torch.save({f"module.{key}": value for key, value in released.items()}, path)
    return path, own


def shapes_classes() -> tuple[str, ...]:
    from datasets.shapes import Shapes

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

    (cell,) = read_run(command_line.output).cells
    assert list(cell["provenance"]["weights"]) == [str(file)]
    assert chosen.removeprefix("method.eps.") in cell["changes"]

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
    method: str, setting: str, stage: str, gone: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data = ["dataset.train=4", "dataset.val=2", f"dataset.root={tmp_path / 'data'}"]
    file = tmp_path / "released.pth"

    def planned(*overrides: str) -> dict[str, Any]:
        config = compose([method], "shapes", overrides=[*data, *overrides])
        (cell,) = make_plan(config, [0]).cells
        assert cell.status == "planned", cell.reason
        return {p.stage.name: p for p in cell.stages} | {"changes": cell_changes(config, method)}

    overrides = [f"method.{method}.{setting}={file}"]
    if setting.startswith("segmenter"):
        overrides.append(
            f"method.{method}.segmenter.init={'masks' if method == 'supervised' else 'pseudo-labels'}"
        )
    file.write_bytes(b"one")
    before, first = planned(), planned(*overrides)
    file.write_bytes(b"another")
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
def test_what_cannot_be_is_one_line(method: str, overrides: list[str], words: str, tmp_path: Path) -> None:
    data = ["dataset.train=4", "dataset.val=2", f"dataset.root={tmp_path / 'data'}"]
    config = compose([method], "shapes", overrides=[*data, *(f"method.{method}.{o}" for o in overrides)])
    (cell,) = make_plan(config, [0]).cells
    assert cell.status == "failed"
    assert words in cell.reason
    assert "\n" not in cell.reason
