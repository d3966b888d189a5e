"""Fusion of P1 and P2 into P (Sec. 2.4) by a small convolutional network that learns from the two."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from datasets.base import Sample
from datasets.files.images import read_image
from datasets.loading.loader import Batch
from methods.artifacts import CamReader
from methods.layers.cam import pseudo_labels, resize
from methods.sam_fused.config import FusionConfig, FusionStageConfig
from methods.sam_fused.reliability import reliability


class Evidence(NamedTuple):
    """What is known of an image's pixels before the fusion.

    maps:    (I, H, W) in [0, 1], what the network sees: P1 and P2 of all C classes (`FusionConfig.sees`), the
             reliability, and the picture's three colours if it is seen too. The reliability is 0 where a present class
             has no mask in any view: nothing is known of it then
    labels:  (2, H, W) int64: of P1 and of P2
    weights: (2, H, W) in [0, 1], how much each is learned from (`FusionConfig.learns`)
    """

    maps: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor


def inputs_seen(classes: int, config: FusionConfig) -> int:
    """Number of maps that the network sees."""
    return 2 * classes + 1 + 3 * config.picture


class FusionNetwork(nn.Sequential):
    """(B, I, H, W), as `Evidence.maps`, -> logits (B, C + 1, H, W), background first."""

    def __init__(self, classes: int, config: FusionConfig) -> None:
        layers: list[nn.Module] = []
        before = inputs_seen(classes, config)
        for _ in range(config.layers):
            layers += [
                nn.Conv2d(before, config.width, 3, padding=1, bias=False),
                nn.BatchNorm2d(config.width),
            ]
            layers.append(nn.ReLU())
            before = config.width
        super().__init__(*layers, nn.Conv2d(before, classes + 1, 1))


class EvidenceReader:
    """Evidence of images from P1's CAMs and SAM's mean masks.

    images: their files by id, read where the network sees them
    """

    def __init__(
        self,
        cams: CamReader,
        masks: CamReader,
        classes: int,
        settings: FusionStageConfig,
        images: Mapping[str, Path] | None = None,
    ) -> None:
        self._cams, self._masks, self._classes, self._settings = cams, masks, classes, settings
        self._images = images or {}

    def __getitem__(self, sample_id: str) -> Evidence:
        cam, mask = self._cams[sample_id], self._masks[sample_id]
        config, present, size = self._settings.fusion, list(cam.classes), cam.size
        first = torch.from_numpy(cam.maps).float()
        second = torch.from_numpy(mask.maps).float()
        labels = torch.stack(
            [
                pseudo_labels(first, cam.classes, size, self._settings.background_threshold),
                pseudo_labels(second, cam.classes, size, self._settings.mask_threshold),
            ]
        ).long()
        # Eq. 4 finds the views agreed where none has a mask, as where SAM was not asked for want of a confident region.
        missing = bool((second.flatten(1).amax(1) == 0).any())
        reliable = torch.zeros(size) if missing else reliability(second)
        if config.sees == "maps":
            objects = torch.zeros(2, self._classes, *size)
            if present:
                objects[0, present], objects[1, present] = resize(first[None], size)[0], second
        else:
            objects = F.one_hot(labels, self._classes + 1).permute(0, 3, 1, 2)[:, 1:].float()
        weight = reliable if config.weighted or missing else torch.ones(size)
        picture = [read_image(self._images[sample_id]) / 255] if config.picture else []
        maps = torch.cat([objects.flatten(0, 1), reliable[None], *picture])
        return Evidence(maps, labels, self._weights(labels, weight))

    def _weights(self, labels: torch.Tensor, reliable: torch.Tensor) -> torch.Tensor:
        """(2, H, W): of P1 and of P2."""
        none = torch.zeros_like(reliable)
        return torch.stack(
            {
                "agreement": (none, reliable * (labels[0] == labels[1])),
                "sam": (none, reliable),
                "reliable": (1 - reliable, reliable),
                "both": (torch.ones_like(reliable), reliable),
            }[self._settings.fusion.learns]
        )


def fusion_batches(
    samples: Sequence[Sample], evidence: EvidenceReader, config: FusionConfig, seed: int, device: torch.device
) -> Callable[[int, int], Iterator[Batch]]:
    """A source of training batches, the same at any iteration whoever asks: random squares, mirrored at random.

    `images` of a batch are the evidence's maps, its dense maps "labels" and "weights" the evidence's. Outside of an
    image smaller than the square all are 0.
    """
    side, count = config.train.recipe.crop, config.train.batch_size

    def batches(start: int, stop: int) -> Iterator[Batch]:
        for iteration in range(start, stop):
            random = np.random.default_rng((seed, iteration))
            chosen = [samples[i] for i in random.integers(len(samples), size=count)]
            squares = [_square(evidence[s.id], side, random) for s in chosen]
            maps, labels, weights = (torch.stack(part).to(device) for part in zip(*squares))
            dense = {"labels": labels, "weights": weights}
            none = maps.new_zeros(count, 0)
            yield Batch(tuple(s.id for s in chosen), maps, none, dense, weights.sum(1, keepdim=True) > 0)

    return batches


def _square(evidence: Evidence, side: int, random: np.random.Generator) -> Evidence:
    height, width = evidence.labels.shape[-2:]
    top, left = (int(random.integers(max(n - side, 0) + 1)) for n in (height, width))
    parts = [part[..., top : top + side, left : left + side] for part in evidence]
    if random.random() < 0.5:
        parts = [part.flip(-1) for part in parts]
    margin = (0, side - parts[0].shape[-1], 0, side - parts[0].shape[-2])
    return Evidence(*(F.pad(part, margin) for part in parts))


def fusion_loss(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted mean of the cross-entropy against P1's and against P2's labels; 0 where all weights are.

    logits: (B, C + 1, H, W); labels, weights: (B, 2, H, W), as in `Evidence`
    """
    total, share = logits.new_zeros(()), logits.new_zeros(())
    for own, weight in zip(labels.unbind(1), weights.unbind(1)):
        total = total + (F.cross_entropy(logits, own, reduction="none") * weight).sum()
        share = share + weight.contiguous().sum()
    return total / share.clamp_min(1e-6)


def fused_labels(logits: torch.Tensor, present: Sequence[int]) -> torch.Tensor:
    """Label map (H, W) uint8 of logits (C + 1, H, W): the highest of the background and of the present classes."""
    values = torch.tensor([0, *(c + 1 for c in present)], device=logits.device)
    return values[logits[values].argmax(0)].to(torch.uint8)
