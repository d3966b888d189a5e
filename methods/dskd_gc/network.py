"""Teacher and student of DSKD-GC, each a transformer with classifiers, decoder and projector (Sec. 1.1, 1.2)."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from methods.base import MethodError
from methods.dskd_gc.config import (
    ClassContrastConfig,
    DecoderConfig,
    DistillationConfig,
    NetworkConfig,
    TrainingConfig,
)
from methods.layers.cam import multi_scale_cam, normalise
from methods.layers.local_crops import uncertain_crops
from methods.layers.vit import MultiClassTokenViT, build_trunk, whole_patches


class Encoded(NamedTuple):
    """class_token: (B, D); patches: (B, D, h, w), of the last layer; middle: likewise, of the auxiliary layer."""

    class_token: torch.Tensor
    patches: torch.Tensor
    middle: torch.Tensor


class Decoder(nn.Sequential):
    """LargeFOV of ToCo: two dilated 3x3 convolutions and the classifier to C + 1 maps, background first."""

    def __init__(self, channels: int, outputs: int, config: DecoderConfig) -> None:
        layers: list[nn.Module] = []
        for before in (channels, config.width):
            layers.append(
                nn.Conv2d(before, config.width, 3, padding=config.dilation, dilation=config.dilation)
            )
            if config.norm:
                layers.append(nn.BatchNorm2d(config.width))
            layers.append(nn.ReLU())
        super().__init__(*layers, nn.Conv2d(config.width, outputs, 1))


class Projector(nn.Module):
    """DINO's head (Caron et al., ICCV 2021): three layers, unit length, a linear layer with unit weights.

    forward: (..., D) -> (..., outputs), cosines
    """

    def __init__(self, channels: int, hidden: int, bottleneck: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(channels, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, bottleneck),
        )
        self.last = nn.Parameter(torch.empty(outputs, bottleneck))
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        nn.init.trunc_normal_(self.last, std=0.02)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return F.linear(F.normalize(self.layers(tokens), dim=-1), F.normalize(self.last, dim=-1))


class Branch(nn.Module):
    """One network: transformer, classifier, auxiliary classifier, decoder and, for distillation, projector.

    classifier, auxiliary_classifier: 1x1 convolutions without bias, whose maps are the CAMs
    heads: the modules that learn at the head's rate
    """

    def __init__(
        self,
        vit: MultiClassTokenViT,
        classes: int,
        config: NetworkConfig,
        distillation: DistillationConfig | None,
    ) -> None:
        super().__init__()
        if not 1 <= config.auxiliary_layer <= vit.depth:
            raise MethodError(
                f"auxiliary_layer={config.auxiliary_layer}: {config.vit.name} has {vit.depth} layers; "
                f"choose 1 (the last) to {vit.depth}"
            )
        self.encoder = vit
        self._auxiliary_block = vit.depth - config.auxiliary_layer
        self._pooling = config.pooling
        self.classifier = nn.Conv2d(vit.channels, classes, 1, bias=False)
        self.auxiliary_classifier = nn.Conv2d(vit.channels, classes, 1, bias=False)
        self.decoder = Decoder(vit.channels, classes + 1, config.decoder)
        self.projector = None
        if distillation is not None:
            self.projector = Projector(
                vit.channels, distillation.hidden, distillation.bottleneck, distillation.outputs
            )

    def heads(self) -> list[nn.Module]:
        new = [self.classifier, self.auxiliary_classifier, self.decoder]
        return new if self.projector is None else [*new, self.projector]

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that do not decay."""
        return {f"encoder.{name}" for name in self.encoder.no_weight_decay()}

    def encode(self, images: torch.Tensor) -> Encoded:
        """Images (B, 3, H, W), sides multiples of the patch -> tokens of the last and of the auxiliary layer."""
        tokens, middle = self.encoder.with_middle(images, self._auxiliary_block)
        return Encoded(tokens.classes[:, 0], tokens.patches, middle)

    def classified(self, patches: torch.Tensor, classifier: nn.Module) -> torch.Tensor:
        """Logits of pooled patch tokens: (B, D, h, w) -> (B, C)."""
        pool = F.adaptive_max_pool2d if self._pooling == "max" else F.adaptive_avg_pool2d
        return classifier(pool(patches, 1)).flatten(1)  # type: ignore[no-any-return]

    def early_parameters(self) -> Iterator[nn.Parameter]:
        """Those that the auxiliary layer's patch tokens depend on."""
        late = {
            id(p)
            for module in (*self.encoder.trunk.blocks[self._auxiliary_block + 1 :], self.encoder.trunk.norm)
            for p in module.parameters()
        }
        return (p for p in self.encoder.parameters() if id(p) not in late)

    def project(self, patches: torch.Tensor) -> torch.Tensor:
        """Projected patch tokens: (B, D, h, w) -> (B, K, h, w)."""
        assert self.projector is not None
        return self.projector(patches.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # type: ignore[no-any-return]

    def activations(self, images: torch.Tensor) -> torch.Tensor:
        """Rectified class maps of images of any size: (B, 3, H, W) -> (B, C, h, w), Eq. 1 but for the maximum."""
        patches = self.encode(whole_patches(images, self.encoder.patch_size)).patches
        return self.classifier(patches).relu()  # type: ignore[no-any-return]

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Patch tokens of the last layer of images of any size: (B, D, h, w)."""
        return self.encode(whole_patches(images, self.encoder.patch_size)).patches

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of the decoder for images of any size: (B, C + 1, h, w)."""
        return self.decoder(self.features(images))  # type: ignore[no-any-return]


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


class Phase(NamedTuple):
    """Iterations from `start` to `stop` - 1; warm_up: the student learns by gradient; segmentation: the decoder."""

    start: int
    stop: int
    warm_up: bool
    segmentation: bool


class ClassContrast(nn.Module):
    """Heads of ToCo's class token contrast: one learns, the other is its moving average and sees whole images."""

    def __init__(self, channels: int, config: ClassContrastConfig) -> None:
        super().__init__()
        self.config = config
        self.head = Projector(channels, config.hidden, config.bottleneck, config.outputs)
        self.average = copy.deepcopy(self.head).requires_grad_(False)

    def forward(self, whole: torch.Tensor, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Class tokens of whole images and of crops, (m, D) and (n, D) -> unit (m + n, K), and (m, K) averaged."""
        average(self.average, self.head, self.config.momentum)
        with torch.no_grad():
            fixed = F.normalize(self.average(whole), dim=-1)
        return F.normalize(self.head(torch.cat([whole, crops])), dim=-1), fixed


class DskdNetwork(nn.Module):
    """Teacher and, for distillation, student, in the phase that `begin` has set.

    teacher: learns by gradient throughout
    student: learns by gradient in the warm-up; afterwards it is the teacher's moving average
    updates: number of averagings so far, kept with the weights so that a resumed training goes on from it
    centre:  moving average of the student's projections (K, 1, 1), likewise
    """

    updates: torch.Tensor
    centre: torch.Tensor

    def __init__(self, teacher: Branch, settings: TrainingConfig) -> None:
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


@torch.no_grad()
def average(target: nn.Module, source: nn.Module, kept: float) -> None:
    """target = kept * target + (1 - kept) * source, of every parameter and statistic; counters are the source's.

    A module of the target that never runs has no statistics of its own: the averaged weights need the source's.
    """
    for old, new in zip(target.parameters(), source.parameters(), strict=True):
        old.lerp_(new, 1 - kept)
    for own, other in zip(target.buffers(), source.buffers(), strict=True):
        if own.is_floating_point():
            own.lerp_(other, 1 - kept)
        else:
            own.copy_(other)


def momentum_at(progress: float, momentum: tuple[float, float]) -> float:
    """Momentum of the average at `progress` in [0, 1]: from the first to the second, by a cosine (DINO)."""
    first, last = momentum
    return last - (last - first) * (1 + math.cos(math.pi * progress)) / 2


def phase_borders(settings: TrainingConfig) -> tuple[int, int]:
    """Iterations at which the warm-up ends and at which the decoder begins to learn."""
    iterations, shares = settings.train.iterations, settings.phases
    warm_up = round(shares.warm_up * iterations) if settings.distillation is not None else 0
    segmentation = (
        round(shares.segmentation * iterations) if settings.weights.segmentation > 0 else iterations
    )
    return warm_up, segmentation


def phases(settings: TrainingConfig) -> list[Phase]:
    """Warm-up, expansion, segmentation: the training's parts that have different parameters to learn."""
    warm_up, segmentation = phase_borders(settings)
    borders = sorted({0, warm_up, segmentation, settings.train.iterations})
    return [Phase(start, stop, start < warm_up, start >= segmentation) for start, stop in pairwise(borders)]


def build_branch(
    config: NetworkConfig,
    classes: int,
    distillation: DistillationConfig | None = None,
    weights_path: Path | None = None,
) -> Branch:
    """Network of a configuration; the transformer starts from `weights_path` (None: random)."""
    trunk, normalisation = build_trunk(config.vit, weights_path)
    vit = MultiClassTokenViT(trunk, 1, config.vit.final_norm, normalisation)
    return Branch(vit, classes, config, distillation)
