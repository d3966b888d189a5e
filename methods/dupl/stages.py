"""DuPL's training, and what `profile` measures of it. Inference is ToCo's (`methods.toco.stages`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import save_file

from datasets.base import IGNORE
from datasets.loading.loader import Batch
from methods.base import ForwardPass, Inputs, StageContext
from methods.dupl.config import STUDENTS, DuplTrainingConfig
from methods.dupl.labels import decoder_labels, without_noise
from methods.dupl.losses import consistency_loss, discrepancy_loss
from methods.dupl.network import Output, Phase, Students, phases
from methods.layers.forward_passes import alone
from methods.layers.optim import build_optimiser, schedule
from methods.layers.token_losses import patch_token_contrast, token_labels
from methods.layers.upsampling import enlarged
from methods.toco.branch import build_branch
from methods.toco.losses import balanced_segmentation_loss, classification_loss
from methods.toco.stages import batches_from, rate_from


def train(context: StageContext, settings: DuplTrainingConfig) -> None:
    """Train both students through the phases. Writes student1.safetensors and student2.safetensors.

    A phase is a training of its own, as ToCo's are: what learns differs.
    """
    weights, classes = context.weights_path(settings.network.vit.weights), context.view.classes
    students = [build_branch(settings.network, len(classes), None, weights) for _ in STUDENTS]
    network = Students(students, classes, settings)
    optimiser = build_optimiser(network, network.heads(), settings.train)
    batches = context.train_batches(
        context.view.samples("train"),
        settings.train.recipe,
        students[0].normalisation,
        settings.train.batch_size,
    )
    rate = schedule(settings.train)
    for phase in phases(settings):
        network.begin(phase)
        context.train(
            network,
            optimiser,
            lambda wrapped, batch, phase=phase: losses(  # type: ignore[misc]
                wrapped(batch.images, batch.labels, batch.valid), batch, settings, phase
            ),
            batches_from(phase.start, batches),
            phase.stop - phase.start,
            rate_from(phase.start, rate),
        )
    for name, student in zip(STUDENTS, students, strict=True):
        save_file(student.state_dict(), context.output / f"{name}.safetensors")


def losses(
    output: Output, batch: Batch, settings: DuplTrainingConfig, phase: Phase
) -> Mapping[str, torch.Tensor]:
    """The weighted terms that act in a phase, each the sum of both students'."""
    weights, students = settings.weights, output.students
    classified = [
        classification_loss(scores, batch.labels)
        for student in students
        for scores in (student.patch_scores, student.auxiliary_scores)
    ]
    terms = {"classification": weights.classification * torch.stack(classified).sum()}
    if phase.contrast:
        contrasts = []
        for student in students:
            labels = token_labels(student.token_cam, settings.thresholds.low, output.high[:, None, None])
            labels = torch.where(output.inside, labels, IGNORE)
            contrasts.append(patch_token_contrast(student.patches, labels))
        terms["patch_contrast"] = weights.patch_contrast * torch.stack(contrasts).sum()
    if phase.discrepancy:
        first, second = (student.patches for student in students)
        terms["discrepancy"] = weights.discrepancy * discrepancy_loss(first, second, settings.discrepancy)
    if phase.segmentation:
        terms |= _cross_supervision(output, settings, phase)
    return terms


def _cross_supervision(output: Output, settings: DuplTrainingConfig, phase: Phase) -> dict[str, torch.Tensor]:
    """Each student by the other's labels, of which the other's own losses have told the noise."""
    weights, size = settings.weights, output.images.shape[-2:]
    logits = [enlarged(student.logits, size) for student in output.students if student.logits is not None]
    labels = [
        decoder_labels(output.images, student.label_cam, output.valid, settings.thresholds.low, output.high)
        for student in output.students
    ]
    if phase.trust:
        labels = [
            without_noise(own, label, settings.noise) for own, label in zip(logits, labels, strict=True)
        ]
    taught = list(zip(logits, reversed(labels), strict=True))
    segmented = [balanced_segmentation_loss(own, other) for own, other in taught]
    terms = {"segmentation": weights.segmentation * torch.stack(segmented).sum()}
    consistent = [
        consistency_loss(student.strong, own, other, settings.consistency.confidence)
        for student, (own, other) in zip(output.students, taught, strict=True)
        if student.strong is not None
    ]
    if consistent:
        terms["consistency"] = weights.consistency * torch.stack(consistent).sum()
    return terms


def profile_train(
    settings: DuplTrainingConfig, inputs: Inputs, classes: int, size: tuple[int, int]
) -> list[ForwardPass]:
    """What is kept of the training that infers, and both students."""
    crop = settings.train.recipe.crop
    kept = build_branch(settings.network, classes).eval()
    both = Students([build_branch(settings.network, classes) for _ in STUDENTS], [""] * classes, settings)
    return [
        alone(STUDENTS[0], kept, crop, "network alone, to the decoder's prediction"),
        ForwardPass(
            "both students in training",
            "one forward pass of each, of the crop alone",
            (crop, crop),
            both.eval(),
            _both,
        ),
    ]


def _both(network: Any, images: torch.Tensor) -> list[torch.Tensor]:
    return [student(images) for student in network.branches]
