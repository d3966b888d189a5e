"""DeepLab V2's recipe: the loss at several scales, and the authors' own weights under deeplab-pytorch's names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from benchmark.config import compose
from benchmark.planning.graph import check_masks_unseen
from benchmark.planning.method_info import MASKS_BEFORE, method_info
from datasets.base import TrainingView
from datasets.loading.loader import Batch
from datasets.voc.reader import CLASSES as VOC_CLASSES
from methods.base import MethodError, Shared
from methods.ca_cl import METHOD as CA_CL
from methods.layers.config import BackboneConfig, SegmenterConfig
from methods.layers.networks.backbones import build_backbone
from methods.layers.networks.caffe_resnet import torchvision_names
from methods.layers.networks.deeplab import build_segmenter
from methods.layers.optim import build_optimiser
from methods.mctformer.config import PRESETS as MCTFORMER
from methods.segmenters import (
    COCO_MASKS,
    DEEPLAB_V2_COCO,
    DEEPLAB_V2_IMAGENET,
    SEGMENTERS,
    segmentation_stages,
)
from methods.segmenters.multi_scale import MultiScale, multi_scale_losses
from tests.helpers.steps import step_once

BLOCKS = {2: 3, 3: 4, 4: 23, 5: 3}
DILATIONS = {2: 1, 3: 1, 4: 2, 5: 4}
State = dict[str, torch.Tensor]


def published_state() -> State:
    """A state dictionary with the names and shapes of deeplabv1_resnet101-coco.pth."""
    source = torch.Generator().manual_seed(0)
    state: State = {}

    def unit(name: str, outputs: int, inputs: int, kernel: int, scale: float = 1.0) -> None:
        shape = (outputs, inputs, kernel, kernel)
        deviation = (2 / (inputs * kernel * kernel)) ** 0.5
        state[f"{name}.conv.weight"] = torch.empty(shape).normal_(0, deviation, generator=source)
        for key, centre in (("weight", scale), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            state[f"{name}.bn.{key}"] = centre + 0.05 * torch.rand(outputs, generator=source)
        state[f"{name}.bn.num_batches_tracked"] = torch.tensor(0)

    unit("layer1.conv1", 64, 3, 7, 0.02)
    inputs = 64
    for layer, blocks in BLOCKS.items():
        width = 2 ** (layer + 4)
        for block in range(1, blocks + 1):
            name = f"layer{layer}.block{block}"
            unit(f"{name}.reduce", width, inputs, 1)
            unit(f"{name}.conv3x3", width, width, 3)
            unit(f"{name}.increase", 4 * width, width, 1, 0.3)
            if block == 1:
                unit(f"{name}.shortcut", 4 * width, inputs, 1)
            inputs = 4 * width
    state["fc.weight"], state["fc.bias"] = torch.zeros(91, 2048, 1, 1), torch.zeros(91)
    return state


def published_trunk(state: State, images: torch.Tensor) -> torch.Tensor:
    """What Caffe's network makes of images (B, 3, H, W): BGR, 0 to 255 less the mean."""

    def unit(
        name: str, x: torch.Tensor, stride: int = 1, padding: int = 0, dilation: int = 1
    ) -> torch.Tensor:
        x = F.conv2d(x, state[f"{name}.conv.weight"], None, stride, padding, dilation)
        statistics = [state[f"{name}.bn.{k}"] for k in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *statistics)

    x = F.max_pool2d(unit("layer1.conv1", images, 2, 3).relu(), 3, 2, 1, ceil_mode=True)
    for layer, blocks in BLOCKS.items():
        for block in range(1, blocks + 1):
            name, stride = f"layer{layer}.block{block}", 2 if (layer, block) == (3, 1) else 1
            y = unit(f"{name}.reduce", x, stride).relu()
            y = unit(f"{name}.conv3x3", y, 1, DILATIONS[layer], DILATIONS[layer]).relu()
            y = unit(f"{name}.increase", y)
            x = (y + (unit(f"{name}.shortcut", x, stride) if block == 1 else x)).relu()
    return x


@pytest.fixture(scope="module")
def state() -> State:
    return published_state()


