"""CA-CL's training: regions, the record of the network, the losses of a batch, a step at paper scale."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize
from torch.testing import assert_close

from benchmark.profiling.complexity import complexity
from datasets.base import TrainingView
from datasets.recipe import IMAGENET
from datasets.voc.reader import CLASSES
from methods.base import Shared
from methods.ca_cl import METHOD, stages
from methods.ca_cl.config import PRESETS, CaClConfig, CaClTrainingConfig, SuppressionConfig
from methods.ca_cl.losses import background_suppression
from methods.ca_cl.network import GuidedNetwork
from methods.cam.network import PlainCam
from methods.clims import METHOD as CLIMS
from methods.clims import stages as clims_stages
from methods.clims.config import PRESETS as CLIMS_PRESETS
from methods.clims.graph import classifier_backbone
from methods.clims.regions import Regions, encode_regions
from methods.layers.clip.config import NANO, ClipConfig
from methods.layers.clip.model import ClipModel, load_clip
from methods.layers.config import BackboneConfig
from methods.layers.networks.backbones import build_backbone
from methods.layers.optim import schedule
from methods.layers.presets import COCO
from tests.helpers.guided import shapes_view


@pytest.fixture(scope="module")
def clip() -> ClipModel:
    return load_clip(ClipConfig(NANO, "none"))


# --- regions ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("composition", ["normalised", "pixels"])
def test_regions_are_the_products_of_image_and_map(clip: ClipModel, composition: str) -> None:
    images, maps = torch.randn(2, 3, 40, 40) * 0.3, torch.rand(2, 3, 5, 5)
    labels = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    found = encode_regions(clip, images, maps, labels, IMAGENET, composition)
    assert list(zip(found.images.tolist(), found.classes.tolist())) == [(0, 0), (0, 2), (1, 1)]
    mean, std = (torch.tensor(v)[:, None, None] for v in IMAGENET)
    for n, (i, k) in enumerate([(0, 0), (0, 2), (1, 1)]):
        pixels = clip.resize((images[i] * std + mean)[None])
        mask = torch.nn.functional.interpolate(maps[i, k][None, None], clip.image_size, mode="bilinear")
        for features, share in ((found.foreground, mask), (found.background, 1 - mask)):
            product = (
                clip.normalise(pixels * share) if composition == "pixels" else clip.normalise(pixels) * share
            )
            assert_close(features[n], clip.encode_normalised(product)[0], rtol=1e-3, atol=1e-4)


def test_a_map_of_ones_keeps_the_image_and_its_gradient_reaches_present_classes_alone(
    clip: ClipModel,
) -> None:
    images, labels = torch.randn(1, 3, 40, 40) * 0.3, torch.tensor([[1.0, 0.0]])
    mean, std = (torch.tensor(v)[:, None, None] for v in IMAGENET)
    whole = encode_regions(clip, images, torch.ones(1, 2, 5, 5), labels, IMAGENET, "normalised")
    seen = clip.normalise(clip.resize(images * std + mean))
    assert_close(whole.foreground, clip.encode_normalised(seen), rtol=1e-3, atol=1e-4)
    maps = torch.full((1, 2, 5, 5), 0.5, requires_grad=True)
    found = encode_regions(clip, images, maps, labels, IMAGENET, "normalised")
    (found.foreground[:, 0].sum() + found.background[:, 1].sum()).backward()
    assert maps.grad is not None
    assert maps.grad[:, 0].abs().sum() > 0
    assert not maps.grad[:, 1].any()


# --- the network's record ---------------------------------------------------------------------------------


def guided_network() -> GuidedNetwork:
    backbone = build_backbone(BackboneConfig("resnet38d_nano", "none", 4))
    return GuidedNetwork(PlainCam(backbone, 3), SuppressionConfig(), True, 2, 3)


def test_record() -> None:
    network = guided_network()
    network.record(torch.tensor([0, 0, 2]), torch.tensor([1, 1, 0]), torch.eye(3) > 0)
    network.record(torch.tensor([2]), torch.tensor([0]))
    assert network.prompt_choices.tolist() == [[0, 2], [0, 0], [2, 0]]
    assert_close(network.thresholds, torch.tensor([0.26, 0.26, 0.0]))
    assert network.selected.tolist() == [1, 0, 0]
    other = guided_network()
    other.load_state_dict(network.state_dict())  # as from a checkpoint
    assert other.iteration.item() == 2


def test_a_threshold_of_each_class_learns_from_its_pairs_and_is_told_by_class(tmp_path: Path) -> None:
    """Classes 0 and 2 are there, with similarities of one and two pairs; 1 stays where it was."""
    config = replace(PRESETS["nano"], suppression=SuppressionConfig(per_class=True, learning_rate=1e-3))
    settings = training(config)
    network = GuidedNetwork(guided_network().cam, config.suppression, True, 2, 2)
    similarity = torch.tensor([[0.25, 0.27], [0.25, 0.27], [0.26, 0.28]], requires_grad=True)
    classes = torch.tensor([0, 2, 2])
    for row, present in zip(network.thresholds, (classes, classes)):
        network.record(present, present * 0)
        network.zero_grad()
        background_suppression(similarity, network.threshold[present][:, None]).loss.backward()
        alone = torch.tensor(network.threshold[0].item(), requires_grad=True)
        background_suppression(similarity[:1].detach(), alone).loss.backward()
        assert network.threshold.grad is not None
        assert alone.grad is not None
        assert_close(network.threshold.grad[0], alone.grad)
        assert network.threshold.grad[1] == 0
        network.threshold.data -= 1e-3 * network.threshold.grad
        assert row.shape == (3,)
    stages.write_guidance(tmp_path / "guidance.json", network, ("a", "b", "c"), settings)
    told = json.loads((tmp_path / "guidance.json").read_text())
    final = told["final_thresholds"]
    assert final["c"] > final["a"] > final["b"] == pytest.approx(0.26)
    assert told["final_threshold"] == pytest.approx(sum(final.values()) / 3, abs=2e-6)
    assert told["threshold"][0] == pytest.approx(0.26)
    assert told["threshold"][1] > 0.26
    assert told["at_bounds"] == {"a": None, "b": None, "c": None}
    network.thresholds[1, 2] = config.suppression.upper
    stages.write_guidance(tmp_path / "guidance.json", network, ("a", "b", "c"), settings)
    told = json.loads((tmp_path / "guidance.json").read_text())
    assert (told["at_bounds"]["c"], told["at_bound"]) == (1, None)


def test_one_threshold_is_the_threshold_of_each_class_where_all_are_alike(clip: ClipModel) -> None:
    torch.manual_seed(0)
    found = []
    images, labels = torch.randn(2, 3, 40, 40) * 0.3, torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    cam, words = guided_network().cam, None
    for per_class in (False, True):
        config = replace(
            PRESETS["nano"], suppression=SuppressionConfig(-0.1, per_class=per_class, lower=-1.0)
        )
        network = GuidedNetwork(cam, config.suppression, True, 4, 1)
        guided = network(images)
        regions = encode_regions(clip, images, guided.maps, labels, IMAGENET, "normalised")
        if words is None:
            words = normalize(torch.randn(3, 20, regions.foreground.shape[1]), dim=2)
            classes = normalize(torch.randn(3, 4, regions.foreground.shape[1]), dim=2)
        terms = stages.weighted_losses(network, guided, regions, classes, words, training(config))
        terms["suppression"].backward()
        assert network.threshold.grad is not None
        found.append((terms["suppression"].detach(), network.threshold.grad.sum()))
    assert_close(found[0], found[1])
    assert found[0][1] != 0


def test_the_threshold_has_a_rate_of_its_own_and_stays_in_its_bounds() -> None:
    settings = training(PRESETS["nano"])
    network = guided_network()
    optimiser = stages.build_guided_optimiser(network, settings)
    (group,) = [g for g in optimiser.param_groups if any(p is network.threshold for p in g["params"])]
    assert len(group["params"]) == 1
    assert (group["lr"], group["weight_decay"]) == (settings.suppression.learning_rate, 0.0)
    network.threshold.data += 1
    network.project_threshold()
    assert_close(network.threshold.item(), network.bounds[1])


# --- losses of a batch ------------------------------------------------------------------------------------


def training(config: CaClConfig) -> Any:
    (stage,) = [s for s in METHOD.stages(config, shapes_view(), Shared()) if s.name == "guide"]
    return stage.settings


def test_weighted_losses_are_the_sum_of_the_papers_terms_by_pair(clip: ClipModel) -> None:
    torch.manual_seed(0)
    config = replace(PRESETS["nano"], suppression=SuppressionConfig(initial=0.0, lower=-1.0))
    settings = training(config)
    network = GuidedNetwork(guided_network().cam, config.suppression, True, 4, 1)
    images, labels = torch.randn(2, 3, 40, 40) * 0.3, torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    guided = network(images)
    regions = encode_regions(clip, images, guided.maps, labels, IMAGENET, "normalised")
    classes = normalize(torch.randn(3, 4, regions.foreground.shape[1]), dim=2)
    words = normalize(torch.randn(3, 20, regions.foreground.shape[1]), dim=2)
    terms = stages.weighted_losses(network, guided, regions, classes, words, settings)
    contrast, suppression = 0.0, 0.0
    for n, k in enumerate(regions.classes.tolist()):
        foreground, background = regions.foreground[n].detach(), regions.background[n].detach()
        forward = [float(foreground @ text) for text in classes[k]]
        best = max(range(4), key=lambda j: forward[j])
        contrast += max(0.0, 0.5 - forward[best] + float(background @ classes[k, best])) / 3
        for text in words[k]:
            similarity = float(foreground @ text)
            if similarity >= 0.0:
                suppression -= float(torch.log(torch.tensor(1 - similarity)))
    expected = {
        "contrast": 40 * contrast,
        "suppression": suppression,
        "area": 0.4 * guided.maps.mean().item(),
    }
    for name, value in expected.items():
        assert_close(terms[name].item(), float(value), rtol=1e-4, atol=1e-5)
    torch.stack(list(terms.values())).sum().backward()
    assert network.threshold.grad is not None
    assert network.threshold.grad != 0
    assert network.cam.classifier.weight.grad is not None
    assert network.cam.classifier.weight.grad.abs().sum() > 0


def test_a_batch_without_classes_trains_on(clip: ClipModel) -> None:
    settings = training(PRESETS["nano"])
    network = GuidedNetwork(guided_network().cam, settings.suppression, True, 4, 1)
    images = torch.zeros(2, 3, 40, 40)
    guided = network(images)
    regions = encode_regions(clip, images, guided.maps, torch.zeros(2, 3), IMAGENET, "normalised")
    width = regions.foreground.shape[1]
    terms = stages.weighted_losses(
        network, guided, regions, torch.ones(3, 4, width), torch.ones(3, 20, width), settings
    )
    assert terms["contrast"] == terms["suppression"] == 0
    torch.stack(list(terms.values())).sum().backward()


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_processes_slices_have_the_suppression_of_their_batch(clip: ClipModel, reduction: str) -> None:
    """Averaged over two processes, as gradients are, the term and its gradients are those of one process."""
    torch.manual_seed(0)
    suppression = SuppressionConfig(initial=0.0, lower=-1.0, reduction=reduction)
    settings = training(replace(PRESETS["nano"], suppression=suppression))
    cam = guided_network().cam.eval()
    images, labels = torch.randn(2, 3, 40, 40) * 0.3, torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    width = encode_regions(clip, images, cam(images).sigmoid(), labels, IMAGENET, "normalised").foreground
    texts = normalize(torch.randn(3, 4, width.shape[1]), dim=2)
    words = normalize(torch.randn(3, 20, width.shape[1]), dim=2)

    def suppressed(part: slice, processes: int) -> tuple[torch.Tensor, ...]:
        network = GuidedNetwork(cam, suppression, True, 4, 1)
        guided = network(images[part])
        regions = encode_regions(clip, images[part], guided.maps, labels[part], IMAGENET, "normalised")
        term = stages.weighted_losses(network, guided, regions, texts, words, settings, processes)
        value = term["suppression"]
        return value, *torch.autograd.grad(value, (network.threshold, cam.classifier.weight))

    whole = suppressed(slice(None), 1)
    slices = (suppressed(slice(0, 1), 2), suppressed(slice(1, 2), 2))
    for expected, first, second in zip(whole, *slices, strict=True):
        assert expected.abs().sum() > 0
        assert_close((first + second) / 2, expected, rtol=1e-3, atol=1e-6)


def test_processes_slices_have_climss_suppression_of_their_batch() -> None:
    torch.manual_seed(0)
    (settings,) = [
        s.settings for s in CLIMS.stages(CLIMS_PRESETS["nano"], shapes_view(), Shared()) if s.name == "guide"
    ]
    settings = replace(settings, threshold=-1.0)
    features = normalize(torch.randn(6, 8), dim=1)
    maps = torch.rand(2, 3, 4, 4)

    def suppressed(pairs: list[int], processes: int) -> torch.Tensor:
        which = torch.tensor(pairs)
        regions = Regions(which, which, features[which], features[which])
        terms = clims_stages.weighted_losses(maps, regions, features, features[3:], settings, processes)
        return terms["co_occurring"]

    whole = suppressed([0, 1, 2], 1)
    assert whole != 0
    assert_close((suppressed([0, 1], 2) + suppressed([2], 2)) / 2, whole)


# --- paper scale ------------------------------------------------------------------------------------------


def paper_scale() -> tuple[CaClConfig, Any]:
    """The paper's settings without pretrained weights, and those of its guided training on VOC."""
    paper = PRESETS["paper"]
    config = replace(
        paper,
        backbone=replace(paper.backbone, weights="none"),
        clip=replace(paper.clip, weights="none"),
    )
    view = TrainingView("voc2012", CLASSES, {"train": ()})
    (settings,) = [s.settings for s in METHOD.stages(config, view, Shared()) if s.name == "guide"]
    return config, settings


