"""`predict`: segment a folder of unlabelled images with a trained network."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmark.config import DEVICES, RuntimeConfig, choose
from benchmark.console import console, stage_progress
from benchmark.failures import ConfigError
from benchmark.folders import check_writable
from benchmark.prediction.networks import Predictor, load
from benchmark.store import SCRATCH, disk_is_full
from datasets.base import Conversion, DataError, Sample, TrainingView
from datasets.files.listing import CONVERT, PICTURES, UNREAD, files_below, first_names
from methods.base import MethodError, function_of

LABELS, OVERLAYS, WORK = "labels", "overlays", ".work"
"""Folders in the output; the last is there only while `predict` runs."""
LEGEND = "classes.txt"
COPIES = "copies"
"""In the last: images as the network is shown them, where they had to be converted."""


def predict_folder(weights: Path, images: Path, output: Path, device: str) -> tuple[int, float]:
    """Write label maps (class ids) and coloured overlays of every image below `images`.

    Images go through what the network's training images went through (bits, longest side). Label maps have the
    images' own sizes; overlays are drawn on what the network was shown.

    weights: folder of a trained network, or of predictions made with it, see `networks.load`
    Returns the number of images and the seconds taken. Images that cannot be read or converted are named and
    skipped; the others are written, and a DataError at the end says how many are missing.
    """
    choose("device", device, DEVICES)
    predictor = load(weights)
    paths = image_files(images, output)
    if not paths:
        raise ConfigError(f"--images {images}: no image files ({', '.join(sorted(PICTURES))}) there")
    check_writable(output, "--output")
    began = time.perf_counter()
    with scratch(output) as work:
        samples, shown = _readable(paths, images, predictor.conversion, work / COPIES)
        segment(predictor, shown, work, device)
        _publish(samples, shown, work, output)
    legend = ["0 background", *(f"{i + 1} {name}" for i, name in enumerate(predictor.classes))]
    (output / LEGEND).write_text("\n".join(legend) + "\n")
    if broken := len(paths) - len(samples):
        raise DataError(
            f"{broken} of {len(paths)} images could not be used (named above); the others are in {output}"
        )
    return len(samples), time.perf_counter() - began


@contextmanager
def scratch(output: Path) -> Iterator[Path]:
    """A folder in the output that is there only meanwhile."""
    work = output / WORK
    shutil.rmtree(work, ignore_errors=True)  # of a call that was killed
    work.mkdir(parents=True)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def image_files(images: Path, output: Path) -> list[Path]:
    """Pictures below a folder, those in formats that are not read among them, without hidden files and what an
    earlier call has written there; what is no picture is named."""
    written = tuple(os.path.realpath(output / name) + os.sep for name in (LABELS, OVERLAYS, WORK, LEGEND))
    files = [p for p in files_below(images) if not (os.path.realpath(p) + os.sep).startswith(written)]
    pictures = [path for path in files if path.suffix.lower() in PICTURES | UNREAD]
    if others := [
        path.relative_to(images).as_posix() for path in files if path.suffix.lower() not in PICTURES | UNREAD
    ]:
        console.print(f"note: {len(others)} files are no pictures ({first_names(others)})", markup=False)
    return pictures


def _readable(
    paths: Sequence[Path], images: Path, how: Conversion, copies: Path
) -> tuple[list[Sample], list[Sample]]:
    """Samples of the images that can be read and converted, as they lie and as shown; the others are named.

    copies: folder for those that have to be converted
    """
    from datasets.files.images import image_size, read_image
    from datasets.folder.copies import convert

    samples, shown = [], []
    names = Counter(path.relative_to(images).with_suffix("") for path in paths)
    names.update(path.relative_to(images) for path in paths)
    for path in paths:
        try:
            if path.suffix.lower() in UNREAD:
                raise DataError(f"{path} {CONVERT}")
            image_size(path)
            read_image(path)
            copy = convert([path], how, copies).copies.get(path, path)
        except DataError as error:
            console.print(f"skipped: {error}", style="yellow", markup=False)
            continue
        name = path.relative_to(images)  # with its ending where a.jpg and a.png are both there
        unique = name if names[name.with_suffix("")] > 1 else name.with_suffix("")
        samples.append(Sample(unique.as_posix(), path, ()))
        shown.append(replace(samples[-1], image=copy))
    return samples, shown


def segment(predictor: Predictor, samples: Sequence[Sample], work: Path, device: str) -> None:
    """Run the stage as a run does, on a view whose validation images are the samples."""
    from benchmark.execution.context import RunContext
    from benchmark.execution.distributed import make_fabric
    from benchmark.failures import one_line

    (work / SCRATCH).mkdir()
    runtime = RuntimeConfig(device=device)
    progress = stage_progress("predict")
    context = RunContext(
        fabric=make_fabric(runtime),
        runtime=runtime,
        view=TrainingView("predict", predictor.classes, {"train": (), "val": tuple(samples)}),
        inputs=predictor.inputs,
        output=work,
        seed=predictor.seed,
        progress=progress,
        masks=None,
    )
    run = function_of(predictor.function)
    try:
        run(context, predictor.settings)
    except (DataError, MethodError, OSError):
        raise
    except Exception as error:  # of safetensors and torch, which share no base
        if disk_is_full(error):
            raise
        places = ", ".join(str(artifact.path) for artifact in predictor.inputs.values())
        raise ConfigError(
            f"{places}: segmenting with it fails: {one_line(error, work)}; "
            "if its files are damaged, remove that folder and run its command again"
        ) from error
    finally:
        progress.stop()


def _publish(samples: Sequence[Sample], shown: Sequence[Sample], work: Path, output: Path) -> None:
    """Draw the overlays and put the label maps, at the images' own sizes, where they are looked for.

    samples, shown: the images as they lie, and as the network saw them
    """
    import numpy as np
    from PIL import Image

    from datasets.files.images import image_size, read_image, read_labels, write_labels
    from methods.artifacts import label_map_path
    from reports.panels import overlay, save_panel

    for sample, seen in zip(samples, shown):
        made = label_map_path(work, sample.id)
        labels, drawn = (output / folder / f"{sample.id}.png" for folder in (LABELS, OVERLAYS))
        image, found = read_image(seen.image).permute(1, 2, 0).numpy(), np.asarray(read_labels(made))
        drawn.parent.mkdir(parents=True, exist_ok=True)
        save_panel(drawn, overlay(image, found))
        if found.shape != (size := image_size(sample.image)):
            whole = Image.fromarray(found).resize(size[::-1], Image.Resampling.NEAREST)
            write_labels(made, np.asarray(whole))
        labels.parent.mkdir(parents=True, exist_ok=True)
        made.replace(labels)
