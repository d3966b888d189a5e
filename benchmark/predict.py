"""`predict`: segment a folder of unlabelled images with a trained segmentation network."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from benchmark.config import ConfigError
from benchmark.console import console, stage_progress
from datasets.base import DataError, Sample

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp"}


def predict_folder(weights: Path, images: Path, output: Path, device: str) -> tuple[int, float]:
    """Write label maps (class ids) and coloured overlays of every image below `images`.

    weights: folder with network.json and network.safetensors, as a `segment` stage leaves it
    Returns the number of images and the seconds taken. Unreadable images are named and skipped; the others are
    written, and a DataError at the end says how many are missing.
    """
    description = _description(weights)
    paths = sorted(p for p in images.rglob("*") if p.suffix.lower() in SUFFIXES) if images.is_dir() else []
    if not paths:
        raise ConfigError(f"--images {images}: no image files ({', '.join(sorted(SUFFIXES))}) there")
    import torch

    from datasets.images import image_size, read_image, write_labels
    from datasets.loader import image_batches
    from methods.segmenters.stages import label_maps, load_segmenter
    from reports.panels import overlay, save_panel

    settings = _segmenter_config(description["segmenter"])
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    classes = len(description["classes"])
    network = load_segmenter(weights, settings, classes).to(device).eval()
    began = time.perf_counter()
    samples, broken = [], 0
    for path in paths:
        try:
            image_size(path)
            read_image(path)
        except DataError as error:
            broken += 1
            console.print(f"skipped: {error}", style="yellow", markup=False)
        else:
            samples.append(Sample(str(path.relative_to(images).with_suffix("")), path, ()))
    progress = stage_progress("predict")
    progress.start(len(samples), "img")
    by_id = {s.id: s.image for s in samples}
    for batch in image_batches(
        samples,
        classes,
        network.backbone.normalisation,
        settings.test_batch_size,
        device=torch.device(device),
    ):
        maps = label_maps(network, batch, settings, [by_id[i] for i in batch.ids])
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


def _description(weights: Path) -> dict[str, Any]:
    try:
        description = json.loads((weights / "network.json").read_text())
    except (OSError, json.JSONDecodeError):
        raise ConfigError(
            f"--weights {weights}: no network.json there; give the folder of a finished `segment` stage, "
            "e.g. results/runs/store/artifacts/segment/<key>"
        ) from None
    return description  # type: ignore[no-any-return]


def _segmenter_config(stored: dict[str, Any]) -> Any:
    from omegaconf import OmegaConf

    from benchmark.config import writable
    from methods.layers.config import SegmenterConfig

    return OmegaConf.to_object(OmegaConf.merge(writable(OmegaConf.structured(SegmenterConfig)), stored))
