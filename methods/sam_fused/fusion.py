"""Fusion of P1 and P2 into P (Sec. 2.4): a small convolutional network that learns where the two agree."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from datasets.base import IGNORE, Sample
from datasets.loading.loader import Batch
from methods.artifacts import CamReader
from methods.layers.cam import pseudo_labels, resize
from methods.sam_fused.config import FusionConfig, FusionStageConfig
from methods.sam_fused.reliability import reliability


class Evidence(NamedTuple):
    """What is known of an image's pixels before the fusion.

    maps:   (2 C + 1, H, W) in [0, 1]: CAMs of P1 and mean masks of P2, of all C classes, and the reliability, 0
            where a present class has no mask in any view: nothing is known of it then
    labels: (H, W) int64: the label where P1 and P2 have the same one, IGNORE elsewhere
    """

    maps: torch.Tensor
    labels: torch.Tensor


class FusionNetwork(nn.Sequential):
    """(B, 2 C + 1, H, W), as `Evidence.maps`, -> logits (B, C + 1, H, W), background first."""

    def __init__(self, classes: int, config: FusionConfig) -> None:
        layers: list[nn.Module] = []
        before = 2 * classes + 1
        for _ in range(config.layers):
            layers += [
                nn.Conv2d(before, config.width, 3, padding=1, bias=False),
                nn.BatchNorm2d(config.width),
            ]
            layers.append(nn.ReLU())
            before = config.width
        super().__init__(*layers, nn.Conv2d(before, classes + 1, 1))


class EvidenceReader:
    """Evidence of images from P1's CAMs and SAM's mean masks."""

    def __init__(self, cams: CamReader, masks: CamReader, classes: int, settings: FusionStageConfig) -> None:
        self._cams, self._masks, self._classes, self._settings = cams, masks, classes, settings

    def __getitem__(self, sample_id: str) -> Evidence:
        cam, mask = self._cams[sample_id], self._masks[sample_id]
        present, size = list(cam.classes), cam.size
        first = torch.from_numpy(cam.maps).float()
        second = torch.from_numpy(mask.maps).float()
        maps = torch.zeros(2 * self._classes + 1, *size)
        if present:
            maps[present] = resize(first[None], size)[0]
            maps[[self._classes + c for c in present]] = second
        # Eq. 4 finds the views agreed where none has a mask, as where SAM was not asked for want of a confident region.
        missing = bool((second.flatten(1).amax(1) == 0).any())
        maps[-1] = 1.0 if not present else 0.0 if missing else reliability(second)
        labels = pseudo_labels(first, cam.classes, size, self._settings.background_threshold)
        same = labels == pseudo_labels(second, cam.classes, size, self._settings.mask_threshold)
        return Evidence(maps, torch.where(same, labels.long(), IGNORE))


def fusion_batches(
    samples: Sequence[Sample], evidence: EvidenceReader, config: FusionConfig, seed: int, device: torch.device
) -> Callable[[int, int], Iterator[Batch]]:
    """A source of training batches, the same at any iteration whoever asks: random squares, mirrored at random.

    `images` of a batch are the evidence's maps, its dense map "labels" their labels. Outside of an image smaller
    than the square, maps are 0 and labels IGNORE.
    """
    side, count = config.train.recipe.crop, config.train.batch_size

    def batches(start: int, stop: int) -> Iterator[Batch]:
        for iteration in range(start, stop):
            random = np.random.default_rng((seed, iteration))
            chosen = [samples[i] for i in random.integers(len(samples), size=count)]
            squares = [_square(evidence[s.id], side, random) for s in chosen]
            maps = torch.stack([square.maps for square in squares]).to(device)
            labels = torch.stack([square.labels for square in squares]).to(device)
            none = maps.new_zeros(count, 0)
            yield Batch(
                tuple(s.id for s in chosen), maps, none, {"labels": labels}, labels[:, None] != IGNORE
            )

    return batches


def _square(evidence: Evidence, side: int, random: np.random.Generator) -> Evidence:
    height, width = evidence.labels.shape
    top, left = (int(random.integers(max(n - side, 0) + 1)) for n in (height, width))
    part = (..., slice(top, top + side), slice(left, left + side))
    maps, labels = evidence.maps[part], evidence.labels[part]
    if random.random() < 0.5:
        maps, labels = maps.flip(-1), labels.flip(-1)
    margin = (0, side - maps.shape[-1], 0, side - maps.shape[-2])
    return Evidence(F.pad(maps, margin), F.pad(labels, margin, value=IGNORE))


def fusion_loss(logits: torch.Tensor, maps: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the pixels where P1 and P2 agree, weighted by reliability; 0 where there are none.

    logits: (B, C + 1, H, W); maps: (B, 2 C + 1, H, W), whose last is the reliability; labels: (B, H, W)
    """
    each = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")
    weight = maps[:, -1] * (labels != IGNORE)
    return (each * weight).sum() / weight.sum().clamp_min(1e-6)


def fused_labels(logits: torch.Tensor, present: Sequence[int]) -> torch.Tensor:
    """Label map (H, W) uint8 of logits (C + 1, H, W): the highest of the background and of the present classes."""
    values = torch.tensor([0, *(c + 1 for c in present)], device=logits.device)
    return values[logits[values].argmax(0)].to(torch.uint8)
