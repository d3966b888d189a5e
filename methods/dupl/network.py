"""The two students in training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from methods.dupl.config import DuplTrainingConfig
from methods.dupl.labels import falling_threshold
from methods.layers.cam import multi_scale_cam, normalise, resize
from methods.layers.strong_augmentation import strong_colours
from methods.toco.branch import Branch, Encoded


class Phase(NamedTuple):
    """Iterations from `start` to `stop` - 1, and what acts in them: see `DuplPhaseConfig`."""

    start: int
    stop: int
    segmentation: bool
    contrast: bool
    discrepancy: bool
    trust: bool
    auxiliary_labels: bool


class StudentOutput(NamedTuple):
    """patch_scores, auxiliary_scores: (B, C), logits
    patches:   tokens (B, D, h, w)
    token_cam: (B, C, h, w) in [0, 1], of the auxiliary layer, zero for absent classes, without gradient
    label_cam: likewise, of the decoders' labels, at any resolution
    logits:    (B, C + 1, h, w), where the decoders learn; else None
    strong:    likewise (B, C + 1, h', w'), of the mirrored, strongly changed view
    """

    patch_scores: torch.Tensor
    auxiliary_scores: torch.Tensor
    patches: torch.Tensor
    token_cam: torch.Tensor
    label_cam: torch.Tensor
    logits: torch.Tensor | None
    strong: torch.Tensor | None


class Output(NamedTuple):
    """students: two; images: (B, 3, H, W); high: (B,), each image's object threshold
    valid, inside: (B, H, W) and (B, h, w) bool, False for pixels and tokens of the padding around an image
    """

    students: tuple[StudentOutput, ...]
    images: torch.Tensor
    high: torch.Tensor
    valid: torch.Tensor
    inside: torch.Tensor


def phases(settings: DuplTrainingConfig) -> list[Phase]:
    """The training's parts that differ in what acts."""
    iterations, weights, shares = settings.train.iterations, settings.weights, settings.phases
    acts = {
        "segmentation": weights.segmentation > 0,
        "contrast": weights.patch_contrast > 0,
        "discrepancy": weights.discrepancy > 0,
        "trust": weights.segmentation > 0,
    }
    starts = {
        name: round(getattr(shares, name) * iterations) if acting else iterations
        for name, acting in acts.items()
    }
    auxiliary = round(shares.auxiliary_labels * iterations) if acts["segmentation"] else 0
    borders = sorted({0, *starts.values(), auxiliary, iterations})
    return [
        Phase(
            start,
            stop,
            auxiliary_labels=start < auxiliary,
            **{name: start >= first for name, first in starts.items()},
        )
        for start, stop in pairwise(borders)
    ]


class Students(nn.Module):
    """Two networks of ToCo's kind that share nothing, in the phase that `begin` has set.

    classes:   names of the object classes
    iteration: number of the training's iteration, kept with the weights so that a resumed training goes on from it
    """

    iteration: torch.Tensor
    kept: torch.Tensor

    def __init__(
        self, students: Sequence[Branch], classes: Sequence[str], settings: DuplTrainingConfig
    ) -> None:
        super().__init__()
        self.students = nn.ModuleList(students)
        self.register_buffer("iteration", torch.zeros((), dtype=torch.int64))
        kept = torch.tensor([name in settings.thresholds.kept for name in classes])
        self.register_buffer("kept", kept, persistent=False)
        self._settings = settings
        self.phase = phases(settings)[0]

    @property
    def branches(self) -> list[Branch]:
        return [student for student in self.students if isinstance(student, Branch)]

    def heads(self) -> list[nn.Module]:
        return [head for student in self.branches for head in student.heads()]

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that do not decay."""
        return {
            f"students.{k}.{name}"
            for k, student in enumerate(self.branches)
            for name in student.no_weight_decay()
        }

    def begin(self, phase: Phase) -> None:
        """Enter a phase. What has no part in it takes no gradient, as distributed training demands."""
        self.phase = phase
        for student in self.branches:
            student.decoder.requires_grad_(phase.segmentation)

    def forward(self, images: torch.Tensor, labels: torch.Tensor, valid: torch.Tensor) -> Output:
        """A training step's outputs. images: (B, 3, H, W); labels: (B, C), 0 or 1; valid: (B, 1, H, W) bool."""
        high = self._thresholds(labels)
        self.iteration += 1
        strong = None
        if self.phase.trust and self._settings.weights.consistency > 0:
            strong = self._strong(images)
        present = labels[:, :, None, None]
        found = tuple(self._of(student, images, present, strong) for student in self.branches)
        inside = F.interpolate(valid.float(), found[0].patches.shape[-2:], mode="area")[:, 0] > 0.5
        return Output(found, images, high, valid[:, 0], inside)

    def _thresholds(self, labels: torch.Tensor) -> torch.Tensor:
        """Object thresholds (B,): the largest of the image's classes."""
        settings = self._settings
        thresholds, iterations = settings.thresholds, settings.train.iterations
        start = round(settings.phases.thresholds * iterations)
        fallen = falling_threshold(int(self.iteration), start, iterations, thresholds.high, thresholds.final)
        of_class = torch.where(self.kept, thresholds.high, fallen)
        return (labels * of_class).amax(1)

    def _of(
        self, student: Branch, images: torch.Tensor, present: torch.Tensor, strong: torch.Tensor | None
    ) -> StudentOutput:
        encoded = student.encode(images)
        cam, auxiliary_cam = self._cams(student, encoded, images, present)
        size = (encoded.patches.shape[-2], encoded.patches.shape[-1])
        return StudentOutput(
            student.classified(encoded.patches, student.classifier),
            student.classified(encoded.middle, student.auxiliary_classifier),
            encoded.patches,
            resize(auxiliary_cam, size),
            auxiliary_cam if self.phase.auxiliary_labels else cam,
            student.decoder(encoded.patches) if self.phase.segmentation else None,
            student(strong) if strong is not None else None,
        )

    @torch.no_grad()
    def _cams(
        self, student: Branch, encoded: Encoded, images: torch.Tensor, present: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """CAM and auxiliary CAM, (B, C, h, w). present: (B, C, 1, 1), 0 or 1."""
        scales = self._settings.cam_scales
        if scales:
            # Images that mixed precision has rounded are shrunk in float32: torch cannot in bfloat16 on a CPU.
            maps = multi_scale_cam(student.both_activations, images.float(), scales, flip=True)
            cam, auxiliary_cam = maps.chunk(2, 1)
        else:
            cam = student.classifier(encoded.patches).relu()
            auxiliary_cam = student.auxiliary_classifier(encoded.middle).relu()
        return normalise(cam) * present, normalise(auxiliary_cam) * present

    @torch.no_grad()
    def _strong(self, images: torch.Tensor) -> torch.Tensor:
        """The images (B, 3, H, W) in other colours, mirrored and made smaller."""
        settings = self._settings.consistency
        mean, deviation = (
            torch.tensor(values, device=images.device)[:, None, None]
            for values in self.branches[0].normalisation
        )
        pixels = images.float() * deviation + mean
        changed = strong_colours(pixels, settings.operations, settings.factor, settings.bits)
        size = [max(1, round(side * settings.scale)) for side in images.shape[-2:]]
        return resize((changed - mean) / deviation, (size[0], size[1])).flip(-1)
