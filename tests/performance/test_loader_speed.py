"""Images a second of our loader against torchvision's Pillow transforms under a DataLoader, in one run.

Both do the same augmentation with the same number of workers, from files in the system's cache. Ours is
measured without its memory of decoded images and with it. On photographs, too:
`python -m pytest -m "slow or not slow" tests/performance/test_loader_speed.py`
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.models import resnet50
from torchvision.transforms import v2

from datasets.base import Sample
from datasets.files.cores import usable_cores
from datasets.loading.loader import IMAGENET, Batch, Recipe, TrainLoader

WORKERS, BATCH, BATCHES, ROUNDS = 2, 16, 4, 3


class PillowImages(Dataset[torch.Tensor]):
    """What a WSSS repository does: Pillow images through torchvision's transforms, one at a time."""

    def __init__(self, paths: list[Path], recipe: Recipe) -> None:
        self.paths = paths
        low, high = recipe.resize_long
        self.long_sides = range(low, high + 1)
        jitter = (recipe.brightness, recipe.contrast, recipe.saturation, recipe.hue)
        self.transform = v2.Compose(
            [
                v2.RandomCrop(recipe.crop, pad_if_needed=True),
                v2.RandomHorizontalFlip(recipe.flip),
                v2.ColorJitter(*jitter),
                v2.PILToTensor(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(*map(list, IMAGENET)),
            ]
        )

    def __len__(self) -> int:
        return 10**9

    def __getitem__(self, index: int) -> torch.Tensor:
        with Image.open(self.paths[index % len(self.paths)]) as file:
            image = file.convert("RGB")
        long_side = self.long_sides[int(torch.randint(len(self.long_sides), ()))]
        factor = long_side / max(image.size)
        size = [round(image.height * factor), round(image.width * factor)]
        return self.transform(v2.functional.resize(image, size, antialias=True))


def images_per_second(batches: Iterator[torch.Tensor | Batch], device: str, crop: int) -> float:
    """Over BATCHES batches, after as many to warm up (workers started, queues full, caches as they stay)."""
    for _ in range(BATCHES):
        images = _on(device, next(batches))
        assert images.shape == (BATCH, 3, crop, crop)
        assert images.isfinite().all()
    began = time.perf_counter()
    for _ in range(BATCHES):
        _on(device, next(batches))
    return BATCHES * BATCH / (time.perf_counter() - began)


def _on(device: str, batch: torch.Tensor | Batch) -> torch.Tensor:
    """The batch's images, when they are there, finished."""
    images = (batch if isinstance(batch, torch.Tensor) else batch.images).to(device)
    if device == "cuda":
        torch.cuda.synchronize()
    return images


def compare(
    samples: list[Sample], recipe: Recipe, device: str = "cpu", workers: int = WORKERS
) -> dict[str, float]:
    rates: dict[str, list[float]] = {"torchvision": [], "ours, decoding": [], "ours, decoded before": []}
    for _ in range(ROUNDS):
        pillow = DataLoader(PillowImages([s.image for s in samples], recipe), BATCH, num_workers=workers)
        rates["torchvision"].append(images_per_second(iter(pillow), device, recipe.crop))
        for name, cache in (("ours, decoding", 0), ("ours, decoded before", 512 * 2**20)):
            loader = TrainLoader(
                samples, 2, recipe, IMAGENET, BATCH, 0, device, workers=workers, cache_bytes=cache
            )
            batches = loader.batches(0, 10**9)
            rates[name].append(images_per_second(batches, device, recipe.crop))
            batches.close()  # type: ignore[attr-defined]
    return {name: median(values) for name, values in rates.items()}


def photographs(folder: Path) -> list[Sample]:
    """Forty-eight JPEGs of 375x500 and 500x375, with detail at all scales as photographs have."""
    rng = np.random.default_rng(0)
    samples = []
    for i in range(48):
        size = (500, 375) if i % 4 else (375, 500)
        layers = [
            np.asarray(
                Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).resize(
                    size, Image.Resampling.BICUBIC
                ),
                dtype=np.float32,
            )
            for side in (4, 16, 64, 200)
        ]
        picture = np.average(layers, axis=0, weights=[8, 4, 2, 1]).astype(np.uint8)
        path = folder / f"{i}.jpg"
        Image.fromarray(picture).save(path, quality=90)
        samples.append(Sample(str(i), path, (0,)))
    return samples


@pytest.fixture(params=["generated", pytest.param("voc", marks=[pytest.mark.slow, pytest.mark.shared])])
def samples(request: pytest.FixtureRequest, tmp_path: Path) -> list[Sample]:
    if request.param == "generated":
        return photographs(tmp_path)
    images = request.getfixturevalue("shared") / "data/VOCdevkit/VOC2012/JPEGImages"
    return [Sample(p.stem, p, (0,)) for p in sorted(images.glob("*.jpg"))[:48]]


@pytest.mark.parametrize(
    ("crop", "resize_long"), [(448, (448, 768)), pytest.param(224, (224, 384), marks=pytest.mark.slow)]
)
def test_images_a_second_against_torchvision(
    samples: list[Sample],
    crop: int,
    resize_long: tuple[int, int],
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> None:
    recipe = Recipe(crop=crop, resize_long=resize_long, brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1)
    record(f"{request.node.callspec.id}, {WORKERS} workers", compare(samples, recipe), record_property)


def record(what: str, rates: dict[str, float], record_property: Callable[[str, object], None]) -> None:
    for name, rate in rates.items():
        record_property(
            f"loader ({what}): {name}", f"{rate / rates['torchvision']:.2f}x, {rate:.0f} images/s"
        )


@pytest.mark.gpu
def test_a_gpu_is_fed(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """The targets: three times torchvision's images a second, and a training that waits below 5 % of its time."""
    recipe = Recipe(crop=448, resize_long=(448, 768), brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1)
    samples = photographs(tmp_path)
    workers = usable_cores()
    record(f"GPU, {workers} workers", compare(samples, recipe, "cuda", workers), record_property)
    share = wait_share(samples, recipe)
    record_property(
        "loader: a ResNet-50's training on a GPU waits for data", f"{100 * share:.1f} % of its time"
    )


def wait_share(samples: list[Sample], recipe: Recipe, iterations: int = 40) -> float:
    """Of the time that a ResNet-50 trains on the GPU, without memory of decoded images; after a warm-up."""
    network = resnet50().cuda().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), 1e-3)
    loader = TrainLoader(samples, 2, recipe, IMAGENET, BATCH, 0, "cuda", cache_bytes=0)
    batches = loader.batches(0, 10**9)
    for iteration in range(10 + iterations):
        if iteration == 10:
            torch.cuda.synchronize()
            began, before = time.perf_counter(), loader.wait_seconds
        optimizer.zero_grad()
        network(next(batches).images).square().mean().backward()
        optimizer.step()
    torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    batches.close()  # type: ignore[attr-defined]
    return (loader.wait_seconds - before) / seconds
