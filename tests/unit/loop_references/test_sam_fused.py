"""SAM-fused pseudo-labels against the references in `sam_fused`."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from methods.artifacts import Cam, CamReader, write_cams
from methods.layers.config import VitConfig
from methods.layers.local_crops import uncertain_crops
from methods.layers.networks.vit import build_vit
from methods.layers.sam.model import NEGATIVE, POSITIVE
from methods.layers.sam.views import Frame, View, placed, placed_points, placed_size, restored, turned
from methods.layers.token_losses import class_token_contrast
from methods.sam_fused.config import (
    ContrastConfig,
    FusionConfig,
    FusionStageConfig,
    PromptConfig,
)
from methods.sam_fused.fusion import EvidenceReader, fusion_loss
from methods.sam_fused.network import ClassTokenContrast, SamFusedNetwork
from methods.sam_fused.prompts import cam_prompts
from methods.sam_fused.reliability import entropy, mean_mask, reliability
from tests.unit.loop_references import sam_fused as reference
from tests.unit.loop_references.shared import SEEDS, Grid, antialiased_loop, close, pseudo_labels_loop

LOW, HIGH = 0.25, 0.70
TEMPERATURE, EPSILON = 0.5, 1e-4
VIEWS = [(mirror, turns) for mirror in (False, True) for turns in range(4)]
SIZES = [(1, 1), (1, 6), (5, 3), (4, 7), (8, 8)]


# --- P1 ----------------------------------------------------------------------------------------------------


def shifted(plane: Grid, down: int, right: int) -> Grid:
    """What lies so far down and to the right of each pixel, 0 outside."""
    height, width = len(plane), len(plane[0])
    return [
        [
            plane[y + down][x + right] if 0 <= y + down < height and 0 <= x + right < width else 0.0
            for x in range(width)
        ]
        for y in range(height)
    ]


def test_cam() -> None:
    """Eq. 1 over the 3x3 neighbourhoods of patch tokens, whose features are the i that it sums over."""
    torch.manual_seed(0)
    network = SamFusedNetwork.build(VitConfig("vit_nano"), 2).eval().double()
    image = torch.randn(1, 3, 16, 24, dtype=torch.float64)
    with torch.no_grad():
        patches = network.vit(image).patches[0]
        found = network.maps(image)[0]
    steps = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    features = [shifted(plane, i, j) for plane in patches.tolist() for i, j in steps]
    maps = reference.cam_loop(features, network.head.weight.flatten(1).tolist())
    bias = network.head.bias
    assert bias is not None
    expected = [[[max(v + b, 0.0) for v in row] for row in m] for m, b in zip(maps, bias.tolist())]
    assert np.max(expected) > 0
    close(found, expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_crops_lie_in_what_is_no_foreground_and_are_positive_by_their_region(seed: int) -> None:
    """Every pixel of the image is its own number, so that a crop tells where it was taken."""
    height, width, size = 20, 26, 8
    rng = np.random.default_rng(seed)
    cam = np.kron(rng.random((5, 7)), np.ones((4, 4)))[:height, :width]
    numbers = torch.arange(height * width, dtype=torch.float64).view(1, 1, height, width).expand(1, 3, -1, -1)
    torch.manual_seed(seed)
    crops, positive = uncertain_crops(numbers, torch.tensor(cam)[None], 40, size, LOW, HIGH)
    regions = reference.regions_loop(cam.tolist(), LOW, HIGH)
    score = {reference.BACKGROUND: 0, reference.NON_SALIENT: 1, reference.FOREGROUND: 2}
    for crop, is_positive in zip(crops[:, 0].tolist(), positive[0].tolist()):
        top, left = divmod(int(crop[0][0]), width)
        assert crop[-1][-1] == (top + size - 1) * width + left + size - 1
        assert regions[top + size // 2][left + size // 2] != reference.FOREGROUND
        inside = [score[regions[top + y][left + x]] for y in range(size) for x in range(size)]
        assert is_positive == (sum(inside) / len(inside) > 0.2)
    assert len({tuple(crop[0]) for crop in crops[:, 0].tolist()}) == 40  # no crop twice


@pytest.mark.parametrize("seed", SEEDS)
def test_contrast(seed: int) -> None:
    """Eq. 2, the mean over images, and the one thing that the published code adds: an empty positive's term.

    Within a tolerance of 1e-4, which that code adds to the number of positives.
    """
    rng = np.random.default_rng(seed)
    images, crops, width = 3, 5, 6
    local = rng.normal(size=(crops, images, width))
    whole = rng.normal(size=(images, width))
    local /= np.linalg.norm(local, axis=2, keepdims=True)
    whole /= np.linalg.norm(whole, axis=1, keepdims=True)
    positive = rng.random((images, crops)) > 0.5
    positive[:, 0] = True
    expected = 0.0
    for b in range(images):
        own = local[:, b].tolist()
        wanted = [q for q, is_positive in zip(own, positive[b]) if is_positive]
        against = [q for q, is_positive in zip(own, positive[b]) if not is_positive]
        expected += reference.contrast_loop(whole[b].tolist(), wanted, against, TEMPERATURE, EPSILON)
        negatives = sum(math.exp(float(np.dot(whole[b], q)) / TEMPERATURE) for q in against)
        expected += math.log(1 + negatives + EPSILON) / len(wanted)
    found = class_token_contrast(
        torch.tensor(local).flatten(0, 1),
        torch.tensor(whole).repeat(2, 1),
        torch.tensor(positive),
        TEMPERATURE,
    )
    assert float(found) == pytest.approx(expected / images, rel=2e-4)


@pytest.mark.parametrize("momentum", [0.0, 0.9, 1.0])
def test_projections_and_their_moving_average(momentum: float) -> None:
    torch.manual_seed(3)
    contrast = ClassTokenContrast(5, 2, ContrastConfig(outputs=4, momentum=momentum)).double()
    for module in (contrast.projection, contrast.average):
        nn.init.normal_(module.weight), nn.init.normal_(module.bias)

    def matrix(module: nn.Linear) -> list[list[float]]:
        """With the bias as the weight of a further input, 1."""
        return torch.cat([module.weight, module.bias[:, None]], 1).tolist()

    tokens = torch.randn(3, 5, dtype=torch.float64)
    inputs = [[*row, 1.0] for row in tokens.tolist()]
    current = matrix(contrast.projection)
    averaged = reference.moving_average_loop(matrix(contrast.average), current, momentum)
    close(contrast.local(tokens).detach(), [reference.projected_loop(row, current) for row in inputs])
    found = contrast.whole(tokens.requires_grad_())
    close(found, [reference.projected_loop(row, averaged) for row in inputs])
    close(matrix(contrast.average), averaged)
    close(matrix(contrast.projection), current)
    assert not found.requires_grad


def test_the_contrasted_token() -> None:
    torch.manual_seed(1)
    contrast = ContrastConfig(crops=2, size=16, outputs=7)
    network = SamFusedNetwork(build_vit(VitConfig("vit_nano"), 3), contrast).double()
    network.eval()
    images, labels = torch.randn(2, 3, 48, 48).double(), torch.tensor([[1.0, 0, 1], [0, 1, 0]]).double()
    with torch.no_grad():
        tokens = network.vit(images).classes.tolist()
        _, contrasted = network(images, labels)
    assert contrasted is not None
    assert network.contrast is not None
    projection = network.contrast.projection
    matrix = torch.cat([projection.weight, projection.bias[:, None]], 1).tolist()
    means = [
        reference.mean_token_loop(own, [bool(v) for v in here]) for own, here in zip(tokens, labels.tolist())
    ]
    close(contrasted.local[:2], [reference.projected_loop([*mean, 1.0], matrix) for mean in means])


# --- P2: prompts -------------------------------------------------------------------------------------------


def smooth(rng: np.random.Generator, classes: int, height: int, width: int) -> np.ndarray:
    """Maps with a few bumps each, and no two values alike."""
    y, x = np.mgrid[:height, :width]
    maps = np.zeros((classes, height, width))
    for own in maps:
        for _ in range(int(rng.integers(1, 6))):
            cy, cx, r = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(1, 4)
            own += rng.uniform(0.5, 1) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / r**2)
    maps += rng.uniform(0, 1e-3, maps.shape)
    return (maps / maps.max((1, 2), keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("seed", range(12))
def test_positive_points_are_the_peaks_of_every_region(seed: int) -> None:
    """One class, no limits: neither the number of points nor a region's area leaves any out."""
    maps = smooth(np.random.default_rng(seed), 1, 18, 25)
    prompts = cam_prompts(maps, PromptConfig(0.5, 0.1, positives=40, negatives=0, smallest_region=0.0), 0)
    points = prompts.points[0][prompts.labels[0] == POSITIVE].long().tolist()
    expected = {peak for peak, _ in reference.positives_loop(maps[0].tolist(), 0.5, diagonal=False)}
    assert {(y, x) for x, y in points} == expected
    assert len(points) == len(expected)
    heights = [maps[0, y, x] for x, y in points]
    assert heights == sorted(heights, reverse=True)


