"""Panels of made-up runs: pictures with a form for each label, and what each method is said to see in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from reports import panels

REASONS = (
    [{"sort": "sample", "kind": "", "value": None}],
    [{"sort": "sample", "kind": "", "value": None}, {"sort": "worst", "kind": "pseudo_label", "value": 0.21}],
    [{"sort": "best", "kind": "prediction", "value": 0.93}],
    [{"sort": "disagreement", "kind": "prediction", "value": 0.18}],
)
"""Why the panels' images are shown; the first two are of train."""


def made_up_panels(
    run_dir: Path, method: str, has_cam: bool, classes: Sequence[str], hostile: str, images: int
) -> list[dict[str, Any]]:
    """What a run says of its panels, whose files are written; the first two of four images are of train."""
    made = []
    for number in range(images):
        rng = np.random.default_rng(number)
        labels = sorted(rng.choice(len(classes) - 1, size=1 + number % 2, replace=False).tolist())
        image, truth = _scene(labels, rng)
        own = np.random.default_rng(len(method) * 100 + number)
        shift = int(own.integers(3, 10)) if has_cam else 1
        pseudo = np.roll(truth, (shift, -shift), (0, 1))
        maps = np.stack([_blurred(np.roll(truth == k + 1, shift, 0)) for k in labels])
        training = number % 4 < 2
        files = {
            "image": image,
            "truth": panels.overlay(image, truth),
            "cam": panels.cam_overlay(image, maps, labels) if training and has_cam else None,
            "pseudo_label": panels.overlay(image, pseudo) if training and has_cam else None,
            "prediction": None if training else panels.overlay(image, np.roll(pseudo, 2, 1)),
        }
        entry: dict[str, Any] = {
            "id": f"{number:05d}{hostile}",
            "labels": [classes[k + 1] for k in labels],
            "split": "train" if training else "val",
            "reasons": REASONS[number % 4],
        }
        for kind, rgb in files.items():
            entry[kind] = None
            if rgb is not None:
                entry[kind] = f"panels/{method}-{number}-{kind}.webp"
                panels.save_panel(run_dir / entry[kind], rgb, 240)
        made.append(entry)
    return made


def _scene(labels: list[int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A noisy picture, as hard to compress as a photograph, with a form for each label, and its true mask."""
    height, width = 180, 240
    ground = Image.fromarray(rng.integers(90, 200, (24, 30, 3), dtype=np.uint8)).resize((width, height))
    image = Image.fromarray(
        np.clip(np.asarray(ground) + rng.normal(0, 12, (height, width, 3)), 0, 255).astype(np.uint8)
    )
    truth = Image.new("L", (width, height))
    for k in labels:
        x, y, size = int(rng.integers(10, 150)), int(rng.integers(10, 90)), int(rng.integers(50, 90))
        colour = tuple(int(c) for c in rng.integers(20, 255, 3))
        shape = "ellipse" if k % 2 else "rectangle"
        getattr(ImageDraw.Draw(image), shape)((x, y, x + size, y + size), fill=colour)
        getattr(ImageDraw.Draw(truth), shape)((x, y, x + size, y + size), fill=k + 1, outline=255)
    return np.asarray(image), np.asarray(truth)


def _blurred(mask: np.ndarray) -> np.ndarray:
    small = Image.fromarray((mask * 255).astype(np.uint8)).resize((20, 15), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32) / 255