@pytest.fixture(scope="module")
def file(state: State, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "deeplabv1_resnet101-coco.pth"
    torch.save(state, path)
    return path


def test_published_weights_load_by_path_and_compute_what_caffe_does(state: State, file: Path) -> None:
    backbone = build_backbone(replace(DEEPLAB_V2_COCO.backbone, weights=str(file)), file).eval()
    pixels = torch.randint(0, 256, (1, 3, 45, 64), generator=torch.Generator().manual_seed(1)).float()
    mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in backbone.normalisation)
    caffe = pixels.flip(1) - torch.tensor([104.008, 116.669, 122.675]).view(3, 1, 1)
    with torch.no_grad():
        found = backbone((pixels / 255 - mean) / deviation)
        expected = published_trunk(state, caffe)
    assert expected.shape == (1, 2048, 6, 9), "pooling rounds up: a cell more than 64 / 8"
    assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.max()))


@pytest.mark.parametrize("prefix", ["", "base.", "scale."])
def test_names_of_whole_deeplabs_lose_their_prefix(state: State, prefix: str) -> None:
    renamed = torchvision_names({prefix + k.replace("shortcut", "proj"): v for k, v in state.items()})
    own = build_backbone(replace(DEEPLAB_V2_COCO.backbone, weights="none")).trunk.state_dict()
    assert set(own) == set(renamed) - {"fc.weight", "fc.bias"}
    assert all(own[k].shape == renamed[k].shape for k in own)
    assert torch.equal(renamed["conv1.weight"], state["layer1.conv1.conv.weight"].flip(1))
    assert renamed["layer3.22.conv2.weight"] is state["layer4.block23.conv3x3.conv.weight"]
    assert renamed["layer1.0.downsample.1.bias"] is state["layer2.block1.shortcut.bn.bias"]


def test_published_weights_do_not_pass_for_torchvisions(file: Path) -> None:
    with pytest.raises(MethodError, match="do not fit"):
        build_backbone(BackboneConfig("resnet101", str(file), 8), file)


def test_caffes_network_has_one_stride() -> None:
    with pytest.raises(MethodError, match="no output_stride 16; choose 8"):
        build_backbone(BackboneConfig("resnet101_caffe", output_stride=16))


@pytest.mark.slow
def test_a_step_at_paper_scale_on_cpu(file: Path) -> None:
    """ResNet-101 with three scales' losses and their maximum's: a batch of one, at half the crop of 321."""
    torch.manual_seed(0)
    settings = replace(DEEPLAB_V2_COCO, backbone=replace(DEEPLAB_V2_COCO.backbone, weights=str(file)))
    network = build_segmenter(settings, 20, file)
    optimiser = build_optimiser(network, [network.head], settings.train)
    learner = MultiScale(network, settings.loss_scales).train()
    crop = settings.train.recipe.crop // 2 + 1
    labels = torch.randint(0, 21, (1, crop, crop))
    batch = Batch(("a",), torch.randn(1, 3, crop, crop), torch.ones(1, 20), {"labels": labels}, torch.ones(1))
    losses = multi_scale_losses(learner, batch)
    assert set(losses) == {f"segmentation_{name}" for name in ("1", "0.75", "0.5", "maximum")}
    step_once(network, optimiser, losses.values())


# --- recipe -----------------------------------------------------------------------------------------------


def test_recipe_is_the_papers() -> None:
    for config, iterations in ((DEEPLAB_V2_COCO, 40000), (DEEPLAB_V2_IMAGENET, 100000)):
        train = config.train
        assert (train.iterations, train.batch_size, train.learning_rate) == (iterations, 10, 0.005)
        assert (train.momentum, train.weight_decay, train.recipe.crop) == (0.9, 5e-4, 321)
        assert config.test_crf is not None
    assert (DEEPLAB_V2_COCO.init, DEEPLAB_V2_IMAGENET.init) == (COCO_MASKS, "imagenet")
    learns_at = {key: config.loss_scales for key, config in SEGMENTERS.items()}
    reference = (0.75, 0.5)
    assert learns_at == {"nano": (), "small": (), "paper": reference, "paper/coco2014": reference}
    v1 = MCTFORMER["paper"].segmenter
    assert (v1.head, v1.loss_scales) == ("largefov_resnet38d", ())


