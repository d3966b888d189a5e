"""SAM-fused pseudo-labels: prompts, reliability, fusion, contrast, and the graph of stages."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from benchmark.config import compose
from benchmark.evaluation.evaluator import score_label_maps
from datasets.base import IGNORE, Sample, TrainingView
from datasets.folder import Folder, FolderConfig
from datasets.images import write_labels
from datasets.limits import first_fault
from methods.artifacts import Cam, CamReader, label_map_path, write_cams
from methods.base import Kind, MethodError, NotRunnable, Shared
from methods.experiment import ExperimentRow
from methods.layers.config import VitConfig
from methods.layers.sam import NEGATIVE, NO_POINT, POSITIVE
from methods.layers.sam_config import SamConfig
from methods.layers.views import View, turned
from methods.refiners.config import RefinerConfig
from methods.sam_fused import METHOD
from methods.sam_fused.config import (
    PRESETS,
    ContrastConfig,
    FusionConfig,
    FusionStageConfig,
    NetworkConfig,
    PromptConfig,
    SamFusedConfig,
    ViewConfig,
)
from methods.sam_fused.fusion import (
    EvidenceReader,
    FusionNetwork,
    fused_labels,
    fusion_batches,
    fusion_loss,
)
from methods.sam_fused.network import build_network, training_losses
from methods.sam_fused.prompts import cam_prompts, padded
from methods.sam_fused.reliability import entropy, mean_mask, reliability
from methods.sam_fused.stages import views_of
from tests.trees import write_image
from tests.unit.loop_references.sam_fused import accuracy_loop, mean_iou_loop

DRAWN = TrainingView("bluefilm", ("a", "b"), {"train": (), "val": ()}, generated=True)
PHOTOGRAPHS = replace(DRAWN, name="folder", generated=False)


def blobs() -> np.ndarray:
    """Two classes at 40 x 60: one with two regions of different height and a speck, one with one."""
    maps = np.zeros((2, 40, 60), np.float32)
    y, x = np.mgrid[:40, :60]
    maps[0] += 1.0 * np.exp(-((x - 12) ** 2 + (y - 10) ** 2) / 30)
    maps[0] += 0.8 * np.exp(-((x - 15) ** 2 + (y - 32) ** 2) / 30)
    maps[0, 2, 57] = 0.9
    maps[1] += 0.95 * np.exp(-((x - 45) ** 2 + (y - 20) ** 2) / 40)
    return maps


# ---------------------------------------------------------------- prompts


def test_positive_points_are_the_peaks_of_the_regions_highest_first() -> None:
    prompts = cam_prompts(blobs(), PromptConfig(foreground=0.5, smallest_region=0.2), 0)
    assert prompts.points[0, :2].tolist() == [[12, 10], [15, 32]]
    assert prompts.labels[0, :3].tolist() == [POSITIVE, POSITIVE, NO_POINT]
    assert prompts.points[1, 0].tolist() == [45, 20]
    with_specks = cam_prompts(blobs(), PromptConfig(foreground=0.5, smallest_region=0.0), 0)
    assert with_specks.points[0, :3].tolist() == [[12, 10], [57, 2], [15, 32]]
    assert cam_prompts(blobs(), PromptConfig(foreground=0.5, positives=1), 0).labels[0, 0] == POSITIVE


@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(0, 5), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_points_lie_where_the_cam_is_confident(
    seed: int, classes: int, positives: int, negatives: int
) -> None:
    maps = np.random.default_rng(seed).random((classes, 12, 17)).astype(np.float32)
    config = PromptConfig(0.6, 0.4, max(1, positives), negatives)
    prompts = cam_prompts(maps, config, seed)
    points = prompts.points.long()
    for row in range(classes):
        for (x, y), label in zip(points[row].tolist(), prompts.labels[row].tolist()):
            if label == POSITIVE:
                assert maps[row, y, x] >= 0.6
                assert maps[:, y, x].argmax() == row
            if label == NEGATIVE:
                assert maps[:, y, x].max() < 0.4
    assert (prompts.labels == POSITIVE).sum(1).max() <= config.positives
    again = cam_prompts(maps, config, seed)
    assert torch.equal(again.points, prompts.points)


def test_a_class_without_a_confident_region_has_no_positive_point() -> None:
    maps = blobs()
    maps[1] *= 0.4
    prompts = cam_prompts(maps, PromptConfig(foreground=0.5), 0)
    assert not (prompts.labels[1] == POSITIVE).any()
    assert (prompts.labels[1] == NEGATIVE).sum() == 3


def test_prompts_of_images_with_other_numbers_of_classes_are_padded() -> None:
    both, one = cam_prompts(blobs(), PromptConfig(), 0), cam_prompts(blobs()[:1], PromptConfig(), 0)
    together = padded([both, one])
    assert together.labels.shape == (2, 2, 6)
    assert torch.equal(together.labels[1, 0], one.labels[0])
    assert (together.labels[1, 1] == NO_POINT).all()


# ---------------------------------------------------------------- reliability


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(0, 99))
def test_entropy_is_low_where_views_agree(views: int, seed: int) -> None:
    masks = torch.rand(views, 2, 5, 7, generator=torch.Generator().manual_seed(seed)) > 0.5
    mean = mean_mask(masks)
    found = entropy(mean)
    agree = (mean == 0) | (mean == 1)
    assert (found[agree] == 0).all()
    assert (found[~agree] > 0).all()
    m = mean[~agree].double()
    assert_close(found[~agree].double(), -m * m.log() - (1 - m) * (1 - m).log(), atol=1e-6, rtol=1e-5)
    weight = reliability(mean)
    assert weight.shape == (5, 7)
    assert weight.min() >= 0
    assert (weight[agree.all(0)] == 1).all()


def test_half_of_the_views_is_no_evidence_and_no_class_is_certain() -> None:
    assert entropy(torch.tensor(0.5)).item() == pytest.approx(math.log(2))
    assert reliability(torch.tensor([0.5, 1.0])[:, None, None]).item() == pytest.approx(0, abs=1e-6)
    assert (reliability(torch.zeros(0, 3, 4)) == 1).all()


# ---------------------------------------------------------------- fusion

STAGE = FusionStageConfig(FusionConfig(width=8, layers=2), 0.4, 0.5)


def evidence_reader(folder, stage: FusionStageConfig = STAGE) -> EvidenceReader:
    """Image "one": class 1 of three, P1 in its left two thirds, P2 in its middle third; "none": no class."""
    first, second = np.zeros((1, 6, 9), np.float16), np.zeros((1, 6, 9), np.float16)
    first[:, :, :6], second[:, :, 3:6] = 0.9, 1.0
    second[:, :2, 3:6] = 0.75
    nothing = Cam(np.zeros((0, 6, 9), np.float16), (), (6, 9))
    (folder / "p1").mkdir(), (folder / "p2").mkdir()
    write_cams(folder / "p1" / "s.safetensors", {"one": Cam(first, (1,), (6, 9)), "none": nothing})
    write_cams(folder / "p2" / "s.safetensors", {"one": Cam(second, (1,), (6, 9)), "none": nothing})
    return EvidenceReader(CamReader(folder / "p1"), CamReader(folder / "p2"), 3, stage)


def test_evidence_holds_labels_where_both_agree(tmp_path) -> None:
    reader = evidence_reader(tmp_path)
    maps, labels = reader["one"]
    assert (labels[:, 3:6] == 2).all()
    assert (labels[:, :3] == IGNORE).all()
    assert (labels[:, 6:] == 0).all()
    assert maps.shape == (7, 6, 9)
    assert_close(maps[1, :, :6], torch.full((6, 6), 0.9), atol=1e-3, rtol=0)
    assert (maps[4, 2:, 3:6] == 1).all()
    assert maps[[0, 2, 3, 5]].sum() == 0
    quarter = 1 - float(entropy(torch.tensor(0.75))) / math.log(2)
    assert maps[6, 0, 4].item() == pytest.approx(quarter, abs=1e-5)
    assert maps[6, 3, 4].item() == 1
    maps, labels = reader["none"]
    assert (labels == 0).all()
    assert (maps[-1] == 1).all()


def test_fusion_batches_are_the_same_whoever_asks(tmp_path) -> None:
    config = FusionConfig(train=replace(FusionConfig().train, batch_size=3))
    config = replace(config, train=replace(config.train, recipe=replace(config.train.recipe, crop=8)))
    samples = [Sample(i, tmp_path, ()) for i in ("one", "none")]
    source = fusion_batches(samples, evidence_reader(tmp_path), config, 4, torch.device("cpu"))
    whole = list(source(0, 4))
    (again,) = source(2, 3)
    assert again.ids == whole[2].ids
    assert torch.equal(again.images, whole[2].images)
    assert whole[0].images.shape == (3, 7, 8, 8)
    assert not torch.equal(whole[0].images, whole[1].images)
    labels = whole[0].companions["labels"]
    assert (labels[:, 6:] == IGNORE).all()  # below the image
    assert (whole[0].images[:, :, 6:] == 0).all()


def test_fusion_learns_from_reliable_agreeing_pixels_alone() -> None:
    logits = torch.zeros(1, 3, 2, 2)
    logits[0, 1, 0, 0] = 9.0
    maps = torch.ones(1, 5, 2, 2)
    labels = torch.tensor([[[1, IGNORE], [2, 0]]])
    maps[0, -1, 1] = torch.tensor([0.5, 0.0])
    each = torch.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")[0]
    expected = (each[0, 0] + 0.5 * each[1, 0]) / 1.5
    assert_close(fusion_loss(logits, maps, labels), expected)
    assert fusion_loss(logits, maps, torch.full_like(labels, IGNORE)).item() == 0


def test_absent_classes_are_never_fused() -> None:
    logits = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(0))
    labels = fused_labels(logits, (2,))
    assert set(labels.unique().tolist()) == {0, 3}
    assert torch.equal(labels == 3, logits[3] > logits[0])
    assert not fused_labels(logits, ()).any()


def test_fusion_finds_what_both_show(tmp_path) -> None:
    """Trained on the agreeing thirds, the network reproduces them."""
    torch.manual_seed(0)
    maps, labels = evidence_reader(tmp_path)["one"]
    network = FusionNetwork(3, STAGE.fusion)
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.02)
    for _ in range(40):
        loss = fusion_loss(network(maps[None]), maps[None], labels[None])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    fused = fused_labels(network(maps[None])[0], (1,)).long()
    agreed = labels != IGNORE
    assert (fused[agreed] == labels[agreed]).all()


# ---------------------------------------------------------------- P1


def network(contrast: ContrastConfig | None = None):
    torch.manual_seed(0)
    return build_network(NetworkConfig(VitConfig("vit_nano")), 3, contrast)


CONTRAST = ContrastConfig(crops=3, size=16, outputs=24)


def test_contrast_learns_its_projection_and_averages_the_other() -> None:
    model = network(CONTRAST)
    assert model.contrast is not None
    images, labels = (
        torch.randn(4, 3, 48, 48),
        torch.tensor([[1, 0, 0], [0, 1, 1], [0, 0, 0], [0, 0, 1]]).float(),
    )
    with torch.no_grad():
        model.contrast.projection.weight.mul_(2)
    before = model.contrast.average.weight.clone()
    output, contrasted = model(images, labels)
    terms = training_losses(output, contrasted, labels, CONTRAST)
    assert set(terms) == {"class_tokens", "patches", "auxiliary", "class_contrast"}
    assert_close(model.contrast.average.weight, 0.9 * before + 0.1 * model.contrast.projection.weight)
    terms["class_contrast"].backward(retain_graph=True)
    assert model.contrast.average.weight.grad is None
    assert model.contrast.projection.weight.grad is not None
    assert model.vit.class_tokens.grad is not None
    assert contrasted is not None
    assert contrasted.positive.shape == (3, 4)
    assert contrasted.local.shape == (12, 24)
    assert contrasted.whole.shape == (6, 24)
    assert_close(contrasted.local.norm(dim=1), torch.ones(12))
    sum(terms[k] for k in ("class_tokens", "patches", "auxiliary")).backward()
    silent = {name for name, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert silent == set()


@pytest.mark.parametrize("token", ["present", "all"])
def test_the_contrasted_token_is_the_mean_of_the_present_classes(token: str) -> None:
    model = network(replace(CONTRAST, token=token)).eval()
    images, labels = torch.randn(2, 3, 48, 48), torch.tensor([[1, 0, 1], [0, 1, 0]]).float()
    classes = model.vit(images).classes
    _, contrasted = model(images, labels)
    assert model.contrast is not None
    assert contrasted is not None
    wanted = classes.mean(1)
    if token == "present":
        wanted = torch.stack([(classes[0, 0] + classes[0, 2]) / 2, classes[1, 1]])
    assert_close(contrasted.local[:2], model.contrast.local(wanted), atol=1e-5, rtol=1e-4)


def test_a_batch_without_any_class_has_no_contrast() -> None:
    model = network(CONTRAST)
    labels = torch.zeros(2, 3)
    output, contrasted = model(torch.randn(2, 3, 48, 48), labels)
    terms = training_losses(output, contrasted, labels, CONTRAST)
    assert terms["class_contrast"].item() == 0
    sum(terms.values()).backward()


def test_without_contrast_the_network_is_mctformers() -> None:
    model = network()
    output, contrasted = model(torch.randn(1, 3, 48, 48), torch.ones(1, 3))
    assert contrasted is None
    assert set(training_losses(output, None, torch.ones(1, 3), None)) == {"class_tokens", "patches"}
    assert model.activations(torch.randn(1, 3, 37, 50)).shape[:2] == (1, 3)
    assert model.activations(torch.randn(1, 3, 37, 50)).min() >= 0


def test_crops_that_do_not_divide_into_patches_are_refused() -> None:
    with pytest.raises(MethodError, match="no multiple of the patch"):
        network(replace(CONTRAST, size=20))
    with pytest.raises(MethodError, match="choose 1"):
        network(replace(CONTRAST, auxiliary_layer=7))


# ---------------------------------------------------------------- the graph


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"contrast": ContrastConfig(low=0.8)}, "low=0.8 must be below high=0.7"),
        ({"views": ViewConfig(rotations=(45,))}, "multiples of 90"),
        ({"views": ViewConfig(fills=1.5)}, "fills=1.5: the view of scale 2.0 would not fit into SAM's frame"),
        ({"prompts": PromptConfig(foreground=0.05)}, "background=0.1 must not be above foreground=0.05"),
    ],
)
def test_settings_that_cannot_be_together_are_refused(change: dict, message: str) -> None:
    with pytest.raises(MethodError, match=message):
        METHOD.stages(replace(SamFusedConfig(), **change), DRAWN, Shared())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"contrast": ContrastConfig(token="first")}, "contrast.token=first: there are present, all"),
        ({"views": ViewConfig(rotations=())}, "views.rotations=[]: must have at least one item"),
        ({"views": ViewConfig(scales=(0.0,))}, "views.scales[0]=0.0: must be above 0"),
        ({"views": ViewConfig(count=0)}, "views.count=0: must be at least 1"),
        ({"prompts": PromptConfig(positives=0)}, "prompts.positives=0: must be at least 1"),
        ({"sam": SamConfig(precision="half")}, "sam.precision=half: there are float32, float16, bfloat16"),
    ],
)
def test_settings_out_of_range_are_named(change: dict, message: str) -> None:
    assert first_fault(replace(SamFusedConfig(), **change)) == message


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
    assert {fills or max(v.scales) for v in views.values() for fills in [v.fills]} == {2.0}
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
