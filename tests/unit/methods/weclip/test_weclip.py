"""WeCLIP against its reference: correction of the attention, decoder, labels, losses; its graph and training step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from benchmark.profiling.complexity import forward_pass_complexity
from datasets.base import IGNORE, TrainingView
from datasets.loading.loader import Batch
from datasets.voc.reader import CLASSES
from methods.base import Shared
from methods.layers.cam import resize
from methods.layers.clip.affinity import mean_attention, spread
from methods.layers.clip.config import AffinityConfig
from methods.layers.clip.patches import to_unit
from methods.refiners.config import RefinerConfig
from methods.segmenters import SEGMENTERS
from methods.toco.losses import balanced_segmentation_loss
from methods.weclip import METHOD
from methods.weclip.config import WeclipDecoderConfig, WeclipTrainingConfig
from methods.weclip.labels import corrected_attention, refined_labels
from methods.weclip.losses import affinity_labels, affinity_loss, window
from methods.weclip.network import Decoder, Fusion, Learner, WeclipNetwork, pair_affinity
from methods.weclip.stages import losses, profile_train
from tests.conftest import golden

VOC = TrainingView("voc2012", CLASSES, {"train": (), "val": ()})
SHAPES = TrainingView("shapes", ("boat", "cat", "train"), {"train": (), "val": ()}, generated=True)


def _tensors(name: str) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(np.asarray(value)) for key, value in golden(name).items()}


def test_golden_correction() -> None:
    g = _tensors("weclip_rfm")
    attention = [layer[None, 1:, 1:] for layer in g["attention"]]
    affinity, maps = g["decoder_affinity"][None], g["cams"][None]
    for suffix, blocks, threshold in (("", 6, 0.4), ("_coco", 10, 0.7)):
        config = AffinityConfig(threshold=threshold)
        before = spread(maps, mean_attention(attention, config.blocks), config)
        assert_close(before[0], g[f"refined_before{suffix}"], rtol=1e-4, atol=1e-6)
        after = spread(maps, corrected_attention(attention, affinity, blocks), config)
        assert_close(after[0], g[f"refined_after{suffix}"], rtol=1e-4, atol=1e-6)
        if not suffix:
            assert_close(resize(to_unit(after), (80, 112))[0, 0], g["upsampled_after"], rtol=0, atol=1e-4)


def test_of_the_signed_difference_the_affinity_is_no_part() -> None:
    """Its sum is all blocks' the same, so it scales what is kept and chooses nothing; the absolute one chooses."""
    generator = torch.Generator().manual_seed(0)
    attention = [torch.rand(1, 12, 12, generator=generator) / (2 + k) for k in range(6)]
    first, second = torch.rand(2, 1, 12, 12, generator=generator).unbind(0)
    signed = [corrected_attention(attention, each, 6) / each for each in (first, second)]
    assert_close(signed[0], signed[1])
    absolute = [corrected_attention(attention, each, 6, True) / each for each in (first * 0.01, second)]
    assert not torch.allclose(*absolute)


