"""The refiner IRNet: paths, labels, network and losses, the walk, and its stages on a tiny run."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from benchmark.config import compose, plain
from datasets.base import IGNORE, TrainingView
from methods.base import Kind, MethodError
from methods.layers.backbones import build_backbone
from methods.layers.config import BackboneConfig, CrfConfig
from methods.layers.crf import dense_crf, dense_crf_labels
from methods.layers.optim import build_optimiser, parameter_groups
from methods.refiners import IRN, refiner_stages
from methods.refiners.affinity_labels import affinity_labels
from methods.refiners.config import RefinerConfig
from methods.refiners.irn import stages
from methods.refiners.irn.config import IrnConfig
from methods.refiners.irn.network import InterPixelNetwork, inter_pixel_losses
from methods.refiners.irn.paths import (
    _path_rows,
    pair_displacements,
    path,
    path_affinities,
    path_offsets,
    paths_by_length,
    walk_to_edges,
)
from tests.conftest import golden
from tests.refining import CAM, check_label_maps, context, run_refiner
from tests.steps import step_once

NANO = IRN["nano"]
REFINER = RefinerConfig("irn", irn=NANO)
MINIATURE = BackboneConfig("resnet38d_nano", "none", 4)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


# --- paths ------------------------------------------------------------------------------------------------


def test_displacements_are_the_published_ones_in_their_order():
    vector = golden("irn_paths")
    assert [list(o) for o in path_offsets(5)] == vector["radius5_displacements"].tolist()
    assert len(path_offsets(10)) == int(vector["radius10_count"])


@pytest.mark.parametrize("radius", [2, 3, 5, 10])
def test_paths_lead_from_a_cell_to_its_partner(radius):
    for offset in path_offsets(radius):
        cells = path(*offset)
        assert {(0, 0), offset} <= set(cells)
        assert len(set(cells)) == len(cells)
        for y, x in cells:  # from cell to partner in steps to neighbours, itself included
            assert any(max(abs(y - v), abs(x - u)) == 1 for v, u in cells)
    lengths = [{len(path(*offset)) for offset in group} for group in paths_by_length(radius)]
    assert all(len(found) == 1 for found in lengths)


def path_loop(dy: int, dx: int) -> list[tuple[int, int]]:
    """Pixels of the bounding box at perpendicular distance < 1 from the segment."""
    box = product(range(min(0, dy), max(0, dy) + 1), range(min(0, dx), max(0, dx) + 1))
    return [(y, x) for y, x in box if abs(y * dx - x * dy) / math.hypot(dy, dx) < 1]


@pytest.mark.parametrize(("radius", "size"), [(2, (3, 5)), (3, (6, 8)), (5, (9, 11))])
def test_affinity_is_one_minus_the_strongest_edge_of_the_path(radius, size):
    edges = torch.rand(2, 1, *size, dtype=torch.float64)
    found = path_affinities(edges, radius)
    reach, offsets = radius - 1, path_offsets(radius)
    assert found.shape == (2, len(offsets), size[0] - reach, size[1] - 2 * reach)
    for n, p, y, x in np.ndindex(*found.shape):
        strongest = max(float(edges[n, 0, y + v, x + reach + u]) for v, u in path_loop(*offsets[p]))
        assert float(found[n, p, y, x]) == pytest.approx(1 - strongest)


# --- walk -------------------------------------------------------------------------------------------------


def test_walk_is_the_published_one():
    vector = golden("irn_walk_r5")
    cam, edge = torch.from_numpy(vector["cam"])[None], torch.from_numpy(vector["edge"])[None]
    walked = walk_to_edges(cam, edge, int(vector["radius"]), float(vector["beta"]), int(vector["exp_times"]))
    np.testing.assert_allclose(walked[0], vector["walked"], rtol=1e-3)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(2, 5))
def test_walk_keeps_the_size_of_any_grid(height, width, radius):
    cams, edges = torch.rand(2, 3, height, width), torch.rand(2, 1, height, width)
    walked = walk_to_edges(cams, edges, radius, 10, 3)
    assert walked.shape == cams.shape
    alone = walk_to_edges(cams[1:], edges[1:], radius, 10, 3)
    torch.testing.assert_close(walked[1:], alone)


def test_walk_does_not_pass_an_edge():
    cams, edges = torch.zeros(1, 1, 8, 12), torch.zeros(1, 1, 8, 12)
    cams[..., 4, 2] = 1
    edges[..., 6] = 1
    walked = walk_to_edges(cams, edges, 5, 10, 8)
    assert (walked[..., :6] > 0).all()
    assert walked[..., 6:].abs().max() < 1e-12


# --- labels -----------------------------------------------------------------------------------------------


def test_foreground_is_taken_first_and_background_of_both():
    foreground = torch.tensor([0, 0, 2, 1], dtype=torch.uint8)
    background = torch.tensor([0, 1, 0, 1], dtype=torch.uint8)
    found = stages.foreground_before_background(foreground, background)
    assert found.tolist() == [0, IGNORE, 2, 1]
    assert found.dtype == torch.uint8


@pytest.mark.parametrize("classes", [1, 2, 4])
def test_probabilities_of_labels_start_the_crf_as_its_labels_do(classes):
    source = np.random.default_rng(classes)
    image = source.integers(0, 256, (24, 30, 3), dtype=np.uint8)
    scores = torch.from_numpy(source.random((classes + 1, 24, 30)))
    probabilities = stages.label_probabilities(scores, 0.7)
    torch.testing.assert_close(probabilities.sum(0), torch.ones_like(probabilities[0]))
    config = CrfConfig(5, 3.0, 3.0, 12.0, 5.0, 10.0)
    found = dense_crf(image, probabilities.numpy(), config).argmax(0)
    expected = dense_crf_labels(image, scores.argmax(0).numpy(), classes + 1, 0.7, config)
    np.testing.assert_array_equal(found, expected)


# --- losses -----------------------------------------------------------------------------------------------


def losses_loop(
    edges: np.ndarray, displacements: np.ndarray, labels: np.ndarray, stride: int, radius: int
) -> dict[str, float]:
    """The losses pair by pair; of first cells all of whose partners are in the grid."""
    cells = labels[:, ::stride, ::stride]
    batch, height, width = cells.shape
    reach = radius - 1
    sums: dict[str, list[float]] = {name: [] for name in ("bg", "fg", "neg", "dp_fg", "dp_bg")}
    for n, y, x, dy, dx in product(
        range(batch), range(height - reach), range(reach, width - reach), range(radius), range(-reach, radius)
    ):
        if not 0 < dy * dy + dx * dx < radius * radius or (dy == 0 and dx < 0):
            continue
        one, two = cells[n, y, x], cells[n, y + dy, x + dx]
        if IGNORE in (one, two):
            continue
        affinity = 1 - max(edges[n, 0, y + v, x + u] for v, u in path_loop(dy, dx))
        difference = displacements[n, :, y, x] - displacements[n, :, y + dy, x + dx]
        if one != two:
            sums["neg"].append(-math.log(1 - affinity))
        elif one == 0:
            sums["bg"].append(-math.log(affinity))
            sums["dp_bg"].append(np.abs(difference).mean())
        else:
            sums["fg"].append(-math.log(affinity))
            sums["dp_fg"].append(np.abs(difference - (dy, dx)).mean())
    mean = {name: sum(values) / max(len(values), 1) for name, values in sums.items()}
    return {
        "affinity_background": mean["bg"] / 4,
        "affinity_foreground": mean["fg"] / 4,
        "affinity_negative": mean["neg"] / 2,
        "displacement_foreground": mean["dp_fg"] / 2,
        "displacement_background": mean["dp_bg"] / 2,
    }


@pytest.mark.parametrize("only", [None, 0, 1, IGNORE])
@pytest.mark.parametrize(("radius", "stride"), [(2, 1), (3, 4), (5, 2)])
def test_losses_are_those_of_the_pairs(radius, stride, only):
    source = np.random.default_rng(radius)
    size = (radius + 4, 2 * radius + 3)
    labels = source.choice([0, 0, 1, 1, 2, IGNORE], (2, size[0] * stride, size[1] * stride))
    if only is not None:
        labels[:] = only
    edges = source.uniform(0.05, 0.95, (2, 1, *size))
    displacements = source.normal(0, 3, (2, 2, *size))
    found = inter_pixel_losses(*map(torch.from_numpy, (edges, displacements, labels)), stride, radius)
    expected = losses_loop(edges, displacements, labels, stride, radius)
    assert {k: float(v) for k, v in found.items()} == pytest.approx(expected, rel=1e-3, abs=1e-9)


def test_gradients_of_the_losses():
    edges = torch.rand(1, 1, 4, 6, dtype=torch.float64, requires_grad=True)
    displacements = torch.randn(1, 2, 4, 6, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([[0, 0, 1, 1, 2, 255]] * 2 + [[0, 1, 1, 2, 2, 0]] * 2)[None]

    def total(edges: torch.Tensor, displacements: torch.Tensor) -> torch.Tensor:
        return torch.stack([*inter_pixel_losses(edges, displacements, labels, 1, 3).values()]).sum()

    assert torch.autograd.gradcheck(total, (edges, displacements))


def test_training_after_inference_of_the_same_radius():
    """What is kept between calls must serve both: a second seed trains after the first one's walk."""
    _path_rows.cache_clear()
    edges = torch.rand(1, 1, 5, 9, requires_grad=True)
    with torch.inference_mode():
        path_affinities(edges, 3)
    path_affinities(edges, 3).sum().backward()
    assert edges.grad is not None