def test_the_networks_of_the_paper_have_their_sizes() -> None:
    """ResNet-50 and ViT-B-32 with all texts of VOC's classes and backgrounds, on the meta device."""
    config, settings = paper_scale()
    with torch.device("meta"):
        backbone = build_backbone(config.backbone)
        cam = PlainCam(backbone, 20).eval()
        clip = load_clip(config.clip)
        parts = {
            "ResNet-50 CAM network at 512": complexity(cam, lambda: cam(torch.zeros(1, 3, 512, 512))),
            "ViT-B-32 image encoder at 224": complexity(
                clip.model.visual,  # type: ignore[arg-type]
                lambda: clip.encode_normalised(torch.zeros(1, 3, 224, 224)),
            ),
        }
    assert stages.text_features(clip, settings.texts.of_classes()).shape == (20, 4, 512)
    assert stages.text_features(clip, settings.texts.of_backgrounds()).shape == (20, 20, 512)
    for name, counted in parts.items():
        print(
            f"{name}: {counted.layer_macs / 1e9:.3f} G, {counted.macs / 1e9:.3f} G with products, "
            f"{counted.parameters / 1e6:.3f} M"
        )
    cam_network, encoder = parts.values()
    assert cam_network.parameters == 23_508_032 + 20 * 2048
    assert encoder.parameters == 87_849_216


