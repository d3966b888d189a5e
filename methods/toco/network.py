"""Teacher and student of DSKD-GC in training, and the heads of ToCo's class token contrast (Sec. 1.2)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from methods.layers.cam import multi_scale_cam, normalise, resize
from methods.layers.local_crops import uncertain_crops
from methods.layers.moving_average import average
from methods.toco.branch import Branch, Encoded, Projector
from methods.toco.config import SingleStageTrainingConfig
from methods.toco.parts import ClassContrastConfig
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
    cam:           (B, C, h, w) in [0, 1], zero for absent classes, without gradient
    auxiliary_cam: likewise, which labels the tokens, of `contrast.scales`; None where no tokens are contrasted
    label_cam:     likewise, of the pseudo-labels that the decoder learns from, of `labels.scales`, at any resolution
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
    auxiliary_cam: torch.Tensor | None
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
        if self.class_contrast is not None:
            self.class_contrast.head.requires_grad_(phase.contrast)
        if self.teacher.projector is not None:
            self.teacher.projector.requires_grad_(not phase.warm_up)
        if self.student is not None:
            self.student.requires_grad_(False)
            if phase.warm_up and self._settings.weights.similarity > 0:
                for parameter in self.student.early_parameters():
                    parameter.requires_grad_(True)

    def forward(
        self, images: torch.Tensor, labels: torch.Tensor, valid: torch.Tensor, *views: torch.Tensor
    ) -> Output:
        """A training step's outputs. images: (B, 3, H, W); labels: (B, C), 0 or 1; valid: (B, 1, H, W) bool.

        views: those of `SingleStageTrainingConfig.views`, each (B, 3, H, W)
        With a student, the teacher sees mirror images (Sec. 1.2); the student's tokens are mirrored to match.
        """
        view = images
        if self.student is not None:
            view, valid, views = images.flip(-1), valid.flip(-1), tuple(other.flip(-1) for other in views)
        teacher = self.teacher
        encoded = teacher.encode(view)
        inside = F.interpolate(valid.float(), encoded.patches.shape[-2:], mode="area")[:, 0] > 0.5
        cam, auxiliary_cam, label_cam = self._cams(encoded, view, labels[:, :, None, None])
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
            resize(auxiliary_cam, (inside.shape[-2], inside.shape[-1])) if self.phase.contrast else None,
            label_cam,
            encoded.patches,
            encoded.middle,
            student_middle,
            projected,
            student_projected,
            teacher.decoder(encoded.patches) if self.phase.segmentation else None,
            self._contrasted(view, encoded.class_token, auxiliary_cam, views)
            if self.phase.contrast
            else None,
        )

    @torch.no_grad()
    def _cams(
        self, encoded: Encoded, view: torch.Tensor, present: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """`Output.cam`; the auxiliary CAM of `contrast.scales`; `Output.label_cam`. present: (B, C, 1, 1), 0 or 1."""
        teacher, settings = self.teacher, self._settings
        found: dict[tuple[float, ...], tuple[torch.Tensor, ...]] = {}
        maps = teacher.classifier(encoded.patches), teacher.auxiliary_classifier(encoded.middle)
        found[()] = tuple(normalise(m.relu()) * present for m in maps)
        contrast_scales = settings.contrast.scales if self.phase.contrast else ()
        label_scales = settings.labels.scales if self.phase.segmentation else ()
        for scales in {contrast_scales, label_scales} - {()}:
            # Images that mixed precision has rounded are shrunk in float32: torch cannot in bfloat16 on a CPU.
            several = multi_scale_cam(teacher.both_activations, view.float(), scales, flip=True)
            found[scales] = tuple(normalise(m) * present for m in several.chunk(2, 1))
        label_cam = found[label_scales][1 if self.phase.auxiliary_labels else 0]
        return found[()][0], found[contrast_scales][1], label_cam

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
        self,
        images: torch.Tensor,
        class_token: torch.Tensor,
        auxiliary_cam: torch.Tensor,
        further: Sequence[torch.Tensor],
    ) -> Contrasted | None:
        if self.class_contrast is None:
            return None
        config, contrast = self.class_contrast.config, self._settings.contrast
        second = images.flip(-1) if config.second_view is None else further[0]
        local_images = images if config.local_blur is None else further[-1]
        confidence = F.interpolate(
            auxiliary_cam.amax(1, keepdim=True), images.shape[-2:], mode="bilinear", align_corners=False
        )[:, 0]
        crops, positive = uncertain_crops(
            local_images,
            confidence,
            config.crops,
            config.size,
            contrast.low,
            contrast.high,
            config.negative_below,
        )
        whole = torch.cat([class_token, self.teacher.encode(second).class_token])
        local, fixed = self.class_contrast(whole, self.teacher.encode(crops).class_token)
        views = torch.ones(len(images), 2, dtype=torch.bool, device=images.device)
        return Contrasted(local, fixed, torch.cat([views, positive], 1))