def test_displacements_to_a_centre_have_no_loss():
    """Where each cell of an object points to one place, and background nowhere."""
    radius, size = 3, (6, 9)
    cells = torch.stack(torch.meshgrid(*map(torch.arange, size), indexing="ij")).float()
    labels = torch.zeros(1, *size, dtype=torch.long)
    labels[:, 1:4, 2:7] = 1
    centre = torch.tensor([2.0, 4.0])[:, None, None]
    displacements = torch.where(labels == 1, centre - cells, 0.0)[None]
    losses = inter_pixel_losses(torch.full((1, 1, *size), 0.5), displacements, labels, 1, radius)
    assert float(losses["displacement_foreground"]) == 0
    assert float(losses["displacement_background"]) == 0


def test_pairs_of_labels_and_of_displacements_are_the_same():
    radius, size = 4, (7, 10)
    offsets = path_offsets(radius)
    grid = torch.arange(70).view(1, 1, *size).float()
    pairs = pair_displacements(torch.cat([grid, grid], 1), radius)
    for p, (dy, dx) in enumerate(offsets):
        assert (pairs[:, :, p] == -(dy * size[1] + dx)).all()
    labels = torch.zeros(1, *size, dtype=torch.uint8)
    assert affinity_labels(labels, offsets).negative.shape == path_affinities(grid, radius).shape