def test_weights_named_after_coco_are_declared() -> None:
    segmentation_stages(DEEPLAB_V2_COCO)
    hidden = replace(DEEPLAB_V2_COCO, init="imagenet")
    with pytest.raises(MethodError, match=r"deeplabv1_resnet101-coco .*set segmenter\.init=coco-masks"):
        segmentation_stages(hidden)
    backbone = replace(hidden.backbone, weights="coco/deeplabv1_resnet101-imagenet.pth")
    segmentation_stages(replace(hidden, backbone=backbone))


def test_weights_that_saw_cocos_masks_are_marked_on_the_board() -> None:
    """CA-CL's on VOC; on COCO, which would be scored with masks it has seen, it starts from ImageNet."""
    segment, predict = segmentation_stages(DEEPLAB_V2_COCO)
    assert (segment.seen_masks, predict.seen_masks) == ("coco2014", "")
    assert [stage.seen_masks for stage in segmentation_stages(DEEPLAB_V2_IMAGENET)] == ["", ""]
    marked = {config.init: _supervision(config) for config in (DEEPLAB_V2_COCO, DEEPLAB_V2_IMAGENET)}
    assert marked == {COCO_MASKS: f"I+L+{MASKS_BEFORE}", "imagenet": "I+L"}
    with pytest.raises(MethodError, match=r"stage segment: .* was trained on the pixel masks of coco2014"):
        check_masks_unseen("coco2014", [segment, predict], "ca_cl")


def _supervision(config: SegmenterConfig) -> str:
    """What the leaderboard says that CA-CL with this segmentation network was taught by."""
    view = TrainingView("voc2012", VOC_CLASSES, {"train": (), "val": ()})
    stages = CA_CL.stages(replace(CA_CL.presets["paper"], segmenter=config), view, Shared())
    cell: Any = SimpleNamespace(
        stages=[SimpleNamespace(stage=stage) for stage in stages],
        config=compose(["ca_cl"], "voc2012", "paper"),
    )
    return method_info(CA_CL, cell)["supervision"]  # type: ignore[no-any-return]


# --- several scales ---------------------------------------------------------------------------------------


def test_network_sees_the_crop_at_every_scale() -> None:
    network = MultiScale(nn.AvgPool2d(8, ceil_mode=True), (0.75, 0.5))
    images = torch.rand(2, 3, 64, 64)
    logits = network(images)
    assert {k: v.shape[-1] for k, v in logits.items()} == {"1": 8, "0.75": 6, "0.5": 4, "maximum": 8}
    half = F.interpolate(images, (32, 32), mode="bilinear", align_corners=False)
    assert_close(logits["0.5"], F.avg_pool2d(half, 8))
    assert (logits["maximum"] >= logits["1"]).all()


def test_loss_of_each_scale_is_that_of_its_own_labels() -> None:
    torch.manual_seed(0)
    logits = {"1": torch.randn(1, 3, 4, 4), "0.5": torch.randn(1, 3, 2, 2)}
    labels = torch.tensor([[0, 1, 2, 255], [0, 1, 2, 2], [1, 1, 255, 255], [0, 0, 255, 255]])
    labels = labels.repeat_interleave(4, 0).repeat_interleave(4, 1)[None]

    class Network(nn.Module):
        def forward(self, images: torch.Tensor) -> State:
            return logits

    batch = Batch(("a",), torch.rand(1, 3, 16, 16), torch.ones(1, 2), {"labels": labels}, torch.ones(1))
    losses = multi_scale_losses(Network(), batch)
    assert list(losses) == ["segmentation_1", "segmentation_0.5"]
    expected = F.cross_entropy(logits["1"], labels[:, 2::4, 2::4], ignore_index=255)
    assert_close(losses["segmentation_1"], expected)
    # The centre of a block of 8 x 8 pixels lies in its lower right quarter.
    expected = F.cross_entropy(logits["0.5"], labels[:, 4::8, 4::8], ignore_index=255)
    assert_close(losses["segmentation_0.5"], expected)