@pytest.mark.parametrize("seed", range(12))
def test_with_several_classes_each_pixel_speaks_for_the_highest(seed: int) -> None:
    """And the limits: regions of at least a quarter of the largest one's area, the two highest of them."""
    maps = smooth(np.random.default_rng(seed), 3, 18, 25)
    prompts = cam_prompts(maps, PromptConfig(0.4, 0.1, positives=2, negatives=0, smallest_region=0.25), 0)
    for row in range(3):
        own = np.where(maps.argmax(0) == row, maps[row], 0.0)
        regions = reference.positives_loop(own.tolist(), 0.4, diagonal=False)
        largest = max((area for _, area in regions), default=0)
        peaks = [peak for peak, area in regions if area >= 0.25 * largest]
        peaks.sort(key=lambda peak: -own[peak])
        points = prompts.points[row][prompts.labels[row] == POSITIVE].long().tolist()
        assert [(y, x) for x, y in points] == peaks[:2]


@pytest.mark.parametrize("seed", SEEDS)
def test_negative_points_are_of_the_confident_background(seed: int) -> None:
    maps = smooth(np.random.default_rng(seed), 2, 9, 11)
    admissible = reference.confident_background_loop(maps.tolist(), 0.2)
    assert admissible
    for wanted in (3, 9 * 11):
        prompts = cam_prompts(maps, PromptConfig(0.7, 0.2, negatives=wanted), seed)
        for points, labels in zip(prompts.points, prompts.labels):
            found = [(y, x) for x, y in points[labels == NEGATIVE].long().tolist()]
            assert len(found) == len(set(found)) == min(wanted, len(admissible))
            assert set(found) <= admissible


