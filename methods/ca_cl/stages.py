"""The guided training of CA-CL; its CAM stage is CLIMS's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from datasets.loading.loader import Batch
from methods.base import StageContext
from methods.ca_cl.config import CaClTrainingConfig
from methods.ca_cl.losses import background_suppression, image_text_contrast, select_prompts
from methods.ca_cl.network import Guided, GuidedNetwork
from methods.clims.losses import area_regularisation
from methods.clims.regions import Regions, encode_regions
from methods.clims.stages import guiding_clip, initial_network, text_features
from methods.layers.optim import build_optimiser, fit


def guide(context: StageContext, settings: CaClTrainingConfig) -> None:
    """Train the CAM network and θ (Eq. 14). Writes network.safetensors (the CAM network) and guidance.json."""
    network = build_network(context, settings)
    clip = guiding_clip(context, settings)
    class_texts = text_features(clip, settings.texts.of_classes())
    background_texts = (
        text_features(clip, settings.texts.of_backgrounds()) if settings.weights.suppression > 0 else None
    )
    normalisation = network.cam.normalisation

    def losses(wrapped: nn.Module, batch: Batch) -> Mapping[str, torch.Tensor]:
        network.project_threshold()
        guided: Guided = wrapped(batch.images)
        regions = encode_regions(
            clip, batch.images, guided.maps, batch.labels, normalisation, settings.composition
        )
        return weighted_losses(
            network, guided, regions, class_texts, background_texts, settings, context.processes
        )

    fit(context, network, build_guided_optimiser(network, settings), settings.train, normalisation, losses)
    network.project_threshold()
    save_file(network.cam.state_dict(), context.output / "network.safetensors")
    write_guidance(context.output / "guidance.json", network, context.view.classes, settings)


def build_network(context: StageContext, settings: CaClTrainingConfig) -> GuidedNetwork:
    """The CAM network to start from, with θ."""
    learned = settings.suppression.learned and settings.weights.suppression > 0
    return GuidedNetwork(
        initial_network(context, settings),
        settings.suppression,
        learned,
        len(settings.texts.prompts),
        settings.train.iterations,
    )


def build_guided_optimiser(network: GuidedNetwork, settings: CaClTrainingConfig) -> torch.optim.Optimizer:
    """The CAM network's groups, and one of θ with its own rate and no decay."""
    optimiser = build_optimiser(network.cam, [network.cam.classifier], settings.train)
    if network.threshold.requires_grad:
        rate = settings.suppression.learning_rate
        optimiser.add_param_group({"params": [network.threshold], "lr": rate, "weight_decay": 0.0})
    return optimiser


def weighted_losses(
    network: GuidedNetwork,
    guided: Guided,
    regions: Regions,
    class_texts: torch.Tensor,
    background_texts: torch.Tensor | None,
    settings: CaClTrainingConfig,
    processes: int = 1,
) -> dict[str, torch.Tensor]:
    """The terms of Eq. 14, weighted; a term of weight 0 is left out. The network notes what was chosen.

    class_texts (C, m, D), background_texts (C, m n, D): unit-norm features; None: without suppression
    processes: among which the batch is divided; the harness averages what a suppression of reduction "sum" adds up
    """
    weights, suppression = settings.weights, settings.suppression
    candidates = class_texts[regions.classes]
    prompts = select_prompts(_similarity(regions.foreground, candidates))
    text = candidates[torch.arange(len(prompts), device=prompts.device), prompts]
    terms = {
        "contrast": weights.contrast
        * image_text_contrast(
            (regions.foreground * text).sum(1), (regions.background * text).sum(1), settings.margin
        )
    }
    selected = None
    if background_texts is not None:
        loss, selected = background_suppression(
            _similarity(regions.foreground, background_texts[regions.classes]),
            guided.threshold[regions.classes][:, None] if suppression.per_class else guided.threshold,
            suppression.gate,
            suppression.steepness,
            len(guided.maps),
            suppression.reduction,
        )
        slices = processes if suppression.reduction == "sum" else 1
        terms["suppression"] = weights.suppression * slices * loss
    if weights.area > 0:
        terms["area"] = weights.area * area_regularisation(guided.maps)
    network.record(regions.classes, prompts, selected)
    return terms


def _similarity(features: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
    """Unit-norm features (N, D), texts (N, L, D) -> cosines (N, L)."""
    return torch.einsum("nd,nld->nl", features, texts)


def write_guidance(
    path: Path, network: GuidedNetwork, classes: Sequence[str], settings: CaClTrainingConfig
) -> None:
    """What training chose, as JSON.

    prompt_choices: class -> how often each prompt was chosen
    With suppression, final_threshold: θ after training; threshold, selected: by iteration, θ and the background
    texts suppressed per image and class; at_bound: the first iteration that found θ at one of its bounds, null: none.
    Of a θ of each class, those are the mean's, and final_thresholds, at_bounds: class -> as final_threshold, at_bound
    """
    content: dict[str, Any] = {
        "prompts": list(settings.texts.prompts),
        "prompt_choices": {
            name: [int(count) for count in counts]
            for name, counts in zip(classes, network.prompt_choices.tolist())
        },
    }
    if settings.weights.suppression > 0:
        course = network.thresholds[:, None] if network.threshold.ndim == 0 else network.thresholds
        content |= {
            "at_bound": _at_bound(course.mean(1), network.bounds),
            "final_threshold": round(network.threshold.mean().item(), 6),
            "threshold": [round(value, 6) for value in course.mean(1).tolist()],
            "selected": [round(value, 4) for value in network.selected.tolist()],
        }
        if settings.suppression.per_class:
            content["final_thresholds"] = {
                name: round(value, 6) for name, value in zip(classes, network.threshold.tolist())
            }
            content["at_bounds"] = {
                name: _at_bound(of_class, network.bounds) for name, of_class in zip(classes, course.T)
            }
    path.write_text(json.dumps(content))


def _at_bound(course: torch.Tensor, bounds: tuple[float, float]) -> int | None:
    """The first of the (iterations,) values of θ at one of its bounds; None: none."""
    found = ((course <= bounds[0]) | (course >= bounds[1])).nonzero()
    return int(found[0]) if len(found) else None
