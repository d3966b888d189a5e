"""CLIP-ES: confident labels against the reference, texts, graph, and what its network costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from benchmark.profiling.complexity import forward_pass_complexity
from datasets.base import IGNORE, TrainingView
from datasets.files.images import read_labels
from datasets.voc.reader import CLASSES
from methods.artifacts import label_map_path
from methods.base import MethodConfig, NotRunnable, Shared, Stage
from methods.clip_es import METHOD
from methods.clip_es import prompts as prompts_module
from methods.clip_es.config import NANO_PROMPTS, VOC_PROMPTS
from methods.clip_es.prompts import spread_and_mean
from methods.clip_es.stages import profile_cam
from methods.layers.clip.nano import vocabulary
from methods.layers.clip.words import Texts, resolve_prompts
from methods.layers.config import CrfConfig
from methods.refiners.cam_maps import background_score, class_ids
from methods.refiners.config import RefinerConfig
from methods.refiners.crf import most_likely
from methods.segmenters.stages import segmentation_losses
from tests.conftest import golden
from tests.helpers.refining import check_label_maps, context, pictures, run_refiner

VOC = TrainingView("voc2012", CLASSES, {"train": (), "val": ()})
SHAPES = TrainingView("shapes", ("boat", "house", "train"), {"train": (), "val": ()}, generated=True)


def _stages(
    preset: str, view: TrainingView, shared: Shared | None = None, **changes: Any
) -> dict[str, Stage]:
    config: MethodConfig = replace(METHOD.presets[preset], **changes)
    return {stage.name: stage for stage in METHOD.stages(config, view, shared or Shared())}  # type: ignore[arg-type]


def test_golden_confident_labels_and_their_loss() -> None:
    g = golden("clip_es_confidence")
    maps = torch.from_numpy(g["cams"])
    assert_close(background_score(maps, 1.0), torch.from_numpy(g["background"]), rtol=1e-4, atol=1e-6)
    values = class_ids([int(c) for c in g["classes"]])
    labels = most_likely(g["probabilities"], values, float(g["mu"]))
    np.testing.assert_array_equal(labels.numpy(), g["label"])
    assert (labels == IGNORE).any()
    assert not (most_likely(g["probabilities"], values) == IGNORE).any()
    batch: Any = SimpleNamespace(images=None, dense_maps={"labels": labels.long()[None]})
    network: Any = lambda images: torch.from_numpy(g["logits"])[None]  # noqa: E731
    loss = segmentation_losses(network, batch)["segmentation"]
    assert_close(loss, torch.tensor(float(g["loss"])), rtol=1e-4, atol=0)


def test_the_segmentation_network_learns_from_sure_labels_and_all_are_scored(tmp_path: Path) -> None:
    made = run_refiner(
        RefinerConfig("crf", crf=CrfConfig(2), crf_background_power=1.0, crf_confidence=0.7), tmp_path
    )
    assert [*made] == ["cam", "pseudo_label", "confident_label"]
    check_label_maps(made["pseudo_label"])
    check_label_maps(made["confident_label"], {IGNORE})
    left_out = 0
    for i in "0123":
        whole, sure = (
            read_labels(label_map_path(made[name], i)) for name in ("pseudo_label", "confident_label")
        )
        assert ((sure == whole) | (sure == IGNORE)).all()
        left_out += int((sure == IGNORE).sum())
    assert left_out > 0
    for preset, last in (("paper", "confident_label"), ("nano", "confident_label")):
        stages = _stages(preset, VOC if preset == "paper" else SHAPES)
        assert stages["segment"].inputs == {"labels": last}
    assert _stages("paper", VOC, Shared(refiner=RefinerConfig()))["segment"].inputs == {
        "labels": "pseudo_label"
    }


def test_names_and_background_words_are_the_codes() -> None:
    texts = resolve_prompts("method.clip_es", VOC_PROMPTS, VOC)
    assert dict(zip(CLASSES, texts.names))["tvmonitor"] == "tvmonitor screen"
    assert [name for name in CLASSES if name not in texts.names] == ["bird", "chair", "person", "tvmonitor"]
    assert len(texts.common) == 25
    assert {"keyboard", "sign"} <= set(texts.common)
    coco = METHOD.presets["paper/coco2014"].text  # type: ignore[attr-defined]
    assert {*texts.common} - {*coco.background} == {"keyboard", "sign"}
    assert len(coco.background) == 23


def test_a_word_of_the_background_that_is_a_class_is_left_out() -> None:
    assert "house" in VOC_PROMPTS.background
    assert "house" not in resolve_prompts("method.clip_es", VOC_PROMPTS, SHAPES).common
    assert {*NANO_PROMPTS.background} <= vocabulary()


def test_the_miniature_is_asked_about_what_it_knows_alone() -> None:
    unknown = TrainingView("folder", ("scratch",), {"train": (), "val": ()})
    with pytest.raises(NotRunnable, match=r"does not know 1 of 24 words \(scratch\)"):
        _stages("nano", unknown)


def test_sharpness_is_the_ratio_of_variance_and_mean() -> None:
    """Of (.6, .2) and (.5, .3, .1): variances .04 and .08 / 3, means .4 and .3."""
    scores = torch.tensor([[0.6, 0.9, 0.2], [0.5, 0.3, 0.1]])
    present = torch.tensor([[True, False, True], [True, True, True]])
    expected = torch.tensor([0.04 + 0.08 / 3, 0.7], dtype=torch.float64)
    assert_close(spread_and_mean(scores, present), expected, rtol=1e-6, atol=0)


def test_the_least_sharp_prompt_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of pictures with several classes alone, and by the sums over all of them."""
    prompts = ("sharp {}.", "even {}.")
    names = ("a", "b", "c")
    settings = _stages("paper", VOC, select_prompt=True)["cam"].settings
    settings = replace(settings, texts=Texts(names, (), ("sky",), prompts))
    seen: list[int] = []

    def probabilities(visual: Any, images: torch.Tensor, texts: torch.Tensor, *rest: Any) -> torch.Tensor:
        seen.append(len(images))
        near = texts[0, 0]  # the prompt's number
        return torch.tensor([0.5 - 0.1 * near, 0.2, 0.1, 0.2]).expand(len(images), -1)

    monkeypatch.setattr(prompts_module, "class_probabilities", probabilities)
    monkeypatch.setattr(
        prompts_module,
        "text_directions",
        lambda clip, texts: torch.full((4, 2), float(prompts.index(texts.prompts[0]))),
    )
    monkeypatch.setattr(prompts_module, "whole_patches", lambda visual, images: images)
    clip: Any = SimpleNamespace(model=SimpleNamespace(logit_scale=torch.zeros(())))
    view = pictures(tmp_path)
    chosen = prompts_module.least_sharp(context(view, {}, tmp_path / "out"), clip, None, settings)
    assert chosen == replace(settings.texts, prompts=("even {}.",))
    several = sum(len(sample.labels) > 1 for sample in view.samples("train"))
    assert sum(seen) == several * len(prompts) > 0