def test_golden_losses() -> None:
    g = _tensors("weclip_losses")
    labels = g["labels"].long()
    grid = (labels.shape[1] // 16, labels.shape[2] // 16)
    near = window(grid, int(g["radius"]))
    assert torch.equal(near, g["window"].bool())
    pairs = affinity_labels(labels, grid, near)
    assert torch.equal(pairs, g["affinity_labels"].long())
    loss, positives, negatives = affinity_loss(g["prediction"], pairs)
    assert_close(loss, g["affinity_loss"], rtol=1e-4, atol=0)
    assert (int(positives) + 1, int(negatives) + 1) == (int(g["positives"]), int(g["negatives"]))
    assert_close(
        balanced_segmentation_loss(g["seg_logits"], g["seg_labels"].long()), g["seg_loss"], rtol=1e-4, atol=0
    )


def test_golden_labels() -> None:
    g = _tensors("weclip_pseudo_labels")
    size, present = g["cams"].shape[-2:], torch.zeros(1, 20, dtype=torch.bool)
    maps = torch.zeros(1, 20, *size)
    for label, cam in zip(g["classes"].tolist(), g["cams"]):
        maps[0, label], present[0, label] = cam, True
    labels = refined_labels(g["image"][None], maps, present, 20)[0]
    assert (labels != g["labels"].long()).float().mean() <= 0.001


def test_labels_of_an_image_do_not_depend_on_the_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    images, maps = torch.randn(2, 3, 24, 32, generator=generator), torch.rand(2, 4, 6, 8, generator=generator)
    present = torch.tensor([[True, True, False, True], [False, False, True, False]])
    maps = maps * present[:, :, None, None]
    together = refined_labels(images, maps, present, 3)
    for n in range(2):
        assert torch.equal(
            refined_labels(images[n : n + 1], maps[n : n + 1], present[n : n + 1], 3)[0], together[n]
        )
    assert set(together[1].unique().tolist()) <= {0, 3}


def test_golden_decoder() -> None:
    g = _tensors("weclip_decoder")
    config = WeclipDecoderConfig(16, int(g["heads"]), 2)
    fusion, decoder = Fusion(12, 3, config).eval(), Decoder(5, config).eval()
    fusion.load_state_dict(_fusion_names(g))
    state = {k.removeprefix("decoder:"): v for k, v in g.items() if k.startswith("decoder:")}
    decoder.load_state_dict(
        {
            k.replace("transformer.resblocks", "blocks").replace("linear_pred", "classifier"): v
            for k, v in state.items()
        }
    )
    fused = fusion(list(g["features"]))
    assert_close(fused, g["fused"], rtol=1e-4, atol=1e-5)
    assert_close(pair_affinity(fused), g["affinity"], rtol=1e-4, atol=1e-5)
    # The reference projects the attention's output in half precision.
    assert_close(decoder(fused), g["logits"], rtol=0, atol=2e-3 * float(g["logits"].abs().max()))


def _fusion_names(g: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The reference's linear layers as 1x1 convolutions."""
    found = {}
    for key, value in g.items():
        if not key.startswith("fuse:"):
            continue
        parts = key.removeprefix("fuse:").split(".")
        if parts[0] == "linear_fuse":
            found[f"fuse.{parts[1]}"] = value
        else:
            layer = {"proj": 0, "proj_2": 2}[parts[2]]
            wide = value[:, :, None, None] if parts[3] == "weight" else value
            found[f"layers.{parts[1]}.{layer}.{parts[3]}"] = wide
    return found


def _training() -> WeclipTrainingConfig:
    config: Any = METHOD.presets["nano"]
    config = replace(config, clip=replace(config.clip, weights="none"))
    stage = METHOD.stages(config, SHAPES, Shared())[0]
    settings: WeclipTrainingConfig = stage.settings
    return settings


def _batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    valid = torch.ones(2, 1, 48, 48, dtype=torch.bool)
    valid[:, :, 40:] = False
    labels = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    return Batch(("a", "b"), torch.randn(2, 3, 48, 48, generator=generator), labels, {}, valid)


def test_fusion_and_decoder_learn_and_the_encoder_does_not() -> None:
    torch.manual_seed(0)
    settings, batch = _training(), _batch()
    network = WeclipNetwork.for_training(settings.network, 3, None)
    learner = Learner(network, 1).train()
    assert not any(module.training for module in network.visual.modules())
    terms = losses(learner(batch.images, batch.labels), batch, settings)
    assert terms.keys() == {"segmentation", "affinity"}
    torch.stack([*terms.values()]).sum().backward()
    learn = {name for name, p in network.named_parameters() if p.grad is not None}
    assert learn == {
        name for name, _ in network.named_parameters() if name.startswith(("fusion.", "decoder."))
    }


def test_the_correction_begins_at_its_iteration() -> None:
    torch.manual_seed(0)
    settings, batch = _training(), _batch()
    network = WeclipNetwork.for_training(settings.network, 3, None)
    learner = Learner(network, 1).eval()
    first, second = (learner(batch.images, batch.labels) for _ in range(2))
    patches, present = network.encode(batch.images), batch.labels > 0
    assert_close(first.maps, network.maps(patches, present, None))
    assert_close(second.maps, network.maps(patches, present, second.affinity))
    assert not torch.allclose(first.maps, second.maps)
    assert_close(network.whole_maps(batch.images, present, True), second.maps)


@pytest.mark.parametrize("ignored", [False, True])
def test_padding_is_learned_unless_ignored(ignored: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    settings, batch, seen = replace(_training(), ignore_padding=ignored), _batch(), []
    network = WeclipNetwork.for_training(settings.network, 3, None)

    def note(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        seen.append(labels)
        return logits.mean()

    monkeypatch.setattr("methods.weclip.stages.balanced_segmentation_loss", note)
    losses(Learner(network, 0)(batch.images, batch.labels), batch, settings)
    assert (seen[0] == IGNORE).equal(~batch.valid[:, 0] & torch.tensor(ignored))


def test_the_graph_has_a_decoder_or_the_protocols_network() -> None:
    own = METHOD.stages(METHOD.presets["paper"], VOC, Shared())
    assert [stage.name for stage in own] == ["train", "cam", "pseudo_label", "predict"]
    shared = METHOD.stages(METHOD.presets["paper"], VOC, Shared(RefinerConfig(), SEGMENTERS["paper"]))
    assert [stage.name for stage in shared] == ["train", "cam", "pseudo_label", "segment", "predict"]


def test_what_learns_at_paper_scale() -> None:
    """11 blocks of 768 channels through 256, fused; 3 blocks of a transformer; 21 maps."""
    stage = METHOD.stages(METHOD.presets["paper"], VOC, Shared())[0]
    assert stage.settings.train.learning_rate * stage.settings.train.head_multiplier == pytest.approx(2e-3)
    assert round(stage.settings.network.correction.start * 30000) == 9150
    with torch.device("meta"):
        (network,) = profile_train(stage.settings, {}, len(CLASSES), (375, 500))
        counted = forward_pass_complexity(network)
    assert network.module is not None
    parts = dict(network.module.named_children())
    sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    each = 768 * 256 + 256 + 256 * 256 + 256
    assert sizes["fusion"] == 11 * each + 11 * 256 * 256 + 256
    block = 4 * 256 * 256 + 4 * 256 + 8 * 256 * 256 + 5 * 256 + 4 * 256
    assert sizes["decoder"] == 3 * block + 21 * 257
    assert counted.parameters == sum(sizes.values())
