"""`shapes`: the data set that the project draws itself, the default at the nano scale."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from datasets.base import ContextClass, DatasetConfig
from datasets.drawing import primitives as drawing
from datasets.drawing.generated import IMAGES, MASKS, SPLITS, Drawn, GeneratedDataset, Pictures
from datasets.limits import Natural
from datasets.shapes import objects as shapes_objects
from datasets.shapes import scene as shapes_scene
from datasets.shapes.scene import BOAT, NAMES, RAILS, TRAIN, WATER, Picture, render

FROZEN = {
    "images/train": "61c192663f067354d73ee3dc952b9529036d5b969b90072d32e6a6a23f47072e",
    "masks/train": "8d97d16e8159d6883d981f3cb5c7ee4363ba1a50446558e41e63237a2e1f2f9c",
    "images/val": "cc283a2138ca80117d2b141a845649a35ac7fb34b6942bdd4a559ec2871c0643",
    "masks/val": "395843fca4a198d48d96fc87b0771e4835c5ba070067ea406be129e445f576f5",
}
"""Fingerprints of the default data set. Results are comparable only while these hold."""

_CONTEXTS = "contexts"


@dataclass(frozen=True)
class ShapesConfig(DatasetConfig):
    """Settings of `shapes`.

    `root`: folder under which the pictures are kept (default: the user's cache folder). `train`, `val`:
    numbers of pictures; a smaller set is the beginning of a larger one. `seed` >= 0 draws another set.
    """

    name: str = "shapes"
    train: Pictures = 768
    val: Pictures = 256
    seed: Natural = 0


class Shapes(GeneratedDataset):
    name = "shapes"
    summary = (
        "generated pictures of ten object classes, two with co-occurring contexts; default of scale nano"
    )
    needs = "nothing: drawn on first use (a few seconds, 20 MB)"
    config = ShapesConfig
    parts = (IMAGES, MASKS, _CONTEXTS)
    drawn_by = (drawing, shapes_objects, shapes_scene)
    frozen = FROZEN

    classes = NAMES
    contexts = (ContextClass("rails", TRAIN, RAILS), ContextClass("water", BOAT, WATER))

    def __init__(self, config: ShapesConfig) -> None:
        self._config = config
        super().__init__(config)

    def context_path(self, sample_id: str) -> Path:
        return self.path(_CONTEXTS, sample_id)

    def drawing_order(self, split: str) -> tuple[str, ...]:
        count = self._config.train if split == "train" else self._config.val
        return tuple(f"{split}_{index:04d}" for index in range(count))

    def draw(self, split: str, position: int) -> Drawn:
        picture = draw(self._config.seed, split, position)
        maps = {IMAGES: picture.image, MASKS: picture.mask, _CONTEXTS: picture.context}
        return Drawn(picture.labels, maps)


def draw(seed: int, split: str, index: int) -> Picture:
    """Picture `index` of a split, as it is written to disk."""
    return render(seed, SPLITS.index(split), index)


DATASET = Shapes
