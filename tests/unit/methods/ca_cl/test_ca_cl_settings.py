"""The stages that CA-CL's and CLIMS's settings make, what is in their keys, and faulty settings."""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.config import compose
from datasets.base import TrainingView
from datasets.coco.annotations import CLASSES as COCO_CLASSES
from datasets.limits import first_fault
from datasets.voc.reader import CLASSES
from methods.base import Kind, MethodError, NotRunnable, Shared
from methods.ca_cl import METHOD
from methods.ca_cl.config import PRESETS, LossWeights, SuppressionConfig
from methods.clims import METHOD as CLIMS
from methods.clims.config import PRESETS as CLIMS_PRESETS
from methods.clims.losses import co_occurring_background_suppression
from methods.layers.clip.config import ClipConfig
from methods.layers.clip.words import PROMPTS, TextConfig
from methods.layers.presets import COCO, DEEPLAB_CRF
from methods.segmenters import masks_seen
from methods.setting_rows import setting_rows, written
from tests.helpers.guided import shapes_view


def test_the_classifier_is_that_of_cam_and_is_left_out_where_it_is_not_used() -> None:
    from methods.cam import METHOD as CAM
    from methods.cam.config import PRESETS as CAM_PRESETS

    (first,) = [s for s in CAM.stages(CAM_PRESETS["nano"], shapes_view(), Shared()) if s.name == "classify"]
    (second,) = [s for s in METHOD.stages(PRESETS["nano"], shapes_view(), Shared()) if s.name == "classify"]
    assert first == second
    bare = METHOD.stages(replace(PRESETS["nano"], initialisation="backbone"), shapes_view(), Shared())
    assert bare[0].name == "guide"
    assert bare[0].pretrained == ("nano/resnet38d_nano", "nano/clip")


@pytest.mark.parametrize("scale", ["nano", "small", "paper"])
def test_presets_plan(scale: str) -> None:
    view = shapes_view() if scale == "nano" else TrainingView("voc2012", CLASSES, {"train": ()})
    for method, presets in ((METHOD, PRESETS), (CLIMS, CLIMS_PRESETS)):
        kinds = {s.yields for s in method.stages(presets[scale], view, Shared())}  # type: ignore[attr-defined]
        assert {Kind.WEIGHTS, Kind.CAM, Kind.PSEUDO_LABEL, Kind.PREDICTION} <= kinds


def test_words_are_in_the_key_and_unused_ones_are_not() -> None:
    def guided(config: Any) -> Any:
        return next(s.settings for s in METHOD.stages(config, shapes_view(), Shared()) if s.name == "guide")

    fewer = TextConfig(words_per_class=3)
    assert guided(PRESETS["nano"]) != guided(replace(PRESETS["nano"], text=fewer))
    bare = replace(PRESETS["nano"], weights=LossWeights(suppression=0.0))
    assert guided(bare) == guided(replace(bare, text=fewer))


