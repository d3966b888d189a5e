"""`export`: a trained network as one file that other programs run, held against `predict` before it is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.benchmark import Timer

from benchmark import provenance
from benchmark.export.network import Exportable, Segmentation, segmentation_of
from benchmark.export.write import INPUT, OUTPUTS, Run, check_form, run_module, traced
from benchmark.failures import ConfigError, one_line
from benchmark.folders import check_file
from benchmark.prediction.images import find_images
from benchmark.prediction.networks import Predictor
from benchmark.store import disk_is_full
from datasets.base import Conversion, Sample
from datasets.files.images import read_image
from datasets.folder.copies import convert
from methods.layers.config import TilesConfig, with_tiles

Pixels = NDArray[np.uint8]
LEAST_EQUAL = 0.999
"""Share of pixels on which an exported network has to give the label that `predict` gives."""
FEW = 8
"""Of the given images, how many are compared."""
GENERATED = ((96, 128), (75, 101))
"""(H, W) of the pictures that are compared in any case."""
TIMED = (320, 480)
"""(H, W) of the picture that is timed where none is given."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    covers: scales and mirror images that are in the file; longest_side: to which it reduces images, 0: it does not
    crf:    whether `predict` refines by a CRF, which is not in the file
    equal:  share of the pixels of `images` images whose label is `predict`'s
    size:   (H, W) of the image that was timed; seconds: by what runs the network, PyTorch among them
    """

    covers: str
    longest_side: int
    crf: bool
    equal: float
    images: int
    size: tuple[int, int]
    seconds: dict[str, float]


def export_network(
    predictor: Predictor,
    to: str,
    output: Path,
    images: Path | None = None,
    size: tuple[int, int] | None = None,
) -> Exported:
    """Write `output` in the form `to` (`write.FORMS`), for images of any size or of `size` (H, W) alone.

    images: pictures that are compared, besides generated ones, see `images.find_images`; a few are taken
    Raises ConfigError for a network that cannot be exported, and where labels are others than `predict`'s: then
    nothing is written.
    """
    form = check_form(to, output)
    predictor = replace(predictor, settings=with_tiles(predictor.settings, TilesConfig()))
    check_file(output, "--output")
    with TemporaryDirectory(prefix=".export-", dir=output.parent) as folder:
        work = Path(folder)
        given = _given(images, predictor.conversion, work / "8-bits", size)
        pictures = [*_generated(size, predictor.conversion.longest_side), *given]
        samples = _samples(pictures, work / "pictures", predictor.conversion.longest_side)
        segmentation, probabilities = segmentation_of(predictor, samples, work)
        expected = [_labels(probabilities[sample.id], each) for sample, each in zip(samples, pictures)]
        module = Exportable(segmentation, predictor.conversion.longest_side).eval()
        made = work / "made"
        made.mkdir()
        file = made / output.name
        program = traced(module, size)
        try:
            form.write(program, file, _metadata(predictor, segmentation, size))
            run = form.load(file)
            equal = _equal(run, pictures, expected)
        except Exception as error:  # of torch, onnxruntime and OpenVINO, which share no base
            if disk_is_full(error):
                raise
            said = one_line(error, work)[:300]
            raise ConfigError(
                f"--to {to}: this network cannot be exported so ({said}); try another form, or --size HEIGHTxWIDTH"
            ) from error
        if equal < LEAST_EQUAL:
            raise ConfigError(
                f"--to {to}: the exported network gives predict's label on {equal:.2%} of the pixels, less than"
                f" {LEAST_EQUAL:.1%}; nothing was written; try another form with --to"
            )
        timed = given[0] if given else _blotches(size or TIMED)
        seconds = {"PyTorch": _seconds(run_module(module), timed), form.engine: _seconds(run, timed)}
        for each in made.iterdir():
            shutil.move(each, output.parent / each.name)
    return Exported(
        segmentation.covers,
        predictor.conversion.longest_side,
        segmentation.crf,
        equal,
        len(pictures),
        timed.shape[:2],
        seconds,
    )


def _given(images: Path | None, how: Conversion, folder: Path, size: tuple[int, int] | None) -> list[Pixels]:
    """A few of the images, (H, W, 3), with 8 bits and at `size`."""
    if images is None:
        return []
    paths = find_images(images, False, []).paths[:FEW]
    copies = convert(paths, Conversion(0, how.bits), folder).copies
    found = [read_image(copies.get(path, path)).permute(1, 2, 0).numpy() for path in paths]
    if size is not None:
        found = [np.asarray(Image.fromarray(each).resize(size[::-1])) for each in found]
    return found


def _generated(size: tuple[int, int] | None, longest_side: int) -> list[Pixels]:
    """Pictures of several sizes, one of them to be reduced."""
    if size is not None:
        return [_blotches(size)]
    sizes = [*GENERATED, (longest_side + longest_side // 4, 64)] if longest_side else GENERATED
    return [_blotches(each) for each in sizes]


def _blotches(size: tuple[int, int]) -> Pixels:
    """A picture (H, W, 3) of blurred colours, the same in every call."""
    height, width = size
    random = np.random.default_rng(height * width)
    coarse = random.integers(0, 256, (height // 12 + 2, width // 12 + 2, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def _samples(pictures: Sequence[Pixels], folder: Path, longest_side: int) -> list[Sample]:
    """The pictures as files, as `predict` shows them to a network."""
    folder.mkdir()
    paths = [folder / f"{number}.png" for number in range(len(pictures))]
    for path, pixels in zip(paths, pictures):
        Image.fromarray(pixels).save(path, compress_level=1)
    copies = convert(paths, Conversion(longest_side), folder / "reduced").copies
    return [Sample(path.stem, copies.get(path, path), ()) for path in paths]


def _labels(probabilities: torch.Tensor, picture: Pixels) -> Pixels:
    """`predict`'s label map of a picture, at its size."""
    labels = Image.fromarray(probabilities.argmax(0).to(torch.uint8).numpy())
    return np.asarray(labels.resize(picture.shape[1::-1], Image.Resampling.NEAREST))


