"""VOC's test set: its images segmented and packed as the organisers' evaluation server takes them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmark.config import choose
from benchmark.failures import ConfigError
from benchmark.folders import check_writable
from benchmark.prediction.networks import Predictor, load
from benchmark.prediction.predict import scratch, segment
from datasets.base import DataError, Sample
from datasets.files.images import VOC_PALETTE, image_size
from datasets.voc.reader import CLASSES, OFFICIAL, Voc2012, VocConfig
from methods.artifacts import label_map_path

COMPETITIONS = {
    "comp5": "trained on VOC's own images alone",
    "comp6": "trained on other data, too, pretrained weights among them",
}
FOLDER = "results/VOC2012/Segmentation/{}_test_cls"
"""Where the server looks for `<id>.png` in the archive."""
AGAIN = "run predict again"


def predict_test(
    weights: Path, root: Path, output: Path, competition: str, device: str, partial: bool
) -> tuple[Path, int]:
    """Segment VOC's test images and write the server's archive into `output`; its path and the number of images.

    weights: as `predict_images`'s; root: VOCdevkit with the test archive unpacked
    partial: accept a list that is not the official one, which the server will not take
    Raises ConfigError or DataError in one line; no archive is left that does not hold up to `check_archive`.
    """
    choose("competition", competition, COMPETITIONS)
    predictor = load(weights)
    _require_classes(predictor)
    dataset = Voc2012(VocConfig(root=str(root)))
    samples = dataset.test_samples()
    if len(samples) != OFFICIAL["test"] and not partial:
        raise DataError(
            f"{dataset.folder}: {len(samples)} test images found, {OFFICIAL['test']} expected; unpack"
            " VOC2012test.tar again, or add --partial for an archive that the server will not take"
        )
    check_writable(output, "--output")
    archive = output / f"voc2012-{competition}_test_cls.tar.gz"
    with scratch(output) as work:
        segment(predictor, samples, work, device)
        made = work / archive.name
        write_archive(made, {s.id: label_map_path(work, s.id) for s in samples}, competition)
        check_archive(made, samples, competition)
        made.replace(archive)
    return archive, len(samples)


def _require_classes(predictor: Predictor) -> None:
    if predictor.classes != CLASSES:
        raise ConfigError(
            f"--test needs a network of VOC's 20 classes; this one tells apart {len(predictor.classes)}"
            f" ({', '.join(predictor.classes[:3])}, ...)"
        )


def write_archive(archive: Path, maps: Mapping[str, Path], competition: str) -> None:
    """Pack label maps (id -> PNG of class ids) with VOC's palette; the same maps make the same bytes but for gzip's
    time stamp."""
    folder = FOLDER.format(competition)
    with tarfile.open(archive, "w:gz") as tar:
        for sample_id, path in maps.items():
            with Image.open(path) as image:
                indexed = Image.fromarray(np.array(image).astype(np.uint8))
            indexed.putpalette(VOC_PALETTE)
            content = io.BytesIO()
            indexed.save(content, "PNG")
            member = tarfile.TarInfo(f"{folder}/{sample_id}.png")
            member.size = content.tell()
            content.seek(0)
            tar.addfile(member, content)


def check_archive(archive: Path, samples: Sequence[Sample], competition: str) -> None:
    """Raise DataError in one line unless the server would take the archive.

    It must hold exactly one indexed PNG an image, of the image's size, with class ids 0..20 and VOC's palette.
    """
    folder = FOLDER.format(competition)
    left = {f"{folder}/{sample.id}.png": sample for sample in samples}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.isdir():
                    continue
                sample = left.pop(member.name, None)
                if sample is None:
                    raise DataError(f"{archive}: {member.name} is twice there or no test image; {AGAIN}")
                file = tar.extractfile(member)
                if file is None:
                    raise DataError(f"{archive}: {member.name} is no file; {AGAIN}")
                _check_map(f"{archive}: {member.name}", file.read(), sample)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"{archive}: cannot be read ({' '.join(str(error).split())}); {AGAIN}") from error
    if left:
        raise DataError(
            f"{archive}: {len(left)} of {len(samples)} images are missing, {min(left)} first; {AGAIN}"
        )


def _check_map(name: str, content: bytes, sample: Sample) -> None:
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            mode, labels, palette = image.mode, np.array(image), image.getpalette()
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{name} is no PNG; {AGAIN}") from error
    if mode != "P" or bytes(palette or ()) != VOC_PALETTE:
        raise DataError(f"{name} is of mode {mode}, not a PNG indexed with VOC's palette; {AGAIN}")
    if labels.shape != (size := image_size(sample.image)):
        sizes = f"{labels.shape[1]}x{labels.shape[0]}, its image {size[1]}x{size[0]}"
        raise DataError(f"{name} is {sizes} (width x height); {AGAIN}")
    if labels.max() > len(CLASSES):
        raise DataError(f"{name} holds id {labels.max()}, but ids are 0..{len(CLASSES)}; {AGAIN}")