@pytest.mark.parametrize(("frozen", "learning"), [(None, (1, 2, 3, 4)), (3, (3, 4))])
def test_the_classifier_is_that_of_clims_or_irnets(frozen: int | None, learning: tuple[int, ...]) -> None:
    """All but the first convolution learns, in IRNet nothing up to layer2; statistics are kept, scales and shifts learn.

    The training that follows updates statistics and trains all but the first convolution.
    """
    config = replace(paper_scale()[0], classifier_frozen_stages=frozen)
    classifier = PlainCam(build_backbone(classifier_backbone(config)), 2).train()
    trunk = classifier.backbone.trunk
    before = {k: v.clone() for k, v in trunk.state_dict().items()}
    classifier(torch.randn(2, 3, 64, 64)).square().mean().backward()
    learned = {name for name, parameter in trunk.named_parameters() if parameter.grad is not None}
    layers = tuple(f"layer{number}" for number in learning)
    expected = {n for n, _ in trunk.named_parameters() if n.startswith(layers)}
    assert learned == expected
    assert "layer3.0.bn1.weight" in learned
    assert all(torch.equal(v, before[k]) for k, v in trunk.state_dict().items())
    guided = build_backbone(config.backbone).train()
    guided(torch.randn(2, 3, 64, 64)).square().mean().backward()
    trained = {name for name, p in guided.trunk.named_parameters() if p.grad is not None}
    assert trained == {n for n, _ in trunk.named_parameters() if n.startswith("layer")}
    assert not torch.equal(
        guided.trunk.state_dict()["layer2.0.bn1.running_mean"], before["layer2.0.bn1.running_mean"]
    )


