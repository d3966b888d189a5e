"""Made-up runs for the reports: any number of methods, seeds and classes, with everything a run folder can hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from reports import panels
from results.io import write_records
from results.schema import CellRecord, Record

CLASSES = ["background", "boat", "train", "bird", "cat", "dog", "ladder", "coin", "tree", "bottle", "kite"]
PAIRS = ("boat|water", "train|rails")
HOSTILE = "</script><script>alert('x')</script>&\"_%#|[bold]"


@dataclass(frozen=True)
class MadeUp:
    """A method. level: its CAM mIoU, None for one that has no CAM; confusion: with context; runs: or "not run" """

    name: str
    title: str
    supervision: str
    level: float | None = None
    confusion: float | None = None
    backbone: str = "resnet38d"
    runs: bool = True


METHODS = (
    MadeUp("eps", "EPS", "I+S", 0.58, 0.08),
    MadeUp("ca_cl", "CA-CL", "I", 0.52, 0.21, "resnet50"),
    MadeUp("dskd_gc", "DSKD-GC", "I+S", 0.55, 0.15, "vit"),
    MadeUp("cam", "CAM", "I", 0.43, 0.41),
    MadeUp("supervised", "Supervised", "M"),
    MadeUp("sam_fused", "SAM-Fused", "I+SAM", runs=False),
)

REASONS = (
    [{"sort": "sample", "kind": "", "value": None}],
    [{"sort": "sample", "kind": "", "value": None}, {"sort": "worst", "kind": "pseudo_label", "value": 0.21}],
    [{"sort": "best", "kind": "prediction", "value": 0.93}],
    [{"sort": "disagreement", "kind": "prediction", "value": 0.18}],
)
"""Why the panels' images are shown; the first two are of train."""


def many(count: int) -> list[MadeUp]:
    """So many methods, with levels, supervision and backbones spread over them."""
    kinds = ("I", "I+S", "I+L", "I+SAM")
    made = [
        MadeUp(
            f"method_{n}", f"Method {n:02d} of a long title", kinds[n % 4], 0.4 + 0.012 * n, 0.5 / (n + 1),
            ("resnet38d", "resnet50", "vit")[n % 3],
        )
        for n in range(count - 1)
    ]  # fmt: skip
    return [*made, MadeUp("supervised", "Supervised", "M")]


def synthetic_run(
    run_dir: Path,
    seeds: int = 3,
    hostile: str = "",
    methods: Sequence[MadeUp] = METHODS,
    classes: Sequence[str] = CLASSES,
    images: int = 4,
) -> Path:
    """A run on made-up data; `hostile` is put wherever a name or a text can stand; images: with panels."""
    rng = np.random.default_rng(0)
    names = [name + hostile for name in classes]
    records: list[Record] = []
    cells = []
    for method in methods:
        shown = _panels(run_dir, method, names, hostile, images) if method.runs else []
        for seed in range(seeds):
            where = {
                "dataset": "shapes" + hostile,
                "method": method.name,
                "scale": "nano",
                "protocol": "paper",
            }
            where |= {"refiner": "own", "segmenter": "own", "seed": seed}
            cell = CellRecord(
                **where,
                status="done",
                method_info=_info(method.title + hostile, method.supervision, hostile),
                settings={
                    "method": {
                        "backbone": {"name": method.backbone + hostile, "weights": "none"},
                        "epochs": 4,
                    },
                    "crop": [96, 96],
                },
                stages=_stages(method, seed, names, rng, hostile),
                provenance={"git_commit": "0123abc", "finished": "2025-01-05T10:31"},
                panels=shown if seed == 0 else [],
            )
            if not method.runs:
                reason = "needs the weights sam_vit_b; give their file as weights.sam" + hostile
                cell = replace(cell, status="not run", reason=reason, stages=[], provenance={})
            else:
                records += _method_records(where, method, names, rng, hostile)
            cells.append(cell)
    for name, value in (("all-background", 0.071), ("image-label-only", 0.196)):
        where = {"dataset": "shapes" + hostile, "method": f"reference/{name}", "scale": "nano"}
        where |= {"protocol": "paper", "refiner": "own", "segmenter": "own", "seed": -1}
        records.append(_record(where, "pseudo_label", "", "miou", value))
        records.append(_record(where, "segmentation", "", "miou", value + 0.004))
    write_records(run_dir, records, cells)
    return run_dir


def _stages(
    method: MadeUp, seed: int, classes: Sequence[str], rng: np.random.Generator, hostile: str
) -> list[dict[str, Any]]:
    stages = []
    for stage, kind, seconds in (
        ("classify", "weights", 22.0 + 6 * len(method.title)),
        ("cam", "cam", 3.2),
        ("pseudo_label", "pseudo_label", 1.1),
        ("segment", "weights", 25.0),
        ("predict", "prediction", 2.4),
    ):
        steps = np.arange(100, 5001, 100)
        history = [
            {
                "iteration": int(i),
                "classification" + hostile: float(0.1 + np.exp(-i / 1500) + rng.normal(0, 0.02)),
            }
            for i in steps
        ]
        details = {
            "note": "chosen" + hostile,
            "prompts": ["a photo of {}" + hostile, "a picture of {}"],
            "choices": {name: [1, 2] for name in classes[:3]},
            "threshold": {"every": 25, "values": (0.3 + steps / 50_000).tolist()},
        }
        trained = kind == "weights"
        stages.append(
            {"name": stage, "key": f"{seed:024x}", "kind": kind, "seconds": seconds * (1 + 0.1 * seed)}
            | {"cached": False, "bytes": 2_400_000, "shown": True, "score": None}
            | {"losses": [history] if trained else []}
            | {
                "details": {f"guidance{hostile.replace('/', '')}.json": details}
                if stage == "classify"
                else {}
            }
        )
    return stages


