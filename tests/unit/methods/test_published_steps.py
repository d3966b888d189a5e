"""The first step of the transformer methods at full size: what learns, at which rates, and how these fall.

The numbers are written down from the papers, the authors' code and the logs that it printed: rulixiang/ToCo
(scripts/dist_train_*_seg_neg.py, utils/optimizer.py, logs/toco_vit-b_*.log), and xulianuwa/MCTformer at 9606597
(main.py under timm's scheduler; seg/train_seg.py, seg/tool/torchutils.py). Where this project differs and says so in
the methods' deviations, the test says by how much.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from datasets.loading.loader import Batch
from methods.dskd_gc import METHOD as DSKD
from methods.layers.networks.deeplab import build_segmenter
from methods.layers.optim import build_optimiser, schedule
from methods.mctformer import METHOD as MCTFORMER
from methods.mctformer.network import MctformerNetwork
from methods.semantic_modulation import METHOD as SEMANTIC_MODULATION
from methods.toco import METHOD as TOCO
from methods.toco.branch import build_branch
from methods.toco.network import SingleStageNetwork
from methods.toco.phases import phases
from methods.toco.stages import losses, optimiser_of

VOC, COCO = "paper", "paper/coco2014"
CLASSES = {VOC: 20, COCO: 80}
TRANSFORMERS = pytest.mark.parametrize(
    "method", [MCTFORMER, SEMANTIC_MODULATION], ids=lambda method: method.name
)


def single_stage(method: Any, preset: str) -> tuple[SingleStageNetwork, Any]:
    """The whole network of paper scale, without values."""
    config = method.presets[preset]
    settings = replace(config, vit=replace(config.vit, weights="none")).training()
    with torch.device("meta"):
        branch = build_branch(settings.network, CLASSES[preset], settings.projection)
        return SingleStageNetwork(branch, settings).train(), settings


def rates(optimiser: torch.optim.Optimizer, network: nn.Module) -> dict[str, tuple[float, float]]:
    """Learning rate and weight decay by the parameter's name."""
    names = {id(p): name for name, p in network.named_parameters()}
    return {names[id(p)]: (g["lr"], g["weight_decay"]) for g in optimiser.param_groups for p in g["params"]}


def numbers(found: Mapping[str, tuple[float, float]], network: nn.Module, prefix: str = "") -> Counter[float]:
    """How many numbers learn at each rate."""
    sizes = {name: p.numel() for name, p in network.named_parameters()}
    total: Counter[float] = Counter()
    for name, (rate, _) in found.items():
        if name.startswith(prefix):
            total[round(rate, 12)] += sizes[name]
    return total


def assert_adamw(optimiser: torch.optim.Optimizer) -> None:
    assert isinstance(optimiser, torch.optim.AdamW)
    assert {(g["betas"], g["eps"], g["amsgrad"]) for g in optimiser.param_groups} == {
        ((0.9, 0.999), 1e-8, False)
    }


VIT_B = 85_798_656
"""Of ViT-B/16 without classifier: 12 blocks of 7 087 872, patches 590 592, class token, 197 positions of 768, norm."""
LARGE_FOV = 9 * 768 * 512 + 9 * 512 * 512
CONTRAST_HEAD = 768 * 2048 + 2048 + 2048 * 2048 + 2048 + 2048 * 256 + 256 + 1024 * 256


@pytest.mark.parametrize("preset", [VOC, COCO])
def test_tocos_optimiser(preset: str) -> None:
    """Transformer 6e-5; both classifiers, contrast head and decoder 6e-4; decay .01 (there of biases and norms too)."""
    network, settings = single_stage(TOCO, preset)
    classes = CLASSES[preset]
    optimiser = optimiser_of(network, settings)
    assert_adamw(optimiser)
    found = rates(optimiser, network)
    biases = 512 + 512 + classes + 1  # of the decoder, which has none there
    decoder = LARGE_FOV + 512 * (classes + 1) + biases
    assert numbers(found, network) == {
        6e-5: VIT_B,
        6e-4: 2 * 768 * classes + CONTRAST_HEAD + decoder,
    }
    assert {decay for _, decay in found.values()} == {0.01, 0.0}
    kernels = [name for name, p in network.named_parameters() if p.ndim > 1 and name in found]
    assert {
        found[name][1] for name in kernels if "_positions" not in name and "class_tokens" not in name
    } == {0.01}
    assert {name for name, p in network.named_parameters() if name not in found} == {
        name for name, _ in network.named_parameters() if name.startswith("class_contrast.average.")
    }


