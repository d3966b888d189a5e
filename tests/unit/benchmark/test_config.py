"""Composition of the configuration: presets, overrides, and errors that a newcomer can act on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import datasets
from benchmark.config import DEFAULT_DATASET, PROTOCOLS, SCALES, RuntimeConfig, compose, plain, run_name
from benchmark.failures import ConfigError
from benchmark.planning.changes import run_changes
from benchmark.planning.graph import check_masks_unseen
from benchmark.planning.method_info import schedule_of
from datasets.base import TrainingView
from datasets.coco.annotations import CLASSES as COCO_CLASSES
from datasets.coco.reader import OFFICIAL
from datasets.folder.reader import FolderConfig
from datasets.loading.augment import draw
from datasets.shapes.dataset import ShapesConfig
from methods.base import MethodError, Shared
from methods.eps.config import EpsConfig
from methods.layers.config import CrfConfig
from methods.refiners.config import RefinerConfig
from methods.registry import all_methods
from methods.segmenters import DEEPLAB_V2_COCO, DEEPLAB_V2_IMAGENET, SEGMENTERS


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("scale", SCALES)
def test_every_preset_composes_to_itself(scale, protocol):
    names = [name for name, method in all_methods().items() if scale in method.presets]
    config = compose(names, None, scale, protocol)
    assert config.scale.name == scale
    assert config.dataset.name == DEFAULT_DATASET[scale]
    for name in names:
        preset = all_methods()[name].preset(scale, protocol)
        assert type(config.method[name]) is type(preset)
        assert config.method[name] == preset  # a list is no tuple


def test_overrides_land_in_the_dataclasses():
    config = compose(
        ["eps", "cam"],
        overrides=[
            "method.eps.foreground_weight=0.4",
            "method.eps.inference.scales=[1.0]",
            "method.cam.backbone.weights=none",
            "dataset.train=24",
            "runtime.weights_root=/some/folder",
        ],
    )
    assert isinstance(config.method["eps"], EpsConfig)
    assert config.method["eps"].foreground_weight == 0.4
    assert config.method["eps"].inference.scales == (1.0,)
    assert config.method["cam"].backbone.weights == "none"
    assert isinstance(config.dataset, ShapesConfig)
    assert config.dataset.train == 24
    assert config.runtime.weights_root == "/some/folder"


def test_a_composed_recipe_draws_what_the_preset_says():
    composed = compose(["cam"]).method["cam"].train.recipe
    preset = all_methods()["cam"].presets["nano"].train.recipe
    arguments = (0, np.zeros(4, int), np.arange(4), np.tile([72, 96], (4, 1)))
    drawn, meant = draw(composed, *arguments), draw(preset, *arguments)
    np.testing.assert_array_equal(drawn.rows.resized, meant.rows.resized)
    assert len(set(drawn.rows.resized)) > 1  # the preset's sizes are random


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("dataset.classes=cat,dog", "classes", "cat,dog"),
        ("dataset.classes=[cat,dog]", "classes", "cat,dog"),
        ("dataset.classes=potted plant, dog", "classes", "potted plant, dog"),
        ("dataset.classes='cat,dog'", "classes", "cat,dog"),
        ("dataset.root=/data/cats,dogs", "root", "/data/cats,dogs"),
    ],
)
def test_names_may_be_separated_by_commas(override, key, value):
    assert getattr(compose([], "folder", overrides=[override]).dataset, key) == value


def test_a_list_needs_no_brackets():
    config = compose(["cam"], overrides=["method.cam.inference.scales=0.5,1"])
    assert config.method["cam"].inference.scales == (0.5, 1.0)


def test_overrides_leave_the_presets_alone():
    compose(["eps"], overrides=["method.eps.foreground_weight=0.4"])
    assert compose(["eps"]).method["eps"].foreground_weight == EpsConfig().foreground_weight


@pytest.mark.parametrize("override", ["test_crf={iterations:5}", "test_crf.iterations=5"])
def test_an_optional_part_starts_from_its_defaults(override):
    config = compose(["supervised"], overrides=[f"method.supervised.segmenter.{override}"])
    assert config.method["supervised"].segmenter.test_crf == replace(CrfConfig(), iterations=5)
    none = compose(["supervised"], overrides=["method.supervised.segmenter.test_crf=null"])
    assert none.method["supervised"].segmenter.test_crf is None


def test_a_shared_part_can_be_given_under_the_papers_protocol():
    config = compose(["cam"], overrides=["protocol.refiner.name=crf"])
    assert plain(config.shared.refiner) == plain(RefinerConfig("crf"))


def test_the_unified_protocol_sets_the_shared_parts():
    own, unified = compose(["cam"]), compose(["cam"], protocol="unified")
    assert (own.shared.refiner, own.shared.segmenter) == (None, None)
    assert unified.shared.refiner.name == "crf"
    assert plain(unified.shared.segmenter) == plain(SEGMENTERS["nano"])


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (
            "method.eps.foreground_weigt=0.4",
            ["method.eps.foreground_weigt", "'method.eps.foreground_weight'"],
        ),
        ("datset.root=x", ["datset.root", "'dataset.root'"]),
        (
            "method.eps.train.iterations=1,2",
            ["iterations=1,2' is not valid: it takes one value, not several"],
        ),
        ("dataset.val=[1]", ["dataset.val=[1]' is not valid: it takes one value, not several"]),
        ("method.eps.train.iteration=4", ["'method.eps.train.iterations'"]),
        ("method.cam.train.iterations=4", ["'cam'", "not part of this run"]),
        ("method.eps.foreground_weight=much", ["method.eps.foreground_weight=much", "Float"]),
        ("dataset.train=few", ["dataset.train=few", "Integer"]),
        ("method.eps.backbone=5", ["'method.eps.backbone'", "method.eps.backbone.name"]),
        ("dataset.root=/a (b)/c=d", ["""'dataset.root="/a (b)/c=d"'"""]),
        ("protocol.refiner=crf", ["protocol.refiner.name"]),
        ("nonsense=1", ["'nonsense'", "dataset", "method", "runtime"]),
        ("dataset.root", ["'dataset.root'", "key=value"]),
        ("dataset=voc2012", ["--dataset"]),
        ("scale.name=small", ["--scale"]),
        ("protocol=unified", ["--protocol"]),
        ("runtime.shard=0", ["runtime.shard=0", "at least 1"]),
        ("runtime.checkpoint_every=0", ["runtime.checkpoint_every=0", "at least 1"]),
        ("evaluation.held_out=1.5", ["evaluation.held_out=1.5", "must be in (0, 1)"]),
        ("runtime.device=gpu", ["runtime.device=gpu", "cuda"]),
        ("runtime.precision=bf16", ["runtime.precision=bf16", "bf16-mixed"]),
        ("method.eps.train.iterations=0", ["method.eps.train.iterations=0: must be at least 1"]),
        ("method.eps.train.batch_size=0", ["method.eps.train.batch_size=0: must be in [1, 4096]"]),
        ("method.eps.train.learning_rate=-1", ["method.eps.train.learning_rate=-1.0: must be above 0"]),
        ("method.eps.train.learning_rate=nan", ["learning_rate=nan: must be a finite number"]),
        ("method.eps.train.optimiser=sdg", ["did you mean 'sgd'? there are sgd, adamw"]),
        ("method.eps.train.schedule=cosin", ["did you mean 'cosine'? there are poly, cosine"]),
        ("method.eps.train.recipe.crop=0", ["method.eps.train.recipe.crop=0: must be in [1, 4096]"]),
        ("method.eps.train.recipe.scale=[2,1]", ["recipe.scale=[2.0,1.0]: must not fall"]),
        ("method.eps.train.recipe.scale=[1]", ["recipe.scale=[1.0]: must have 2 items"]),
        ("method.eps.inference.scales=[]", ["method.eps.inference.scales=[]: must have at least one item"]),
        ("method.eps.inference.scales=[1,0]", ["method.eps.inference.scales[1]=0.0: must be in (0, 16]"]),
        ("method.eps.background_threshold=1.2", ["background_threshold=1.2: must be in [0, 1]"]),
        ("method.eps.refiner.name=irm", ["method.eps.refiner.name=irm: did you mean 'irn'?"]),
        ("method.eps.segmenter.head=asp", ["method.eps.segmenter.head=asp: did you mean 'aspp'?"]),
        ("method.eps.backbone.name=resnet38", ["did you mean 'resnet38d'?", "timm/<name>"]),
        ("protocol.refiner.background_threshold=-1", ["protocol.refiner.background_threshold=-1.0"]),
        ("dataset.train=-3", ["dataset.train=-3: must be in [1, 1000000]"]),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(override, words):
    with pytest.raises(ConfigError) as caught:
        compose(["eps"], overrides=["dataset.val=12", override])
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"scale": "nan"}, ["scale", "'nan'", "'nano'", "small"]),
        ({"protocol": "unfied"}, ["protocol", "'unified'"]),
        ({"dataset": "voc"}, ["data set", "'voc'", *datasets.names()]),
    ],
)
def test_an_unknown_group_option_names_those_there_are(arguments, words):
    with pytest.raises(ConfigError) as caught:
        compose(["cam"], **arguments)
    assert all(word in str(caught.value) for word in words), caught.value


def test_an_unknown_method_names_the_closest():
    with pytest.raises(MethodError, match=r"unknown method 'esp'; did you mean 'eps'\?"):
        compose(["esp"])


COCO_METHODS = [name for name, method in all_methods().items() if "paper/coco2014" in method.presets]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_data_sets_own_preset_comes_before_the_scales(protocol):
    config = compose(COCO_METHODS, "coco2014", "paper", protocol)
    for name in COCO_METHODS:
        method = all_methods()[name]
        assert config.method[name] == method.preset("paper", protocol, "coco2014")
        assert config.method[name] != method.preset("paper", protocol, "voc2012")
        assert run_changes(config, name) == ""
    assert compose(["cam"], "folder", "paper").method["cam"] == all_methods()["cam"].presets["paper"]


def test_cocos_recipes():
    method = compose(COCO_METHODS, "coco2014", "paper").method
    eps, ca_cl, clims, dskd, toco, mctformer = (
        method[name] for name in ("eps", "ca_cl", "clims", "dskd_gc", "toco", "mctformer")
    )
    assert (eps.foreground_weight, eps.train.iterations, eps.train.batch_size) == (0.9, 256500, 16)
    assert (eps.train.recipe.crop, eps.train.recipe.resize_long) == (321, (256, 448))
    assert (eps.segmenter.backbone.name, eps.segmenter.head) == ("vgg16", "aspp")
    images = OFFICIAL["train"]
    assert ca_cl.train.iterations == 20 * (images // 16)
    assert ca_cl.segmenter == DEEPLAB_V2_IMAGENET
    assert ca_cl.segmenter.train.iterations == 100000
    weights = clims.weights
    assert (weights.object_text, weights.background_text, weights.co_occurring, weights.area) == (
        2, 14, 0.625, 0.2,
    )  # fmt: skip
    assert clims.threshold == 0.285
    assert dskd.train.iterations == toco.train.iterations == 80000
    assert dskd.phases.warm_up * dskd.train.iterations == 5000
    assert (toco.labels.high, toco.contrast.high, toco.background_threshold) == (0.65, 0.65, 0.45)
    assert mctformer.train.iterations == 60 * (images // 64)
    assert method["semantic_modulation"].segmenter.train.iterations == 30 * (images // 4)
    for name, config in method.items():
        if hasattr(config, "refiner"):
            assert config.refiner.irn.train.iterations == 3 * (images // 32)
            epochs = 5 if name in ("mctformer", "semantic_modulation") else 8
            assert config.refiner.psa.train.iterations == epochs * (images // 8)


def test_a_grid_on_coco_has_its_schedules():
    config = compose(["cam"], "coco2014", "paper", refiner="irn", segmenter="largefov-vgg16")
    assert config.protocol.refiner.irn.train.iterations == 3 * (OFFICIAL["train"] // 32)
    assert config.protocol.segmenter.train.iterations == 100000
    assert run_changes(config, "cam") == ""


def test_weights_that_saw_a_data_sets_masks_are_refused_on_it():
    config = compose(["ca_cl"], "coco2014", "paper").method["ca_cl"]
    view = TrainingView("coco2014", COCO_CLASSES, {"train": (), "val": ()})
    ca_cl = all_methods()["ca_cl"]
    check_masks_unseen("coco2014", list(ca_cl.stages(config, view, Shared())), "ca_cl")
    stages = list(ca_cl.stages(config, view, Shared(segmenter=DEEPLAB_V2_COCO)))
    check_masks_unseen("voc2012", stages, "ca_cl")
    with pytest.raises(
        MethodError, match="stage segment: deeplab/deeplabv1_resnet101-coco was trained on the pixel"
    ):
        check_masks_unseen("coco2014", stages, "ca_cl")


def test_the_data_set_that_a_schedule_was_made_for():
    cam = all_methods()["cam"]
    found = {d: schedule_of(compose(["cam"], d, "paper"), cam) for d in ("voc2012", "coco2014", "folder")}
    assert found == {"voc2012": "voc2012", "coco2014": "coco2014", "folder": "voc2012"}


def test_per_image_stages_resume_inside_at_the_smallest_scale_and_keep_their_batches():
    """A kill loses a shard; full batches are the same whatever its size, where it is a multiple of theirs."""
    shard = RuntimeConfig().shard
    assert ShapesConfig().train >= 4 * shard
    assert ShapesConfig().train % shard == 0
    for method in all_methods().values():
        settings = plain(method.preset("nano", "paper"))
        for part in (settings, *(value for value in settings.values() if isinstance(value, dict))):
            for name in {"test_batch_size", "batch_size", "mask_batch_size"} & part.keys():
                if "iterations" not in part:  # of trainings, whose batches reach across
                    assert shard % part[name] == 0, (method.name, name)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("method.cam=null", "setting 'method.cam' has parts; set one of"),
        ("runtime=null", "setting 'runtime' has parts; set one of"),
        ("method.cam.inference.scales=[1e9]", "must be in (0, 16]"),
        ("method.cam.train.recipe.crop=100000", "must be in [1, 4096]"),
        ("method.cam.train.batch_size=1000000", "must be in [1, 4096]"),
        ("method.cam.inference.batch_size=1000000", "must be in [1, 4096]"),
    ],
)
def test_settings_that_no_machine_can_do_are_refused_at_once(override: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        compose(["cam"], overrides=[override])
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("root", "name"),
    [
        ("/data/my leaves", "my-leaves-small-paper"),
        ("/data/steel/", "steel-small-paper"),
        (None, "folder-small-paper"),
    ],
)
def test_runs_of_own_data_are_called_by_their_folder(root: str | None, name: str) -> None:
    assert run_name(FolderConfig(root=root), "small", "paper") == name
    assert run_name(ShapesConfig(root=root), "small", "paper") == "shapes-small-paper"