def test_grad_cam_alone_watches_no_affinity() -> None:
    assert _stages("paper", VOC, refine=False)["cam"].settings.affinity is None
    unified = Shared(inference=replace(METHOD.presets["paper"].inference, scales=(0.5, 1.0), flip=True))  # type: ignore[attr-defined]
    assert _stages("paper", VOC, unified)["cam"].settings.inference.flip


def test_the_network_at_paper_scale() -> None:
    """Li et al., Journal of Software 2025, Tab. 1: 17.6 G, 149.6 M. Names and shapes are those of OpenAI's file."""
    settings = _stages("paper", VOC)["cam"].settings
    with torch.device("meta"):
        passes = profile_cam(settings, {}, len(CLASSES), (375, 500))
        counted = forward_pass_complexity(passes[0])
        whole = forward_pass_complexity(passes[1])
    assert round(counted.macs / 1e9, 1) == 17.6
    assert round(counted.parameters / 1e6, 1) == 149.6
    assert whole.macs > 3 * counted.macs
    assert passes[0].module is not None
    shapes = {name: tuple(p.shape) for name, p in passes[0].module.state_dict().items()}
    assert shapes["visual.conv1.weight"] == (768, 3, 16, 16)
    assert shapes["visual.positional_embedding"] == (197, 768)
    assert shapes["visual.transformer.resblocks.11.attn.in_proj_weight"] == (2304, 768)
    assert shapes["visual.proj"] == (768, 512)
    assert shapes["token_embedding.weight"] == (49408, 512)
    assert len([name for name in shapes if name.startswith("visual.")]) == 152
