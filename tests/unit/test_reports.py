"""Reports of a made-up run: what they say, that they escape names, that a page needs nothing from outside."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from rich.console import Console

from datasets.base import DataError
from reports import build_reports, panels
from reports.terminal import print_leaderboard
from reports.text import duration, markdown_leaderboard, mean_and_deviation, percent, points
from results.aggregate import leaderboard
from results.io import read_run, records_frame, write_records
from results.resamples import Resamples, store_resamples
from results.schema import CellRecord, Record

CLASSES = ["background", "boat", "train", "bird", "cat", "dog", "ladder", "coin", "tree", "bottle", "kite"]
PAIRS = ("boat|water", "train|rails")
HOSTILE = "</script><script>alert('x')</script>&\"_%#|[bold]"

# name, title, supervision, CAM mIoU, confusion with context
METHODS = (
    ("eps", "EPS", "I+S", 0.58, 0.08),
    ("ca_cl", "CA-CL", "I", 0.52, 0.21),
    ("dskd_gc", "DSKD-GC", "I+S", 0.55, 0.15),
    ("cam", "CAM", "I", 0.43, 0.41),
    ("supervised", "Supervised", "M", None, None),
    ("sam_fused", "SAM-Fused", "I+SAM", None, None),
)


def synthetic_run(run_dir: Path, seeds: int = 3, hostile: str = "") -> Path:
    """A run of six methods on ten classes; `hostile` is put wherever a name or a text can stand."""
    rng = np.random.default_rng(0)
    records: list[Record] = []
    cells = []
    for name, title, supervision, level, confusion in METHODS:
        panel_files = [] if name == "sam_fused" else _panels(run_dir, name, level, hostile)
        for seed in range(seeds):
            where = {"dataset": "shapes" + hostile, "method": name, "scale": "nano", "protocol": "paper"}
            where |= {"refiner": "own", "segmenter": "own"}
            failed = name == "sam_fused"
            cells.append(
                CellRecord(
                    **where,
                    seed=seed,
                    status="not run" if failed else "done",
                    reason="needs the weights sam_vit_b; give their file as weights.sam" + hostile
                    if failed
                    else "",
                    method_info=_info(title + hostile, supervision, hostile),
                    settings={"epochs": 4, "backbone": "miniature" + hostile, "crop": [96, 96]},
                    stages=[]
                    if failed
                    else [
                        {
                            "name": stage,
                            "key": f"{seed:064x}",
                            "kind": kind,
                            "seconds": seconds * (1 + 0.1 * seed),
                        }
                        | {"cached": False, "bytes": 2_400_000}
                        for stage, kind, seconds in (
                            ("classify", "weights", 22.0 + 6 * len(title)),
                            ("cam", "cam", 3.2),
                            ("pseudo_label", "pseudo_label", 1.1),
                            ("segment", "weights", 25.0),
                            ("predict", "prediction", 2.4),
                        )
                    ],
                    provenance={
                        "git_commit": "0123abc",
                        "started": "2025-01-05T10:00",
                        "finished": "2025-01-05T10:31",
                    },
                    panels=panel_files if seed == 0 else [],
                )
            )
            if not failed:
                records += _method_records(where | {"seed": seed}, level, confusion, rng, hostile)
    for name, value in (("all-background", 0.071), ("image-label-only", 0.196)):
        where = {
            "dataset": "shapes" + hostile,
            "method": f"reference/{name}",
            "scale": "nano",
            "protocol": "paper",
        }
        where |= {"refiner": "own", "segmenter": "own", "seed": -1}
        records.append(_record(where, "pseudo_label", "", "miou", value))
        records.append(_record(where, "segmentation", "", "miou", value + 0.004))
    write_records(run_dir, records, cells)
    store_made_up_resamples(run_dir, records)
    store_made_up_profile(run_dir, cells, hostile)
    return run_dir


def store_made_up_profile(run_dir: Path, cells: list[CellRecord], hostile: str) -> None:
    """A profile beside the run: a network alone and with the CRF, for every method."""
    passage = {"name": "classify", "kind": "profile", "height": 96, "width": 96, "weights": "random"}
    passage |= {"network": "CAM network" + hostile, "repeats": 5, "reason": ""}
    found, records = [], []
    for size, cell in enumerate(cell for cell in cells if cell.seed == 0):
        stages = [passage | {"covers": covers, "key": f"{size}-{covers}"} for covers in ("alone", "CRF")]
        provenance = {"hardware_name": "a machine" + hostile, "device": "cpu", "precision": "32-true"}
        made = dataclasses.replace(cell, seed=-1, stages=stages, provenance=provenance, panels=[])
        found.append(made)
        where = {"dataset": cell.dataset, "method": cell.method, "scale": "nano", "protocol": "paper"}
        where |= {"refiner": "own", "segmenter": "own", "seed": -1, "split": "", "stage": "profile"}
        values = {"macs_g": 0.5 + size, "macs_attention_g": 0.6 + size, "parameters_m": 9.0 * (1 + size)}
        values |= {"images_per_second": 30.0, "host_memory_mb": 900.0}
        for stage in stages:
            variant = f"{stage['network']}: {stage['covers']}"
            records += [
                Record(**where, variant=variant, key=stage["key"], metric=metric, value=value)
                for metric, value in values.items()
            ]
    write_records(run_dir / "profile" / "a-machine", records, found)


def store_made_up_resamples(run_dir: Path, records: list[Record]) -> None:
    """Resamples around the recorded scores: noise that all entries share, and a little of their own."""
    frame = records_frame(records)
    scored = frame[
        frame["metric"].isin(["miou", "iou"]) & (frame["variant"] != "curve") & (frame["seed"] >= 0)
    ]
    for (key, variant), rows in scored.groupby(["key", "variant"], sort=False):
        rng = np.random.default_rng(int(rows["seed"].iloc[0]))
        classes = rows[rows["metric"] == "iou"]
        shared = np.random.default_rng(9).normal(0, 0.01, (200, 1 + len(classes)))
        own = rng.normal(0, 0.002, shared.shape)
        values = np.array([rows.loc[rows["metric"] == "miou", "value"].iloc[0], *classes["value"]])
        made = values + shared + own
        labels = tuple(classes["class_name"])
        store_resamples(run_dir, str(key), str(variant), Resamples(made[:, 0], made[:, 1:], labels, "same"))


def _record(
    where: dict[str, Any], stage: str, variant: str, metric: str, value: float, **more: Any
) -> Record:
    split = "val" if stage == "segmentation" else "train"
    images = 200 if split == "val" else 400
    key = f"{where['method']}-{where['seed']}-{stage}".replace("/", "-")
    return Record(
        **where,
        key=key,
        stage=stage,
        variant=variant,
        split=split,
        metric=metric,
        value=value,
        images=images,
        **more,
    )


def _method_records(
    where: dict[str, Any],
    level: float | None,
    confusion: float | None,
    rng: np.random.Generator,
    hostile: str,
) -> Iterator[Record]:
    noise = rng.normal(0, 0.008)
    yield _record(where, "classify", "", "seconds", 60 + 400 * (level or 0.1))
    yield _record(where, "classify", "", "host_memory_mb", 900.0)
    size = 1 + 4 * (level or 0.2)
    profile = {"macs_g": 2 * size, "macs_attention_g": 2.3 * size, "parameters_m": 9 * size}
    for metric, value in (profile | {"images_per_second": 30 / size, "memory_mb": 900 * size}).items():
        yield _record(where, "profile", "network", metric, value)
    scores = [("segmentation", "", (level + 0.09 if level else 0.81) + noise)]
    if level is not None and confusion is not None:
        for threshold in np.arange(0, 0.6, 0.02):
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
        for i, class_name in enumerate(CLASSES):
            iou = np.clip(
                value + 0.12 * np.sin(2 * i + value) + (0.2 if i == 0 else 0) + rng.normal(0, 0.01), 0, 1
            )
            yield _record(where, stage, variant, "iou", float(iou), class_name=class_name + hostile)


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
        "reported_as": "EPS",
    }


def _panels(run_dir: Path, method: str, level: float | None, hostile: str) -> list[dict[str, Any]]:
    folder = run_dir / "panels"
    made = []
    for number in range(4):
        rng = np.random.default_rng(number)
        labels = sorted(rng.choice(10, size=1 + number % 2, replace=False).tolist())
        image, truth = _scene(labels, rng)
        own = np.random.default_rng(len(method) * 100 + number)
        shift = int(own.integers(3, 10)) if level else 1
        pseudo = np.roll(truth, (shift, -shift), (0, 1))
        maps = np.stack([_blurred(np.roll(truth == k + 1, shift, 0)) for k in labels])
        training = number < 2
        files = {
            "image": image,
            "truth": panels.colour_labels(truth),
            "cam": panels.cam_overlay(image, maps, labels) if training and level else None,
            "pseudo_label": panels.colour_labels(pseudo) if training and level else None,
            "prediction": None if training else panels.colour_labels(np.roll(pseudo, 2, 1)),
        }
        entry: dict[str, Any] = {
            "id": f"{number:05d}{hostile}",
            "labels": [CLASSES[k + 1] + hostile for k in labels],
        }
        for kind, rgb in files.items():
            entry[kind] = None
            if rgb is not None:
                suffix = ".jpg" if kind in ("image", "cam") else ".png"
                entry[kind] = f"panels/{method}-{number}-{kind}{suffix}"
                panels.save_panel(run_dir / entry[kind], rgb)
        made.append(entry)
    assert folder.is_dir()
    return made


def _scene(labels: list[int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    height, width = 120, 160
    image = Image.fromarray(
        np.asarray(Image.fromarray(rng.integers(90, 200, (8, 10, 3), dtype=np.uint8)).resize((width, height)))
    )
    truth = Image.new("L", (width, height))
    for k in labels:
        x, y, size = int(rng.integers(10, 90)), int(rng.integers(10, 50)), int(rng.integers(36, 60))
        colour = tuple(int(c) for c in rng.integers(20, 255, 3))
        shape = "ellipse" if k % 2 else "rectangle"
        getattr(ImageDraw.Draw(image), shape)((x, y, x + size, y + size), fill=colour)
        getattr(ImageDraw.Draw(truth), shape)((x, y, x + size, y + size), fill=k + 1, outline=255)
    return np.asarray(image), np.asarray(truth)


def _blurred(mask: np.ndarray) -> np.ndarray:
    small = Image.fromarray((mask * 255).astype(np.uint8)).resize((20, 15), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32) / 255


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def page(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    written = build_reports(run_dir, tmp_path_factory.mktemp("report"))
    assert {kind: path.name for kind, path in written.items()} == {
        "html": "report.html",
        "latex": "tables.tex",
        "csv": "leaderboard.csv",
        "markdown": "report.md",
    }
    return written["html"].read_text(encoding="utf-8")


class _Page(HTMLParser):
    """Tags with attributes, and the text of each table row."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append("")

    def handle_data(self, data: str) -> None:
        if self.rows:
            self.rows[-1] += data

    def named(self, name: str) -> list[dict[str, str | None]]:
        return [attrs for tag, attrs in self.tags if tag == name]


