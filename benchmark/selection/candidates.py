"""What a run folder has to choose among: stored CAMs and label maps of each run, and classifiers that judge them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.config import typed
from benchmark.failures import ConfigError
from benchmark.prediction.networks import load_classifier
from datasets import dataset_class, open_dataset
from datasets.base import DataError, Dataset
from methods.base import Kind, Supervision
from results.io import read_run
from results.schema import CHANGES_SEPARATOR, EXTERNAL

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
    """What a run folder has. jurors: IMAGE_SCORES artifacts; commits: of the code that made the artifacts."""

    folder: Path
    data: Dataset
    candidates: tuple[Candidate, ...]
    jurors: tuple[Path, ...]
    commits: tuple[str, ...]
    notes: tuple[str, ...]


def find(run_dir: Path, root: str | None = None, jury: bool = True) -> Found:
    """What `run` left in a folder; entries that were trained with masks are left out.

    root: of the data set, where it is not the one that the runs name any more; jury: False for no jurors
    Raises ConfigError and DataError.
    """
    runs = [run for run in read_run(run_dir).runs if _without_masks(run)]
    settings = {json.dumps(run["settings"]["dataset"], sort_keys=True) for run in runs}
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
        for stage in run["stages"]:
            kind, path = stage.get("kind"), run_dir / (stage.get("path") or "")
            if not stage.get("key") or kind not in (*SPLITS, Kind.IMAGE_SCORES) or not stage.get("shown"):
                continue
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
    data = _open(runs[0]["settings"]["dataset"], root)
    commits = {str(run["provenance"].get("git", {}).get("commit") or "unknown")[:12] for run in runs}
    # methods may share a classifier
    able, unable = _able(tuple(dict.fromkeys(jurors.values())) if jury else ())
    notes += unable
    return Found(run_dir, data, tuple(found.values()), able, tuple(sorted(commits)), tuple(notes))


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


def _without_masks(run: dict[str, Any]) -> bool:
    supervision = str(run["method_info"].get("supervision", "")).split("+")
    stored = bool(run["stages"]) and "dataset" in run["settings"]
    return stored and not run["method"].startswith(EXTERNAL) and Supervision.MASKS not in supervision


def _changes(run: dict[str, Any]) -> list[str]:
    return [change for change in str(run.get("changes") or "").split(CHANGES_SEPARATOR) if change]


def _candidate(
    run: dict[str, Any], stage: dict[str, Any], kind: Kind, path: Path, shared: set[str]
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
    data = open_dataset(typed(dataset_class(settings["name"]).config, given))
    data.prepare()
    return data
