"""Under the protocol `unified`, all methods make the same choices wherever they are not what is compared."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from functools import cache
from typing import Any

import pytest

from benchmark.config import OWN, SCALES, compose, plain
from datasets.base import TrainingView
from datasets.voc.reader import CLASSES
from methods.base import UNIFIED, Kind, NotRunnable, Stage
from methods.layers.config import CamInferenceConfig
from methods.refiners.config import REFINERS
from methods.registry import all_methods
from methods.segmenters.networks import NETWORKS, network_name

SIZES = {name: [m for m, method in all_methods().items() if name in method.presets] for name in SCALES}
FAMILY = {
    "nano": {"nano/resnet38d_nano", "nano/vit_nano"},
    "small": {"timm/tf_efficientnet_lite0", "timm/deit_small_patch16_224"},
    "paper": {
        "resnet38d/ilsvrc-cls_rna-a1_cls1000_ep-0001",
        "torchvision/resnet50",
        "torchvision/resnet101",
        "timm/deit_small_patch16_224",
        "timm/deit_base_patch16_224",
    },
}
"""ImageNet's 1000 classes, and what plays their part at nano."""
ADDED = ("nano/clip", "nano/saliency", "open_clip/", "rembg/", "nano/sam")
"""Models that are a method's supervision, not what its network starts from."""


def view_of(scale: str) -> TrainingView:
    name, classes = ("shapes", ("boat", "cat", "train")) if scale == "nano" else ("voc2012", CLASSES)
    return TrainingView(name, classes, {"train": (), "val": ()}, generated=scale == "nano")


@cache
def graphs(scale: str, refiner: str = OWN, segmenter: str = OWN) -> dict[str, dict[str, Stage]]:
    """Stages by name, of each method that has its inputs there (saliency maps, say)."""
    config = compose(SIZES[scale], None, scale, UNIFIED, refiner=refiner, segmenter=segmenter)
    found = {}
    for name in SIZES[scale]:
        with suppress(NotRunnable):
            stages = all_methods()[name].stages(config.method[name], view_of(scale), config.shared)
            found[name] = {stage.name: stage for stage in stages}
    return found


def of_cam(stages: dict[str, Stage]) -> bool:
    return any(stage.yields == Kind.CAM for stage in stages.values())


def without_threshold(settings: Any) -> dict[str, Any]:
    """A refiner's settings but for the CAM's own threshold, which is the method's."""
    return {k: v for k, v in plain(settings).items() if k != "background_threshold"}


@pytest.mark.parametrize("scale", SCALES)
def test_refiner_segmentation_network_and_test_are_the_same(scale: str) -> None:
    found = graphs(scale)
    assert {"cam", "dskd_gc", "toco", "semantic_modulation"} <= set(found)
    for name in ("segment", "predict"):
        assert len({repr(plain(stages[name].settings)) for stages in found.values()}) == 1, name
    for stages in found.values():  # a single-stage method's own decoder predicts nothing
        assert stages["predict"].run == "methods.segmenters.stages:predict"
    refined = [stages["pseudo_label"] for stages in found.values() if of_cam(stages)]
    assert {stage.run for stage in refined} == {REFINERS["crf"]}
    assert len({repr(without_threshold(stage.settings)) for stage in refined}) == 1


@pytest.mark.parametrize("scale", SCALES)
def test_cams_are_made_at_the_same_scales(scale: str) -> None:
    found = {}
    for name, stages in graphs(scale).items():
        if of_cam(stages):
            found[name] = [
                value
                for field in dataclasses.fields(stages["cam"].settings)
                if isinstance(value := getattr(stages["cam"].settings, field.name), CamInferenceConfig)
            ]
    assert all(len(settings) == 1 for settings in found.values())
    assert len({settings[0] for settings in found.values()}) == 1


@pytest.mark.parametrize("scale", SCALES)
def test_networks_start_from_the_same_family_of_weights(scale: str) -> None:
    for name, stages in graphs(scale).items():
        for stage in stages.values():
            own = {w for w in stage.pretrained if not w.startswith(ADDED)}
            assert own <= FAMILY[scale], (name, stage.name)


@pytest.mark.parametrize("scale", SCALES)
def test_transformers_pictures_are_whole_patches(scale: str) -> None:
    config = compose(SIZES[scale], None, scale, UNIFIED)
    for name in SIZES[scale]:
        settings: Any = config.method[name]
        if hasattr(settings, "vit") and "patch16" in settings.vit.name:
            local = [getattr(settings, part, None) for part in ("contrast", "class_contrast")]
            sizes = [settings.train.recipe.crop, *(c.size for c in local if hasattr(c, "size"))]
            assert all(size > 0 and size % 16 == 0 for size in sizes), name


@pytest.mark.parametrize("name", ["mctformer", "semantic_modulation", "dskd_gc", "toco", "sam_fused"])
def test_the_last_layer_norm_goes_with_the_method_not_with_dinov2(name: str) -> None:
    method: Any = all_methods()[name]
    assert method.presets["small"].vit.final_norm  # DINOv2's
    paper = method.presets["paper"].vit.final_norm
    assert paper == (name in ("dskd_gc", "toco", "sam_fused"))
    assert method.preset("small", UNIFIED).vit.final_norm == paper


def test_the_protocol_paper_keeps_each_methods_own() -> None:
    for scale in SCALES:
        for name in SIZES[scale]:
            method = all_methods()[name]
            assert method.preset(scale, "paper") is method.presets[scale]


@pytest.mark.parametrize("refiner", REFINERS)
@pytest.mark.parametrize("scale", SCALES)
def test_a_grid_gives_every_cam_every_refiner(scale: str, refiner: str) -> None:
    for name, stages in graphs(scale, refiner=refiner).items():
        if of_cam(stages):
            assert stages["pseudo_label"].run == REFINERS[refiner], name


@pytest.mark.parametrize(("scale", "network"), [(s, n) for s in SCALES for n in NETWORKS[s]])
def test_a_grid_gives_every_method_every_segmentation_network(scale: str, network: str) -> None:
    assert network_name(NETWORKS[scale][network], scale) == network
    for name, stages in graphs(scale, segmenter=network).items():
        assert stages["segment"].settings == NETWORKS[scale][network], name