def _equal(run: Run, pictures: Sequence[Pixels], expected: Sequence[Pixels]) -> float:
    """Share of all pixels with the expected label."""
    same = sum(int((run(each)[0] == labels).sum()) for each, labels in zip(pictures, expected))
    return same / sum(labels.size for labels in expected)


def _seconds(run: Run, picture: Pixels) -> float:
    """Median time of an image."""
    timer = Timer(
        "run(picture)", globals={"run": run, "picture": picture}, num_threads=torch.get_num_threads()
    )
    timer.timeit(1)  # without what libraries set up once
    return timer.blocked_autorange(min_run_time=0.5).median


def _metadata(
    predictor: Predictor, segmentation: Segmentation, size: tuple[int, int] | None
) -> dict[str, str]:
    """What the file says of itself, each value as JSON."""
    mean, deviation = segmentation.normalisation
    said = {
        "classes": ["background", *predictor.classes],
        "input": f"{INPUT}: uint8 RGB (height, width, 3)",
        "outputs": f"{OUTPUTS[0]}: uint8 (height, width); {OUTPUTS[1]}: float32 (classes, h, w), of the reduced image",
        "size": list(size) if size else None,
        "mean": mean,
        "deviation": deviation,
        "longest_side": predictor.conversion.longest_side,
        "bits": predictor.conversion.bits,
        "test_time": segmentation.covers,
        "crf": "left out" if segmentation.crf else None,
        "network": {role: artifact.key for role, artifact in predictor.inputs.items()},
        "versions": {"wsss-benchmark": provenance.release(), "torch": torch.__version__},
    }
    return {key: json.dumps(value) for key, value in said.items()}
