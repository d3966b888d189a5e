"""`bluefilm`: drawn photographs of the blue film around battery cells, with four defects.

Stands in for the data of Liu, "SAM-fused pseudo-labels" (Intelligent Computer and Applications 15(10), 2025,
Sec. 3.1), which are not public: 1 200 images, 300 each of scratch, foam, indentation and foreign matter, one
class an image. The paper does not say how they are split; here every class has 240 for training and 60 for
validation. Unlike the paper's, the set also has defect-free pictures, on top of these (`good`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from datasets.base import DatasetConfig
from datasets.bluefilm import defects as bluefilm_defects
from datasets.bluefilm import scene as bluefilm_scene
from datasets.bluefilm import surface as bluefilm_surface
from datasets.drawing import primitives as drawing
from datasets.drawing.generated import IMAGES, MASKS, SPLITS, Drawn, GeneratedDataset, Pictures
from datasets.limits import Natural, Share, Within

FROZEN = {
    "images/train": "672ef132b1eeb43600ee1ea7995e5b1f95b7e60f4e2d49f2edc05eaa6194450d",
    "masks/train": "6ca24f392ed196c493b19085292af1781b1ef8d240b9d18535e4b52bfe9e2963",
    "images/val": "e398f5778025b88f00125b000d4f867fedf93244f837f125a9eb3f931d5ad6a2",
    "masks/val": "5e117ed4a8cb1994a9024aef7b67d132fdf18894742f8d629023dc275c5e4612",
}
"""Fingerprints of the default data set. Results are comparable only while these hold."""


@dataclass(frozen=True)
class BlueFilmConfig(DatasetConfig):
    """Settings of `bluefilm`.

    root:  folder under which the pictures are kept (default: the user's cache folder)
    train, val: numbers of pictures with a defect; a quarter of each class where they divide by four
    good:  defect-free pictures as a share of those, on top of them, in [0, 1]; they have no image-level label
           and a mask of background only
    size:  longest side that a picture may have, pixels, 48 to 2048; shapes vary as those of `shapes` do
    seed:  >= 0, draws another set
    """

    name: str = "bluefilm"
    train: Pictures = 960
    val: Pictures = 240
    good: Share = 0.1
    size: Annotated[int, Within(48, 2048)] = 96
    seed: Natural = 0


class BlueFilm(GeneratedDataset):
    """Ids are ``train_0000`` and ``val_0000``, defect-free ones ``train_good_0000`` and ``val_good_0000``.

    A set with fewer pictures has the first ones of a larger set.
    """

    name = "bluefilm"
    summary = (
        "generated photographs of blue film: scratch, foam, indentation of low contrast, foreign matter; "
        "a share without a defect"
    )
    needs = "nothing: drawn on first use (about ten seconds, 20 MB)"
    config = BlueFilmConfig
    drawn_by = (drawing, bluefilm_surface, bluefilm_defects, bluefilm_scene)
    frozen = FROZEN

    classes = bluefilm_defects.NAMES

    def __init__(self, config: BlueFilmConfig) -> None:
        self._config = config
        super().__init__(config)

    @property
    def has_good_parts(self) -> bool:
        return self._config.good > 0

    def drawing_order(self, split: str) -> tuple[str, ...]:
        count = self._defective(split)
        good = round(count * self._config.good)
        ids = [f"{split}_{index:04d}" for index in range(count)]
        return (*ids, *(f"{split}_good_{index:04d}" for index in range(good)))

    def draw(self, split: str, position: int) -> Drawn:
        beyond = position - self._defective(split)
        index = position if beyond < 0 else beyond
        config = self._config
        picture = bluefilm_scene.render(config.seed, SPLITS.index(split), index, config.size, beyond >= 0)
        return Drawn(picture.labels, {IMAGES: picture.image, MASKS: picture.mask})

    def _defective(self, split: str) -> int:
        return self._config.train if split == "train" else self._config.val


DATASET = BlueFilm
