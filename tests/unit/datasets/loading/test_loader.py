"""The loader: order, resuming, ranks, dense maps, errors, threads."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datasets.base import DataError, DenseMap, Sample
from datasets.files.guard import masks_closed
from datasets.files.images import read_image
from datasets.loading.loader import IMAGENET, Batch, Recipe, TrainLoader, image_batches
from datasets.recipe import ColoursOnly
from tests.conftest import ROOT

COUNT, CLASSES = 11, 4
RECIPE = Recipe(crop=32, resize_long=(30, 60), brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1)


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """Eleven JPEGs of four sizes; `masks/<id>.png` equals the image's brightness above one half."""
    rng = np.random.default_rng(0)
    (tmp_path / "masks").mkdir()
    made = []
    for i in range(COUNT):
        size = [(40, 50), (50, 40), (25, 30), (40, 50), (64, 33)][i % 5]
        coarse = Image.fromarray(rng.integers(0, 255, (4, 4), dtype=np.uint8))
        grey = np.asarray(coarse.resize(size[::-1], Image.Resampling.BICUBIC))
        path = tmp_path / f"{i:02}.png"
        Image.fromarray(np.dstack([grey] * 3)).save(path)
        Image.fromarray(grey).save(tmp_path / "masks" / f"{i:02}.png")
        made.append(Sample(f"{i:02}", path, (i % CLASSES, 3)))
    return made


def make_loader(samples: list[Sample], **changes) -> TrainLoader:
    settings = {"recipe": RECIPE, "normalisation": IMAGENET, "batch_size": 4, "seed": 0, "device": "cpu"}
    return TrainLoader(samples, CLASSES, **(settings | {"workers": 2} | changes))


def dense_map(samples: list[Sample], kind) -> DenseMap:
    return DenseMap(lambda i: samples[0].image.parent / "masks" / f"{i}.png", kind)


def assert_same(a: Batch, b: Batch) -> None:
    assert a.ids == b.ids
    assert torch.equal(a.images, b.images)
    assert torch.equal(a.labels, b.labels)
    assert torch.equal(a.valid, b.valid)
    assert a.dense_maps.keys() == b.dense_maps.keys()
    assert all(torch.equal(a.dense_maps[k], b.dense_maps[k]) for k in a.dense_maps)


def test_shapes_and_labels(samples: list[Sample]) -> None:
    dense_maps = {"saliency": dense_map(samples, "continuous"), "labels": dense_map(samples, "labels")}
    batch = next(make_loader(samples, dense_maps=dense_maps).batches(0, 1))
    assert batch.images.shape == (4, 3, 32, 32)
    assert batch.images.dtype == torch.float32
    assert batch.valid.shape == (4, 1, 32, 32)
    assert batch.dense_maps["saliency"].shape == (4, 1, 32, 32)
    assert batch.dense_maps["labels"].shape == (4, 32, 32)
    assert batch.dense_maps["labels"].dtype == torch.int64
    for sample_id, row in zip(batch.ids, batch.labels):
        assert row.nonzero().flatten().tolist() == sorted({int(sample_id) % CLASSES, 3})


def test_further_views_leave_the_images_as_they_are(samples: list[Sample]) -> None:
    """One in other colours, which lies as the image does, and one with a crop of its own size."""
    dense_maps = {"saliency": dense_map(samples, "continuous")}
    plain = Recipe(crop=32, resize_long=(30, 60))
    views = (ColoursOnly(Recipe(crop=8)), Recipe(crop=16, resize_crop=(0.4, 1.0)))
    alone = next(make_loader(samples, dense_maps=dense_maps).batches(3, 4))
    batch = next(make_loader(samples, dense_maps=dense_maps, views=views).batches(3, 4))
    assert_same(batch, alone)
    assert alone.views == ()
    recoloured, small = batch.views
    assert small.shape == (4, 3, 16, 16)
    without_colours = next(make_loader(samples, recipe=plain).batches(3, 4))
    assert torch.equal(recoloured, without_colours.images)
    assert not torch.equal(recoloured, batch.images)


def test_every_epoch_sees_every_sample_once(samples: list[Sample]) -> None:
    ids = [i for batch in make_loader(samples).batches(0, 2 * COUNT) for i in batch.ids]
    epochs = [ids[k : k + COUNT] for k in range(0, len(ids) - COUNT + 1, COUNT)]
    assert len(epochs) == 8
    assert all(Counter(e) == Counter(s.id for s in samples) for e in epochs)
    assert len({tuple(e) for e in epochs}) == len(epochs)


