"""Saliency maps of the training images: read from a folder, or made by a detector."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from datasets.base import DenseMap, Sample
from datasets.files.cores import usable_cores
from datasets.files.images import image_size, read_image, read_map
from methods.base import MethodError, StageContext
from methods.layers.saliency.config import SaliencyConfig, map_path, require_maps
from methods.layers.saliency.nano import NORMALISATION, SaliencyNet
from methods.layers.weights.files import load_into, load_state
from methods.layers.weights.rembg import check_installed, open_session

if TYPE_CHECKING:
    from rembg.sessions.base import BaseSession


def detect(context: StageContext, settings: SaliencyConfig) -> None:
    """Stage: saliency maps of the training images, 8-bit PNG (0..255) of the images' size, in `output`/maps.

    A folder's maps are checked (`saliency_dense_map` reads them where they are) and written only if resized.
    Raises MethodError or DataError.
    """
    sources: dict[str, Callable[[StageContext, SaliencyConfig], None]] = {
        "folder": _check_folder,
        "rembg": _detect_with_rembg,
        "nano": _detect_with_nano,
    }
    _maps(context.output).mkdir(parents=True, exist_ok=True)
    sources[settings.source](context, settings)


def saliency_dense_map(settings: SaliencyConfig, artifact_path: Path) -> DenseMap:
    """The saliency maps as a dense map of training batches, in [0, 1].

    artifact_path: folder of the artifact that `detect` made with these settings
    """
    made = _maps(artifact_path)

    def path_of(sample_id: str) -> Path:
        path = made / f"{sample_id}.png"
        return map_path(settings, sample_id) if settings.source == "folder" and not path.is_file() else path

    return DenseMap(path_of, "continuous")


def _maps(folder: Path) -> Path:
    return folder / "maps"


def _write(context: StageContext, sample_id: str, saliency: Image.Image) -> None:
    path = _maps(context.output) / f"{sample_id}.png"
    path.parent.mkdir(parents=True, exist_ok=True)  # ids may contain "/"
    saliency.save(path)


# ---------------------------------------------------------------- folder


def _check_folder(context: StageContext, settings: SaliencyConfig) -> None:
    require_maps(settings, context.view.samples("train"))
    for _, samples in context.shards(context.view.samples("train")):
        for sample in samples:
            resized = _resized(map_path(settings, sample.id), sample.image, settings.resize)
            if resized is not None:
                _write(context, sample.id, resized)
        context.advance(len(samples))


def _resized(path: Path, image_path: Path, resize: bool) -> Image.Image | None:
    """The map at its image's size where it has another one, else None."""
    height, width = image_size(image_path)
    have = image_size(path)
    if have == (height, width):
        return None
    if not resize:
        raise MethodError(
            f"{path}: saliency map of {have[1]}x{have[0]} for an image of {width}x{height} (width x height);"
            " make them equal, or set saliency.resize=true"
        )
    return Image.fromarray(read_map(path).numpy()).resize((width, height), Image.Resampling.BILINEAR)


# ---------------------------------------------------------------- rembg


def _detect_with_rembg(context: StageContext, settings: SaliencyConfig) -> None:
    """One image at a time, as rembg works (resized to its 320x320), on as many threads as there are cores:
    onnxruntime and Pillow release the interpreter's lock, and single-threaded inference scales better."""
    session = rembg_session(settings, context)

    def detect_one(sample: Sample) -> None:
        # decoded as for training (EXIF orientation included), so that the map lies on the same pixels
        pixels = read_image(sample.image).permute(1, 2, 0).contiguous().numpy()
        _write(context, sample.id, session.predict(Image.fromarray(pixels))[0])

    for _, samples in context.shards(context.view.samples("train")):
        for _ in _in_threads(detect_one, samples):
            context.advance(1)


def _in_threads(work: Callable[[Sample], None], samples: Sequence[Sample]) -> Iterator[None]:
    with ThreadPoolExecutor(max_workers=usable_cores()) as pool:
        futures = [pool.submit(work, sample) for sample in samples]
        try:
            for future in futures:
                yield future.result()
        except BaseException:  # an interrupt as well: without this the pool would finish the shard first
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def rembg_session(settings: SaliencyConfig, context: StageContext) -> BaseSession:
    """rembg's session for `settings.model`.

    Raises MethodError if a package or the file is missing, or onnxruntime cannot load the file.
    """
    check_installed()
    import onnxruntime

    file = context.weights_path(settings.pretrained[0])
    if file is None or file.name != f"{settings.model}.onnx":
        raise MethodError(
            f"{file}: rembg finds models by name; rename it to {settings.model}.onnx, or set saliency.model"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    arguments: dict[str, Any] = {"sess_opts": options}
    if context.device.type == "cpu":
        arguments["providers"] = ["CPUExecutionProvider"]
    try:
        return open_session(settings.model, file.parent, **arguments)
    except Exception as error:  # of rembg, onnxruntime, pooch and requests, which share no base
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise MethodError(f"{file}: rembg cannot load it ({reason}); fetch the file again") from error


# ---------------------------------------------------------------- nano


@torch.inference_mode()
def _detect_with_nano(context: StageContext, settings: SaliencyConfig) -> None:
    network = SaliencyNet()
    (reference,) = settings.pretrained
    path = context.weights_path(reference)
    if path is None:
        raise MethodError(f"saliency.weights={reference!r}: an untrained detector finds nothing; set a file")
    load_into(network, load_state(path), source=reference)
    network.to(context.device).eval()
    for _, samples in context.shards(context.view.samples("train")):
        for batch in context.images(samples, NORMALISATION, settings.batch_size):
            maps = (network(batch.images).sigmoid().squeeze(1) * 255).round().to(torch.uint8).cpu().numpy()
            for sample_id, saliency in zip(batch.ids, maps, strict=True):
                _write(context, sample_id, Image.fromarray(np.ascontiguousarray(saliency)))