def _record(
    where: dict[str, Any], stage: str, variant: str, metric: str, value: float, **more: Any
) -> Record:
    split = "val" if stage == "segmentation" else "train"
    images = 200 if split == "val" else 400
    return Record(
        **where, stage=stage, variant=variant, split=split, metric=metric, value=value, images=images, **more
    )


def _method_records(
    where: dict[str, Any], method: MadeUp, classes: Sequence[str], rng: np.random.Generator, hostile: str
) -> Iterator[Record]:
    level, confusion, noise = method.level, method.confusion, rng.normal(0, 0.008)
    scores = [("segmentation", "", (level + 0.09 if level else 0.81) + noise)]
    if level is not None and confusion is not None:
        for threshold in np.arange(0, 0.6, 0.01):
            value = (level + noise) * (1 - 2.6 * (threshold - 0.31) ** 2) - 0.25 * max(0, 0.12 - threshold)
            yield _record(where, "cam", "curve", "miou", value, threshold=float(threshold))
        for pair, factor in zip(PAIRS, (1.0, 0.8)):
            value = factor * confusion + rng.normal(0, 0.01)
            yield _record(where, "cam", "fixed", "confusion_ratio", value, class_name=pair + hostile)
        scores += [("cam", "fixed", level - 0.02 + noise), ("cam", "tuned", level - 0.004 + noise)]
        scores += [("cam", "oracle", level + noise), ("pseudo_label", "", level + 0.04 + noise)]
    for stage, variant, value in scores:
        more = {"threshold": 0.25} if variant == "fixed" else {}
        yield _record(where, stage, variant, "miou", value, **more)
        for i, class_name in enumerate(classes):
            spread = 0.12 * np.sin(2 * i + value) + (0.2 if i == 0 else 0) + rng.normal(0, 0.01)
            for metric in ("iou", "precision", "recall"):
                iou = float(np.clip(value + spread, 0, 1))
                yield _record(where, stage, variant, metric, iou, class_name=class_name)
    further = [(stage, variant, value) for stage, variant, value in scores if variant in ("", "fixed")]
    for stage, variant, value in further:
        for metric, class_name, change in (
            ("boundary_recall", "", -0.1),
            ("boundary_precision", "", 0.05),
            ("boundary_f1", "", -0.02),
            ("miou_by_size", "small", -0.2),
            ("miou_by_size", "large", 0.1),
            ("miou_by_class_count", "1", 0.04),
            ("miou_by_class_count", "3+", -0.1),
        ):
            yield _record(where, stage, variant, metric, value + change, class_name=class_name)
    if level is not None:
        for class_name in ("", *classes[1:]):
            metric = "average_precision" if class_name else "mean_average_precision"
            yield Record(
                **where, stage="classifier", variant="", split="val", metric=metric, value=0.9, images=200,
                class_name=class_name,
            )  # fmt: skip
    size = len(method.title) + len(method.backbone)
    numbers = {"macs_g": 3.1 * size, "parameters_m": 2.0 * size, "images_per_second": 400 / size}
    for metric, value in numbers.items():
        yield Record(
            **where, stage="profile", variant="network" + hostile, split="", metric=metric, value=value
        )
    for stage in ("classify", "segment"):
        yield Record(**where, stage=stage, variant="", split="", metric="seconds", value=9.0 * size)


def _info(title: str, supervision: str, hostile: str) -> dict[str, Any]:
    deviation = {
        "topic": "Momentum" + hostile,
        "paper": "SGD with momentum 0.9",
        "code": "momentum 5e-4: the optimiser is called with weight decay in its place",
        "ours": "0.9, as a setting",
        "why": "the paper's text is what a reader expects",
    }
    reported = {"split": "val", "stage": "segmentation", "metric": "miou"}
    return {
        "title": title,
        "paper": "A. Author et al., A paper, 2021" + hostile,
        "supervision": supervision,
        "deviations": [deviation],
        "reported": [
            reported | {"dataset": "shapes" + hostile, "value": 66.0, "note": "ResNet-101" + hostile},
            reported | {"dataset": "voc2012", "value": 71.0, "note": ""},
        ],
    }


def _panels(
    run_dir: Path, method: MadeUp, classes: Sequence[str], hostile: str, images: int
) -> list[dict[str, Any]]:
    made = []
    for number in range(images):
        rng = np.random.default_rng(number)
        labels = sorted(rng.choice(len(classes) - 1, size=1 + number % 2, replace=False).tolist())
        image, truth = _scene(labels, rng)
        own = np.random.default_rng(len(method.name) * 100 + number)
        shift = int(own.integers(3, 10)) if method.level else 1
        pseudo = np.roll(truth, (shift, -shift), (0, 1))
        maps = np.stack([_blurred(np.roll(truth == k + 1, shift, 0)) for k in labels])
        training = number % 4 < 2
        files = {
            "image": image,
            "truth": panels.overlay(image, truth),
            "cam": panels.cam_overlay(image, maps, labels) if training and method.level else None,
            "pseudo_label": panels.overlay(image, pseudo) if training and method.level else None,
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
                entry[kind] = f"panels/{method.name}-{number}-{kind}.webp"
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