def test_page_asks_nothing_from_outside(page: str) -> None:
    parsed = _Page(page)
    for _, attrs in parsed.tags:
        assert (attrs.get("src") or "data:").startswith("data:")
        assert (attrs.get("href") or "#").startswith(("#", "data:"))
    assert not parsed.named("link")[1:]
    assert len(parsed.named("script")) == 1
    assert "url(http" not in page
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_page_shows_scores_states_and_panels(page: str) -> None:
    parsed = _Page(page)
    rows = [" ".join(row.split()) for row in parsed.rows]
    eps = next(row for row in rows if row.startswith("1 EPS"))
    assert "n=3" in eps
    assert "±" in eps
    assert any("SAM-Fused" in row and "needs the weights sam_vit_b" in row for row in rows)
    assert any("all background" in row for row in rows)
    assert "A. Author et al., A paper, 2021" in page
    assert page.count("<svg") == 5  # gain of each stage, three kinds of cost, CAM thresholds
    images = parsed.named("img")
    # each with image and truth: two with CAM and pseudo-label of 4 methods, two with the prediction of 5
    assert len(images) == 2 * (2 + 2 * 4) + 2 * (2 + 5)
    assert all(image["alt"] for image in images)
    ids = [attrs["id"] for _, attrs in parsed.tags if attrs.get("id")]
    assert len(ids) == len(set(ids))


