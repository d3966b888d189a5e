"""LPCAM's maps: similarities of features to prototypes, in place of a classifier's response."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from datasets.base import Sample
from methods.artifacts import CamReader
from methods.base import ForwardPass, Inputs, StageContext
from methods.cam.network import PlainCam
from methods.layers.cam import resize
from methods.layers.cam_inference import write_multi_scale_cams
from methods.layers.forward_passes import multi_scale_cams
from methods.layers.networks.backbones import Backbone
from methods.layers.tiles import grid_of, tiled
from methods.lpcam.config import LpcamStageConfig
from methods.lpcam.prototypes import (
    cluster,
    confidence,
    inside_and_outside,
    mean_direction,
    prototype_maps,
)

FOLDER = "prototypes"
"""In the CAM's artifact: a file a class, with the mean directions of its prototypes and contexts."""


class LpcamNetwork(PlainCam):
    """`cam`'s network, whose maps compare features with prototypes of the classes.

    foreground, context: (C, D), see `prototypes.mean_direction`; zeros until they are found
    """

    title = "CAM network with prototypes"
    foreground: torch.Tensor
    context: torch.Tensor

    def __init__(self, backbone: Backbone, classes: int) -> None:
        super().__init__(backbone, classes)
        for name in ("foreground", "context"):
            self.register_buffer(name, torch.zeros(classes, backbone.channels), persistent=False)

    @classmethod
    def cam(cls, context: StageContext, settings: LpcamStageConfig) -> None:  # type: ignore[override]
        """Stage: prototypes of every class, from its images' features and plain CAMs; then the maps of all images."""
        network = cls.trained(context, settings.trained)
        network.find_prototypes(context, settings)
        write_multi_scale_cams(
            context,
            lambda images: network.maps(images, settings),
            network.normalisation,
            replace(settings.inference, flip=False),
            normalised=cls.to_unit,
            grid=grid_of(network),
        )

    @classmethod
    def profile_cam(  # type: ignore[override]
        cls, settings: LpcamStageConfig, inputs: Inputs, classes: int, size: tuple[int, int]
    ) -> list[ForwardPass]:
        network = cls.build(inputs["weights"].network, classes).eval()
        covers = "with mirrored features; " if settings.inference.flip else ""
        straight = replace(settings.inference, flip=False)
        return [
            multi_scale_cams(cls.title, network, lambda m, x: m.maps(x, settings), straight, size, covers)
        ]

    @torch.inference_mode()
    def find_prototypes(self, context: StageContext, settings: LpcamStageConfig) -> None:
        """Fill `foreground` and `context`, a class at a time: its features are all that is in memory."""
        folder = context.output / FOLDER
        folder.mkdir(exist_ok=True)
        plain = CamReader(context.inputs["cam"].path)
        for label, name in enumerate(context.view.classes):
            path = folder / f"{label}.safetensors"
            if not path.exists():
                samples = [s for s in context.view.samples("train") if label in s.labels]
                found = self._prototypes(context, settings, label, samples, plain)
                if samples and not bool(found["foreground"].any()):
                    context.log(f"{name}: no prototype, since no CAM of it is above {settings.threshold}")
                _write(path, found)
            kept = load_file(path)
            self.foreground[label] = kept["foreground"].to(context.device)
            self.context[label] = kept["context"].to(context.device)

    def _prototypes(
        self,
        context: StageContext,
        settings: LpcamStageConfig,
        label: int,
        samples: Sequence[Sample],
        plain: CamReader,
    ) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(context.seed * len(context.view.classes) + label)
        if 0 < settings.images_per_class < len(samples):
            drawn = (
                torch.randperm(len(samples), generator=generator)[: settings.images_per_class].sort().values
            )
            samples = [samples[i] for i in drawn]
        found: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        inference = settings.inference
        for batch in context.images(samples, self.normalisation, inference.batch_size, inference.tiles.on):
            cams = torch.stack([_of_class(plain, i, label, batch.size) for i in batch.ids]).to(context.device)
            features = tiled(self.backbone, inference.tiles, batch.at_once, grid_of(self))(batch.images)
            for n, sample_id in enumerate(batch.ids):
                found[sample_id] = inside_and_outside(
                    features[n : n + 1], cams[n : n + 1], settings.threshold
                )
        # in the images' order: batches come in another one where sizes differ, and the first centres are drawn by place
        sides = zip(*(found[sample.id] for sample in samples))
        inside, outside = [self._centres(side, settings, generator) for side in sides] or [
            self.foreground[:0]
        ] * 2
        weights = self.classifier.weight.flatten(1)
        sure = confidence(inside, weights, label)
        kept = sure > settings.foreground_probability
        if len(sure) and not kept.any():
            kept[sure.argmax()] = True
        unsure = confidence(outside, weights, label)
        contexts = (unsure < settings.context_probability) & (unsure > settings.context_least)
        return {"foreground": mean_direction(inside, kept), "context": mean_direction(outside, contexts)}

    def _centres(
        self, parts: Sequence[torch.Tensor], settings: LpcamStageConfig, generator: torch.Generator
    ) -> torch.Tensor:
        features = torch.cat(list(parts))
        start = torch.randperm(len(features), generator=generator)[: settings.clusters]
        return cluster(features, features[start.to(features.device)], settings.tolerance)[0]

    def maps(self, images: torch.Tensor, settings: LpcamStageConfig) -> torch.Tensor:
        features = self.backbone(images)
        if settings.inference.flip:
            features = features + self.backbone(images.flip(-1)).flip(-1)
        return prototype_maps(features, self.foreground, self.context)

    @staticmethod
    def to_unit(maps: torch.Tensor) -> torch.Tensor:
        return maps / maps.amax((-2, -1), keepdim=True).clamp(min=torch.finfo(maps.dtype).tiny)


def _of_class(plain: CamReader, sample_id: str, label: int, size: tuple[int, int]) -> torch.Tensor:
    """The plain CAM of a class, of the image's size."""
    cam = plain[sample_id]
    one = torch.from_numpy(cam.maps[cam.classes.index(label)]).float()
    return resize(one[None, None], size)[0, 0]


def _write(path: Path, tensors: dict[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    save_file({name: value.cpu().contiguous() for name, value in tensors.items()}, temporary)
    temporary.replace(path)