def moved(config: CaClConfig, mean: float, pairs: int, rate: float = 0.0, step: int = 1) -> list[float]:
    """θ after each update on similarities drawn around `mean`; step: iterations that an update stands for."""
    settings = replace(config.suppression, learning_rate=rate or config.suppression.learning_rate)
    factor = schedule(config.train)
    network = GuidedNetwork(guided_network().cam, settings, True, 4, 1)
    training = CaClTrainingConfig(network=None, train=config.train, suppression=settings, **REST)
    optimiser = stages.build_guided_optimiser(network, training)
    drawn = torch.Generator().manual_seed(0)
    found = []
    for iteration in range(0, config.train.iterations if step > 1 else 100, step):
        similarity = mean + 0.03 * torch.randn(pairs, 20, generator=drawn)
        optimiser.zero_grad()
        background_suppression(
            similarity, network.threshold, settings.gate, settings.steepness, 16, settings.reduction
        ).loss.backward()
        optimiser.param_groups[-1]["lr"] = step * settings.learning_rate * factor(iteration)
        optimiser.step()
        network.project_threshold()
        found.append(network.threshold.item())
    return found


REST: Any = {
    "clip": None, "texts": None, "composition": "", "initialisation": "", "weights": None, "margin": 0.5
}  # fmt: skip
PAIRS = {"paper": 23, COCO: 47}
"""Of an image and a present class, in a batch of 16."""


