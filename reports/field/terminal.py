"""What the field reports in the terminal, and what its LaTeX table and its page share with that."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from reports.text import MISSING
from results.comparison import compare_with_papers
from results.field import (
    SCORES,
    SUPERVISION,
    UNKNOWN,
    Conditions,
    FieldMethod,
    Number,
    Pair,
    Result,
    pairs,
)
from results.field_lines import condensed
from results.io import StoredRuns

HEADS = {
    "cam": "CAM",
    "pseudo_label": "Pseudo-label",
    "voc_val": "VOC val",
    "voc_test": "VOC test",
    "coco_val": "COCO val",
}
CAPTION = (
    "mIoU in percent, as printed. CAM and pseudo-labels: VOC 2012, train. Supervision: "
    + "; ".join(f"{mark}: {meaning}" for mark, meaning in SUPERVISION.items())
    + "."
)
_SHORT = HEADS | {"pseudo_label": "Pseudo", "voc_val": "val", "voc_test": "test", "coco_val": "COCO"}
IMAGENET = ("ImageNet", "ImageNet-1k")
"""Weights that most networks start from, so that tables need not name them."""

_MADE_BY = dict.fromkeys(HEADS, "Segmentation network") | dict.fromkeys(("cam", "pseudo_label"), "Refiner")
_SHOWN = 15


def labelled(method: FieldMethod, result: Result) -> str:
    """A result's label: the method's name, with the variant where it has one."""
    return f"{method.name} ({result.variant})" if result.variant else method.name


def rank(supervision: str) -> tuple[int, str]:
    """Order of supervisions: image labels alone first."""
    return supervision.count("+"), supervision


def figures(numbers: Sequence[Number]) -> str:
    """Numbers of one score as text: several where sources disagree; ² after what was read in another paper."""
    texts = [f"{n.value:.1f}{'²' if n.source == 'second-hand' else ''}" for n in numbers]
    values = {text.rstrip("²"): text for text in reversed(texts)}  # one's own source wins over equal others
    return " / ".join(dict.fromkeys(values[text.rstrip("²")] for text in texts)) or MISSING


def network(conditions: Conditions, start: bool = True) -> str:
    """Segmentation network and trunk in few words, with the weights that it starts from."""
    known = [part for part in (conditions.segmenter, conditions.segmenter_backbone) if part != UNKNOWN]
    weights = conditions.segmenter_initialisation
    return ", ".join(known) + (f" from {weights}" if start and weights != UNKNOWN else "") or UNKNOWN


def sorted_pairs(methods: Sequence[FieldMethod]) -> list[Pair]:
    """The pairs of `results.field`, by condition and what changes in it."""
    return sorted(pairs(methods), key=lambda p: (p.condition, p.before, p.after, p.score))


def print_methods(methods: Sequence[FieldMethod], console: Console) -> None:
    """A heading for each method, below it a line for each segmentation network."""
    caption = (
        f"{CAPTION} val and test: VOC 2012. ²: read in another paper. A slash: sources disagree. ?: not found. "
        "Segmentation networks start from ImageNet, or it is not said, unless named."
    )
    heads = ["CAM network > segmentation network"]
    table = _table(caption, heads, [_SHORT[s] for s in SCORES], len(_SHORT["pseudo_label"]))
    for method in methods:
        heading = f"{method.name}, {method.venue} {method.year}, {method.supervision}"
        table.add_row(Text(heading, style="bold"))
        for result in condensed(method):
            c = result.conditions
            words = f"{result.variant}: " if result.variant else ""
            if result.supervision != method.supervision:
                words = f"{result.supervision}, {words}"
            trunk = network(c, start=c.segmenter_initialisation not in IMAGENET)
            words += " > ".join("?" if part == UNKNOWN else part for part in (c.cam_backbone, trunk))
            if c.test_crf == "yes":
                words += ", CRF"
            numbers = [Text(figures(result.of(score))) for score in SCORES]
            table.add_row(Padding(Text(words), (0, 0, 0, 2)), *numbers)
    console.print(table)


def print_pairs(methods: Sequence[FieldMethod], console: Console) -> None:
    """Differences within one paper, condition by condition."""
    found = sorted_pairs(methods)
    if not found:
        console.print("No paper here prints the same method under two conditions of which one alone differs.")
        return
    caption = "The same method in its own paper or repository, where one known condition alone differs."
    table = _table(caption, ["Condition and change", "Method", "Score"], ["mIoU", "Points"])
    for condition, group in groupby(found, key=lambda p: p.condition):
        table.add_row(Text(condition.replace("_", " "), style="bold"))
        for p in group:
            change = Padding(Text(f"{p.before} → {p.after}"), (0, 0, 0, 2))
            value = Text(f"{p.low:.1f} → {p.high:.1f}")
            table.add_row(change, Text(p.method), Text(_SHORT[p.score]), value, Text(f"{p.difference:+.1f}"))
    console.print(table)


def _table(caption: str, left: Sequence[str], right: Sequence[str], narrow: int | None = None) -> Table:
    table = Table(box=box.SIMPLE_HEAD, caption=Text(caption), caption_justify="left", pad_edge=False)
    for head in left:
        table.add_column(head, overflow="fold")
    for head in right:
        table.add_column(head, justify="right", width=narrow)
    return table


def print_like(methods: Sequence[FieldMethod], stored: StoredRuns, console: Console) -> None:
    """What was reported under a run's conditions: scores of the same data set and split, and what differs else."""
    measured = compare_with_papers(stored.records, stored.runs, ())
    places = {(dataset, stage, split): score for score, (dataset, split, stage) in SCORES.items()}
    shown = False
    for found in measured.to_dict("records"):
        score = places.get((found["dataset"], found["stage"], found["split"]))
        if score is None:
            continue
        shown = True
        run = next(
            c
            for c in stored.runs
            if all(c[k] == found[k] for k in ("dataset", "method", "scale", "protocol"))
        )
        own = conditions_of(run)
        title = (
            f"{found['method']}, {HEADS[score]}: {100 * found['measured']:.1f} (n = {found['n']}, "
            f"{found['images']} images, scale {found['scale']})"
        )
        lines = [
            (len(differing), -number.value, labelled(method, result), _made_by(result, score), differing)
            for method in methods
            for result in method.results
            for number in result.of(score)[:1]
            for differing in [other_conditions(own, result.conditions)]
        ]
        table = Table(box=box.SIMPLE_HEAD, title=Text(title), title_justify="left", pad_edge=False)
        table.add_column("mIoU", justify="right")
        for head in ("Method", _MADE_BY[score], "Differs or not known"):
            table.add_column(head, overflow="fold")
        for _, value, name, made_by, differing in sorted(lines)[:_SHOWN]:
            row = (f"{-value:.1f}", name, made_by, "; ".join(differing) or "nothing")
            table.add_row(*map(Text, row))
        console.print(table)
    if not shown:
        datasets = ", ".join(dict.fromkeys(dataset for dataset, _, _ in SCORES.values()))
        console.print(f"The field reports on {datasets}; {stored.path} has no score on these", markup=False)


