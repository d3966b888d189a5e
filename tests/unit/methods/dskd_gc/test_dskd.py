"""The stages that DSKD-GC and ToCo declare, and settings that they refuse."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from datasets.limits import first_fault
from methods.base import Kind, MethodError, Shared
from methods.dskd_gc import METHOD
from methods.refiners import PSA
from methods.refiners.config import RefinerConfig
from methods.segmenters import SEGMENTERS
from methods.toco import METHOD as TOCO
from methods.toco.config import SingleStageConfig
from tests.helpers.single_stage import METHODS, VIEW, changed, tiny

GC = RefinerConfig("gc", psa=PSA["nano"])


def names(config: SingleStageConfig, shared: Shared = Shared(), name: str = "dskd_gc") -> list[str]:  # noqa: B008
    return [s.name for s in METHODS[name].stages(config, VIEW, shared)]


def test_its_own_decoder_predicts_and_its_own_correction_refines():
    config = tiny("dskd_gc")
    assert names(config) == [
        "train",
        "cam",
        "image_scores",
        "pseudo_label_uncorrected",
        "pseudo_label",
        "predict",
    ]
    train, cam, _, uncorrected, corrected, predict = METHOD.stages(config, VIEW, Shared())
    assert [s.scored_as for s in (cam, uncorrected, corrected, predict)] == [
        None,
        "pseudo_label_uncorrected",
        None,
        None,
    ]
    assert corrected.inputs == {"cam": "cam", "weights": "train"}
    assert predict.inputs == {"weights": "train"}
    assert (train.yields, predict.splits) == (Kind.WEIGHTS, ("val",))


def test_without_a_student_there_is_no_warm_up_to_wait_for():
    phases_ = {"warm_up": 0.5, "segmentation": 0.4}
    alone = changed({"phases": phases_, "weights": {"similarity": 0.0, "uncertain": 0.0}})
    assert METHOD.stages(alone, VIEW, Shared())[0].settings.phases.segmentation == 0.4


def test_the_unified_protocol_trains_the_shared_network_on_the_shared_refiners_labels():
    shared = Shared(RefinerConfig("crf", psa=PSA["nano"]), SEGMENTERS["nano"])
    by_name = {s.name: s for s in METHOD.stages(tiny("dskd_gc"), VIEW, shared)}
    refined = by_name["pseudo_label"]
    assert refined.run == "methods.refiners.crf:pseudo_label"
    assert refined.settings.crf == shared.refiner.crf
    assert refined.inputs == {"cam": "cam"}
    assert by_name["segment"].inputs == {"labels": "pseudo_label"}
    assert by_name["segment"].settings.train == SEGMENTERS["nano"].train
    names_of_gc = [s.name for s in METHOD.stages(tiny("dskd_gc"), VIEW, replace(shared, refiner=GC))]
    assert names_of_gc[3:5] == ["pseudo_label_uncorrected", "pseudo_label"]
    corrected = METHOD.stages(tiny("dskd_gc"), VIEW, replace(shared, refiner=GC))[4]
    assert corrected.run == "methods.refiners.gc.stages:pseudo_label"
    assert corrected.settings.correction == GC.gc.correction
    assert names(tiny("dskd_gc"), shared) == [
        "train",
        "cam",
        "image_scores",
        "pseudo_label",
        "segment",
        "predict",
    ]
    own_labels = Shared(None, SEGMENTERS["nano"])  # `--segmenters` under `paper`
    own = {s.name: s for s in METHOD.stages(tiny("dskd_gc"), VIEW, own_labels)}
    assert own["pseudo_label"].run == "methods.toco.stages:pseudo_label"
    assert own["pseudo_label"].settings.correction == tiny("dskd_gc").correction
    assert own["segment"].inputs == {"labels": "pseudo_label"}
    assert names(tiny("dskd_gc"), own_labels) == [
        "train",
        "cam",
        "image_scores",
        "pseudo_label_uncorrected",
        "pseudo_label",
        "segment",
        "predict",
    ]
    assert names(tiny("toco"), shared, "toco") == [
        "train",
        "cam",
        "image_scores",
        "pseudo_label",
        "segment",
        "predict",
    ]


def test_the_baseline_has_no_correction():
    config = tiny("dskd_gc")
    plain = replace(config, labels=replace(config.labels, refinement="none"))
    assert names(plain) == ["train", "cam", "image_scores", "pseudo_label", "predict"]
    assert plain.training().correction is None


@pytest.mark.parametrize("scale", ["nano", "small", "paper"])
def test_toco_is_a_setting_of_the_same_training(scale):
    ours, its = METHOD.presets[scale], TOCO.presets[scale]
    assert METHOD.stages(ours, VIEW, Shared())[0].run == TOCO.stages(its, VIEW, Shared())[0].run
    settings = its.training()
    assert (settings.distillation, settings.correction) == (None, None)
    assert settings.class_contrast is not None
    assert ours.training().class_contrast is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"correction": {"scope": "class", "min_confidence": -1.0}},
            r"method\.dskd_gc\.correction\.min_confidence=-1\.0: with scope=class give 0 or more",
        ),
        ({"correction": {"low": 0.9}}, r"method\.dskd_gc\.correction: low=0\.9 must be below high=0\.85"),
        (
            {"which": "student", "weights": {"similarity": 0.0, "uncertain": 0.0}},
            "there is none without weights.similarity",
        ),
        (
            {"weights": {"classification": 0.0, "patch_classification": 0.0}},
            r"method\.dskd_gc\.weights: .* nothing trains the classifier whose maps are the CAM; give one",
        ),
        (
            {"phases": {"warm_up": 0.5, "segmentation": 0.4}},
            r"method\.dskd_gc\.phases: segmentation=0\.4 is before the end of warm_up=0\.5",
        ),
        ({"contrast": {"low": 0.8}}, r"method\.dskd_gc\.contrast: low=0\.8 must not be above high=0\.7"),
        (
            {"contrast": {"low": 0.8}, "weights": {"patch_contrast": 0.0, "class_contrast": 0.5}},
            r"method\.dskd_gc\.contrast: low=0\.8 must not be above high=0\.7",
        ),
        ({"distillation": {"low": 0.8}}, r"method\.dskd_gc\.distillation: low=0\.8 must not be above"),
        (
            {"labels": {"refinement": "par", "low": 0.8}},
            r"method\.dskd_gc\.labels: low=0\.8 must not be above high=0\.7",
        ),
        (
            {"refiner": RefinerConfig("crf")},
            r"refiner\.name=crf does nothing where labels\.refinement=gc .* or use --refiners crf",
        ),
        ({"weights": {"segmentation": 0.0}}, r"weights\.segmentation=0\.0 .* nothing trains the decoder"),
        ({"phases": {"segmentation": 1.0}}, r"phases\.segmentation=1\.0 nothing trains the decoder"),
        (
            {"phases": {"warm_up": 0.0}},
            r"weights\.similarity acts in the warm-up alone, which phases\.warm_up=0\.0 leaves out",
        ),
        (
            {"phases": {"warm_up": 1.0, "segmentation": 1.0}},
            r"weights\.uncertain acts after the warm-up alone, which phases\.warm_up=1\.0 leaves out",
        ),
        (
            {"which": "student", "phases": {"warm_up": 1.0}, "weights": {"uncertain": 0.0}},
            r"which=student: its classifier is the teacher's average",
        ),
        (
            {"class_contrast": {"size": 32}, "weights": {"class_contrast": 0.5}},
            r"class_contrast: \d+ crops of size=32 have 0 places in a training image of train\.recipe\.crop=32",
        ),
        (
            {"phases": {"contrast": 1.0}},
            r"phases\.contrast=1: no iteration is left for weights\.patch_contrast",
        ),
        (
            {"phases": {"auxiliary_labels": 0.9}, "weights": {"auxiliary": 0.0}},
            r"auxiliary_labels would be of a classifier that weights\.auxiliary=0 leaves untrained",
        ),
        (
            {"labels": {"refinement": "par_gc"}, "refiner": {"name": "crf"}},
            r"refiner\.name=crf does nothing where labels\.refinement=par_gc makes the",
        ),
    ],
)
def test_settings_that_do_not_go_together(change, message):
    config = changed(change)
    if (fault := first_fault(config, "method.dskd_gc")) is None:  # it is for the protocol to say
        with pytest.raises(MethodError, match=message):
            METHOD.stages(config, VIEW, Shared())
    else:
        assert re.search(message, fault), fault


@pytest.mark.parametrize(
    "change",
    [
        {"contrast": {"low": 0.8}, "weights": {"patch_contrast": 0.0}},
        {"distillation": {"low": 0.8}, "weights": {"uncertain": 0.0}},
        {"class_contrast": {"size": 32}},
    ],
)
def test_settings_of_a_loss_that_is_off_may_be_anything(change):
    config = changed(change)
    assert first_fault(config) is None
    assert METHOD.stages(config, VIEW, Shared())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pooling": "sum"}, "pooling=sum: there are max, mean"),
        ({"which": "both"}, "which=both: there are teacher, student"),
        ({"labels": {"refinement": "crf"}}, "labels.refinement=crf: there are none, par, gc, par_gc"),
        ({"labels": {"loss": "sum"}}, "labels.loss=sum: there are mean, balanced"),
        (
            {"distillation": {"average": "literaly"}},
            "distillation.average=literaly: did you mean 'literal'? there are conventional, literal",
        ),
        ({"distillation": {"similarity": "x"}}, "distillation.similarity=x: there are channels, tokens"),
        ({"distillation": {"momentum": (0.9,)}}, "distillation.momentum=[0.9]: must have 2 items"),
        ({"phases": {"warm_up": 2000.0}}, "phases.warm_up=2000.0: must be in [0, 1]"),
    ],
)
def test_settings_out_of_range(change, message):
    assert first_fault(changed(change)) == message