def test_a_class_needs_words_where_they_are_suppressed_alone(tmp_path: Path) -> None:
    words = tmp_path / "words.yaml"
    words.write_text("common: [oil]\n")
    text = TextConfig(words=str(words))
    folder = TrainingView("folder", ("gear",), {"train": ()})
    clip = ClipConfig("ViT-B-32-quickgelu", "open_clip/ViT-B-32-quickgelu.openai")
    config = replace(PRESETS["nano"], clip=clip, text=text)
    with pytest.raises(MethodError, match=r"words\.yaml: no word list \(no `classes`\)"):
        METHOD.stages(config, folder, Shared())
    METHOD.stages(replace(config, weights=LossWeights(suppression=0.0)), folder, Shared())
    one = replace(CLIMS_PRESETS["nano"].text, words=str(words))
    CLIMS.stages(replace(CLIMS_PRESETS["nano"], clip=clip, text=one), folder, Shared())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompts": ("a {}.", "the {}.")}, r"^method\.clims\.text\.prompts: 2 prompts, and CLIMS has one"),
        ({"prompts_file": "three"}, r"^method\.clims\.text\.prompts_file=.*three: 3 prompts"),
        (
            {"words_per_class": 3},
            r"^method\.clims\.text\.words_per_class=3: CLIMS has background words of any",
        ),
    ],
)
def test_texts_that_clims_has_no_use_for_are_refused(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    if "prompts_file" in change:
        file = tmp_path / change["prompts_file"]
        file.write_text("a {}.\none {}.\nthe {}.\n")
        change = {"prompts_file": str(file)}
    text = replace(CLIMS_PRESETS["nano"].text, **change)
    with pytest.raises(MethodError, match=message):
        CLIMS.stages(replace(CLIMS_PRESETS["nano"], text=text), shapes_view(), Shared())


def test_clims_segmentation_starts_from_cocos_masks_on_voc_alone() -> None:
    """voc12_coco_pretrained.yaml of its repository: the rates of DeepLab V2, and a board that says so."""
    voc, coco = CLIMS_PRESETS["paper"].segmenter, CLIMS_PRESETS[COCO].segmenter
    train = voc.train
    assert (train.iterations, train.batch_size, train.learning_rate) == (20000, 10, 2.5e-4)
    assert (train.head_multiplier, train.bias_multiplier, train.recipe.scale) == (10, 2, (0.5, 1.5))
    assert (voc.test_scales, voc.test_flip, voc.test_crf) == ((0.5, 0.75, 1.0), False, DEEPLAB_CRF)
    assert (masks_seen(voc), masks_seen(coco)) == ("coco2014", "")


@pytest.mark.parametrize(
    ("topic", "experiment", "label", "key", "paper", "clims"),
    [
        ("thresholds of IRNet", "open_labels", "thresholds of CLIMS", "refiner.irn.confident_background", 0.05, 0.1),
        ("thresholds of IRNet", "open_labels", "thresholds of CLIMS", "refiner.irn.background_threshold", 0.25, 0.2),
        ("rate of the CAM network's classifier", "open", "classifier at the rate of the backbone",
         "train.head_multiplier", 10.0, 1.0),
        ("class names", "open", "player for person", "text.names", (), ("person=player",)),
    ],
)  # fmt: skip
def test_what_the_paper_leaves_to_clims_code_is_said_and_has_a_row(
    topic: str, experiment: str, label: str, key: str, paper: Any, clims: Any
) -> None:
    assert [d.topic for d in METHOD.deviations].count(topic) == 1
    rows = next(e.rows for e in METHOD.experiments if e.name == experiment)
    (row,) = [row for row in rows if row.label == label]
    overrides = [f"method.ca_cl.{setting}" for setting in row.settings]
    for expected, given in ((paper, []), (clims, overrides)):
        config = compose(["ca_cl"], "voc2012", "paper", overrides=given).method["ca_cl"]
        assert attrgetter(key)(config) == expected
    assert any(known.key == key and written(paper) in known.sources for known in setting_rows(METHOD))


def test_the_cam_of_table_1_is_that_of_the_classifier_that_ca_cl_starts_from() -> None:
    """At every scale, so that at paper scale it is ResNet-50's and one artifact serves all rows."""
    from methods.cam import METHOD as CAM

    rows = [row for e in METHOD.experiments if e.name == "table1" for row in e.rows if row.method == "cam"]
    for scale in ("nano", "small", "paper"):
        (row,) = [row for row in rows if scale in row.scales]
        overrides = [f"method.cam.{setting}" for setting in row.settings]
        composed = compose(["cam", "ca_cl"], scale=scale, overrides=overrides).method
        view = shapes_view() if scale == "nano" else TrainingView("voc2012", CLASSES, {"train": ()})
        found = [
            next(s for s in method.stages(config, view, Shared()) if s.name == "classify")
            for method, config in ((CAM, composed["cam"]), (METHOD, composed["ca_cl"]))
        ]
        assert found[0] == found[1]
        assert found[0].settings.network.name == PRESETS[scale].backbone.name  # type: ignore[attr-defined]


def test_what_the_paper_says_of_single_prompts_is_claimed() -> None:
    """Sec. 3.2: of boats "picture" is better than the others, "image" among them; of persons "photo" is the best."""
    figure = next(e for e in METHOD.experiments if e.name == "figure2")
    labels = {row.label for row in figure.rows}
    assert labels == {*PROMPTS, "a clean origami {}."}
    best = {"boat": "a picture of {}.", "person": "a photo of {}."}
    claimed = {(claim.column, claim.row, claim.than) for claim in figure.claims}
    assert claimed == {(of, row, other) for of, row in best.items() for other in labels - {row}}


def test_clims_on_coco_is_its_command() -> None:
    """README.md of its repository, and run_sample_coco.py for what that leaves at its default."""
    config = CLIMS_PRESETS[COCO]
    train, irn = config.train, config.refiner.irn
    assert (train.batch_size, train.learning_rate) == (32, 5e-4)
    assert train.iterations == 8 * (82081 // 32)
    assert (irn.confident_foreground, irn.confident_background, irn.background_threshold) == (0.35, 0.1, 0.25)
    assert config.background_threshold == 0.15
    view = TrainingView("coco2014", COCO_CLASSES, {"train": ()})
    guide: Any = next(s.settings for s in CLIMS.stages(config, view, Shared()) if s.name == "guide")
    renamed = {name: text for name, text in zip(COCO_CLASSES, guide.texts.names, strict=True) if name != text}
    assert renamed == {"person": "player"}


def test_clims_averages_suppression_over_its_devices_on_coco() -> None:
    """One batch in two halves: the mean of the halves' sums by the code's 1.25 is the whole sum by ours."""
    torch.manual_seed(0)
    similarity = torch.rand(6, 5)
    halves = [1.25 * co_occurring_background_suppression(half, 0.285) for half in similarity.split(3)]
    ours = CLIMS_PRESETS[COCO].weights.co_occurring * co_occurring_background_suppression(similarity, 0.285)
    assert ours.item() == pytest.approx(sum(halves).item() / 2)  # type: ignore[union-attr]


def test_clims_camera_ready_version_is_an_experiment() -> None:
    """Its settings are understood, and make what its code has: 10 epochs, three classes weighted, VOC's own names."""
    (versions,) = CLIMS.experiments
    retrained, ready = versions.rows
    assert retrained.settings == ()
    overrides = [f"method.clims.{setting}" for setting in ready.settings]
    config: Any = compose(["clims"], scale="paper", dataset="voc2012", overrides=overrides).method["clims"]
    view = TrainingView("voc2012", CLASSES, {"train": ()})
    stages = {s.name: s.settings for s in CLIMS.stages(config, view, Shared())}
    guide: Any = stages["guide"]
    weighted = {name for name, factor in zip(CLASSES, guide.class_factors, strict=True) if factor == 3.0}
    assert weighted == {"sofa", "diningtable", "chair"}
    assert guide.texts.names == tuple(CLASSES)
    assert guide.train.iterations == 10 * (10582 // 16)
    assert (guide.weights.object_text, guide.weights.background_text, guide.weights.area) == (10, 25, 1.15)
    walk: Any = stages["pseudo_label"]
    assert (walk.beta, walk.exp_times, walk.background_threshold) == (10, 8, 0.25)


@pytest.mark.parametrize("entry", ["sofa", "=3", "sofa=-1", "sofa=three"])
def test_faulty_class_factors(entry: str) -> None:
    with pytest.raises(MethodError, match=r"class_factors: .* must be class=factor"):
        CLIMS.stages(replace(CLIMS_PRESETS["nano"], class_factors=(entry,)), shapes_view(), Shared())


def test_the_threshold_starts_within_its_bounds() -> None:
    for change, why in (({"initial": 0.9}, "initial=0.9 must not be above upper=0.3"),
                        ({"initial": 0.1}, "lower=0.2 must not be above initial=0.1")):  # fmt: skip
        config = replace(PRESETS["paper"], suppression=SuppressionConfig(**change))
        assert first_fault(config, "method.ca_cl") == f"method.ca_cl.suppression: {why}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": TextConfig(prompts=("no place",))}, r"prompt 'no place' must have \{\} once"),
    ],
)
def test_faulty_settings(change: dict[str, Any], message: str) -> None:
    with pytest.raises(MethodError, match=message):
        METHOD.stages(replace(PRESETS["nano"], **change), shapes_view(), Shared())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"initialisation": "best"}, "initialisation=best: there are classifier, backbone"),
        ({"composition": "sum"}, "composition=sum: there are normalised, pixels"),
        ({"activation": "tanh"}, "activation=tanh: there are relu, sigmoid"),
        (
            {"suppression": SuppressionConfig(gate="sigmod")},
            "suppression.gate=sigmod: did you mean 'sigmoid'? there are straight_through, sigmoid",
        ),
        (
            {"suppression": SuppressionConfig(reduction="max")},
            "suppression.reduction=max: there are sum, mean",
        ),
        ({"suppression": SuppressionConfig(steepness=0.0)}, "suppression.steepness=0.0: must be above 0"),
    ],
)
def test_settings_out_of_range(change: dict[str, Any], message: str) -> None:
    assert first_fault(replace(PRESETS["nano"], **change)) == message