@pytest.mark.parametrize("preset", [VOC, COCO])
def test_tocos_network_has_no_batch_normalisation_and_drops_nothing(preset: str) -> None:
    network, _ = single_stage(TOCO, preset)
    assert not [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert not [m for m in network.modules() if isinstance(m, nn.Dropout) and m.p > 0]
    assert not [m for m in network.modules() if type(m).__name__ == "DropPath"]
    assert {m.eps for m in network.modules() if isinstance(m, nn.LayerNorm)} == {1e-6}


PRINTED = {
    VOC: {
        200: 7.960e-6,
        400: 1.596e-5,
        1400: 5.596e-5,
        1600: 5.566e-5,
        2000: 5.457e-5,
        10000: 3.216e-5,
        20000: 8.077e-9,
    },
    COCO: {200: 7.960e-6, 1400: 5.596e-5, 1600: 5.892e-5, 8000: 5.457e-5, 40000: 3.215e-5, 80000: 2.319e-9},
}
"""The rate of ToCo's logs, toco_vit-b_voc_20k.log and toco_vit-b_coco_80k.log, by 'Iter'."""


@pytest.mark.parametrize(("preset", "iterations", "batch"), [(VOC, 20000, 4), (COCO, 80000, 8)])
def test_tocos_schedule_is_that_of_its_logs(preset: str, iterations: int, batch: int) -> None:
    """'Iter: n' prints the rate of the step before; our warm-up is one iteration ahead, as the deviations say."""
    train = TOCO.presets[preset].train
    assert (train.iterations, train.batch_size) == (iterations, batch)
    factor = schedule(train)
    for number, rate in PRINTED[preset].items():
        ahead = 1 if number <= 1500 else 0
        assert train.learning_rate * factor(number - 1 - ahead) == pytest.approx(rate, rel=3e-4), number
    assert [6e-5 * factor(n) for n in (0, 1)] == pytest.approx([4e-8, 8e-8])  # there 6e-11 and 4e-8


def test_tocos_losses_begin_where_its_code_has_them_begin() -> None:
    """VOC: decoder after 2 000. COCO: decoder after 8 000, on the auxiliary CAM's labels until 12 000; contrast then."""
    found = {p: single_stage(TOCO, p) for p in (VOC, COCO)}
    acting = {
        preset: [
            (*phase[:2], phase.segmentation, phase.contrast, phase.auxiliary_labels)
            for phase in phases(settings)
        ]
        for preset, (_, settings) in found.items()
    }
    assert acting[VOC] == [(0, 2000, False, True, False), (2000, 20000, True, True, False)]
    assert acting[COCO] == [
        (0, 8000, False, False, True),
        (8000, 12000, True, False, True),
        (12000, 80000, True, True, False),
    ]
    network, settings = found[COCO]
    learning = []
    for phase in phases(settings):
        network.begin(phase)
        parts = {"decoder": network.teacher.decoder, "head": network.class_contrast.head}  # type: ignore[union-attr]
        learning.append(
            [name for name, part in parts.items() if all(p.requires_grad for p in part.parameters())]
        )
        assert all(p.requires_grad for p in network.teacher.encoder.parameters())
    assert learning == [[], ["decoder"], ["decoder", "head"]]
    for preset, high, background, temperature in ((VOC, 0.7, 0.5, 0.5), (COCO, 0.65, 0.45, 1.0)):
        config = TOCO.presets[preset]
        assert (
            (config.contrast.low, config.contrast.high)
            == (config.labels.low, config.labels.high)
            == (0.25, high)
        )
        assert (config.background_threshold, config.class_contrast.temperature) == (background, temperature)
        assert config.contrast.scales == config.labels.scales == config.inference.scales == (1.0, 0.5, 1.5)
        weights = config.weights
        assert (weights.patch_classification, weights.auxiliary, weights.patch_contrast) == (1.0, 1.0, 0.2)
        assert (weights.class_contrast, weights.segmentation, weights.classification) == (0.5, 0.1, 0.0)


@pytest.mark.parametrize(("preset", "warm_up"), [(VOC, 2000), (COCO, 5000)])
def test_dskds_optimiser_and_who_learns_when(preset: str, warm_up: int) -> None:
    """Teacher 6e-5, student 6e-6 in the warm-up alone; the rest, which the paper leaves open, is ToCo's."""
    network, settings = single_stage(DSKD, preset)
    optimiser = optimiser_of(network, settings)
    assert_adamw(optimiser)
    found = rates(optimiser, network)
    assert network.student is not None
    assert numbers(found, network, "teacher.encoder.") == {6e-5: VIT_B}
    assert numbers(found, network, "student.") == {6e-6: VIT_B}
    assert {round(rate, 12) for name, (rate, _) in found.items() if name.split(".")[1] != "encoder"} == {6e-4}
    assert {decay for _, decay in found.values()} == {0.01, 0.0}
    assert settings.train.batch_size == {VOC: 4, COCO: 8}[preset]
    learning, begins = [], []
    for phase in phases(settings):
        network.begin(phase)
        learning.append(any(p.requires_grad for p in network.student.parameters()))
        begins.append((phase.start, phase.segmentation))
        assert phase.contrast
        assert not phase.auxiliary_labels
    assert learning == [True, False]
    assert begins == [(0, False), (warm_up, True)]
    assert not [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def test_dskds_schedule_is_a_cosine() -> None:
    """6e-5 (1 + cos(π n / 20 000)) / 2 after ToCo's 1 500 iterations of warm-up."""
    factor = schedule(DSKD.presets[VOC].train)
    found = [6e-5 * factor(n) for n in (0, 1, 2000, 10000, 19999)]
    assert found == pytest.approx([4e-8, 8e-8, 5.853170e-5, 3e-5, 3.7011e-13], rel=1e-4)


DEIT_S = 21_588_864
"""Blocks of DeiT-S (12 of 1 774 464) and its patch embedding (295 296); the last norm is not used."""


@TRANSFORMERS
@pytest.mark.parametrize("preset", [VOC, COCO])
def test_mctformers_optimiser(method: Any, preset: str) -> None:
    """AdamW at 5e-4 · 64 / 512 for all; decay .05, but for biases, norms, class tokens and positions (timm)."""
    config, classes = method.presets[preset], CLASSES[preset]
    with torch.device("meta"):
        network = MctformerNetwork.build(replace(config.vit, weights="none"), classes).train()
    optimiser = build_optimiser(network, network.heads(), config.train)
    assert_adamw(optimiser)
    found = rates(optimiser, network)
    assert set(found) == {name for name, _ in network.named_parameters()}, "nothing is frozen"
    head = 9 * 384 * classes + classes
    tokens = 2 * 384 * classes + 196 * 384  # class tokens with positions of their own, and the patches'
    assert numbers(found, network) == {6.25e-5: DEIT_S + tokens + head}
    without = {name for name, p in network.named_parameters() if p.ndim == 1} | {
        f"vit.{name}" for name in ("class_tokens", "class_positions", "patch_positions")
    }
    assert {name: decay for name, (_, decay) in found.items()} == {
        name: 0.0 if name in without else 0.05 for name in found
    }
    assert not [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    dropped = [getattr(block.drop_path1, "drop_prob", 0.0) for block in network.vit.trunk.blocks]
    assert dropped == pytest.approx([0.1 * n / 11 for n in range(12)], abs=1e-6)


@TRANSFORMERS
def test_mctformers_schedule(method: Any) -> None:
    """timm's: 1e-6 up to 6.25e-5 in 5 epochs, a cosine of 60 to 1e-5; stepped after each epoch of 165 iterations.

    There the rate of an epoch is that of the one before it, and constant in it; here it is the iteration's own.
    """
    train = method.presets[VOC].train
    assert (train.iterations, train.warmup, train.batch_size) == (60 * 165, 5 * 165, 64)
    rate = schedule(train)
    found = [train.learning_rate * rate(n) for n in (990, 4950, 9899)]
    theirs = [6.1606e-5, 3.7624e-5, 1.0144e-5]  # epochs 6, 30, 59
    assert found == pytest.approx(theirs, rel=0.04)
    assert found == pytest.approx([6.1215e-5, 3.625e-5, 1e-5], rel=1e-4)
    assert train.learning_rate * rate(330) == pytest.approx(2.5e-5, rel=0.01)  # there still 1e-6
    said = next(d for d in method.deviations if d.topic == "learning rate").ours
    assert "an epoch late" in said
    assert "330 iterations, in which ours rises to 2.5e-5" in said


@TRANSFORMERS
def test_mctformers_segmentation(method: Any) -> None:
    """Two groups, 7e-4 and 7e-3, biases alike; PolyOptimizer_cls hands its decay of 1e-5 over as the momentum."""
    settings = method.presets[VOC].segmenter
    with torch.device("meta"):
        network = build_segmenter(
            replace(settings, backbone=replace(settings.backbone, weights="none")), 20
        ).train()
    optimiser = build_optimiser(network, network.new_layers, settings.train)
    assert isinstance(optimiser, torch.optim.SGD)
    assert {(g["momentum"], g["weight_decay"], g["nesterov"]) for g in optimiser.param_groups} == {
        (1e-5, 0.0, False)
    }
    found = rates(optimiser, network)
    head = 9 * 4096 * 512 + 512 + 9 * 512 * 21 + 21
    assert numbers(found, network)[7e-3] == head
    assert set(numbers(found, network)) == {7e-4, 7e-3}
    frozen = {name for name, p in network.named_parameters() if not p.requires_grad}
    norms = [(n, m) for n, m in network.named_modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert not [n for n, m in norms if m.training]
    own = {f"{n}.{p}" for n, _ in norms for p in ("weight", "bias")}
    assert frozen - own == {name for name in frozen if "conv1a" in name} != set()
    factor = schedule(settings.train)
    assert settings.train.iterations == 30 * 2645
    rates_at = [7e-4 * factor(n) for n in (0, 1, 7935, 39675, 79349)]
    assert rates_at == pytest.approx([7e-4, 6.999921e-4, 6.36673e-4, 3.75121e-4, 2.7259e-8], rel=1e-4)


# --- a step of the whole networks, with values ---------------------------------------------------------------


def batch_of(images: int, size: int, classes: int) -> Batch:
    source = torch.Generator().manual_seed(0)
    labels = torch.zeros(images, classes)
    labels[:, 3] = labels[0, 7] = 1
    valid = torch.ones(images, 1, size, size, dtype=torch.bool)
    return Batch(("0",) * images, torch.randn(images, 3, size, size, generator=source), labels, {}, valid)


def assert_first_step(
    network: nn.Module, optimiser: torch.optim.Optimizer, expected: Mapping[str, tuple[float, float]]
) -> None:
    """AdamW's first: every number moves by its rate against its gradient's sign, and decays by rate times decay.

    expected: rate and decay by the parameter's name; a rate of 0: it stays
    """
    parameters = dict(network.named_parameters())
    before = {name: parameters[name].detach().clone() for name in expected}
    gradients = {name: parameters[name].grad for name in expected}
    optimiser.step()
    for name, (rate, decay) in expected.items():
        gradient = gradients[name]
        moved = parameters[name].detach() - before[name]
        if rate == 0:
            assert not moved.any(), name
            continue
        assert gradient is not None
        step = -rate * (gradient / (gradient.abs() + 1e-8) + decay * before[name])
        torch.testing.assert_close(
            moved, step, rtol=2e-2, atol=2e-2 * rate, msg=lambda text, n=name: f"{n}: {text}"
        )


def total(terms: Mapping[str, torch.Tensor]) -> torch.Tensor:
    return torch.stack(list(terms.values())).sum()


@pytest.mark.slow
def test_a_step_of_tocos_whole_network() -> None:
    """ViT-B, all five losses of its code but the energy loss, at the end of the warm-up."""
    config = TOCO.presets[VOC]
    settings = replace(config, vit=replace(config.vit, weights="none")).training()
    torch.manual_seed(0)
    network = SingleStageNetwork(build_branch(settings.network, 20), settings).train()
    optimiser = optimiser_of(network, settings)
    network.begin(phases(settings)[-1])
    step, second, local = (
        batch_of(2, 112, 20),
        batch_of(2, 112, 20).images.flip(-1),
        torch.randn(2, 3, 112, 112),
    )
    terms = losses(network(step.images, step.labels, step.valid, second, local), step, settings)
    assert set(terms) == {
        "patch_classification",
        "auxiliary",
        "patch_contrast",
        "class_contrast",
        "segmentation",
    }
    total(terms).backward()
    assert network.class_contrast is not None
    fixed = {name: p.detach().clone() for name, p in network.class_contrast.average.named_parameters()}
    assert_first_step(
        network,
        optimiser,
        {
            "teacher.encoder.trunk.blocks.0.attn.qkv.weight": (6e-5, 0.01),
            "teacher.encoder.trunk.blocks.11.mlp.fc2.weight": (6e-5, 0.01),
            "teacher.encoder.trunk.blocks.0.norm1.weight": (6e-5, 0.0),
            "teacher.encoder.patch_positions": (6e-5, 0.0),
            "teacher.classifier.weight": (6e-4, 0.01),
            "teacher.auxiliary_classifier.weight": (6e-4, 0.01),
            "teacher.decoder.0.weight": (6e-4, 0.01),
            "class_contrast.head.last": (6e-4, 0.01),
        },
    )
    assert all(torch.equal(p, fixed[name]) for name, p in network.class_contrast.average.named_parameters())


@pytest.mark.slow
def test_a_step_of_dskds_whole_networks_in_the_warm_up() -> None:
    """Teacher at 6e-5, the student's layers up to the auxiliary one at 6e-6; the rest of the student stays."""
    config = DSKD.presets[VOC]
    settings = replace(config, vit=replace(config.vit, weights="none")).training()
    torch.manual_seed(0)
    network = SingleStageNetwork(build_branch(settings.network, 20, settings.projection), settings).train()
    optimiser = optimiser_of(network, settings)
    network.begin(phases(settings)[0])
    assert network.student is not None
    with torch.no_grad():
        for parameter in network.student.early_parameters():  # two equal networks would be alike already
            parameter.add_(0.01 * torch.randn(parameter.shape))
    step = batch_of(2, 112, 20)
    terms = losses(network(step.images, step.labels, step.valid), step, settings)
    assert set(terms) == {
        "classification",
        "patch_classification",
        "auxiliary",
        "patch_contrast",
        "similarity",
    }
    total(terms).backward()
    assert_first_step(
        network,
        optimiser,
        {
            "teacher.encoder.trunk.blocks.0.attn.qkv.weight": (6e-5, 0.01),
            "teacher.classifier.weight": (6e-4, 0.01),
            "teacher.decoder.0.weight": (0.0, 0.0),
            "student.encoder.trunk.blocks.0.attn.qkv.weight": (6e-6, 0.01),
            "student.encoder.trunk.blocks.9.mlp.fc2.weight": (6e-6, 0.01),
            "student.encoder.trunk.blocks.10.mlp.fc2.weight": (0.0, 0.0),
            "student.classifier.weight": (0.0, 0.0),
        },
    )


@TRANSFORMERS
def test_a_step_of_mctformers_whole_network(method: Any) -> None:
    """DeiT-S; the two losses are multilabel soft margins of the class tokens' means and of the pooled maps."""
    config = method.presets[VOC]
    torch.manual_seed(0)
    network = MctformerNetwork.build(replace(config.vit, weights="none", drop_path=0.0), 20).train()
    optimiser = build_optimiser(network, network.heads(), config.train)
    step = batch_of(2, 64, 20)
    terms = network.losses(network, step, config)
    output = network(step.images)
    scores = torch.stack([output.class_scores, output.patch_cam.mean((2, 3))])
    expected = -(step.labels * scores.sigmoid().log() + (1 - step.labels) * (-scores).sigmoid().log()).mean(
        (1, 2)
    )
    torch.testing.assert_close(torch.stack([terms["class_tokens"], terms["patches"]]), expected)
    total(terms).backward()
    assert_first_step(
        network,
        optimiser,
        {
            "vit.trunk.blocks.0.attn.qkv.weight": (6.25e-5, 0.05),
            "vit.trunk.blocks.11.mlp.fc2.bias": (6.25e-5, 0.0),
            "vit.class_tokens": (6.25e-5, 0.0),
            "vit.patch_positions": (6.25e-5, 0.0),
            "head.weight": (6.25e-5, 0.05),
            "head.bias": (6.25e-5, 0.0),
        },
    )