def test_an_image_is_augmented_anew_in_every_epoch(samples: list[Sample]) -> None:
    batches = make_loader(samples[:1], batch_size=1).batches(0, 6)
    seen = [batch.images for batch in batches]
    assert not any(torch.equal(a, b) for k, a in enumerate(seen) for b in seen[:k])


def test_resuming_gives_equal_batches(samples: list[Sample]) -> None:
    dense_maps = {"saliency": dense_map(samples, "continuous"), "labels": dense_map(samples, "labels")}
    whole = list(make_loader(samples, dense_maps=dense_maps).batches(0, 9))
    resumed = make_loader(samples, dense_maps=dense_maps, workers=1, cache_bytes=0)
    for expected, actual in zip(whole[5:], resumed.batches(5, 9), strict=True):
        assert_same(expected, actual)


def test_order_is_every_method_s(samples: list[Sample]) -> None:
    other = replace(RECIPE, crop=16, resize_long=(0, 0), scale=(0.5, 1.0), hue=0.0)
    first = [b.ids for b in make_loader(samples).batches(0, 6)]
    assert first == [b.ids for b in make_loader(samples, recipe=other).batches(0, 6)]
    assert first != [b.ids for b in make_loader(samples, seed=1).batches(0, 6)]


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_share_the_global_batch(samples: list[Sample], world_size: int) -> None:
    whole = list(make_loader(samples).batches(2, 6))
    ranks = [
        list(make_loader(samples, rank=r, world_size=world_size).batches(2, 6)) for r in range(world_size)
    ]
    for i, batch in enumerate(whole):
        assert batch.ids == sum((r[i].ids for r in ranks), ())
        torch.testing.assert_close(batch.images, torch.cat([r[i].images for r in ranks]), atol=1e-5, rtol=0)
        assert torch.equal(batch.labels, torch.cat([r[i].labels for r in ranks]))


def test_ranks_that_cannot_share_are_refused(samples: list[Sample]) -> None:
    with pytest.raises(DataError, match="does not divide among 3"):
        make_loader(samples, world_size=3)


def test_dense_maps_follow_their_image(samples: list[Sample]) -> None:
    """The dense map equals the image's grey: after augmentation it still does."""
    recipe = Recipe(crop=32, resize_long=(20, 70))
    loader = make_loader(samples, recipe=recipe, dense_maps={"grey": dense_map(samples, "continuous")})
    mean, deviation = (torch.tensor(v)[:, None, None] for v in IMAGENET)
    for batch in loader.batches(0, 6):
        images = batch.images * deviation + mean
        difference = (images - batch.dense_maps["grey"]).abs().amax(1, keepdim=True)
        assert difference[batch.valid].max() < 1e-5
        assert (batch.dense_maps["grey"][~batch.valid] == 0).all()


def test_a_dense_map_of_another_size_is_named(samples: list[Sample], tmp_path: Path) -> None:
    Image.fromarray(np.zeros((7, 9), np.uint8)).save(tmp_path / "masks" / "05.png")
    with pytest.raises(
        DataError, match=r"masks/05\.png: its size \(H, W\) = \(7, 9\) is not that of its image"
    ):
        list(make_loader(samples, dense_maps={"labels": dense_map(samples, "labels")}).batches(0, 6))


def test_broken_image_surfaces_in_the_consumer(samples: list[Sample]) -> None:
    samples[3].image.write_bytes(samples[3].image.read_bytes()[:200])
    with pytest.raises(DataError, match=r"03\.png: cannot be decoded"):
        list(make_loader(samples).batches(0, 6))
    with pytest.raises(DataError, match=r"03\.png: cannot be decoded"):
        list(image_batches(samples, CLASSES, IMAGENET, 4, "cpu"))


def test_closed_masks_surface_in_the_consumer(samples: list[Sample], tmp_path: Path) -> None:
    with masks_closed([tmp_path / "masks"]):
        next(make_loader(samples).batches(0, 1))
        with pytest.raises(PermissionError, match="training must not open a mask"):
            next(make_loader(samples, dense_maps={"m": dense_map(samples, "labels")}).batches(0, 1))


def test_bad_lists_are_refused(samples: list[Sample]) -> None:
    with pytest.raises(DataError, match="empty"):
        make_loader([])
    with pytest.raises(DataError, match=r"00: labels \(9,\) are not all in 0\.\.3"):
        make_loader([replace(samples[0], labels=(9,))])