def test_a_class_without_words_is_named_with_the_file() -> None:
    with pytest.raises(MethodError, match=r"shapes\.yaml: no background words for class 'dragon'"):
        METHOD.stages(PRESETS["nano"], shapes_view(("boat", "dragon")), Shared())


@pytest.mark.parametrize("method", [METHOD, CLIMS])
def test_data_that_the_text_does_not_cover_is_not_run(method: Any, tmp_path: Path) -> None:
    folder = TrainingView("folder", ("gear",), {"train": ()})
    preset = method.presets["nano"]
    with pytest.raises(NotRunnable, match="no list of background words for folder"):
        method.stages(preset, folder, Shared())
    words = tmp_path / "words.yaml"
    words.write_text("common: [oil]\nclasses: {gear: {words: [oil, bench, rag, bolt, nut]}}\n")
    text = replace(preset.text, words=str(words))
    with pytest.raises(NotRunnable, match="miniature CLIP does not know"):
        method.stages(replace(preset, text=text), folder, Shared())


def test_experiments_settings_are_understood() -> None:
    by_key = {
        setting.partition("=")[0]: f"method.ca_cl.{setting}"
        for experiment in METHOD.experiments
        for row in experiment.rows
        if not row.method  # another method's row has that one's settings
        for setting in row.settings
    }
    config: Any = compose(["ca_cl"], overrides=list(by_key.values())).method["ca_cl"]
    METHOD.stages(config, shapes_view(), Shared())
    assert tuple(config.text.prompts) == (*PROMPTS, "a clean origami {}.")
