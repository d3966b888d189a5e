"""Stages of single-stage methods: one training; corrected pseudo-labels and predictions from its network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

import torch
from safetensors.torch import save_file

from datasets.base import IGNORE
from datasets.loading.loader import Batch
from methods.base import StageContext
from methods.layers.optim import build_optimiser, parameter_groups, schedule
from methods.layers.token_losses import class_token_contrast, patch_token_contrast, token_labels
from methods.layers.upsampling import enlarged
from methods.refiners.gc.stages import write_corrected
from methods.segmenters.stages import write_label_maps
from methods.toco.branch import Branch, build_branch
from methods.toco.config import (
    CorrectedLabelConfig,
    PredictConfig,
    SingleStageTrainingConfig,
)
from methods.toco.labels import par_labels, training_labels
from methods.toco.losses import (
    balanced_segmentation_loss,
    classification_loss,
    region_of_interest,
    segmentation_loss,
    similarity_loss,
    uncertain_distillation_loss,
)
from methods.toco.network import Output, SingleStageNetwork
from methods.toco.phases import phases


def train(context: StageContext, settings: SingleStageTrainingConfig) -> None:
    """Train teacher and student through their phases. Writes teacher.safetensors and student.safetensors.

    A phase is a training of its own, which goes on with the weights, the optimiser's state and the batches of the
    one before: what learns differs, and distributed training has to know.
    """
    weights = context.weights_path(settings.network.vit.weights)
    teacher = build_branch(settings.network, len(context.view.classes), settings.projection, weights)
    network = SingleStageNetwork(teacher, settings)
    optimiser = optimiser_of(network, settings)
    batches = context.train_batches(
        context.view.samples("train"),
        settings.train.recipe,
        teacher.encoder.normalisation,
        settings.train.batch_size,
        views=settings.views(),
    )
    rate = schedule(settings.train)
    for phase in phases(settings):
        network.begin(phase)
        context.train(
            network,
            optimiser,
            lambda wrapped, batch: losses(
                wrapped(batch.images, batch.labels, batch.valid, *batch.views), batch, settings
            ),
            batches_from(phase.start, batches),
            phase.stop - phase.start,
            rate_from(phase.start, rate),
        )
    save_file(network.teacher.state_dict(), context.output / "teacher.safetensors")
    if network.student is not None:
        save_file(network.student.state_dict(), context.output / "student.safetensors")


def batches_from(
    start: int, batches: Callable[[int, int], Iterator[Batch]]
) -> Callable[[int, int], Iterator[Batch]]:
    """Of a phase that begins at iteration `start`, which counts its own iterations from 0."""
    return lambda first, last: batches(start + first, start + last)


def rate_from(start: int, rate: Callable[[int], float]) -> Callable[[int], float]:
    """The same of the learning rate."""
    return lambda iteration: rate(start + iteration)


def optimiser_of(network: SingleStageNetwork, settings: SingleStageTrainingConfig) -> torch.optim.Optimizer:
    """The teacher's parameters at the base rate, its heads faster, the student's transformer slower."""
    optimiser = build_optimiser(network.teacher, network.teacher.heads(), settings.train)
    if network.student is not None and settings.distillation is not None:
        slower = settings.train.learning_rate * settings.distillation.student_rate
        for group in parameter_groups(
            network.student.encoder, [], replace(settings.train, learning_rate=slower)
        ):
            optimiser.add_param_group(group)
    if network.class_contrast is not None:
        head = network.class_contrast.head
        for group in parameter_groups(head, [head], settings.train):
            optimiser.add_param_group(group)
    return optimiser


def losses(output: Output, batch: Batch, settings: SingleStageTrainingConfig) -> Mapping[str, torch.Tensor]:
    """The weighted terms of Eq. 23 that act in the network's phase."""
    weights, contrast = settings.weights, settings.contrast
    classified = {
        "classification": (output.class_scores, weights.classification),
        "patch_classification": (output.patch_scores, weights.patch_classification),
        "auxiliary": (output.auxiliary_scores, weights.auxiliary),
    }
    terms = {
        name: weight * classification_loss(scores, batch.labels)
        for name, (scores, weight) in classified.items()
        if weight > 0
    }
    if weights.patch_contrast > 0 and output.auxiliary_cam is not None:
        labels = token_labels(output.auxiliary_cam, contrast.low, contrast.high)
        labels = torch.where(output.inside, labels, IGNORE)
        terms["patch_contrast"] = weights.patch_contrast * patch_token_contrast(
            output.patches, labels, contrast.absolute
        )
    if settings.distillation is not None:
        terms |= _distillation(output, settings)
    if output.contrasted is not None and settings.class_contrast is not None:
        terms["class_contrast"] = weights.class_contrast * class_token_contrast(
            *output.contrasted, temperature=settings.class_contrast.temperature
        )
    if output.logits is not None:
        terms["segmentation"] = weights.segmentation * _segmentation(output.logits, output, settings)
    return terms


def _distillation(output: Output, settings: SingleStageTrainingConfig) -> dict[str, torch.Tensor]:
    """Of the network's phase, none where its weight is 0. Tokens of the padding have no part in it."""
    weights, distillation = settings.weights, settings.distillation
    assert distillation is not None
    if output.student_middle is not None:
        loss = similarity_loss(output.middle, output.student_middle, output.inside, distillation.similarity)
        return {"similarity": weights.similarity * loss}
    if output.projected is None or output.student_projected is None:
        return {}
    region = region_of_interest(output.cam, distillation.low, distillation.high) & output.inside
    loss = uncertain_distillation_loss(
        output.student_projected, output.projected, region, distillation.temperatures
    )
    return {"uncertain": weights.uncertain * loss}


def _segmentation(logits: torch.Tensor, output: Output, settings: SingleStageTrainingConfig) -> torch.Tensor:
    labels = training_labels(
        output.images, output.label_cam, output.patches, output.valid, settings.labels, settings.correction
    )
    loss = balanced_segmentation_loss if settings.labels.loss == "balanced" else segmentation_loss
    return loss(enlarged(logits, labels.shape[-2:]), labels)


def pseudo_label(context: StageContext, settings: CorrectedLabelConfig) -> None:
    """Pseudo-labels corrected by the network's own patch tokens (Sec. 1.3)."""
    branch = Branch.trained(context, settings.trained)
    refined = None
    if settings.par is not None:
        refined = partial(par_labels, low=settings.par[0], high=settings.par[1])
    write_corrected(
        context,
        branch.features,
        branch.normalisation,
        settings.correction,
        settings.background_threshold,
        settings.batch_size,
        refined,
    )


@torch.inference_mode()
def predict(context: StageContext, settings: PredictConfig) -> None:
    """Write the decoder's label map of every validation image, and of the training images that reports show."""
    branch, test = Branch.trained(context, settings.trained, settings.network), settings.test
    write_label_maps(
        context, branch, branch.normalisation, test.batch_size, test.scales, test.flip, test.crf, test.tiles
    )