# --- network ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "stride", "levels"),
    [
        ("resnet38d_nano", 4, 5),
        ("vgg16", 8, 4),
        ("resnet50", 16, 5),
        ("timm/tf_efficientnet_lite0", 16, 4),
        ("timm/resnet18", 32, 5),
        ("timm/convnext_atto", 32, 4),
    ],
)
def test_network_takes_several_levels_of_any_backbone(name, stride, levels):
    network = InterPixelNetwork(build_backbone(BackboneConfig(name, "none", stride)))
    assert (len(network.edge_levels), network.stride) == (levels, 4)
    images = torch.rand(2, 3, 75, 50)
    edges, displacements = network(images)
    assert (edges.shape, displacements.shape) == ((2, 1, 19, 13), (2, 2, 19, 13))
    assert network.boundaries(images).shape == edges.shape


@pytest.mark.parametrize("size", [(20, 30), (3, 3), (32, 33)])
def test_an_image_smaller_than_a_cell_of_the_last_level_has_cells(size):
    network = InterPixelNetwork(build_backbone(BackboneConfig("timm/convnext_atto", "none", 32))).eval()
    with torch.no_grad():
        edges, displacements = network(torch.rand(1, 3, *size))
    grid = tuple(-(-side // 4) for side in size)
    assert (edges.shape[2:], displacements.shape[2:]) == (grid, grid)
    assert edges.isfinite().all()


def test_what_rounds_down_loses_no_pixel_at_the_border():
    """ConvNeXt itself does not look at the last pixels of 75 x 50; its cells there have to."""
    network = InterPixelNetwork(build_backbone(BackboneConfig("timm/convnext_atto", "none", 32))).eval()
    images = torch.rand(1, 3, 75, 50)
    other = images.clone()
    other[..., 72:, :] = 0
    with torch.no_grad():
        assert torch.equal(network.backbone(images), network.backbone(other))
        assert not torch.equal(network(images)[0], network(other)[0])
    whole = torch.rand(1, 3, 64, 96)  # whole cells: as the backbone alone
    with torch.no_grad():
        assert torch.equal(network._pyramid(whole)[-1], network.backbone(whole))


def test_network_has_the_published_layers_at_paper_scale():
    with torch.device("meta"):
        backbone = build_backbone(replace(IrnConfig().backbone, weights="none"))
    network = InterPixelNetwork(backbone.to_empty(device="cpu"))
    assert [tuple(m[0].weight.shape[:2]) for m in network.edge_levels] == [
        (32, c) for c in (64, 256, 512, 1024, 2048)
    ]
    assert [m[0].out_channels for m in network.displacement_levels] == [64, 128, 256, 256, 256]
    assert [m[1].num_groups for m in network.displacement_levels] == [8, 16, 16, 16, 16]
    assert {m[1].num_groups for m in network.edge_levels} == {4}
    assert network.displacement_coarse[0].in_channels == 768
    assert network.displacement[0][0].in_channels == 448
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    reductions = 32 * 3904 + 5 * 64 + 161  # weights, scales and shifts, and the last layer with its bias
    displacement = 64 * 64 + 128 * 256 + 256 * 3584 + 256 * 768 + 256 * 448 + 2 * 256
    assert trained == reductions + displacement + 2 * (64 + 128 + 5 * 256)


def test_backbone_stays_as_it_was_and_displacements_learn_ten_times_faster():
    network = InterPixelNetwork(build_backbone(MINIATURE)).train()
    assert not any(m.training for m in network.backbone.modules())
    groups = parameter_groups(network, network.displacement_branch, IrnConfig().train)
    assert {g["lr"] for g in groups} == {0.1, 1.0}
    count = sum(p.numel() for g in groups for p in g["params"])
    assert count == sum(p.numel() for n, p in network.named_parameters() if "backbone" not in n)
    before = {k: v.clone() for k, v in network.backbone.state_dict().items()}
    edges, displacements = network(torch.rand(2, 3, 32, 32))
    (edges.sum() + displacements.sum()).backward()
    assert all(torch.equal(v, before[k]) for k, v in network.backbone.state_dict().items())


def test_mean_displacement_is_subtracted_but_in_training():
    network = InterPixelNetwork(build_backbone(MINIATURE))
    images = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        _, raw = network(images)
        network.mean_displacement.copy_(torch.tensor([0.5, -2.0]))
        torch.testing.assert_close(network(images)[1], raw)
        network.eval()
        torch.testing.assert_close(
            raw - network(images)[1], torch.tensor([0.5, -2.0]).view(1, 2, 1, 1).expand_as(raw)
        )


def test_boundaries_of_a_mirror_image_are_mirrored():
    network = InterPixelNetwork(build_backbone(MINIATURE)).eval()
    images = torch.rand(1, 3, 32, 48)
    with torch.no_grad():
        torch.testing.assert_close(
            network.boundaries(images.flip(-1)), network.boundaries(images).flip(-1), rtol=1e-4, atol=1e-5
        )


def test_a_network_without_levels_is_refused():
    backbone = build_backbone(MINIATURE)
    backbone.trunk = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1))
    with pytest.raises(MethodError, match=r"four levels in Sequential .*; choose"):
        InterPixelNetwork(backbone)