def test_numbers_of_another_data_set_are_shown_with_the_reason_and_no_difference(page: str) -> None:
    assert "Reported and measured" in page
    row = next(row for row in _Page(page).rows if "Not comparable: voc2012 in the paper, shapes here" in row)
    assert not re.search(r"[+−]\d", row)


def test_names_are_escaped_in_html(tmp_path: Path) -> None:
    page = build_reports(synthetic_run(tmp_path, seeds=1, hostile=HOSTILE))["html"].read_text(
        encoding="utf-8"
    )
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    parsed = _Page(page)
    assert len(parsed.named("script")) == 1
    assert any(HOSTILE in row for row in parsed.rows)


def test_panels_outside_the_run_are_not_embedded(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), (1, 2, 3)).save(tmp_path / "secret.png")
    paths = dict.fromkeys(("truth", "cam", "pseudo_label", "prediction"))
    cell = CellRecord(
        "shapes", "cam", "nano", "paper", "own", "own", 0, "done",
        panels=[{"id": "a", "labels": [], "image": "../secret.png", **paths}],
    )  # fmt: skip
    write_records(tmp_path / "run", [], [cell])
    page = build_reports(tmp_path / "run")["html"].read_text(encoding="utf-8")
    assert "data:image" not in page


def test_what_was_made_on_the_way_is_escaped_and_of_the_run(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "run"):
        place.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4), (1, 2, 3)).save(place / "a.png")
    steps = [{"name": HOSTILE, "picture": "a.png"}, {"name": "secret", "picture": "../a.png"}]
    panel = {"id": "a", "labels": [], "image": None, "truth": None, "cam": "a.png", "steps": steps}
    cell = CellRecord(
        "shapes", "cam", "nano", "paper", "own", "own", 0, "done",
        panels=[panel | dict.fromkeys(("pseudo_label", "prediction"))],
    )  # fmt: skip
    write_records(tmp_path / "run", [], [cell])
    page = build_reports(tmp_path / "run")["html"].read_text(encoding="utf-8")
    assert page.count("data:image") == 2  # the CAM, and what is the run's own
    assert "Secret" not in page
    assert "<script>alert" not in page


