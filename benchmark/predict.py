"""`predict`: segment a folder of unlabelled images with a trained segmentation network."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmark.config import DEVICES, ConfigError, choose
from benchmark.console import console, stage_progress
from datasets.base import DataError, Sample

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def predict_folder(weights: Path, images: Path, output: Path, device: str) -> tuple[int, float]:
    """Write label maps (class ids) and coloured overlays of every image below `images`.

    weights: folder with network.json and network.safetensors, as a `segment` stage leaves it
    Returns the number of images and the seconds taken. Unreadable images are named and skipped; the others
    are written, and a DataError at the end says how many are missing.
    """
    choose("device", device, DEVICES)
    description = _description(weights)
    paths = sorted(p for p in images.rglob("*") if p.suffix.lower() in SUFFIXES) if images.is_dir() else []
    if not paths:
        raise ConfigError(f"--images {images}: no image files ({', '.join(sorted(SUFFIXES))}) there")
    import torch

    from datasets.images import image_size, read_image, write_labels
    from datasets.loader import image_batches
    from methods.segmenters.stages import crf_pool, label_maps
    from reports.panels import overlay, save_panel

    settings = _segmenter_config(description["segmenter"])
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: no CUDA device is visible; use --device cpu or check `doctor`")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    classes = len(description["classes"])
    network = _network(weights, settings, classes).to(device).eval()
    began = time.perf_counter()
    samples, broken = [], 0
    names = Counter(path.relative_to(images).with_suffix("") for path in paths)
    for path in paths:
        try:
            image_size(path)
            read_image(path)
        except DataError as error:
            broken += 1
            console.print(f"skipped: {error}", style="yellow", markup=False)
        else:
            name = path.relative_to(images)  # with its ending where a.jpg and a.png are both there
            sample_id = (
                name.as_posix() if names[name.with_suffix("")] > 1 else name.with_suffix("").as_posix()
            )
            samples.append(Sample(sample_id, path, ()))
    output.mkdir(parents=True, exist_ok=True)
    progress = stage_progress("predict")
    progress.start(len(samples), "img")
    by_id = {s.id: s.image for s in samples}
    with crf_pool(settings) as pool:
        for batch in image_batches(
            samples,
            classes,
            network.backbone.normalisation,
            settings.test_batch_size,
            device=torch.device(device),
        ):
            maps = label_maps(network, batch, settings, [by_id[i] for i in batch.ids], pool)
            for sample_id, labels in zip(batch.ids, maps):
                write_labels(output / "labels" / f"{sample_id}.png", labels.numpy())
                image = read_image(by_id[sample_id]).permute(1, 2, 0).numpy()
                path = output / "overlays" / f"{sample_id}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                save_panel(path, overlay(image, labels.numpy()))
            progress.advance(len(batch.ids))
    progress.stop()
    legend = ["0 background", *(f"{i + 1} {name}" for i, name in enumerate(description["classes"]))]
    (output / "classes.txt").write_text("\n".join(legend) + "\n")
    if broken:
        raise DataError(
            f"{broken} of {len(paths)} images could not be read (named above); the others are in {output}"
        )
    return len(samples), time.perf_counter() - began


def _network(weights: Path, settings: Any, classes: int) -> Any:
    from methods.segmenters.stages import load_segmenter

    try:
        return load_segmenter(weights, settings, classes)
    except Exception as error:  # of safetensors and torch, which share no base
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"--weights {weights}: network.safetensors does not load ({reason}); "
            "give the folder of a finished `segment` stage"
        ) from error


def _description(weights: Path) -> dict[str, Any]:
    try:
        description = json.loads((weights / "network.json").read_text())
        if not {"segmenter", "classes"} <= description.keys():
            raise KeyError
    except (OSError, ValueError, KeyError, AttributeError):
        raise ConfigError(
            f"--weights {weights}: no network.json of a segmentation network there; "
            "give the folder of a finished `segment` stage, e.g. results/runs/store/artifacts/segment/<key>"
        ) from None
    return description  # type: ignore[no-any-return]


def _segmenter_config(stored: dict[str, Any]) -> Any:
    from omegaconf import OmegaConf

    from benchmark.config import writable
    from methods.layers.config import SegmenterConfig

    return OmegaConf.to_object(OmegaConf.merge(writable(OmegaConf.structured(SegmenterConfig)), stored))