@pytest.mark.parametrize(("name", "stride"), [("timm/hrnet_w18_small", 32), ("resnet101_caffe", 8)])
def test_levels_that_do_not_nest_are_refused_before_a_training(name, stride):
    """Networks whose levels lie side by side, or that add a cell."""
    with torch.device("meta"):
        backbone = build_backbone(BackboneConfig(name, "none", stride))
    with pytest.raises(MethodError, match=r"refiner irn finds no four levels in \w+ .*; choose"):
        InterPixelNetwork(backbone)


@pytest.mark.slow
def test_a_step_at_paper_scale_on_cpu():
    """ResNet-50 at the published crop and radius, with random weights: a batch of one."""
    paper = IRN["paper"]
    network = InterPixelNetwork(build_backbone(replace(paper.backbone, weights="none"))).train()
    optimiser = build_optimiser(network, network.displacement_branch, paper.train)
    crop = paper.train.recipe.crop
    labels = torch.zeros(1, crop, crop, dtype=torch.int64)
    labels[:, 100:300, 100:300], labels[:, 250:350, 250:350], labels[:, 400:] = 1, 2, IGNORE
    edges, displacements = network(torch.randn(1, 3, crop, crop))
    assert edges.shape == (1, 1, crop // 4, crop // 4)
    losses = inter_pixel_losses(edges.sigmoid(), displacements, labels, network.stride, paper.training_radius)
    assert len(losses) == 5
    assert all(value > 0 for value in losses.values())
    step_once(network, optimiser, losses.values())


# --- declaration ------------------------------------------------------------------------------------------


def test_irn_has_three_stages_and_the_last_yields_the_pseudo_labels():
    labels, network, walk = refiner_stages(REFINER, CAM)
    assert [s.yields for s in (labels, network, walk)] == [
        Kind.TRAINING_LABEL,
        Kind.WEIGHTS,
        Kind.PSEUDO_LABEL,
    ]
    assert (labels.inputs, network.inputs) == ({"cam": "cam"}, {"labels": "inter_pixel_label"})
    assert walk.inputs == {"cam": "cam", "inter_pixel": "inter_pixel"}
    assert network.pretrained == ("nano/resnet38d_nano",)
    assert (labels.seeded, network.seeded, walk.seeded) == (False, True, False)


def test_settings_of_the_walk_retrain_nothing():
    changed = replace(REFINER, irn=replace(NANO, exp_times=1, beta=2.0, radius=2, background_threshold=0.5))
    before, after = refiner_stages(REFINER, CAM), refiner_stages(changed, CAM)
    assert before[:2] == after[:2]
    assert before[2] != after[2]


def test_irn_needs_no_threshold_of_the_cam():
    *_, walk = refiner_stages(REFINER, replace(CAM, fixed_threshold=None))
    assert walk.settings.background_threshold == NANO.background_threshold


@pytest.mark.parametrize("scale", ["nano", "small", "paper"])
def test_every_method_can_be_refined_by_it_at_every_scale(scale):
    methods = ("cam", "eps", "mctformer", "semantic_modulation")
    config = compose(methods, scale=scale, overrides=[f"method.{m}.refiner.name=irn" for m in methods])
    for method in methods:
        assert plain(config.method[method].refiner.irn) == plain(IRN[scale])


def test_defaults_are_the_published_settings():
    published = IrnConfig()
    assert published.crf == CrfConfig(10, 3.0, 3.0, 50.0, 5.0, 10.0)
    assert (published.confident_foreground, published.confident_background) == (0.30, 0.05)
    assert (published.train.iterations, published.train.batch_size) == (990, 32)


# --- stages -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Output folders of IRNet's stages."""
    training = replace(NANO.train, iterations=2, batch_size=2, recipe=replace(NANO.train.recipe, crop=40))
    return run_refiner(replace(REFINER, irn=replace(NANO, train=training)), tmp_path_factory.mktemp("irn"))


def test_label_maps_have_their_images_size_and_classes(run):
    check_label_maps(run["inter_pixel_label"], {IGNORE})
    check_label_maps(run["pseudo_label"])


def test_training_keeps_its_losses_and_the_mean_displacement(run):
    (history,) = run["inter_pixel"].glob("losses-*.json")
    assert {"affinity_background", "affinity_negative", "displacement_foreground"} <= set(
        json.loads(history.read_text())[-1]
    )
    assert (load_file(run["inter_pixel"] / "network.safetensors")["mean_displacement"] != 0).any()


def test_a_crop_without_pairs_is_refused(tmp_path):
    view = TrainingView("test", ("a",), {"train": ()})
    small = replace(NANO, train=replace(NANO.train, recipe=replace(NANO.train.recipe, crop=32)))
    with pytest.raises(MethodError, match=r"crop=32 has no pairs .*radius=5; choose 36 or more"):
        stages.train(context(view, {}, tmp_path), small.training())


def test_what_is_left_of_a_class_competes_with_the_image_s_maximum():
    walked = torch.tensor([[[[4.0, 0.8, 0.0]], [[0.0, 0.9, 1.2]]]])
    assert stages._winners(walked, 0.25).tolist() == [[[1, 0, 2]]]
    assert stages._winners(torch.zeros(1, 2, 1, 3), 0.25).tolist() == [[[0, 0, 0]]]


def test_neither_refiner_keeps_gradients_beyond_its_training():
    from methods.refiners.irn import stages as irn
    from methods.refiners.psa import stages as psa

    modes = []

    class StopError(Exception):
        pass

    def note(*arguments, **named):
        modes.append(torch.is_inference_mode_enabled())
        raise StopError

    class Probe:
        def __getattr__(self, name):
            note()

    for work in (
        lambda: irn.mean_displacement(Probe(), torch.nn.Identity(), 1),
        lambda: irn.pseudo_label(Probe(), Probe()),
        lambda: psa.pseudo_label(Probe(), Probe()),
    ):
        with pytest.raises(StopError):
            work()
    assert modes == [True] * 3
