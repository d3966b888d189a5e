"""Teacher and student of DSKD-GC in training, and the heads of ToCo's class token contrast (Sec. 1.2)."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from methods.layers.cam import multi_scale_cam, normalise
from methods.layers.local_crops import uncertain_crops
from methods.layers.moving_average import average
from methods.toco.branch import Branch, Projector
from methods.toco.config import ClassContrastConfig, SingleStageTrainingConfig
from methods.toco.phases import Phase, momentum_at, phase_borders, phases


class Contrasted(NamedTuple):
    """Arguments of `methods.layers.token_losses.class_token_contrast`."""

    local_tokens: torch.Tensor
    global_tokens: torch.Tensor
    positive: torch.Tensor


class Output(NamedTuple):
    """What the losses are made of; maps lie as `images`, the teacher's view.

    images:        (B, 3, H, W)
    valid, inside: (B, H, W) and (B, h, w) bool, False for pixels and tokens of the padding around an image
    class_scores, patch_scores, auxiliary_scores: (B, C), logits
    cam, auxiliary_cam: (B, C, h, w) in [0, 1], zero for absent classes, without gradient
    label_cam:     likewise, of the pseudo-labels that the decoder learns from; of `labels.scales`, else `cam`
    patches, middle: teacher's tokens (B, D, h, w); student_middle: the student's, in the warm-up
    projected, student_projected: (B, K, h, w), after the warm-up; None, as `student_middle`, where their loss is off
    logits:        (B, C + 1, h, w), where the decoder learns
    contrasted:    tokens of crops, for class token contrast
    """

    images: torch.Tensor
    valid: torch.Tensor
    inside: torch.Tensor
    class_scores: torch.Tensor
    patch_scores: torch.Tensor
    auxiliary_scores: torch.Tensor
    cam: torch.Tensor
    auxiliary_cam: torch.Tensor
    label_cam: torch.Tensor
    patches: torch.Tensor
    middle: torch.Tensor
    student_middle: torch.Tensor | None
    projected: torch.Tensor | None
    student_projected: torch.Tensor | None
    logits: torch.Tensor | None
    contrasted: Contrasted | None


class ClassContrast(nn.Module):
    """Heads of ToCo's class token contrast: one learns, the other is its moving average and sees whole images."""

    def __init__(self, channels: int, config: ClassContrastConfig) -> None:
        super().__init__()
        self.config = config
        self.head = Projector(channels, config.hidden, config.bottleneck, config.outputs)
        self.average = copy.deepcopy(self.head).requires_grad_(False)

    def forward(self, whole: torch.Tensor, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Class tokens of whole images and of crops, (m, D) and (n, D) -> (m + n, K), and (m, K) by the average."""
        average(self.average, self.head, self.config.momentum)
        with torch.no_grad():
            fixed = self.average(whole)
        learned = self.head(torch.cat([whole, crops]))
        if self.config.unit_length:
            return F.normalize(learned, dim=-1), F.normalize(fixed, dim=-1)
        return learned, fixed


class SingleStageNetwork(nn.Module):
    """Teacher and, for distillation, student, in the phase that `begin` has set.

    teacher: learns by gradient throughout
    student: learns by gradient in the warm-up; afterwards it is the teacher's moving average
    updates: number of averagings so far, kept with the weights so that a resumed training goes on from it
    centre:  moving average of the student's projections (K, 1, 1), likewise
    """

    updates: torch.Tensor
    centre: torch.Tensor

    def __init__(self, teacher: Branch, settings: SingleStageTrainingConfig) -> None:
        super().__init__()
        self.teacher = teacher
        self.student = copy.deepcopy(teacher) if settings.distillation is not None else None
        self.class_contrast = None
        if settings.class_contrast is not None:
            self.class_contrast = ClassContrast(teacher.encoder.channels, settings.class_contrast)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        outputs = settings.distillation.outputs if settings.distillation is not None else 0
        self.register_buffer("centre", torch.zeros(outputs, 1, 1))
        self._settings = settings
        self._averagings = max(1, settings.train.iterations - phase_borders(settings)[0])
        self.phase = phases(settings)[0]

    def begin(self, phase: Phase) -> None:
        """Enter a phase. What has no part in it takes no gradient, as distributed training demands."""
        self.phase = phase
        self.teacher.requires_grad_(True)
        self.teacher.decoder.requires_grad_(phase.segmentation)
        self.teacher.auxiliary_classifier.requires_grad_(self._settings.weights.auxiliary > 0)
        if self.teacher.projector is not None:
            self.teacher.projector.requires_grad_(not phase.warm_up)
        if self.student is not None:
            self.student.requires_grad_(False)
            if phase.warm_up and self._settings.weights.similarity > 0:
                for parameter in self.student.early_parameters():
                    parameter.requires_grad_(True)

    def forward(self, images: torch.Tensor, labels: torch.Tensor, valid: torch.Tensor) -> Output:
        """A training step's outputs. images: (B, 3, H, W); labels: (B, C), 0 or 1; valid: (B, 1, H, W) bool.

        With a student, the teacher sees the mirror image (Sec. 1.2); the student's tokens are mirrored to match.
        """
        view, valid = (images, valid) if self.student is None else (images.flip(-1), valid.flip(-1))
        teacher = self.teacher
        encoded = teacher.encode(view)
        inside = F.interpolate(valid.float(), encoded.patches.shape[-2:], mode="area")[:, 0] > 0.5
        with torch.no_grad():
            present = labels[:, :, None, None]
            cam = normalise(teacher.classifier(encoded.patches).relu()) * present
            auxiliary_cam = normalise(teacher.auxiliary_classifier(encoded.middle).relu()) * present
            label_cam, scales = cam, self._settings.labels.scales
            if self.phase.segmentation and scales:
                # Images that mixed precision has rounded are shrunk in float32: torch cannot in bfloat16 on a CPU.
                maps = multi_scale_cam(teacher.activations, view.float(), scales, flip=True)
                label_cam = normalise(maps) * present
        student_middle, projected, student_projected = None, None, None
        if self.student is not None and self.phase.warm_up:
            if self._settings.weights.similarity > 0:
                student_middle = self.student.encode(images).middle.flip(-1)
        elif self.student is not None:
            self._average()
            if teacher.projector is not None:
                projected = teacher.project(encoded.patches)
                with torch.no_grad():
                    found = self.student.project(self.student.encode(images).patches).flip(-1)
                    student_projected = self._centred(found, inside)
        return Output(
            view,
            valid[:, 0],
            inside,
            teacher.classifier(encoded.class_token[:, :, None, None]).flatten(1),
            teacher.classified(encoded.patches, teacher.classifier),
            teacher.classified(encoded.middle, teacher.auxiliary_classifier),
            cam,
            auxiliary_cam,
            label_cam,
            encoded.patches,
            encoded.middle,
            student_middle,
            projected,
            student_projected,
            teacher.decoder(encoded.patches) if self.phase.segmentation else None,
            self._contrasted(view, encoded.class_token, auxiliary_cam),
        )

    def _average(self) -> None:
        assert self.student is not None
        distillation = self._settings.distillation
        assert distillation is not None
        progress = min(1.0, self.updates.item() / self._averagings)
        momentum = momentum_at(progress, distillation.momentum)
        kept = momentum if distillation.average == "conventional" else 1 - momentum
        average(self.student, self.teacher, kept)
        self.updates += 1

    def _centred(self, projected: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
        """The student's projections (B, K, h, w) less their moving average, as in DINO: else all become alike.

        inside: (B, h, w) bool, the tokens that are averaged
        """
        assert self._settings.distillation is not None
        momentum = self._settings.distillation.centring
        if momentum is None:
            return projected
        centred = projected - self.centre
        mean = (projected.float() * inside[:, None]).sum((0, 2, 3)) / inside.sum().clamp_min(1)
        self.centre.lerp_(mean[:, None, None].to(self.centre.dtype), 1 - momentum)
        return centred

    def _contrasted(
        self, images: torch.Tensor, class_token: torch.Tensor, auxiliary_cam: torch.Tensor
    ) -> Contrasted | None:
        if self.class_contrast is None:
            return None
        config, contrast = self.class_contrast.config, self._settings.contrast
        confidence = F.interpolate(
            auxiliary_cam.amax(1, keepdim=True), images.shape[-2:], mode="bilinear", align_corners=False
        )[:, 0]
        crops, positive = uncertain_crops(
            images,
            confidence,
            config.crops,
            config.size,
            contrast.low,
            contrast.high,
            config.negative_below,
        )
        mirrored = self.teacher.encode(images.flip(-1)).class_token
        whole = torch.cat([class_token, mirrored])
        local, fixed = self.class_contrast(whole, self.teacher.encode(crops).class_token)
        views = torch.ones(len(images), 2, dtype=torch.bool, device=images.device)
        return Contrasted(local, fixed, torch.cat([views, positive], 1))