def test_a_run_whose_every_cell_failed_still_has_reports(tmp_path: Path) -> None:
    cell = CellRecord("shapes", "cam", "nano", "paper", "own", "own", 0, "failed", "the disk is full")
    write_records(tmp_path, [], [cell])
    written = build_reports(tmp_path)
    for kind in ("html", "csv", "markdown"):
        assert "the disk is full" in written[kind].read_text(encoding="utf-8")


def test_empty_run_is_one_clear_line(tmp_path: Path) -> None:
    write_records(tmp_path, [], [])
    with pytest.raises(DataError, match=r"the run is empty.*`run` fills it"):
        build_reports(tmp_path)
    console = Console(record=True, width=200)
    print_leaderboard(read_run(tmp_path), console)
    assert "the run is empty" in console.export_text()


@pytest.mark.parametrize("width", [80, 120])
def test_terminal_table_fits_and_cuts_no_number(run_dir: Path, width: int) -> None:
    console = Console(record=True, width=width, force_terminal=False)
    print_leaderboard(read_run(run_dir), console)
    text = console.export_text()
    assert all(len(line) <= width for line in text.splitlines())
    assert "…" not in text
    assert ("0.08" in text and "confusion" in text) == (width == 120)
    for needed in ("EPS", "n=3", "all background", "needs the weights sam_vit_b"):
        assert needed in text


