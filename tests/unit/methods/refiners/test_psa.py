"""The refiner PSA: affinity labels, network and losses, and its stages on a tiny run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from datasets.base import IGNORE, TrainingView
from methods.base import Kind, MethodError
from methods.layers.config import BackboneConfig, CrfConfig
from methods.layers.networks.backbones import build_backbone
from methods.refiners import PSA, mctformer_psa, refiner_stages
from methods.refiners.affinity_labels import affinity_labels, cell_labels, confident_labels
from methods.refiners.config import RefinerConfig
from methods.refiners.psa import stages
from methods.refiners.psa.config import PsaConfig
from methods.refiners.psa.network import AffinityNetwork, affinity_losses, pair_affinities
from methods.refiners.random_walk import disc_offsets
from tests.conftest import golden
from tests.helpers.refining import CAM, check_label_maps, context, run_refiner

NANO = PSA["nano"]
REFINER = RefinerConfig("psa", psa=NANO)
OFFSETS = disc_offsets(5)


# --- labels -----------------------------------------------------------------------------------------------


def test_affinity_labels_are_the_published_ones():
    vector = golden("psa_affinity_labels")
    found = affinity_labels(torch.from_numpy(vector["label"])[None], disc_offsets(int(vector["radius"])))
    for name, pairs in found._asdict().items():
        np.testing.assert_array_equal(pairs[0].flatten(1), vector[name].astype(bool), err_msg=name)


@given(st.integers(0, 99), st.integers(1, 3))
def test_a_pair_is_alike_or_unlike_or_ignored(seed, batch):
    source = np.random.default_rng(seed)
    labels = torch.from_numpy(source.choice([0, 1, 2, IGNORE], (batch, 7, 12)))
    pairs = torch.stack(list(affinity_labels(labels, OFFSETS)))
    assert pairs.shape == (3, batch, 34, 3, 4)
    assert (pairs.sum(0) <= 1).all()
    first = labels[:, :-4, 4:-4]
    for p, (dy, dx) in enumerate(OFFSETS):
        second = labels[:, dy : dy + 3, 4 + dx : 8 + dx]
        assert torch.equal(pairs[:, :, p].any(0), (first != IGNORE) & (second != IGNORE))


def test_foreground_is_the_low_powers_and_background_the_high_powers():
    low = torch.tensor([0, 1, 0, 2], dtype=torch.uint8)
    high = torch.tensor([0, 1, 1, 0], dtype=torch.uint8)
    assert confident_labels(low, high).tolist() == [0, 1, IGNORE, 0]


def test_a_cell_has_its_blocks_most_frequent_label():
    labels = torch.tensor([[[1, 1, 0, 2], [1, 0, 2, 2], [255, 255, 0, 0], [255, 1, 0, 0]]])
    assert cell_labels(labels, 2).tolist() == [[[1, 2], [255, 0]]]


# --- network and losses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "stride", "width"),
    [
        ("resnet38d_nano", 4, 28),
        ("vgg16", 8, 448),
        ("resnet50", 16, 448),
        ("timm/tf_efficientnet_lite0", 16, 448),
        ("timm/resnet18", 32, 448),
    ],
)
def test_network_takes_three_levels_of_any_backbone(name, stride, width):
    with torch.device("cpu" if name == "resnet38d_nano" else "meta"):
        network = AffinityNetwork(build_backbone(BackboneConfig(name, "none", stride)))
        assert network(torch.rand(2, 3, 2 * stride, 3 * stride)).shape == (2, width, 2, 3)


def test_network_has_the_published_layers_at_paper_scale():
    with torch.device("meta"):
        network = AffinityNetwork(build_backbone(replace(PsaConfig().backbone, weights="none")))
    shapes = [tuple(c.weight.shape[:2]) for c in (*network.reduce, network.fuse)]
    assert shapes == [(64, 512), (128, 1024), (256, 4096), (448, 448)]


def test_levels_are_psas_normalised_and_rectified_inputs():
    network = AffinityNetwork(build_backbone(BackboneConfig("resnet38d_nano", "none", 4))).eval()
    trunk = network.backbone.trunk
    x = images = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        levels = network._levels(images)
        for stage in trunk.stages()[:4]:
            for module in stage:
                x = module(x)
        torch.testing.assert_close(levels[0], trunk.b5.bn_branch2a(x).relu())
        torch.testing.assert_close(levels[2], network.backbone(images))


def test_a_network_without_levels_is_refused():
    backbone = build_backbone(BackboneConfig("resnet38d_nano", "none", 4))
    backbone.trunk = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1))
    with pytest.raises(MethodError, match=r"three levels in Sequential; choose"):
        AffinityNetwork(backbone)


def test_affinity_is_the_exponential_of_the_mean_difference():
    features = torch.rand(2, 5, 6, 9)
    affinities = pair_affinities(features, OFFSETS)
    for p, (dy, dx) in enumerate(OFFSETS):
        y, x = 1, 4
        difference = (features[:, :, y, x] - features[:, :, y + dy, x + dx]).abs().mean(1)
        torch.testing.assert_close(affinities[:, p, y, x], torch.exp(-difference))


def test_loss_weighs_the_pairs_as_published():
    labels = torch.tensor([[[0, 0, 1, 1, 255]]])
    affinities = torch.full((1, len(OFFSETS), 1, 5), 0.5)
    losses = affinity_losses(affinities, labels, 1, OFFSETS)
    half = float(-torch.log(torch.tensor(0.5)))
    expected = {"background": half / 4, "foreground": half / 4, "negative": half / 2}
    assert {k: float(v) for k, v in losses.items()} == pytest.approx(expected, rel=1e-4)


def test_loss_of_ignored_labels_is_zero():
    affinities = torch.rand(1, len(OFFSETS), 2, 2)
    losses = affinity_losses(affinities, torch.full((1, 8, 8), IGNORE), 4, OFFSETS)
    assert all(float(v) == 0 for v in losses.values())


def test_background_score_is_a_power_and_one_without_maps():
    maps = torch.tensor([[[0.5]], [[0.2]]])
    assert float(stages.background_score(maps, 2)) == pytest.approx(0.25)
    assert float(stages.background_score(maps[:0], 2)) == 1


# --- declaration ------------------------------------------------------------------------------------------


def test_psa_has_three_stages_and_the_last_yields_the_pseudo_labels():
    labels, affinity, walk = refiner_stages(REFINER, CAM)
    assert [s.name for s in (labels, affinity, walk)] == ["affinity_label", "affinity", "pseudo_label"]
    assert (labels.inputs, affinity.inputs) == ({"cam": "cam"}, {"labels": "affinity_label"})
    assert walk.inputs == {"cam": "cam", "affinity": "affinity"}
    assert (walk.yields, walk.scored_as) == (Kind.PSEUDO_LABEL, None)
    assert labels.yields == Kind.TRAINING_LABEL, "which is not scored"
    assert affinity.pretrained == ("nano/resnet38d_nano",)


def test_settings_of_the_walk_retrain_nothing():
    refiner = REFINER
    changed = replace(refiner, psa=replace(NANO, logt=1, beta=2.0))
    before, after = refiner_stages(refiner, CAM), refiner_stages(changed, CAM)
    assert before[:2] == after[:2]
    assert before[2] != after[2]


def test_other_refiners_do_not_depend_on_psas_settings():
    (plain,) = refiner_stages(RefinerConfig("crf"), CAM)
    (with_psa,) = refiner_stages(RefinerConfig("crf", psa=NANO), CAM)
    assert plain == with_psa


def test_mctformers_walk_has_a_constant_background():
    walk = refiner_stages(mctformer_psa(PSA["paper"]), CAM)[-1].settings
    assert (walk.background_power, walk.background_threshold, walk.logt) == (None, 0.39, 6)


def test_a_constant_background_without_a_score_is_refused():
    refiner = replace(REFINER, psa=replace(NANO, background_power=None))
    with pytest.raises(MethodError, match=r"refiner\.background_threshold"):
        refiner_stages(refiner, replace(CAM, fixed_threshold=None))


# --- stages -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Output folders of PSA's stages."""
    training = replace(NANO.train, iterations=2, batch_size=2, recipe=replace(NANO.train.recipe, crop=32))
    return run_refiner(replace(REFINER, psa=replace(NANO, train=training)), tmp_path_factory.mktemp("psa"))


def test_label_maps_have_their_images_size_and_classes(run):
    check_label_maps(run["affinity_label"], {IGNORE})
    check_label_maps(run["pseudo_label"])


def test_training_keeps_its_losses(run):
    (history,) = run["affinity"].glob("losses-*.json")
    assert {"background", "foreground", "negative"} <= set(json.loads(history.read_text())[-1])


def test_a_crop_that_is_no_multiple_of_the_stride_is_refused(tmp_path):
    view = TrainingView("test", ("a",), {"train": ()})
    wrong = replace(NANO, train=replace(NANO.train, recipe=replace(NANO.train.recipe, crop=81)))
    with pytest.raises(MethodError, match=r"crop=81 is no multiple .* 4; choose 80"):
        stages.train(context(view, {}, tmp_path), wrong.training())


def test_crf_of_the_papers():
    assert PSA["paper"].crf == CrfConfig(10, 3.0, 3.0, 80.0, 13.0, 10.0)
    assert mctformer_psa(PSA["paper"]).psa.crf == PSA["paper"].crf
