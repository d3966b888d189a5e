"""The loader of all methods: decoding and prefetching in threads, augmentation on the device.

A method declares a `Recipe`; the order and every random number follow from (seed, epoch, sample), so batch i
is the same whoever asks for it, whether or not earlier ones were made.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch

from datasets.base import DataError, DenseMap, Sample
from datasets.files.images import image_size, read_image, read_labels, read_map
from datasets.loading.augment import Draw, Plan, augment, draw, draw_views, permutation, plan
from datasets.loading.prefetch import InFlight, Stopped, Transfer, default_workers, prefetched
from datasets.recipe import IMAGENET, ColoursOnly, Normalisation, Recipe, View

__all__ = ["IMAGENET", "Batch", "ImageBatch", "Normalisation", "Recipe", "TrainLoader", "image_batches"]

_PARTS = 1 + len(Plan._fields)
"""Tensors of a view: its canvas and its plan."""


@dataclass(frozen=True)
class Batch:
    """Augmented training images.

    images:     (B, 3, crop, crop) float32, normalised; 0 (the mean) outside the image
    labels:     (B, C) float32 multi-hot
    dense_maps: name -> (B, 1, crop, crop) float32 in [0, 1] if continuous, (B, crop, crop) int64 if labels
    valid:      (B, 1, crop, crop) bool, False outside the image
    views:      further views of the images, each (B, 3, crop, crop) as `images`
    """

    ids: tuple[str, ...]
    images: torch.Tensor
    labels: torch.Tensor
    dense_maps: dict[str, torch.Tensor]
    valid: torch.Tensor
    views: tuple[torch.Tensor, ...] = ()


@dataclass(frozen=True)
class ImageBatch:
    """Whole images of one size: images (B, 3, H, W) float32, normalised; labels (B, C) float32 multi-hot.

    at_once: images, or tiles of them, that may pass a network together
    """

    ids: tuple[str, ...]
    images: torch.Tensor
    labels: torch.Tensor
    size: tuple[int, int]
    at_once: int = 1


class TrainLoader:
    """Augmented batches by iteration number.

    batch_size: of all ranks together; each of `world_size` ranks is given its slice
    dense_maps: name -> dense maps that move along with the images
    views:      of each image besides the one that `recipe` gives
    workers:    decoding threads; None for one per usable core, at most 8
    cache_bytes: decoded images and dense maps kept in memory
    wait_seconds: how long the consumer has waited for data so far

    Raises DataError for an empty list, a label that is no class, or a batch that the ranks cannot share.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        classes: int,
        recipe: Recipe,
        normalisation: Normalisation,
        batch_size: int,
        seed: int,
        device: torch.device | str,
        dense_maps: Mapping[str, DenseMap] | None = None,
        workers: int | None = None,
        cache_bytes: int = 512 * 2**20,
        rank: int = 0,
        world_size: int = 1,
        views: Sequence[View] = (),
    ) -> None:
        if not samples:
            raise DataError("the list of images to train on is empty; check the split's list")
        _check_labels(samples, classes)
        if batch_size < 1 or batch_size % world_size:
            raise DataError(
                f"batch size {batch_size} does not divide among {world_size} processes; change it"
            )
        self.wait_seconds = 0.0
        self._samples = samples
        self._classes = classes
        self._recipe = recipe
        self._views = views
        self._normalisation = normalisation
        self._batch_size = batch_size
        self._seed = seed
        self._device = Transfer(torch.device(device))
        named = list((dense_maps or {}).items())
        self._maps = [(name, c) for name, c in named if c.kind == "continuous"]
        self._label_maps = [(name, c) for name, c in named if c.kind == "labels"]
        self._workers = workers or default_workers()
        self._cache = _Cache(cache_bytes)
        local = batch_size // world_size
        self._slice = np.arange(rank * local, (rank + 1) * local)
        self._order = lru_cache(maxsize=4)(self._epoch_order)

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """Batches of iterations `start` to `stop` - 1. Errors of the decoding threads surface here."""
        iterations = range(start, stop)
        if self._device.asynchronous:
            for staged in prefetched(self._stage, iterations, self._workers, self._waited):
                yield self._augmented(staged)
        else:
            # There is no device to leave the work to: each worker finishes its batches.
            yield from prefetched(self._finished, iterations, self._workers, self._waited)

    def _finished(self, iteration: int, stopped: threading.Event) -> Batch:
        return self._augmented(self._stage(iteration, stopped))

    def _augmented(self, staged: _Staged) -> Batch:
        labels, *rest = self._device.arrived(staged.tensors)
        views = [rest[k : k + _PARTS] for k in range(0, len(rest), _PARTS)]
        result, *others = (
            augment(canvas, Plan(*steps), self._normalisation, 0 if number else len(self._maps))
            for number, (canvas, *steps) in enumerate(views)
        )
        dense = {name: result.maps[:, k : k + 1] for k, (name, _) in enumerate(self._maps)}
        dense |= {name: result.labels[:, k] for k, (name, _) in enumerate(self._label_maps)}
        further = tuple(other.images for other in others)
        return Batch(staged.ids, result.images, labels, dense, result.valid, further)

    def _waited(self, seconds: float) -> None:
        self.wait_seconds += seconds

    def _epoch_order(self, epoch: int) -> np.ndarray:
        return permutation(self._seed, epoch, len(self._samples))

    def _stage(self, iteration: int, stopped: threading.Event) -> _Staged:
        """Decode, cut out what the crops need, and start the copy to the device. Runs in a worker thread."""
        epochs, places = np.divmod(iteration * self._batch_size + self._slice, len(self._samples))
        indices = np.array([self._order(int(e))[p] for e, p in zip(epochs, places, strict=True)])
        sources = [self._source(int(i), stopped) for i in indices]
        sizes = np.array([(s.shape[2], s.shape[0]) for s in sources])
        parameters = draw(self._recipe, self._seed, epochs, indices, sizes)
        chosen = [self._samples[i] for i in indices]
        tensors = [_multi_hot(chosen, self._classes), *self._planned(parameters, self._recipe.crop, sources)]
        others = draw_views(self._views, parameters, self._seed, epochs, indices, sizes)
        for view, drawn in zip(self._views, others):
            crop = self._recipe.crop if isinstance(view, ColoursOnly) else view.crop
            tensors += self._planned(drawn, crop, [source[:, :3] for source in sources])
        return _Staged(tuple(s.id for s in chosen), self._device.send(tuple(tensors)))

    def _planned(
        self, parameters: Draw, crop: int, sources: Sequence[np.ndarray]
    ) -> tuple[torch.Tensor, ...]:
        """What `augment` reads: the parts of the sources, uint8 (W, channels, H) each, in one canvas, and the plan."""
        steps, windows = plan(parameters, crop, self._normalisation)
        top, bottom, left, right = windows.T
        shape = (len(sources), (right - left).max(), sources[0].shape[1], (bottom - top).max())
        canvas = self._device.empty(shape)
        pixels = canvas.numpy()
        for j, source in enumerate(sources):
            width, height = right[j] - left[j], bottom[j] - top[j]
            pixels[j, :width, :, :height] = source[left[j] : right[j], :, top[j] : bottom[j]]
            pixels[j, width:] = 0
            pixels[j, :width, :, height:] = 0
        return canvas, *steps

    def _source(self, index: int, stopped: threading.Event) -> np.ndarray:
        """Image and dense maps of one sample, uint8 (W, 3 + dense maps, H): the layout `augment` reads."""
        if stopped.is_set():
            raise Stopped
        if (kept := self._cache.get(index)) is not None:
            return kept
        sample = self._samples[index]
        image = read_image(sample.image).numpy()  # (3, H, W)
        dense = [(c.path_of(sample.id), read_map) for _, c in self._maps]
        dense += [(c.path_of(sample.id), read_labels) for _, c in self._label_maps]
        source = np.empty((image.shape[2], 3 + len(dense), image.shape[1]), np.uint8)
        source[:, :3] = image.transpose(2, 0, 1)
        for channel, (path, read) in enumerate(dense, 3):
            array = read(path).numpy()
            if array.shape != image.shape[1:]:
                raise DataError(
                    f"{path}: its size (H, W) = {array.shape} is not that of its image {sample.image}, "
                    f"{image.shape[1:]}; make it again at the image's size"
                )
            source[:, channel] = array.T
        self._cache.put(index, source)
        return source


