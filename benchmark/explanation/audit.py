"""Files made elsewhere, scored by every rule: the lists they cover, what can make a difference, what to warn of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.config import choose
from benchmark.explanation.counting import Counted, Options, count
from benchmark.explanation.rules import FIXED, NATIVE, ORACLE, PREDICTED, Rule, Scored, score_all
from benchmark.external.files import SUFFIXES, find_file
from benchmark.failures import ConfigError
from datasets.base import IGNORE, DataError, Dataset

KINDS = {"cams": "cam", "label-maps": "label map"}
"""Kinds of files by the names that the command line has for them."""
FEW = 10
"""Images with an object below which nothing is said about the use of image labels."""


@dataclass(frozen=True)
class Coverage:
    """A list of images. masked: those with a mask; files: ids of those -> their files"""

    name: str
    masked: tuple[str, ...]
    files: Mapping[str, Path]

    @property
    def complete(self) -> bool:
        return len(self.files) == len(self.masked)

    def __str__(self) -> str:
        if self.complete:
            return f"{self.name} ({len(self.masked):,} images)"
        return f"{self.name} (the {len(self.files):,} of its {len(self.masked):,} images that have a file)"


@dataclass(frozen=True)
class Found:
    """What a folder has. kind: of `KINDS`; lists: those that are scored, the reported number's first; other: those not"""

    folder: Path
    kind: str
    lists: tuple[Coverage, ...]
    other: tuple[Coverage, ...]


@dataclass(frozen=True)
class Audit:
    """scored: rules whose differences all matter, this benchmark's own first; images: list's name -> its coverage
    idle: fields of `Rule` in which no difference matters; warnings, notes: one line each
    """

    found: Found
    scored: tuple[Scored, ...]
    idle: tuple[str, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]


