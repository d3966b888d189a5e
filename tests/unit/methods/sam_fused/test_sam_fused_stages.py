"""SAM-fused pseudo-labels: the graph of stages, its settings, and the rows of the paper's tables."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.config import compose
from benchmark.evaluation.evaluator import score_label_maps
from datasets.base import TrainingView
from datasets.files.images import write_labels
from datasets.folder.reader import Folder, FolderConfig
from datasets.limits import first_fault
from methods.artifacts import label_map_path
from methods.base import Kind, MethodError, NotRunnable, Shared
from methods.experiment import ExperimentRow
from methods.layers.sam.config import SamConfig
from methods.layers.sam.views import View, turned
from methods.refiners.config import RefinerConfig
from methods.sam_fused import METHOD
from methods.sam_fused.config import PRESETS, ContrastConfig, PromptConfig, SamFusedConfig, ViewConfig
from methods.sam_fused.stages import views_of
from methods.setting_rows import setting_rows
from tests.helpers.trees import write_image
from tests.unit.loop_references.sam_fused import accuracy_loop, mean_iou_loop

DRAWN = TrainingView("bluefilm", ("a", "b"), {"train": (), "val": ()}, generated=True)
PHOTOGRAPHS = replace(DRAWN, name="folder", generated=False)

# --- the graph and its settings ---------------------------------------------------------------------------


def test_p1_p2_and_p_are_scored_under_names_of_their_own() -> None:
    stages = METHOD.stages(PRESETS["nano"], DRAWN, Shared())
    scored = {s.scored_as or s.name: s.yields for s in stages if s.yields in (Kind.CAM, Kind.PSEUDO_LABEL)}
    assert scored == {
        "cam": Kind.CAM,
        "cam_sam": Kind.CAM,
        "pseudo_label_vit": Kind.PSEUDO_LABEL,
        "pseudo_label_sam": Kind.PSEUDO_LABEL,
        "pseudo_label": Kind.PSEUDO_LABEL,
    }
    by_name = {s.name: s for s in stages}
    assert by_name["segment"].inputs == {"labels": "pseudo_label"}
    assert by_name["masks"].seen_masks
    assert by_name["masks"].pretrained == ("nano/sam",)


def test_one_refiner_for_all_methods_takes_the_place_of_sam() -> None:
    shared = Shared(refiner=RefinerConfig("none"))
    names = [s.name for s in METHOD.stages(PRESETS["nano"], PHOTOGRAPHS, shared)]
    assert names == ["classify", "cam", "image_scores", "pseudo_label", "segment", "predict"]


@pytest.mark.parametrize("scale", ["nano", "small"])
def test_photographs_need_a_sam_that_knows_them(scale: str) -> None:
    with pytest.raises(NotRunnable, match="generated pictures only, not folder's"):
        METHOD.stages(PRESETS[scale], PHOTOGRAPHS, Shared())


def test_settings_of_no_loss_change_no_key() -> None:
    off = replace(PRESETS["nano"], contrast=replace(PRESETS["nano"].contrast, weight=0.0))
    other = replace(off, contrast=replace(off.contrast, temperature=0.1))
    first, second = (METHOD.stages(c, DRAWN, Shared())[0].settings for c in (off, other))
    assert first == second
    assert first.contrast is None
    large = replace(off, contrast=replace(off.contrast, size=off.train.recipe.crop))
    assert METHOD.stages(large, DRAWN, Shared())[0].settings == first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"contrast": ContrastConfig(low=0.8)}, "method.sam_fused.contrast: low=0.8 must be below high=0.7"),
        (
            {"contrast": ContrastConfig(size=448), "train": PRESETS["paper"].train},
            r"contrast: 8 crops of size=448 have 0 places in a training image of train\.recipe",
        ),
        (
            {"contrast": ContrastConfig(size=447), "train": PRESETS["paper"].train},
            r"contrast: 8 crops of size=447 have 1 places",
        ),
        ({"views": ViewConfig(rotations=(45,))}, "must be a multiple of 90"),
        ({"views": ViewConfig(fills=1.5)}, "fills=1.5: the view of scale 2.0 would not fit into SAM's frame"),
        (
            {"mask_batch_size": 9},
            r"a batch of mask_batch_size=9 images is more than views\.frames=8, the most that SAM is given at once",
        ),
        (
            {"prompts": PromptConfig(foreground=0.05)},
            "method.sam_fused.prompts: background=0.1 must not be above foreground=0.05",
        ),
    ],
)
def test_settings_that_cannot_be_together_are_refused(change: dict, message: str) -> None:
    fault = first_fault(replace(SamFusedConfig(), **change), "method.sam_fused")
    assert fault is not None
    assert re.search(message, fault)


def test_a_sam_that_segment_anything_lacks_is_refused() -> None:
    with pytest.raises(MethodError, match=r"method\.sam_fused\.sam\.name=vit_q: segment_anything has"):
        METHOD.stages(replace(SamFusedConfig(), sam=SamConfig("vit_q", "none")), DRAWN, Shared())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"contrast": ContrastConfig(token="first")}, "contrast.token=first: there are present, all"),
        ({"views": ViewConfig(rotations=())}, "views.rotations=[]: must have at least one item"),
        ({"views": ViewConfig(scales=(0.0,))}, "views.scales[0]=0.0: must be in (0, 16]"),
        ({"views": ViewConfig(count=0)}, "views.count=0: must be at least 1"),
        ({"prompts": PromptConfig(positives=0)}, "prompts.positives=0: must be at least 1"),
        ({"sam": SamConfig(precision="half")}, "sam.precision=half: there are float32, float16, bfloat16"),
    ],
)
def test_settings_out_of_range_are_named(change: dict, message: str) -> None:
    assert first_fault(replace(SamFusedConfig(), **change)) == message


# --- the tables -------------------------------------------------------------------------------------------


def rows_of(name: str) -> dict[str, ExperimentRow]:
    (experiment,) = (e for e in METHOD.experiments if e.name == name)
    assert experiment.columns == ("ACC", "mIoU")
    assert experiment.dataset == "bluefilm"
    return {row.label: row for row in experiment.rows}


def config_of(row: ExperimentRow, folder: Path) -> SamFusedConfig:
    """The settings that a row makes of the nano preset."""
    config = compose(
        ["sam_fused"],
        "bluefilm",
        overrides=[f"dataset.root={folder}", *(f"method.sam_fused.{s}" for s in row.settings)],
    ).method["sam_fused"]
    assert isinstance(config, SamFusedConfig)
    return config


def test_the_tables_score_pseudo_labels(tmp_path) -> None:
    """Tab. 2 and 3: what each row is the ACC and mIoU of, by what, and that nothing is segmented.

    All rows say how many views they have, so that the whole method is one entry, whatever the scale's K is.
    """
    expected = {
        # label: (score, views, contrasted)
        "table2": {
            "no SAM": ("pseudo_label_vit", None, True),
            "SAM, flips": ("pseudo_label", 4, True),
            "SAM, scales": ("pseudo_label", 3, True),
            "SAM, fused": ("pseudo_label", 8, True),
            "SAM, fused, as many views as flips": ("pseudo_label", 4, True),
        },
        "table3": {
            "ViT": ("pseudo_label_vit", None, False),
            "ViT + CTC": ("pseudo_label_vit", None, True),
            "ViT + SAM": ("pseudo_label", 8, False),
            "ViT + CTC + SAM": ("pseudo_label", 8, True),
        },
        "fig6": {
            "P1, of the transformer": ("pseudo_label_vit", None, True),
            "P2, of SAM": ("pseudo_label_sam", 8, True),
            "P, fused": ("pseudo_label", 8, True),
        },
    }
    for name, wanted in expected.items():
        rows = rows_of(name)
        assert list(rows) == list(wanted)
        for label, (score, count, contrasted) in wanted.items():
            row = rows[label]
            assert row.scores == (f"{score}:pixel_accuracy", score)
            config = config_of(row, tmp_path)
            stages = METHOD.stages(config, DRAWN, Shared())
            named = {s.name: s for s in stages}
            assert named[score].yields == Kind.PSEUDO_LABEL
            upstream, todo = set(), [score]
            while todo:
                stage = named[todo.pop()]
                upstream.add(stage.name)
                todo += stage.inputs.values()
            assert ("masks" in upstream) == (count is not None)
            assert not upstream & {"segment", "predict"}
            assert count is None or len(views_of(config.views)) == count
            assert (named["classify"].settings.contrast is not None) == contrasted


def test_the_whole_method_is_one_entry_of_all_tables() -> None:
    whole = {"table2": "SAM, fused", "table3": "ViT + CTC + SAM", "fig6": "P, fused"}
    assert len({rows_of(name)[label].settings for name, label in whole.items()}) == 1


def test_acc_and_miou_are_the_papers(tmp_path) -> None:
    """Eq. 5 to 7 on one image, by hand: 5 of 8 pixels right; IoU 3/6 of background, 1/2 and 1/3 of the classes."""
    truth = np.array([[0, 0, 0, 1], [0, 0, 2, 2]], np.uint8)
    found = np.array([[0, 0, 1, 1], [0, 2, 2, 0]], np.uint8)
    (tmp_path / "labels.csv").write_text("id,labels,split\na,dent;rust,train\nb,dent,val\n")
    for name in ("a", "b"):
        write_image(tmp_path / "images" / f"{name}.png", size=(4, 2))
        write_labels(tmp_path / "masks" / f"{name}.png", truth)
    write_labels(label_map_path(tmp_path / "made", "a"), found)
    scores = score_label_maps(
        tmp_path / "made",
        Folder(FolderConfig(root=str(tmp_path))),
        "train",
        stage="pseudo_label",
        counts_path=tmp_path / "counts.parquet",
    )
    values = {row.metric: row.value for row in scores.rows if not row.class_name}
    assert values["pixel_accuracy"] == pytest.approx(accuracy_loop(truth.tolist(), found.tolist()))
    assert values["pixel_accuracy"] == pytest.approx(5 / 8)
    assert values["miou"] == pytest.approx(mean_iou_loop(truth.tolist(), found.tolist(), 3))
    assert values["miou"] == pytest.approx((3 / 6 + 1 / 2 + 1 / 3) / 3)


def test_the_rows_of_sams_guidance_differ_in_their_views_alone(tmp_path) -> None:
    """Tab. 2: flips are mirror images without a quarter turn; every row shows SAM the image in the same frame."""
    views = {label: config_of(row, tmp_path).views for label, row in rows_of("table2").items()}
    guided = [row for table in ("table2", "table3", "fig6", "open") for row in rows_of(table).values()]
    assert {config_of(row, tmp_path).views.largest for row in guided} == {2.0}
    image = torch.arange(6).view(2, 3)
    flips = [turned(image, view).tolist() for view in views_of(views["SAM, flips"])]
    expected = [image, image.flip(1), image.flip(0), image.flip(0, 1)]
    assert sorted(flips) == sorted(flipped.tolist() for flipped in expected)
    assert flips[0] == image.tolist()


def test_views_of_the_ablation() -> None:
    assert len(views_of(ViewConfig(count=None))) == 24
    assert views_of(ViewConfig())[0] == View()
    assert len(views_of(ViewConfig())) == 8
    scales = views_of(ViewConfig(mirror=False, rotations=(360,)))
    assert sorted(v.scale for v in scales) == [0.5, 1.0, 2.0]
    assert {(v.mirror, v.turns) for v in scales} == {(False, 0)}


@pytest.mark.parametrize(
    ("topic", "said", "settings"),
    [
        (
            "learning rate over time, and of new layers",
            "300 iterations of warm-up: a twentieth of 6 000",
            {
                "train.head_multiplier": "10",
                "train.schedule": "poly",
                "train.power": "0.9",
                "train.warmup": "300",
                "train.iterations": "6000",
            },
        ),
        (
            "training images",
            "crops of 448, of .32 to 1 of the image's area; colours as they are",
            {
                "train.recipe.crop": "448",
                "train.recipe.resize_crop": "[0.32,1]",
                "train.recipe.brightness": "0",
                "train.recipe.hue": "0",
            },
        ),
        (
            "initial weights",
            "ImageNet's normalisation",
            {
                "vit.weights": "timm/vit_base_patch16_224.orig_in21k_ft_in1k",
                "vit.normalisation": "imagenet",
            },
        ),
        ("auxiliary CAM", "of the training image alone", {"contrast.auxiliary_layer": "3"}),
        ("precision of SAM", "in bfloat16", {"sam.precision": "bfloat16"}),
    ],
)
def test_what_the_paper_leaves_open_is_declared_and_has_sources(
    topic: str, said: str, settings: dict[str, str]
) -> None:
    assert said in next(d.ours for d in METHOD.deviations if d.topic == topic)
    rows = {row.key: row for row in setting_rows(METHOD)}
    for key, value in settings.items():
        assert rows[key].defaults["paper"] == value
        assert value in rows[key].sources, key