def test_images_are_decoded_once(samples: list[Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: Counter[Path] = Counter()

    def counted(path: Path) -> torch.Tensor:
        calls[path] += 1
        return read_image(path)

    monkeypatch.setattr("datasets.loading.loader.read_image", counted)
    list(make_loader(samples, workers=1).batches(0, 12))
    assert set(calls.values()) == {1}
    calls.clear()
    list(make_loader(samples, workers=1, cache_bytes=0).batches(0, 12))
    assert sum(calls.values()) == 48


def loader_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("loader")]


@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_leaving_stops_the_threads(samples: list[Sample], error: type[BaseException] | None) -> None:
    batches = make_loader(samples, cache_bytes=0).batches(0, 10**9)
    next(batches)
    assert loader_threads()
    if error is None:
        batches.close()
    else:
        with pytest.raises(error):
            batches.throw(error)
    del batches
    gc.collect()
    deadline = time.monotonic() + 2
    for thread in loader_threads():
        thread.join(deadline - time.monotonic())
    assert not loader_threads()


def test_waiting_is_measured(samples: list[Sample]) -> None:
    loader = make_loader(samples)
    assert loader.wait_seconds == 0
    list(loader.batches(0, 2))
    assert loader.wait_seconds > 0


def test_whole_images_come_once_each_at_native_size(samples: list[Sample]) -> None:
    batches = list(image_batches(samples, CLASSES, IMAGENET, 3, "cpu", workers=2))
    assert Counter(i for b in batches for i in b.ids) == Counter(s.id for s in samples)
    assert [b.ids for b in batches] == [b.ids for b in image_batches(samples, CLASSES, IMAGENET, 3, "cpu", 1)]
    assert batches[0].ids == ("00", "03", "05")
    by_id = {s.id: s for s in samples}
    mean, deviation = (torch.tensor(v)[:, None, None] for v in IMAGENET)
    for batch in batches:
        assert batch.images.shape[2:] == batch.size
        for sample_id, image, labels in zip(batch.ids, batch.images, batch.labels):
            expected = (read_image(by_id[sample_id].image) / 255 - mean) / deviation
            torch.testing.assert_close(image, expected, atol=1e-5, rtol=0)
            assert labels.nonzero().flatten().tolist() == sorted(set(by_id[sample_id].labels))


def test_no_images_no_batches() -> None:
    assert list(image_batches([], CLASSES, IMAGENET, 3, "cpu")) == []


@pytest.mark.gpu
def test_cuda_equals_cpu(samples: list[Sample]) -> None:
    dense_maps = {"saliency": dense_map(samples, "continuous"), "labels": dense_map(samples, "labels")}
    pairs = zip(
        make_loader(samples, dense_maps=dense_maps, device="cuda").batches(0, 12),
        make_loader(samples, dense_maps=dense_maps).batches(0, 12),
        strict=True,
    )
    for on_gpu, on_cpu in pairs:
        assert on_gpu.images.device.type == "cuda"
        assert on_gpu.ids == on_cpu.ids
        torch.testing.assert_close(on_gpu.images.cpu(), on_cpu.images, atol=2e-2, rtol=0)  # TF32 may be on
        assert torch.equal(on_gpu.dense_maps["labels"].cpu(), on_cpu.dense_maps["labels"])
        torch.testing.assert_close(
            on_gpu.dense_maps["saliency"].cpu(), on_cpu.dense_maps["saliency"], atol=1e-5, rtol=0
        )
    for on_gpu, on_cpu in zip(
        image_batches(samples, CLASSES, IMAGENET, 3, "cuda"),
        image_batches(samples, CLASSES, IMAGENET, 3, "cpu"),
        strict=True,
    ):
        torch.testing.assert_close(on_gpu.images.cpu(), on_cpu.images, atol=1e-5, rtol=0)


def test_workers_leave_the_callers_threads_alone(tmp_path: Path) -> None:
    """In a fresh process, since a thread asks for its number of threads only once."""
    script = """
import os, sys, torch
from pathlib import Path
from datasets.base import Sample
from datasets.files.images import write_labels
from datasets.loading.loader import image_batches
from datasets.recipe import IMAGENET
path = Path(sys.argv[1])
write_labels(path, torch.zeros(8, 8, dtype=torch.uint8))
list(image_batches([Sample("a", path, ())], 1, IMAGENET, 1, torch.device("cpu")))
print(torch.get_num_threads())
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a.png")],
        capture_output=True,
        text=True,
        env=environment,
        cwd=ROOT,
    )
    assert done.stdout.strip() == "2", done.stderr
