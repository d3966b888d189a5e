"""A method whose network is a file of text: it learns a colour and paints images with it. For tests of `predict`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from datasets.base import TrainingView
from methods.base import Kind, MethodConfig, Shared, Stage
from tests.helpers.toys import Toy


@dataclass(frozen=True)
class Brush:
    widths: tuple[int, ...] = (1, 2)


@dataclass(frozen=True)
class PainterConfig(MethodConfig):
    """colour: class id that is learned and painted."""

    colour: int = 1
    brush: Brush | None = field(default_factory=Brush)


class Painter(Toy):
    """Learns a colour and paints the validation images with it; its network is a file of text."""

    title = "Painter"
    config = PainterConfig
    presets = {"nano": PainterConfig()}  # noqa: RUF012

    def stages(self, config: Any, view: TrainingView, shared: Shared) -> Sequence[Stage]:
        here = "tests.helpers.painter"
        learn = Stage("learn", f"{here}:learn", config, Kind.WEIGHTS)
        paint = Stage(
            "paint", f"{here}:paint", config, Kind.PREDICTION, {"colour": "learn"}, ("val",), seeded=False
        )
        return [learn, paint]


class LightPainter(Painter):
    """Paints what is brighter than half of white, and the rest background."""

    def stages(self, config: Any, view: TrainingView, shared: Shared) -> Sequence[Stage]:
        learn, paint = super().stages(config, view, shared)
        return [learn, replace(paint, run="tests.helpers.painter:paint_light")]


def learn(context: Any, settings: PainterConfig) -> None:
    (context.output / "colour.txt").write_text(str(settings.colour))


def paint(context: Any, settings: PainterConfig) -> None:
    from datasets.files import images
    from methods.artifacts import label_map_path

    assert isinstance(settings.brush, Brush)
    assert tuple(settings.brush.widths) == (1, 2)
    colour = int((context.inputs["colour"].path / "colour.txt").read_text())
    for _, samples in context.shards((*context.view.samples("val"), *context.view.examples())):
        for sample in samples:
            labels = np.full(images.image_size(sample.image), colour, np.uint8)
            images.write_labels(label_map_path(context.output, sample.id), labels)
            context.advance(1)


def paint_light(context: Any, settings: PainterConfig) -> None:
    from datasets.files import images
    from methods.artifacts import label_map_path

    for _, samples in context.shards((*context.view.samples("val"), *context.view.examples())):
        for sample in samples:
            bright = images.read_image(sample.image).float().mean(0) > 127.5
            images.write_labels(label_map_path(context.output, sample.id), bright.byte())
            context.advance(1)


FITTING = {"images": 2}
"""Images for which `paint_hungrily` finds memory."""


def paint_hungrily(context: Any, settings: PainterConfig) -> None:
    """As `paint_square`, three images at once: of a batch that does not fit, the first is done before it fails."""
    import torch

    from datasets.files import images
    from datasets.recipe import IMAGENET
    from methods.artifacts import label_map_path

    for _, samples in context.shards(context.view.samples("val")):
        for batch in context.images(samples, IMAGENET, 3):
            for sample_id, image in zip(batch.ids, batch.images):
                scores = torch.zeros(len(context.view.classes) + 1, *image.shape[1:])
                scores[settings.colour] = 1
                images.write_labels(label_map_path(context.output, sample_id), scores.argmax(0).byte())
                context.report_scores(sample_id, scores)
                if len(batch.ids) > FITTING["images"]:
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def paint_square(context: Any, settings: PainterConfig) -> None:
    """A square of 4 x 4 pixels at row 3 and column 2, of a probability of .75; the rest is background."""
    import torch

    from datasets.files import images
    from methods.artifacts import label_map_path

    for _, samples in context.shards(context.view.samples("val")):
        for sample in samples:
            scores = torch.zeros(len(context.view.classes) + 1, *images.image_size(sample.image))
            scores[settings.colour, 3:7, 2:6] = 0.75
            scores[0] = 1 - scores[settings.colour]
            images.write_labels(label_map_path(context.output, sample.id), scores.argmax(0).byte())
            context.report_scores(sample.id, scores)
            context.advance(1)


def paint_brightness(context: Any, settings: PainterConfig) -> None:
    """A probability that is the brightness, of the class that is learned."""
    import torch

    from datasets.files import images
    from methods.artifacts import label_map_path

    for _, samples in context.shards((*context.view.samples("val"), *context.view.examples())):
        for sample in samples:
            bright = images.read_image(sample.image).float().mean(0) / 255
            scores = torch.zeros(len(context.view.classes) + 1, *bright.shape)
            scores[settings.colour], scores[0] = bright, 1 - bright
            images.write_labels(label_map_path(context.output, sample.id), scores.argmax(0).byte())
            context.report_scores(sample.id, scores)
            context.advance(1)
