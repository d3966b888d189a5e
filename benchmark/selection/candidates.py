"""What a run folder has to choose among: stored CAMs and label maps of each run, and classifiers that judge them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf.errors import OmegaConfBaseException

from benchmark.config import typed
from benchmark.failures import ConfigError
from benchmark.prediction.networks import load_classifier
from datasets import dataset_class, open_dataset
from datasets.base import DataError, Dataset
from methods.base import Kind
from results.changes import is_place
from results.io import read_run
from results.schema import CHANGES_SEPARATOR
from results.selection import KINDS, choosable, chosen_stages

SPLITS = {Kind.CAM: "train", Kind.PSEUDO_LABEL: "train", Kind.PREDICTION: "val"}
"""Kinds that are chosen among, and the images that they are of."""
JURORS = 3
"""Classifiers that judge, at most one a method: each passes every image twice for every map of it."""


@dataclass(frozen=True)
class Candidate:
    """One artifact.

    entry: METHOD, METHOD:REFINER or METHOD:REFINER:SEGMENTER, as far as it depends on them, and changed settings
    """

    method: str
    entry: str
    kind: Kind
    seed: int
    key: str
    path: Path


@dataclass(frozen=True)
class Found:
    """What a run folder has. jurors: IMAGE_SCORES artifacts; commits: of the code that made the artifacts; runs: those
    that are chosen among, as plain data, whether the store still has their artifacts or not."""

    folder: Path
    data: Dataset
    candidates: tuple[Candidate, ...]
    jurors: tuple[Path, ...]
    commits: tuple[str, ...]
    notes: tuple[str, ...]
    runs: tuple[dict[str, Any], ...] = ()


def find(run_dir: Path, root: str | None = None, jury: bool = True) -> Found:
    """What `run` left in a folder; entries that were trained with masks are left out.

    root: of the data set, where it is not the one that the runs name any more; jury: False for no jurors
    Raises ConfigError and DataError.
    """
    runs = [run for run in read_run(run_dir).runs if choosable(run)]
    settings = {json.dumps(_content(run["settings"]["dataset"]), sort_keys=True) for run in runs}
    if len(settings) > 1:
        raise ConfigError(
            f"{run_dir}: its runs are of {len(settings)} different data; run those of one into a folder of their own "
            "with --output"
        )
    shared = set.intersection(*(set(_changes(run)) for run in runs)) if runs else set()
    found: dict[str, Candidate] = {}
    jurors: dict[str, Path] = {}
    gone = []
    for run in runs:
        for stage in chosen_stages(run, (*KINDS, Kind.IMAGE_SCORES)):
            kind, path = stage["kind"], run_dir / (stage.get("path") or "")
            if not (path / "manifest.json").is_file():
                gone.append(f"{run['method']} {stage['name']}")
            elif kind == Kind.IMAGE_SCORES:
                jurors.setdefault(run["method"], path)
            elif stage["key"] not in found:
                found[stage["key"]] = _candidate(run, stage, Kind(kind), path, shared)
    if not found:
        raise ConfigError(
            f"{run_dir}: the store has no CAMs or label maps of its runs; run the command that made them again"
        )
    notes = [f"not in the store any more: {', '.join(dict.fromkeys(gone))}"] if gone else []
    data = _open(runs[-1]["settings"]["dataset"], root)  # the newest, where the data have moved
    commits = {str(run["provenance"].get("git", {}).get("commit") or "unknown")[:12] for run in runs}
    # methods may share a classifier
    able, unable = _able(tuple(dict.fromkeys(jurors.values())) if jury else ())
    notes += unable
    return Found(
        run_dir, data, tuple(found.values()), able, tuple(sorted(commits)), tuple(notes), tuple(runs)
    )


def _able(classifiers: Sequence[Path]) -> tuple[tuple[Path, ...], list[str]]:
    """The first `JURORS` that can be run again, and a note of each on the way that cannot."""
    able: list[Path] = []
    notes: list[str] = []
    for path in classifiers:
        if len(able) == JURORS:
            break
        try:
            load_classifier(path)
            able.append(path)
        except (ConfigError, DataError) as error:
            notes.append(f"a classifier cannot be run again and does not judge: {error}")
    return tuple(able), notes


def _content(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a data set but for where it lies."""
    return {
        name: value for name, value in settings.items() if not is_place(f"dataset.{name}=", settings["name"])
    }


def _changes(run: dict[str, Any]) -> list[str]:
    return [change for change in str(run.get("changes") or "").split(CHANGES_SEPARATOR) if change]


def _candidate(
    run: dict[str, Any], stage: Mapping[str, Any], kind: Kind, path: Path, shared: set[str]
) -> Candidate:
    """shared: changes of all runs, such as the data's root, which tell none from another"""
    parts: Sequence[str] = {
        Kind.CAM: (),
        Kind.PSEUDO_LABEL: (run["refiner"],),
        Kind.PREDICTION: (run["refiner"], run["segmenter"]),
    }[kind]
    entry = ":".join([run["method"], *(parts if set(parts) - {"own"} else ())])
    own = CHANGES_SEPARATOR.join(change for change in _changes(run) if change not in shared)
    return Candidate(
        run["method"], entry + (f" ({own})" if own else ""), kind, run["seed"], stage["key"], path
    )


def _open(settings: dict[str, Any], root: str | None) -> Dataset:
    given = {**settings, **({} if root is None else {"root": root})}
    try:
        config = typed(dataset_class(settings["name"]).config, given)
    except (KeyError, TypeError, ValueError, AttributeError, OmegaConfBaseException) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"settings of its data set {settings['name']!r:.60} cannot be read ({reason}); run the command that made the "
            "run folder again"
        ) from None
    data = open_dataset(config)
    data.prepare()
    return data