def test_terminal_does_not_read_names_as_markup(tmp_path: Path) -> None:
    cell = CellRecord(
        "shapes",
        "x",
        "nano",
        "paper",
        "own",
        "own",
        0,
        "failed",
        "[red]why[/]",
        method_info={"title": "[bold]x[/red]"},
    )
    write_records(tmp_path, [], [cell])
    console = Console(record=True, width=120)
    print_leaderboard(read_run(tmp_path), console)
    text = console.export_text()
    assert "[bold]x[/red]" in text
    assert "[red]why[/]" in text


def test_markdown_escapes_cell_separators(run_dir: Path) -> None:
    run = read_run(run_dir)
    lines = markdown_leaderboard(leaderboard(run.records, run.cells)).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1


def test_numbers_are_written_alike() -> None:
    assert percent(0.6123) == "61.2"
    assert percent(float("nan")) == "–"
    assert points(-0.031) == "−3.1"
    assert mean_and_deviation({"x_mean": 0.5, "x_std": 0.0123}, "x") == "50.0 ± 1.2"
    assert mean_and_deviation({"x_mean": 0.5, "x_std": float("nan")}, "x") == "50.0"
    ratio = {"confusion:a|b_mean": 20.6, "confusion:a|b_std": 0.125}
    assert mean_and_deviation(ratio, "confusion:a|b") == "20.60 ± 0.12"
    assert [duration(s) for s in (0.42, 59.6, 200, 7500)] == [
        "0.4 s",
        "1 min 00 s",
        "3 min 20 s",
        "2 h 05 min",
    ]


def test_label_colours_are_vocs() -> None:
    colours = panels.colour_labels(np.array([[0, 1, 2], [15, 20, 255]], dtype=np.uint8))
    assert colours.tolist() == [
        [[0, 0, 0], [128, 0, 0], [0, 128, 0]],
        [[192, 128, 128], [0, 64, 128], [224] * 3],
    ]


def test_overlays_touch_only_what_is_labelled_or_active() -> None:
    image = np.full((6, 8, 3), 100, dtype=np.uint8)
    labels = np.zeros((6, 8), dtype=np.uint8)
    labels[:3] = 1
    mixed = panels.overlay(image, labels)
    assert (mixed[3:] == 100).all()
    assert (mixed[:3, :, 0] > 100).all()
    maps = np.zeros((1, 3, 4), dtype=np.float16)
    maps[0, 0] = 1
    shown = panels.cam_overlay(image, maps, [0])
    assert shown.shape == image.shape
    assert (shown[0, :, 0] > shown[0, :, 1] + 50).all()
    assert (shown[-1] == 100).all()
    assert (panels.cam_overlay(image, np.zeros((0, 3, 4)), []) == 100).all()


def test_saved_label_maps_keep_their_colours(tmp_path: Path) -> None:
    labels = np.kron(np.arange(25).reshape(5, 5), np.ones((80, 80))).astype(np.uint8)
    rgb = panels.colour_labels(labels)
    panels.save_panel(tmp_path / "deep" / "labels.png", rgb, longest=200)
    saved = np.asarray(Image.open(tmp_path / "deep" / "labels.png").convert("RGB"))
    assert saved.shape == (200, 200, 3)
    assert (saved == rgb[::2, ::2]).all()
    encoded = panels.encode(tmp_path / "deep" / "labels.png", 100)
    assert (encoded.kind, encoded.size) == ("image/png", (100, 100))
    noise = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    panels.save_panel(tmp_path / "photo.jpg", noise)
    assert panels.encode(tmp_path / "photo.jpg", 30).kind == "image/webp"