@pytest.mark.parametrize("preset", PAIRS)
@pytest.mark.parametrize("mean", [0.17, 0.19, 0.21])
def test_the_threshold_learns_at_paper_scale(preset: str, mean: float) -> None:
    """Over the first 100 updates and over the whole schedule θ rises, ever slower, and stays off its bounds."""
    config, pairs = PRESETS[preset], PAIRS[preset]
    low, high = config.suppression.lower, config.suppression.upper
    first = moved(config, mean, pairs)
    whole = moved(config, mean, pairs, step=config.train.iterations // 200)
    for path in (first, whole):
        assert all(low < a < b < high for a, b in pairwise([config.suppression.initial, *path[:20]]))
    assert whole[-1] - config.suppression.initial > 0.005
    assert max(whole) < high - 0.005
    assert moved(config, mean, pairs, rate=1e-5)[-1] == pytest.approx(high)  # at a rate like the network's


@pytest.mark.slow
def test_a_step_at_paper_scale_on_cpu() -> None:
    """ResNet-50 and ViT-B-32 with random weights: one training step, which sees the present classes' texts alone."""
    config, settings = paper_scale()
    clip = load_clip(config.clip)
    backbone = build_backbone(config.backbone)
    network = GuidedNetwork(PlainCam(backbone, 20), config.suppression, True, 4, 1)
    optimiser = stages.build_guided_optimiser(network, settings)
    images = torch.randn(2, 3, 128, 128)
    labels = torch.zeros(2, 20)
    labels[0, [3, 14]] = labels[1, 7] = 1
    guided = network(images)
    assert guided.maps.shape == (2, 20, 8, 8)
    regions = encode_regions(clip, images, guided.maps, labels, IMAGENET, config.composition)
    present = [3, 7, 14]

    def features(texts: list[list[str]]) -> torch.Tensor:
        found = torch.full((20, len(texts[0]), 512), torch.nan)
        found[present] = stages.text_features(clip, [texts[k] for k in present])
        return found

    classes, backgrounds = features(settings.texts.of_classes()), features(settings.texts.of_backgrounds())
    terms = stages.weighted_losses(network, guided, regions, classes, backgrounds, settings)
    before = network.cam.classifier.weight.detach().clone()
    loss = torch.stack(list(terms.values())).sum()
    assert loss.isfinite()
    loss.backward()
    optimiser.step()
    assert (network.cam.classifier.weight != before).any()
    assert all(p.grad is None for p in clip.parameters())
