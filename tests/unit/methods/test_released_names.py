"""Names in checkpoints of the papers' code: every parameter of the network is loaded, and nothing else passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from methods.base import MethodError
from methods.cam.config import PRESETS as CAM
from methods.cam.network import PlainCam
from methods.clims.config import PRESETS as CLIMS
from methods.eps.config import PRESETS as EPS
from methods.eps.network import EpsNetwork
from methods.layers.config import BackboneConfig, VitConfig
from methods.layers.networks.backbones import build_backbone
from methods.layers.networks.deeplab import build_segmenter
from methods.layers.weights.files import load_into
from methods.layers.weights.released import CAM_NETWORK, UNDILATED, renamed, require_undilated
from methods.mctformer.config import PRESETS as MCTFORMER
from methods.mctformer.network import MctformerNetwork
from methods.refiners.irn.network import InterPixelNetwork
from methods.refiners.irn.stages import RELEASED as IRN
from methods.refiners.psa.network import AffinityNetwork
from methods.refiners.psa.stages import RELEASED as PSA
from methods.segmenters import DEEPLAB_V2_COCO
from methods.segmenters.released import network_names as segmenter_names
from methods.toco.branch import build_branch
from methods.toco.config import NetworkConfig
from methods.toco.parts import DecoderConfig
from methods.toco.presets import PRESETS as TOCO
from methods.toco.released_names import network_names as toco_names
from tests.helpers.released_states import (
    CLASSES,
    State,
    convolution,
    deeplab,
    irn_classifier,
    irn_network,
    mctformer,
    mctformer_segmentation,
    resnet38d,
    tensors,
    toco,
)

RESNET50 = replace(CLIMS["paper"].backbone, name=UNDILATED)


def cam_network(backbone: BackboneConfig) -> nn.Module:
    return PlainCam.build(backbone, CLASSES)


def mctformer_names(state: State) -> Mapping[str, torch.Tensor]:
    return MctformerNetwork.build(VitConfig("vit_nano"), 1).names(state, None)


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
    "MCTformer": (
        lambda: MctformerNetwork.build(MCTFORMER["paper"].vit, CLASSES),
        mctformer_names,
        mctformer,
    ),
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
        network: nn.Module = MctformerNetwork.build(vit, 3)
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
