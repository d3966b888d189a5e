"""CA-CL: its losses and their gradients, regions, the record of a training, its stages on a tiny run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize
from torch.testing import assert_close

from benchmark.complexity import complexity
from benchmark.config import RuntimeConfig, compose
from benchmark.console import stage_progress
from benchmark.context import RunContext
from benchmark.runner import make_fabric
from datasets.base import Sample, TrainingView
from datasets.limits import first_fault
from datasets.recipe import IMAGENET
from datasets.voc import CLASSES
from methods.artifacts import CamReader
from methods.base import Artifact, Kind, MethodError, NotRunnable, Shared
from methods.ca_cl import METHOD, stages
from methods.ca_cl.config import PRESETS, CaClConfig, LossWeights, SuppressionConfig
from methods.ca_cl.experiments import EXPERIMENTS
from methods.ca_cl.losses import background_suppression, image_text_contrast, select_prompts
from methods.ca_cl.network import GuidedNetwork
from methods.cam.stages import CamNetwork, classify, image_scores
from methods.clims import METHOD as CLIMS
from methods.clims import stages as clims_stages
from methods.clims.config import PRESETS as CLIMS_PRESETS
from methods.clims.config import ClimsConfig
from methods.clims.regions import Regions, encode_regions
from methods.layers.backbones import build_backbone
from methods.layers.clip import ClipModel, load_clip
from methods.layers.clip_config import NANO, ClipConfig
from methods.layers.config import BackboneConfig
from methods.layers.words import PROMPTS, TextConfig
from tests.trees import write_image

THETA = torch.tensor(0.26, dtype=torch.float64)


# --- losses -----------------------------------------------------------------------------------------------


def similarities(rows: int = 4, texts: int = 6) -> torch.Tensor:
    """None within 0.01 of θ, so that finite differences do not cross the gate."""
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(rows, texts, generator=generator, dtype=torch.float64) * 0.6 - 0.1
    near = (values - THETA).abs() < 0.01
    return torch.where(near, values + 0.05, values)


def test_prompts_are_chosen_by_similarity() -> None:
    similarity = torch.tensor([[0.1, 0.3, 0.2], [0.5, 0.4, -0.9]], requires_grad=True)
    assert select_prompts(similarity).tolist() == [1, 0]


def test_contrast_by_hand() -> None:
    foreground, background = torch.tensor([0.3, 0.9, 0.2]), torch.tensor([0.1, 0.2, 0.4])
    assert_close(image_text_contrast(foreground, background, 0.5), torch.tensor((0.3 + 0.0 + 0.7) / 3))
    assert image_text_contrast(torch.zeros(0), torch.zeros(0)) == 0


def test_suppression_by_hand() -> None:
    similarity = torch.tensor([[0.26, 0.1], [0.5, -0.3]])
    found = background_suppression(similarity, torch.tensor(0.26))
    assert found.selected.tolist() == [[True, False], [True, False]]  # θ itself is selected, Eq. 10
    expected = -(torch.tensor([0.74, 0.5]).log()).sum()
    assert_close(found.loss, expected)
    mean = background_suppression(similarity, torch.tensor(0.26), images=4, reduction="mean")
    assert_close(mean.loss, expected / 4)


def test_a_steep_sigmoid_is_the_gate() -> None:
    similarity = similarities()
    hard = background_suppression(similarity, THETA).loss
    soft = background_suppression(similarity, THETA, gate="sigmoid", steepness=5000.0).loss
    assert_close(soft, hard)


def test_gradients_of_contrast() -> None:
    foreground, background = similarities()[:, 0].clone(), similarities()[:, 1].clone()
    inputs = (foreground.requires_grad_(), background.requires_grad_())
    assert torch.autograd.gradcheck(image_text_contrast, inputs)


def test_gradients_of_the_soft_gate_to_similarity_and_threshold() -> None:
    inputs = (similarities().requires_grad_(), THETA.clone().requires_grad_())
    assert torch.autograd.gradcheck(
        lambda s, t: background_suppression(s, t, gate="sigmoid", steepness=20.0).loss, inputs
    )


def test_straight_through_leaves_the_similarity_the_hard_gates_gradient() -> None:
    assert torch.autograd.gradcheck(
        lambda s: background_suppression(s, THETA).loss, (similarities().requires_grad_(),)
    )


def test_straight_through_gives_the_threshold_the_sigmoids_gradient() -> None:
    """∂L/∂θ = Σ ∂L/∂t at the hard gate · dσ/dθ, both by central differences."""
    similarity, steepness, step = similarities(), 50.0, 1e-6
    theta = THETA.clone().requires_grad_()
    background_suppression(similarity, theta, steepness=steepness).loss.backward()

    gate = (similarity >= THETA).double()

    def loss_of(gate: torch.Tensor) -> torch.Tensor:
        return -(1 - similarity * gate).log()

    by_gate = (loss_of(gate + step) - loss_of(gate - step)) / (2 * step)

    def soft(at: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(steepness * (similarity - at))

    by_theta = (soft(THETA + step) - soft(THETA - step)) / (2 * step)
    assert_close(theta.grad, (by_gate * by_theta).sum(), rtol=1e-6, atol=1e-9)


def test_the_threshold_rises_when_only_the_loss_moves_it() -> None:
    similarity = similarities().abs()
    theta = THETA.clone().requires_grad_()
    background_suppression(similarity, theta).loss.backward()
    assert theta.grad is not None
    assert theta.grad < 0


@pytest.mark.parametrize("gate", ["straight_through", "sigmoid"])
def test_perfect_matches_have_finite_gradients(gate: str) -> None:
    similarity = torch.ones(2, 3, requires_grad=True)
    theta = torch.tensor(0.26, requires_grad=True)
    background_suppression(similarity, theta, gate=gate).loss.backward()
    assert similarity.grad is not None
    assert similarity.grad.isfinite().all()
    assert theta.grad is not None
    assert theta.grad.isfinite()


def test_unknown_options() -> None:
    with pytest.raises(MethodError, match="unknown gate 'hard'"):
        background_suppression(similarities(), THETA, gate="hard")
    with pytest.raises(MethodError, match="unknown reduction 'max'"):
        background_suppression(similarities(), THETA, reduction="max")


# --- regions ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clip() -> ClipModel:
    return load_clip(ClipConfig(NANO, "none"))


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
    assert_close(whole.foreground, clip.encode_images(images * std + mean), rtol=1e-3, atol=1e-4)
    maps = torch.full((1, 2, 5, 5), 0.5, requires_grad=True)
    found = encode_regions(clip, images, maps, labels, IMAGENET, "normalised")
    (found.foreground[:, 0].sum() + found.background[:, 1].sum()).backward()
    assert maps.grad is not None
    assert maps.grad[:, 0].abs().sum() > 0
    assert not maps.grad[:, 1].any()


# --- the network's record ---------------------------------------------------------------------------------


def guided_network() -> GuidedNetwork:
    backbone = build_backbone(BackboneConfig("resnet38d_nano", "none", 4))
    return GuidedNetwork(CamNetwork(backbone, backbone.channels, 3), SuppressionConfig(), True, 2, 3)


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


def training(config: CaClConfig, classes: tuple[str, ...] = ("boat", "cat", "train")) -> Any:
    view = TrainingView("shapes", classes, {"train": ()})
    (stage,) = [s for s in METHOD.stages(config, view, Shared()) if s.name == "guide"]
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


# --- graph and settings -----------------------------------------------------------------------------------


def shapes_view(classes: tuple[str, ...] = ("boat", "cat", "train")) -> TrainingView:
    return TrainingView("shapes", classes, {"train": ()})


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
    def guided(method: Any, config: Any) -> Any:
        return next(s.settings for s in method.stages(config, shapes_view(), Shared()) if s.name == "guide")

    fewer = TextConfig(words_per_class=3)
    assert guided(METHOD, PRESETS["nano"]) != guided(METHOD, replace(PRESETS["nano"], text=fewer))
    clims = CLIMS_PRESETS["nano"]
    text = replace(clims.text, words_per_class=3)
    assert guided(CLIMS, clims) == guided(CLIMS, replace(clims, text=text))
    bare = replace(PRESETS["nano"], weights=LossWeights(suppression=0.0))
    assert guided(METHOD, bare) == guided(METHOD, replace(bare, text=fewer))


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
    CLIMS.stages(replace(CLIMS_PRESETS["nano"], clip=clip, text=text), folder, Shared())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"suppression": SuppressionConfig(initial=0.9)}, r"suppression\.initial=0\.9: must lie in"),
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
        for experiment in EXPERIMENTS
        for row in experiment.rows
        for setting in row.settings
    }
    config: Any = compose(["ca_cl"], overrides=list(by_key.values())).method["ca_cl"]
    METHOD.stages(config, shapes_view(), Shared())
    assert tuple(config.text.prompts) == (*PROMPTS, "a clean origami {}.")


# --- stages -----------------------------------------------------------------------------------------------

PICTURES = ((40, 48), (40, 48), (48, 40), (40, 48))


def tiny(config: Any) -> Any:
    """As configured, with an untrained CLIP and trainings of two iterations."""
    small = {"iterations": 2, "batch_size": 2, "warmup": 1}
    crop = replace(config.train.recipe, crop=32)
    return replace(
        config,
        backbone=replace(config.backbone, weights="none"),
        clip=ClipConfig(NANO, "none"),
        classifier=replace(config.classifier, **small, recipe=crop),
        train=replace(config.train, **small, recipe=crop),
        inference=replace(config.inference, scales=(1.0,)),
    )


def run_to_cam(method: Any, config: Any, folder: Path) -> Mapping[str, Path]:
    samples = []
    for i, (height, width) in enumerate(PICTURES):
        path = folder / "images" / f"{i}.png"
        write_image(path, i, size=(width, height))
        samples.append(Sample(str(i), path, (0, 2) if i else (1,)))
    view = TrainingView(
        "shapes", ("boat", "cat", "train"), {"train": tuple(samples), "val": tuple(samples[:1])}
    )
    runtime = RuntimeConfig(device="cpu", workers=1, shard=3, checkpoint_every=1)
    functions = {
        "methods.cam.stages:classify": classify,
        "methods.cam.stages:image_scores": image_scores,
        "methods.ca_cl.stages:guide": stages.guide,
        "methods.clims.stages:guide": clims_stages.guide,
        "methods.clims.stages:cam": clims_stages.cam,
    }
    done: dict[str, Artifact] = {}
    for stage in method.stages(config, view, Shared()):
        inputs = {role: done[name] for role, name in stage.inputs.items()}
        output = folder / stage.name
        (output / ".scratch").mkdir(parents=True)
        progress = stage_progress(stage.name)
        context = RunContext(make_fabric(runtime), runtime, view, inputs, output, 0, progress, None)
        torch.manual_seed(0)
        functions[stage.run](context, stage.settings)
        done[stage.name] = Artifact(output, "", stage.yields)
        if stage.yields == Kind.CAM:
            break
    return {name: artifact.path for name, artifact in done.items()}


@pytest.mark.parametrize("initialisation", ["classifier", "backbone"])
def test_ca_cl_stages(tmp_path: Path, initialisation: str) -> None:
    config = replace(tiny(PRESETS["nano"]), initialisation=initialisation)
    paths = run_to_cam(METHOD, config, tmp_path)
    guidance = json.loads((paths["guide"] / "guidance.json").read_text())
    assert sum(map(sum, guidance["prompt_choices"].values())) in range(4, 9)  # 1 or 2 classes an image
    assert len(guidance["threshold"]) == len(guidance["selected"]) == 2
    assert guidance["threshold"][0] == pytest.approx(config.suppression.initial)
    assert config.suppression.lower <= guidance["final_threshold"] <= config.suppression.upper
    (history,) = paths["guide"].glob("losses-*.json")
    assert {"contrast", "suppression", "area"} <= set(json.loads(history.read_text())[-1])
    reader = CamReader(paths["cam"])
    assert set(reader.ids) == {"0", "1", "2", "3"}
    assert reader["1"].maps.shape == (2, 10, 12)


def test_without_suppression_nothing_is_said_of_its_threshold(tmp_path: Path) -> None:
    paths = run_to_cam(METHOD, replace(tiny(PRESETS["nano"]), weights=LossWeights(suppression=0.0)), tmp_path)
    guidance = json.loads((paths["guide"] / "guidance.json").read_text())
    assert set(guidance) == {"prompts", "prompt_choices"}
    (history,) = paths["guide"].glob("losses-*.json")
    assert set(json.loads(history.read_text())[-1]) == {"iteration", "contrast", "area"}


def test_clims_stages(tmp_path: Path) -> None:
    config: ClimsConfig = tiny(CLIMS_PRESETS["nano"])
    paths = run_to_cam(CLIMS, replace(config, activation="sigmoid"), tmp_path)
    (history,) = paths["guide"].glob("losses-*.json")
    terms = {"object_text", "background_text", "co_occurring", "area"}
    assert terms <= set(json.loads(history.read_text())[-1])
    assert len(CamReader(paths["cam"]).ids) == 4


# --- paper scale ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_paper_scale_steps_on_cpu() -> None:
    """ResNet-50 and ViT-B-32 with random weights: one training step, and what a step's parts cost an image."""
    paper = PRESETS["paper"]
    config = replace(paper, backbone=replace(paper.backbone, weights="none"))
    view = TrainingView("voc2012", CLASSES, {"train": ()})
    (settings,) = [s.settings for s in METHOD.stages(config, view, Shared()) if s.name == "guide"]
    clip = load_clip(replace(config.clip, weights="none"))
    backbone = build_backbone(config.backbone)
    network = GuidedNetwork(CamNetwork(backbone, backbone.channels, 20), config.suppression, True, 4, 1)
    optimiser = stages.build_guided_optimiser(network, settings)
    images = torch.randn(2, 3, 128, 128)
    labels = torch.zeros(2, 20)
    labels[0, [3, 14]] = labels[1, 7] = 1
    guided = network(images)
    assert guided.maps.shape == (2, 20, 8, 8)
    regions = encode_regions(clip, images, guided.maps, labels, IMAGENET, config.composition)
    texts = {
        "class": stages.text_features(clip, settings.texts.of_classes()),
        "background": stages.text_features(clip, settings.texts.of_backgrounds()),
    }
    assert texts["class"].shape == (20, 4, 512)
    assert texts["background"].shape == (20, 20, 512)
    terms = stages.weighted_losses(network, guided, regions, texts["class"], texts["background"], settings)
    before = network.cam.classifier.weight.detach().clone()
    torch.stack(list(terms.values())).sum().backward()
    optimiser.step()
    assert (network.cam.classifier.weight != before).any()
    assert all(p.grad is None for p in clip.parameters())

    network.eval()
    parts = {
        "ResNet-50 CAM network at 512": complexity(
            network.cam, lambda: network.cam(torch.zeros(1, 3, 512, 512))
        ),
        "ViT-B-32 image encoder at 224": complexity(
            clip.model.visual,  # type: ignore[arg-type]
            lambda: clip.encode_images(torch.zeros(1, 3, 224, 224)),
        ),
    }
    for name, counted in parts.items():
        print(
            f"{name}: {counted.layer_macs / 1e9:.3f} G, {counted.macs / 1e9:.3f} G with products, "
            f"{counted.parameters / 1e6:.3f} M"
        )
    cam_network, encoder = parts.values()
    assert cam_network.parameters == 23_508_032 + 20 * 2048
    assert encoder.parameters == 87_849_216
