"""Made-up runs for the reports: any number of methods, seeds and classes, with everything a run folder can hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from results.explanations import FOLDER, Ledger, Share, write_ledger
from results.io import records_frame, write_records
from results.resamples import Resamples, resamples_path, store_resamples
from results.schema import Record, RunRecord
from tests.helpers.synthetic_panels import made_up_panels

CLASSES = ["background", "boat", "train", "bird", "cat", "dog", "ladder", "coin", "tree", "bottle", "kite"]
PAIRS = ("boat|water", "train|rails")
DRAWS = 1000
"""Bootstrap samples of a score, as of a real one."""
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
    runs = []
    for method in methods:
        has_cam = method.level is not None
        shown = made_up_panels(run_dir, method.name, has_cam, names, hostile, images) if method.runs else []
        for seed in range(seeds):
            where = {
                "dataset": "shapes" + hostile,
                "method": method.name,
                "scale": "nano",
                "protocol": "paper",
            }
            where |= {"refiner": "own", "segmenter": "own", "seed": seed}
            run = RunRecord(
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
                run = replace(run, status="not run", reason=reason, stages=[], provenance={})
            else:
                records += _method_records(where, method, names, rng, hostile)
            runs.append(run)
    for name, value in (("all-background", 0.071), ("image-label-only", 0.196)):
        where = {"dataset": "shapes" + hostile, "method": f"reference/{name}", "scale": "nano"}
        where |= {"protocol": "paper", "refiner": "own", "segmenter": "own", "seed": -1}
        records.append(_record(where, "pseudo_label", "", "miou", value))
        records.append(_record(where, "segmentation", "", "miou", value + 0.004))
    write_records(run_dir, records, runs)
    _store_resamples(run_dir, records)
    with_cam = {method.name for method in methods if method.level is not None}
    write_ledger(run_dir / FOLDER / "cam-eps-pseudo_label.json", made_up_ledger(seeds, hostile))
    _store_profile(run_dir, [c for c in runs if c.seed == 0 and c.method in with_cam], hostile)
    return run_dir


def made_up_ledger(seeds: int = 3, hostile: str = "") -> Ledger:
    """What EPS gains over CAM in four things, one of them a loss, of which two interact."""
    shares = (
        Share("method", 0.091, 0.07, 0.112, 0.08, 0.102, "method: losses, maps, and what has no line here"),
        Share("train", -0.018, -0.035, 0.001, -0.018, -0.018, "training of the CAM's network" + hostile),
        Share("background_threshold", 0.004, -0.002, 0.01, 0.004, 0.004, "background threshold of the CAM"),
        Share("refiner", 0.033, 0.02, 0.046, 0.022, 0.044, "refiner of the pseudo-labels"),
    )
    whole = Share("", 0.11, 0.08, 0.14, what="together")
    place = ("shapes" + hostile, "nano", "paper")
    sides = ("cam:none:largefov" + hostile, "eps:crf" + hostile)
    return Ledger(*sides, "pseudo_label", *place, tuple(range(seeds)), 0.47, 0.58, shares, whole)


def _store_profile(run_dir: Path, runs: Sequence[RunRecord], hostile: str) -> None:
    """A profile beside the run: the network of the CAM stage alone and with the CRF, for every method that has one."""
    forward_pass = {"name": "cam", "kind": "profile", "height": 96, "width": 96, "weights": "random"}
    forward_pass |= {"network": "CAM network" + hostile, "repeats": 5, "reason": ""}
    found, records = [], []
    for size, run in enumerate(runs):
        stages = [forward_pass | {"covers": covers, "key": f"{size}-{covers}"} for covers in ("alone", "CRF")]
        provenance = {"hardware_name": "a machine" + hostile, "device": "cpu", "precision": "32-true"}
        made = replace(run, seed=-1, stages=stages, provenance=provenance, panels=[])
        found.append(made)
        where = {"dataset": run.dataset, "method": run.method, "scale": "nano", "protocol": "paper"}
        where |= {"refiner": "own", "segmenter": "own", "seed": -1, "split": "", "stage": "profile"}
        values = {"macs_g": 0.5 + size, "macs_attention_g": 0.6 + size, "parameters_m": 9.0 * (1 + size)}
        values |= {"seconds": 0.033, "seconds_iqr": 0.001, "images_per_second": 30.0, "host_memory_mb": 900.0}
        values |= {"images_per_second_best": 60.0, "best_batch": 4.0}
        for stage in stages:
            variant = f"{stage['network']}: {stage['covers']}"
            records += [
                Record(**where, variant=variant, key=stage["key"], metric=metric, value=value)
                for metric, value in values.items()
            ]
    write_records(run_dir / "profile" / "a-machine", records, found)


def _store_resamples(run_dir: Path, records: list[Record]) -> None:
    """Resamples around the recorded scores: noise that all entries share, and a little of their own."""
    frame = records_frame(records)
    scored = frame[
        frame["metric"].isin(["miou", "iou"]) & (frame["variant"] != "curve") & (frame["seed"] >= 0)
    ]
    for (key, variant), rows in scored.groupby(["key", "variant"], sort=False):
        rng = np.random.default_rng(int(rows["seed"].iloc[0]))
        classes = rows[rows["metric"] == "iou"]
        shared = np.random.default_rng(9).normal(0, 0.01, (DRAWS, 1 + len(classes)))
        own = rng.normal(0, 0.002, shared.shape)
        values = np.array([rows.loc[rows["metric"] == "miou", "value"].iloc[0], *classes["value"]])
        made = values + shared + own
        labels = tuple(classes["class_name"])
        path = resamples_path(run_dir, str(key), str(variant))
        store_resamples(path, Resamples(made[:, 0], made[:, 1:], labels, "same"))


def _stages(
    method: MadeUp, seed: int, classes: Sequence[str], rng: np.random.Generator, hostile: str
) -> list[dict[str, Any]]:
    stages = []
    for number, (stage, kind, seconds) in enumerate((
        ("classify", "weights", 22.0 + 6 * len(method.title)),
        ("cam", "cam", 3.2),
        ("pseudo_label", "pseudo_label", 1.1),
        ("segment", "weights", 25.0),
        ("predict", "prediction", 2.4),
    )):  # fmt: skip
        if method.level is None and kind in ("cam", "pseudo_label"):
            continue
        steps = np.arange(50, 5001, 50)
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
        counts = {"name": f"{stage} network{hostile}", "covers": "scale 1", "height": 96, "width": 96}
        counts |= {"macs_g": 0.25 * number, "macs_attention_g": 0.3 * number, "parameters_m": 1.5 * number}
        stages.append(
            {"name": stage, "key": f"{seed:024x}", "kind": kind, "seconds": seconds * (1 + 0.1 * seed)}
            | {"cached": False, "bytes": 2_400_000, "shown": True, "score": None}
            | {"losses": [history] if trained else [], "host_memory_mb": 700.0 + number}
            | {"images": 200 if kind == "prediction" else 400, "machine": "a machine" + hostile, "threads": 1}
            | {"counts": counts if kind in ("cam", "prediction") else None}
            | ({"step_seconds": 0.01} if trained else {})
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
    key = f"{where['method']}-{where['seed']}-{stage}".replace("/", "-")
    score = {"stage": stage, "variant": variant, "split": split, "metric": metric, "value": value}
    return Record(**where, **score, images=images, key=key, **more)


def _method_records(
    where: dict[str, Any], method: MadeUp, classes: Sequence[str], rng: np.random.Generator, hostile: str
) -> Iterator[Record]:
    level, confusion, noise = method.level, method.confusion, rng.normal(0, 0.008)
    scores = []
    if level is not None and confusion is not None:
        for threshold in np.arange(0, 0.6, 0.01):
            value = (level + noise) * (1 - 2.6 * (threshold - 0.31) ** 2) - 0.25 * max(0, 0.12 - threshold)
            yield _record(where, "cam", "curve", "miou", value, threshold=float(threshold))
        for pair, factor in zip(PAIRS, (1.0, 0.8)):
            value = factor * confusion + rng.normal(0, 0.01)
            yield _record(where, "cam", "fixed", "confusion_ratio", value, class_name=pair + hostile)
        scores += [("cam", "fixed", level - 0.02 + noise), ("cam", "tuned", level - 0.004 + noise)]
        scores += [("cam", "oracle", level + noise), ("pseudo_label", "", level + 0.04 + noise)]
    scores.append(("segmentation", "", (level + 0.09 if level else 0.81) + noise))
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
    for stage in ("classify", "segment"):
        yield _record(where, stage, "", "seconds", 9.0 * len(method.title + method.backbone))
        yield _record(where, stage, "", "host_memory_mb", 900.0)


def _info(title: str, supervision: str, hostile: str) -> dict[str, Any]:
    deviation = {
        "topic": "Momentum" + hostile,
        "paper": "SGD with momentum 0.9",
        "code": "momentum 5e-4: the optimiser is called with weight decay in its place",
        "ours": "0.9, as a setting",
        "why": "the paper's text is what a reader expects",
    }
    return {
        "title": title,
        "paper": "A. Author et al., A paper, 2021" + hostile,
        "supervision": supervision,
        "deviations": [deviation],
        "sources": [
            {"chosen_by": "code", "source": "main.py" + hostile, "values": ["crop=96", "rate=0.1" + hostile]}
        ],
        "reported_as": "EPS",
    }
