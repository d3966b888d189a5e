"""Optimisers and schedules that the papers share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from datasets.base import DenseMap
from datasets.recipe import Normalisation, View
from methods.base import MethodError, StageContext
from methods.layers.config import TrainConfig


def parameter_groups(
    network: nn.Module, head: Sequence[nn.Module], config: TrainConfig
) -> list[dict[str, Any]]:
    """Trainable parameters of `network` by learning rate and weight decay.

    The modules of `head` (new layers, parts of `network`) learn `head_multiplier` times faster, biases
    `bias_multiplier` times; the head's biases both (EPS: x1, x2, x10, x20). Biases and the scales of
    normalisation layers do not decay; EPS and PSA, which freeze normalisation, exempt biases alike. Nor do
    parameters that the network names in `no_weight_decay()`, timm's convention for tokens and positions.
    """
    named: Any = getattr(network, "no_weight_decay", set)
    exempt: set[str] = named()
    in_head = {id(p) for module in head for p in module.parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = config.learning_rate
        if id(parameter) in in_head:
            rate *= config.head_multiplier
        if name.rpartition(".")[2] == "bias":
            rate *= config.bias_multiplier
        decay = config.weight_decay if parameter.ndim > 1 and name not in exempt else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in groups.items()]


def build_optimiser(
    network: nn.Module, head: Sequence[nn.Module], config: TrainConfig
) -> torch.optim.Optimizer:
    """SGD (`config.momentum`) or AdamW over `parameter_groups`; MethodError for another name.

    Fused: one pass over all parameters, of which the miniatures have many small ones.
    """
    groups = parameter_groups(network, head, config)
    if config.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, fused=True)
    if config.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
    raise MethodError(f"unknown optimiser {config.optimiser!r}; choose sgd or adamw")


def schedule(config: TrainConfig) -> Callable[[int], float]:
    """The configured schedule: iteration -> factor on the initial rates. MethodError for an unknown name."""
    if config.schedule == "poly":
        return poly(config)
    if config.schedule == "cosine":
        return cosine(config)
    raise MethodError(f"unknown schedule {config.schedule!r}; choose poly or cosine")


def cosine(config: TrainConfig) -> Callable[[int], float]:
    """Iteration -> floor + (1 - floor) * (1 + cos(pi * iteration / iterations)) / 2, after a warm-up."""

    def factor(iteration: int) -> float:
        if iteration < config.warmup:
            return (iteration + 1) / config.warmup
        fall = (1.0 + math.cos(math.pi * iteration / config.iterations)) / 2
        return config.floor + (1.0 - config.floor) * fall

    return factor


def poly(config: TrainConfig) -> Callable[[int], float]:
    """Iteration -> factor on the initial rates: (1 - iteration / iterations) ** power, after a warm-up."""

    def factor(iteration: int) -> float:
        if iteration < config.warmup:
            return (iteration + 1) / config.warmup
        return (1.0 - iteration / config.iterations) ** config.power

    return factor


def fit(
    context: StageContext,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    config: TrainConfig,
    normalisation: Normalisation,
    losses: Callable[[nn.Module, Any], Mapping[str, torch.Tensor]],
    dense_maps: Mapping[str, DenseMap] | None = None,
    views: Sequence[View] = (),
) -> None:
    """Train on augmented batches of the training images as the configuration says, see `StageContext.train`.

    losses: (network as it is to be called, `datasets.loading.loader.Batch`) -> named scalar terms
    dense_maps: what comes with the batches, by name; views: of each image, besides the recipe's
    """
    batches = context.train_batches(
        context.view.samples("train"), config.recipe, normalisation, config.batch_size, dense_maps, views
    )
    context.train(network, optimiser, losses, batches, config.iterations, schedule(config))
