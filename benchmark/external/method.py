"""CAMs, pseudo-labels and predictions that came from anywhere, as an entry of the leaderboard."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path
from typing import ClassVar

from benchmark.config import RunConfig
from benchmark.external.files import SUFFIXES, content_hash, find_file
from benchmark.external.stages import ExternalFiles
from benchmark.failures import ConfigError
from datasets import open_dataset
from datasets.base import DataError, Dataset, TrainingView
from datasets.files.palette import VOC_COLOURS, reference_palette
from datasets.files.places import resolved
from methods.base import Kind, Method, MethodConfig, Shared, Stage, Supervision
from results.schema import EXTERNAL

PALETTES = 8
"""Masks that are looked at for the colours of the class ids."""
_NAME = re.compile(r"\w[\w .+-]{0,39}")


@dataclass(frozen=True)
class Sort:
    """A sort of files: option of the command line, split that the leaderboard scores, how files are read."""

    option: str
    split: str
    files: str
    run: str


SORTS: Mapping[Kind, Sort] = {
    Kind.CAM: Sort("--cams", "train", "cam", "benchmark.external.stages:cams"),
    Kind.PSEUDO_LABEL: Sort("--pseudo-labels", "train", "label map", "benchmark.external.stages:label_maps"),
    Kind.PREDICTION: Sort("--predictions", "val", "label map", "benchmark.external.stages:label_maps"),
}


@dataclass(frozen=True)
class ExternalConfig(MethodConfig):
    """files: kind of artifact -> where it came from; background_threshold: fixed one of the CAMs, in [0, 1]"""

    files: Mapping[str, ExternalFiles]
    background_threshold: float | None = None


class External(Method):
    """An entry whose artifacts are files. supervision: what its makers used, as far as is said."""

    default = False
    config = ExternalConfig
    paper = ""
    summary = "made elsewhere, scored from its files"
    needs = "files"
    presets: ClassVar[Mapping[str, MethodConfig]] = {}

    def __init__(self, name: str, supervision: frozenset[Supervision]) -> None:
        if _NAME.fullmatch(name) is None:
            raise ConfigError(
                f"--name {name!r}: at most 40 letters, digits, spaces and . + - _, the first a letter or digit"
            )
        self.name, self.title = f"{EXTERNAL}{name}", f"{name} (external)"  # type: ignore[misc]
        self.supervision = supervision  # type: ignore[misc]

    def stages(self, config: ExternalConfig, view: TrainingView, shared: Shared) -> Sequence[Stage]:
        """One stage a sort of files. What is scored on another split than the board's is not the board's."""
        found = []
        for kind, sort in SORTS.items():
            if kind not in config.files:
                continue
            files = config.files[kind]
            own = files.split == sort.split
            scored = "segmentation" if kind == Kind.PREDICTION else kind.value
            found.append(
                Stage(
                    f"external_{kind.value}" if own else f"external_{kind.value}_{files.split}",
                    sort.run,
                    files,
                    kind,
                    splits=(files.split,),
                    seeded=False,
                    fixed_threshold=config.background_threshold if kind == Kind.CAM else None,
                    scored_as=None if own else f"{scored}_{files.split}",
                )
            )
        return found


def parse_supervision(text: str) -> frozenset[Supervision]:
    """Of "I+S" and the like; empty for ""."""
    parts = [part.strip() for part in text.split("+") if part.strip()]
    known = [member.value for member in Supervision]
    if wrong := [part for part in parts if part not in known]:
        raise ConfigError(
            f"--supervision {text}: {wrong[0]!r} is none of {', '.join(known)}; join several by +"
        )
    return frozenset(map(Supervision, parts))


def external_config(
    config: RunConfig, folders: Mapping[Kind, Path], split: str | None, background_threshold: float | None
) -> ExternalConfig:
    """Look through the folders. Raises ConfigError, or DataError where scored images have no file.

    split: scored instead of the board's
    """
    if not folders:
        raise ConfigError(f"nothing to evaluate; give {', '.join(sort.option for sort in SORTS.values())}")
    if background_threshold is not None and not 0 <= background_threshold <= 1:
        raise ConfigError(f"--background-threshold {background_threshold:g}: must be in [0, 1]")
    if background_threshold is not None and Kind.CAM not in folders:
        raise ConfigError("--background-threshold is of CAMs; give --cams FOLDER with it")
    dataset = open_dataset(config.dataset)
    dataset.prepare()
    files = {
        kind.value: _look_through(dataset, kind, folder, split or SORTS[kind].split)
        for kind, folder in folders.items()
    }
    return ExternalConfig(files, background_threshold)


def _look_through(dataset: Dataset, kind: Kind, folder: Path, split: str) -> ExternalFiles:
    sort = SORTS[kind]
    if not folder.is_dir():
        raise ConfigError(f"{sort.option} {folder}: no such folder")
    found = {i: path for i in dataset.ids(split) if (path := find_file(folder, i, sort.files)) is not None}
    scored = [i for i in dataset.ids(split) if dataset.mask_path(i) is not None]
    if not scored:
        raise DataError(
            f"{dataset.name}: no image of {split} has a mask, so there is nothing to score against"
        )
    if missing := [i for i in scored if i not in found]:
        names = " or ".join(f"{missing[0]}{suffix}" for suffix in SUFFIXES[sort.files])
        if unread := sorted(p.name for p in folder.glob(f"{escape(missing[0])}.*")):
            names += f" ({unread[0]} is there, which is not read)"
        raise DataError(
            f"{sort.option} {folder}: lacks {len(missing)} of the {len(scored)} scored images of {split}, {names} "
            "first; name the files by image id, or choose the other split with --split"
        )
    files = ExternalFiles(str(resolved(folder)), split, len(found), content_hash(found.items()))
    if sort.files == "cam":
        return files
    shown = [path for i in scored[:: max(1, len(scored) // PALETTES)] if (path := dataset.mask_path(i))]
    colours = reference_palette(shown)
    if colours == VOC_COLOURS:
        return files
    return replace(files, colours=bytes(part for colour in colours for part in colour).hex())
