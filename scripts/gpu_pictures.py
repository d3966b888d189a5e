"""The pictures that `scripts/gpu_check.py` trains on where there is no VOC, and saliency maps of noise for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from datasets import open_dataset
from datasets.base import Dataset
from datasets.files.images import image_size, write_labels
from datasets.shapes.dataset import draw
from datasets.shapes.scene import NAMES
from datasets.voc.reader import CLASSES, VocConfig


def open_pictures(voc: str | None, folder: Path, count: int) -> Dataset:
    """VOC, or pictures that are drawn in its layout and at its size; as many as asked for."""
    root = Path(voc) if voc else _drawn(folder / "VOCdevkit", count)
    dataset = open_dataset(VocConfig(root=str(root), train="train", subset=count))
    dataset.prepare()
    return dataset


def _drawn(devkit: Path, count: int) -> Path:
    """The pictures of `shapes`, enlarged to 500x375 with some noise, with classes of VOC."""
    if devkit.exists():
        return devkit
    folder = devkit / "VOC2012"
    other = iter(name for name in CLASSES if name not in NAMES)
    classes = [CLASSES.index(name if name in CLASSES else next(other)) for name in NAMES]
    values = np.array([0, *(i + 1 for i in classes), *[255] * (255 - len(classes))], np.uint8)
    for part in ("JPEGImages", "Annotations", "ImageSets/Segmentation"):
        (folder / part).mkdir(parents=True)
    noise = np.random.default_rng(0)
    for split in ("train", "val"):
        ids = [f"{split}_{index:04d}" for index in range(count if split == "train" else max(2, count // 8))]
        (folder / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("\n".join(ids) + "\n")
        for index, name in enumerate(ids):
            picture = draw(0, split, index)
            image = np.asarray(
                Image.fromarray(picture.image).resize((500, 375), Image.Resampling.BICUBIC), np.int16
            )
            image = np.clip(image + noise.integers(-12, 13, image.shape), 0, 255).astype(np.uint8)
            Image.fromarray(image).save(folder / "JPEGImages" / f"{name}.jpg", quality=92)
            mask = Image.fromarray(values[picture.mask]).resize((500, 375), Image.Resampling.NEAREST)
            write_labels(folder / "SegmentationClass" / f"{name}.png", np.asarray(mask))
            objects = "".join(f"<object><name>{CLASSES[classes[i]]}</name></object>" for i in picture.labels)
            (folder / "Annotations" / f"{name}.xml").write_text(f"<annotation>{objects}</annotation>")
    return devkit


def noise_maps(dataset: Dataset, folder: Path) -> Path:
    """Saliency maps of noise, of the training images' sizes."""
    noise = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    for sample in dataset.training_view().samples("train"):
        height, width = image_size(sample.image)
        coarse = Image.fromarray(noise.integers(0, 256, (6, 8), dtype=np.uint8))
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(folder / f"{sample.id}.png")
    return folder