def look_through(
    folder: Path, dataset: Dataset, lists: Mapping[str, Sequence[str]], kind: str | None, split: str | None
) -> Found:
    """What of the lists a folder has files for. split: the list that the reported number is of.

    Raises ConfigError or DataError where there is nothing to score, or where it cannot be told what is.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder")
    if split is not None:
        choose("--split", split, list(lists))
    masked = {name: tuple(i for i in ids if dataset.mask_path(i) is not None) for name, ids in lists.items()}
    everything = {i for ids in masked.values() for i in ids}
    if not everything:
        raise DataError(f"{dataset.name}: no image has a mask, so there is nothing to score against")
    files = {
        name: {i: path for i in everything if (path := find_file(folder, i, sort)) is not None}
        for name, sort in KINDS.items()
        if kind in (None, name)
    }
    there = [name for name, found in files.items() if found]
    if len(there) > 1:
        raise ConfigError(
            f"{folder}: holds CAMs and label maps; say which: --kind {' or --kind '.join(there)}"
        )
    if not there:
        first = next(iter(masked[split] if split and masked[split] else sorted(everything)))
        names = " or ".join(f"{first}{suffix}" for name in files for suffix in SUFFIXES[KINDS[name]])
        raise DataError(
            f"{folder}: no file is named after an image of {dataset.name} with a mask, such as {names};"
            " name the files by image id"
        )
    own = files[there[0]]
    covered = [
        Coverage(name, ids, {i: own[i] for i in ids if i in own})
        for name, ids in masked.items()
        if ids and not any(masked[n] == ids for n in list(masked)[: list(masked).index(name)])
    ]
    preferred = ("train", "val") if there[0] == "cams" else ("val", "train")
    usual = [split] if split else [*preferred, *masked]
    ordered = sorted(
        covered, key=lambda c: (not c.complete, usual.index(c.name) if c.name in usual else len(usual))
    )
    if split is not None:
        ordered.sort(key=lambda c: c.name != split)
    elif not ordered[0].complete:
        ordered.sort(key=lambda c: -len(c.files))
    if not ordered[0].files:
        raise DataError(
            f"{folder}: has no file of an image of {split} with a mask; choose another list with --split"
        )
    scored = [ordered[0], *(each for each in ordered[1:] if each.complete)]
    return Found(folder, there[0], tuple(scored), tuple(each for each in ordered if each not in scored))


def audit(
    dataset: Dataset, found: Found, options: Options, progress: Callable[[int], object] = lambda images: None
) -> Audit:
    """Score what was found by every rule; `progress` is told of images. Raises DataError for a broken file."""
    files = {i: path for each in found.lists for i, path in each.files.items()}
    counted = count(dataset, files, found.kind == "cams", options, progress)
    thresholds: dict[str, np.ndarray] = {}
    if found.kind == "cams":
        grid = options.grid
        own = (
            {}
            if options.fixed_threshold is None
            else {FIXED: np.array([options.fixed_threshold], np.float32)}
        )
        among = {**own, ORACLE: np.array(options.sweep, np.float32)}
        thresholds = {name: np.where(np.isin(grid, chosen), grid, np.nan) for name, chosen in among.items()}
    base = Rule(found.lists[0].name, threshold=next(iter(thresholds), ""))
    choices = _choices(dataset, found, options, counted)
    members = {each.name: np.array([i in each.files for i in files]) for each in found.lists}
    scored = score_all(base, choices, counted.views, members, counted.labelled, thresholds)
    if not scored or scored[0].rule != base:
        raise DataError(f"{found.lists[0].name}: its masks have no scored pixel; nothing can be said")
    singly = {each.differs[0] for each in scored if len(each.differs) == 1}
    idle = [name for name in ("labels", "predicted_255", "void", "absent") if name not in singly]
    warnings, notes = _label_use(dataset, found, counted, list(files))
    return Audit(found, tuple(scored), tuple(idle), tuple(warnings), tuple(notes))


def _choices(
    dataset: Dataset, found: Found, options: Options, counted: Counted
) -> dict[str, tuple[str, ...]]:
    """Fields of `Rule` that decide what is counted -> values that can make a difference, the base's first."""
    views = counted.views.values()
    void, ignored = (
        any(bool((getattr(view, name) == value).any()) for view in views)
        for name, value in (("truth", len(dataset.classes) + 1), ("predicted", IGNORE))
    )
    outside = any(held - _labels(counted, n) for n, held in enumerate(counted.held))
    predicted = (PREDICTED,) if counted.resized else ()
    return {
        "images": tuple(each.name for each in found.lists),
        "size": (NATIVE, *predicted, *map(str, options.sizes)),
        "crf": ("no", "yes") if options.crf else ("no",),
        "labels": ("unknown", "known") if outside else ("unknown",),
        "predicted_255": ("background", "out", "wrong") if ignored else ("background",),
        "void": ("out", "background") if void else ("out",),
    }


def _labels(counted: Counted, position: int) -> frozenset[int]:
    return frozenset((np.flatnonzero(counted.labelled[position, 1:])).tolist())


def _label_use(
    dataset: Dataset, found: Found, counted: Counted, ids: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Warnings and notes on whether files hold classes that their images' labels do not have."""
    train, position = set(dataset.ids("train")), {i: n for n, i in enumerate(ids)}
    warnings, notes = [], []
    for each in found.lists:
        places = [position[i] for i in each.files]
        telling = [n for n in places if counted.held[n] and len(_labels(counted, n)) < len(dataset.classes)]
        outside = sum(bool(counted.held[n] - _labels(counted, n)) for n in telling)
        if len(telling) < FEW:
            continue
        said = (
            f"{outside:,} of {len(telling):,} files of {each.name} with an object hold a class outside their"
            " image's labels"
        )
        if outside:
            notes.append(said)
        elif train.issuperset(each.files):
            notes.append(f"{said}, as files for training may: image labels are given there")
        else:
            warnings.append(
                f"{said}: image labels seem to have been used. Where they are not known at test time,"
                " no number from these files counts as a prediction's"
            )
    return warnings, notes