def image_batches(
    samples: Sequence[Sample],
    classes: int,
    normalisation: Normalisation,
    batch_size: int,
    device: torch.device | str,
    workers: int | None = None,
) -> Iterator[ImageBatch]:
    """Whole images at native size, each once, in batches of equal size; which ones share a batch is fixed.

    A batch is given out when `batch_size` images of one size have come by; the rest follow in order of size's
    first appearance. Raises DataError for files that cannot be decoded and labels that are no class.
    """
    _check_labels(samples, classes)
    target = Transfer(torch.device(device))

    def stage(group: Sequence[Sample], stopped: threading.Event) -> _Staged:
        canvas = target.empty((len(group), 3, *image_size(group[0].image)))
        for place, sample in zip(canvas.numpy(), group, strict=True):
            if stopped.is_set():
                raise Stopped
            place[:] = read_image(sample.image).numpy()
        return _Staged(tuple(s.id for s in group), target.send((canvas, _multi_hot(group, classes))))

    mean = torch.tensor(normalisation.mean, device=device)[:, None, None]
    deviation = torch.tensor(normalisation.std, device=device)[:, None, None]
    groups = _groups_of_one_size(samples, batch_size)
    for staged in prefetched(stage, groups, workers or default_workers(), lambda seconds: None):
        canvas, labels = target.arrived(staged.tensors)
        images = canvas.float().div_(255).sub_(mean).div_(deviation)
        yield ImageBatch(staged.ids, images, labels, (canvas.shape[2], canvas.shape[3]))


def _groups_of_one_size(samples: Iterable[Sample], batch_size: int) -> Iterator[list[Sample]]:
    open_groups: dict[tuple[int, int], list[Sample]] = {}
    for sample in samples:
        size = image_size(sample.image)
        group = open_groups.setdefault(size, [])
        group.append(sample)
        if len(group) == batch_size:
            yield open_groups.pop(size)
    yield from open_groups.values()


@dataclass(frozen=True)
class _Staged:
    ids: tuple[str, ...]
    tensors: InFlight


@dataclass
class _Cache:
    """Decoded samples up to a limit. What is in stays: in random order no eviction rule does better."""

    limit: int
    _kept: dict[int, np.ndarray] = field(default_factory=dict)
    _bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, index: int) -> np.ndarray | None:
        return self._kept.get(index)

    def put(self, index: int, source: np.ndarray) -> None:
        with self._lock:
            if index not in self._kept and self._bytes + source.nbytes <= self.limit:
                self._kept[index] = source
                self._bytes += source.nbytes


def _check_labels(samples: Sequence[Sample], classes: int) -> None:
    for sample in samples:
        if any(not 0 <= label < classes for label in sample.labels):
            raise DataError(
                f"{sample.id}: labels {sample.labels} are not all in 0..{classes - 1}; correct its labels"
            )


def _multi_hot(samples: Sequence[Sample], classes: int) -> torch.Tensor:
    labels = np.zeros((len(samples), classes), np.float32)
    for row, sample in zip(labels, samples, strict=True):
        row[list(sample.labels)] = 1
    return torch.from_numpy(labels)