# --- P2: views ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("mirror", "turns"), VIEWS)
def test_views(mirror: bool, turns: int, size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).random(size)
    expected = reference.view_loop(image.tolist(), mirror, turns)
    close(turned(torch.tensor(image), View(mirror, turns)), expected)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("mirror", "turns"), VIEWS)
def test_points_of_views(mirror: bool, turns: int, size: tuple[int, int]) -> None:
    """At the frame's own scale every point lies on the pixel that its own has become."""
    frame = Frame(max(size))
    for y in range(size[0]):
        for x in range(size[1]):
            there = placed_points(torch.tensor([x, y]), size, View(mirror, turns), frame)
            close(there.flip(0), reference.point_in_view((y, x), size, mirror, turns))


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(("mirror", "turns"), VIEWS)
def test_scaled_views_within_the_frame(mirror: bool, turns: int, scale: float) -> None:
    """The largest scale fills the frame with the longer side, the others as much less; the rest is empty."""
    size, frame, view = (9, 14), Frame(24, largest=2.0), View(mirror, turns, scale)
    image = np.random.default_rng(1).random(size)
    seen = reference.view_loop(image.tolist(), mirror, turns)
    factor = 24 / 14 * scale / 2
    within = (round(len(seen) * factor), round(len(seen[0]) * factor))
    assert placed_size(size, view, frame) == within
    expected = np.zeros((24, 24))
    expected[: within[0], : within[1]] = antialiased_loop(seen, within)
    close(placed(torch.tensor(image)[None, None], view, frame)[0, 0], expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_mean_mask_entropy_and_weights(seed: int) -> None:
    """Masks of all views as they are seen there, brought back and averaged (Eq. 3), and Eq. 4 of their mean."""
    rng = np.random.default_rng(seed)
    size = (int(rng.integers(1, 9)), int(rng.integers(1, 9)))
    masks = rng.random((len(VIEWS), 2, *size)) > 0.4
    frame = Frame(max(size))
    back = []
    for (mirror, turns), own in zip(VIEWS, masks):
        seen = torch.tensor(
            [[reference.view_loop(m.astype(float).tolist(), mirror, turns) for m in own]], dtype=torch.float64
        )
        whole = torch.zeros(1, 2, frame.side, frame.side, dtype=torch.float64)
        whole[..., : seen.shape[-2], : seen.shape[-1]] = seen
        back.append(restored(whole, size, View(mirror, turns), frame)[0] > 0)
    mean = mean_mask(torch.stack(back))
    expected = [reference.mean_mask_loop(own.tolist()) for own in masks.astype(float).swapaxes(0, 1)]
    close(mean, expected)
    entropies = [reference.entropy_loop(m) for m in expected]
    close(entropy(mean), entropies)
    weights = np.min([reference.weights_loop(e) for e in entropies], axis=0)  # of the least certain class
    close(reliability(mean), weights)


# --- P -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_fusion_learns_the_agreeing_pixels_by_their_weights(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    size, classes, present = (11, 14), 4, (0, 2)
    cams = rng.random((2, 5, 6)).astype(np.float16)
    means = (rng.integers(0, 9, (2, *size)) / 8).astype(np.float16)
    for name, maps in (("p1", cams), ("p2", means)):
        (tmp_path / name).mkdir()
        write_cams(tmp_path / name / "s.safetensors", {"one": Cam(maps, present, size)})
    settings = FusionStageConfig(FusionConfig(), background_threshold=0.45, mask_threshold=0.5)
    reader = EvidenceReader(CamReader(tmp_path / "p1"), CamReader(tmp_path / "p2"), classes, settings)
    maps, labels, learned = reader["one"]

    first = pseudo_labels_loop(cams, present, size, 0.45)
    second = pseudo_labels_loop(means, present, size, 0.5)
    agrees = np.array(reference.agreement_loop(first, second))
    assert 0 < agrees.sum() < agrees.size
    assert np.array_equal(labels.numpy(), [first, second])

    entropies = [reference.entropy_loop(m.astype(float).tolist()) for m in means]
    weights = np.min([reference.weights_loop(e) for e in entropies], axis=0)
    close(maps[-1], weights)
    close(learned, [np.zeros(size), weights * agrees])

    logits = rng.normal(0, 2, (classes + 1, *size))
    expected = reference.fusion_loss_loop(logits.tolist(), first, second, weights.tolist())
    close(fusion_loss(torch.tensor(logits)[None], labels[None], learned[None].double()), expected)
