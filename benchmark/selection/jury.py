"""One jury for all methods: the run's image classifiers look at each image's foreground alone, and at the rest alone.

A method's own classifier flatters the maps that were made of it, and its scores do not compare with another's. So every
map is judged by the same classifiers, one of each of a few methods, with equal weight. They are run through the stage
that every method declares for its classifier (`Kind.IMAGE_SCORES`), on images of which a part is hidden.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from benchmark.selection.maps import picture
from datasets.base import Sample, TrainingView

if TYPE_CHECKING:
    from benchmark.prediction.networks import Predictor
    from datasets.loading.loader import ImageBatch
    from datasets.recipe import Normalisation

SIDE = 320
"""Longest side of the images that are judged, pixels."""
AT_ONCE = 64


def judge(
    jurors: Sequence[Path],
    samples: Sequence[Sample],
    masks: Callable[[int], np.ndarray],
    classes: int,
    device: str,
    progress: Callable[[int], object] = lambda images: None,
) -> list[np.ndarray]:
    """For each image what is kept of its classes' scores when a mask alone is shown, and lost when it is hidden.

    masks: position of an image -> (N, h, w) bool; asked once for each juror
    Returns (N, 2, K) float32 for each image: kept and lost, the mean over the jurors that recognise the class. 0 is as
    low as images without the class, 1 as high as those with it: scores may be on any scale. NaN for a class that all or
    no images have.
    Raises ConfigError and DataError for a classifier that cannot be run.
    """
    everyone = [_unit(_scores(path, samples, masks, device, progress), samples, classes) for path in jurors]
    found = []
    for of_image in zip(*everyone):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a class that no juror recognises
            shown, hidden = np.split(np.nanmean(np.stack(of_image), 0), 2)
        found.append(np.stack([shown, 1 - hidden], 1))
    return found


def _unit(scores: Sequence[np.ndarray], samples: Sequence[Sample], classes: int) -> list[np.ndarray]:
    """Scores (1 + 2 N, C) of each image, the whole one first -> (2 N, K) of its own classes in [0, 1]."""
    whole = np.stack([each[0] for each in scores])
    present = np.zeros((len(samples), classes), bool)
    for row, sample in zip(present, samples):
        row[list(sample.labels)] = True
    typical = []
    for with_class in (present, ~present):
        count = with_class.sum(0)
        typical.append(np.where(count > 0, (whole * with_class).sum(0) / np.maximum(count, 1), np.nan))
    high, low = typical
    span = np.where(high > low, high - low, np.nan)  # a class that is not recognised judges nothing
    found = []
    for each, sample in zip(scores, samples):
        own = list(sample.labels)
        found.append(np.clip((each[1:, own] - low[own]) / span[own], 0, 1).astype(np.float32))
    return found


def _scores(
    path: Path,
    samples: Sequence[Sample],
    masks: Callable[[int], np.ndarray],
    device: str,
    progress: Callable[[int], object],
) -> list[np.ndarray]:
    """(1 + 2 N, C) of each image: as it is, its masks alone, and what they leave."""
    import torch

    from benchmark.config import RuntimeConfig
    from benchmark.execution.context import RunContext
    from benchmark.execution.distributed import make_fabric
    from benchmark.prediction.networks import load_classifier
    from datasets.loading.loader import ImageBatch
    from methods.artifacts import read_image_scores
    from methods.base import function_of

    classifier: Predictor = load_classifier(path)
    found: list[np.ndarray] = []

    class Context(RunContext):
        """Its validation images are one image with parts of it hidden, and then the next."""

        def shards(self, samples_: Sequence[Sample]) -> Iterator[tuple[str, Sequence[Sample]]]:
            for place, sample in enumerate(samples):
                self._pixels = torch.from_numpy(picture(sample.image, SIDE)).permute(2, 0, 1)
                self._shown = _views(masks(place), (self._pixels.shape[1], self._pixels.shape[2]))
                yield (
                    "shard",
                    [Sample(f"{n:06d}", sample.image, sample.labels) for n in range(len(self._shown))],
                )
                scores = read_image_scores(self.output)
                found.append(np.stack([scores[f"{n:06d}"] for n in range(len(self._shown))]))
                progress(1)

        def images(
            self,
            samples_: Sequence[Sample],
            normalisation: Normalisation,
            batch_size: int,
            tiled: bool = False,
        ) -> Iterator[ImageBatch]:
            mean, deviation = (torch.tensor(v)[:, None, None] for v in normalisation)
            normal = ((self._pixels - mean) / deviation).to(self.device)
            for start in range(0, len(samples_), AT_ONCE):
                ids = tuple(sample.id for sample in samples_[start : start + AT_ONCE])
                shown = torch.from_numpy(self._shown[start : start + AT_ONCE]).to(self.device)
                # what is hidden becomes the mean colour, which is also outside the image in training
                images = normal * shown[:, None]
                labels = torch.zeros(len(ids), len(self.view.classes), device=self.device)
                yield ImageBatch(ids, images, labels, (images.shape[2], images.shape[3]))

    runtime = RuntimeConfig(device=device)
    with TemporaryDirectory() as folder:
        context = Context(
            fabric=make_fabric(runtime),
            runtime=runtime,
            view=TrainingView("select", classifier.classes, {"train": (), "val": tuple(samples)}),
            inputs=classifier.inputs,
            output=Path(folder),
            seed=classifier.seed,
            progress=_Silent(),
            masks=None,
        )
        function_of(classifier.function)(context, classifier.settings)
    return found


def _views(masks: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(1 + 2 N, H, W) bool: everything, then what is inside and what is outside of masks (N, h, w), at a size."""
    rows = np.arange(size[0]) * masks.shape[1] // size[0]
    columns = np.arange(size[1]) * masks.shape[2] // size[1]
    enlarged = masks[:, rows][:, :, columns]
    return np.concatenate([np.ones((1, *size), bool), enlarged, ~enlarged])


class _Silent:
    """A progress of which nothing is shown: that of all images is the caller's."""

    def start(self, total: int, unit: str, done: int = 0) -> None: ...

    def advance(self, count: int) -> None: ...

    def note(self, text: str) -> None: ...

    def stop(self) -> None: ...