def _made_by(result: Result, score: str) -> str:
    said = result.conditions.refiner if _MADE_BY[score] == "Refiner" else network(result.conditions)
    return "?" if said == UNKNOWN else said


def conditions_of(run: dict[str, Any]) -> Conditions:
    """Those of a run, as far as its settings say them in the field's words."""
    settings = run["settings"].get("method") or {}
    segmenter = (run["settings"].get("protocol") or {}).get("segmenter") or settings.get("segmenter") or {}
    trunk = (settings.get("backbone") or {}).get("name", UNKNOWN)
    scales = segmenter.get("test_scales")
    masks = segmenter.get("init") == "coco-masks"
    return Conditions(
        cam_backbone=str(trunk),
        segmenter={"largefov": "DeepLab V1", "largefov_single": "DeepLab V1", "aspp": "DeepLab V2"}.get(
            segmenter.get("head", ""), UNKNOWN
        ),
        segmenter_backbone=str((segmenter.get("backbone") or {}).get("name", UNKNOWN)),
        segmenter_initialisation="COCO masks" if masks else UNKNOWN,
        test_scales=UNKNOWN if scales is None else "one" if len(scales) == 1 else "several",
        test_mirror="yes" if segmenter.get("test_flip") else "no" if segmenter else UNKNOWN,
        test_crf="yes" if segmenter.get("test_crf") else "no" if segmenter else UNKNOWN,
    )


def other_conditions(own: Conditions, reported: Conditions) -> list[str]:
    """What differs or is not known of a reported number's conditions beside one's own."""
    found = []
    for name, here in vars(own).items():
        there = getattr(reported, name)
        if here == UNKNOWN:
            continue
        words = name.replace("_", " ")
        if there == UNKNOWN:
            found.append(f"{words} unknown")
        elif not _same(here, there):
            found.append(f"{words} {there}")
    return found


def _same(here: str, there: str) -> bool:
    one, other = (
        "".join(c for c in text.lower() if c.isalnum()) for text in (here.rpartition("/")[2], there)
    )
    return one.startswith(other) or other.startswith(one)
