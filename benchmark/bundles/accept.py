"""`verify --accept`: a verified bundle's small parts in `results/leaderboard`, from which `site` builds its pages."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmark.bundles.contents import Bundle, content_digest, scored_stages
from benchmark.bundles.verify import Verification
from datasets.base import DataError
from results.aggregate import as_rows
from results.io import RECORDS_CSV, records_frame, write_run
from results.merge import RUN_KEYS, identity
from results.schema import Record
from results.submissions import (
    COUNTS,
    ENTRY,
    LARGEST_COUNTS,
    LEVELS,
    Submission,
    entry_text,
    read_submissions,
)

_NAMED = 3
"""Methods that the name of a folder lists."""


@dataclass(frozen=True)
class Acceptance:
    """How a bundle is accepted.

    folder: of all accepted bundles; address: where the bundle can be had, "" where nowhere
    replace: whether it replaces others of the same runs by the same submitter
    """

    folder: Path
    address: str = ""
    replace: bool = False


def accept(bundle: Bundle, found: Verification, how: Acceptance) -> Path:
    """Write an accepted bundle's folder, whole or not at all; returns it.

    The same file again takes the place of its former self, damaged or not, with its new verification. DataError
    below *consistent*; where another bundle of the same submitter has one of the runs, unless it is to be replaced;
    where the same file was verified further before. Runs that other submitters have too are no obstacle: they confirm
    each other.
    """
    if LEVELS.index(found.level) < LEVELS.index("consistent"):
        raise DataError(f"{bundle.path}: not accepted, it is only {found.level}; see the checks that failed")
    if len({(run["dataset"], run["scale"], run["protocol"]) for run in bundle.runs}) != 1:
        raise DataError(f"{bundle.path}: not accepted, its runs are not all of one leaderboard")
    sha = _sha256(bundle.path.read_bytes())
    former = _of_the_same_runs(bundle, how.folder)
    for each in former:
        if each.bundle["sha256"] == sha:
            if LEVELS.index(found.level) < LEVELS.index(each.verification["level"]):
                raise DataError(
                    f"{bundle.path}: accepted as {each.verification['level']} before, now it is only {found.level}; "
                    "verify it as far as then, with --data or --weights"
                )
        elif not how.replace:
            raise DataError(
                f"{bundle.path}: {each.stored.path.name} has a run of it by the same submitter; add --replace to put "
                "this bundle in its place"
            )
    with TemporaryDirectory(dir=how.folder, prefix=".accepted-") as scratch:
        made = Path(scratch) / _name(bundle)
        _write(
            made, bundle, found, {"sha256": sha, "bytes": bundle.path.stat().st_size, "address": how.address}
        )
        for each in former:
            shutil.rmtree(each.stored.path)
        place = how.folder / made.name
        if place.is_dir():  # of the same runs by the same submitter, and damaged
            if not how.replace and sha not in (place / ENTRY).read_text(encoding="utf-8", errors="replace"):
                raise DataError(
                    f"{place}: damaged, and perhaps of another file; add --replace to put {bundle.path} in its place"
                )
            shutil.rmtree(place)
        return made.rename(place)


def _of_the_same_runs(bundle: Bundle, folder: Path) -> list[Submission]:
    """What is accepted of the same submitter and has one of the bundle's runs."""
    runs, who = set(map(identity, bundle.runs)), bundle.form.submitter.strip().casefold()
    return [
        each
        for each in read_submissions(folder, but=_name(bundle))
        if each.form["submitter"].strip().casefold() == who and runs & set(map(identity, each.stored.runs))
    ]


def _name(bundle: Bundle) -> str:
    """Of its folder: leaderboard, methods, and a hash of submitter and runs."""
    first = bundle.runs[0]
    methods: Sequence[str] = sorted({run["method"] for run in bundle.runs})
    what = [*methods] if len(methods) <= _NAMED else [f"{len(methods)}-methods"]
    words = "-".join([first["dataset"], first["scale"], first["protocol"], *what])
    runs = sorted(map(str, map(identity, bundle.runs)))
    digest = _sha256("\n".join([bundle.form.submitter.strip().casefold(), *runs]).encode())
    return f"{re.sub('[^a-z0-9]+', '-', words.lower()).strip('-')[:80]}-{digest[:8]}"


def _write(folder: Path, bundle: Bundle, found: Verification, file: dict[str, Any]) -> None:
    known = set(
        map(identity, bundle.runs)
    )  # reference rows, which no run made, stay out: nothing checks them
    of = bundle.records[RUN_KEYS].itertuples(index=False, name=None)
    rows = as_rows(bundle.records[[row in known for row in of]])
    try:
        records = records_frame(Record(**row) for row in rows)
    except (ValueError, TypeError) as error:
        raise DataError(f"{bundle.path}: its records are not as a bundle has them ({error!s:.100})") from None
    runs = [
        run | {"panels": [], "stages": [stage | {"details": {}} for stage in run["stages"]]}
        for run in bundle.runs
    ]
    write_run(folder, records, runs)
    (folder / RECORDS_CSV).unlink()
    counts, maps, files = {}, {}, bundle.manifest["files"]
    for key, stage in scored_stages(bundle.runs).items():
        if (name := f"{COUNTS}/{key}.parquet") in files:
            data = bundle.read(name)
            counts[key] = {"sha256": files[name], "bytes": len(data), "kept": len(data) <= LARGEST_COUNTS}
            if counts[key]["kept"]:
                (folder / COUNTS).mkdir(exist_ok=True)
                (folder / name).write_bytes(data)
        if stage["kind"] == "prediction":
            own = {name: sha for name, sha in files.items() if name.startswith(f"maps/{key}/")}
            maps[key] = {"sha256": content_digest(own), "images": len(own)}
    splits = {
        split: {"images": len(of["ids"]), "list": _sha256("\n".join(of["ids"]).encode())}
        | {"fingerprints": [of.get("images"), of.get("masks")]}
        for split, of in bundle.manifest["dataset"]["splits"].items()
    }
    parts = {
        "form": bundle.form.as_dict(),
        "bundle": file,
        "verification": found.as_dict(),
        "dataset": {"name": bundle.manifest["dataset"]["name"], "splits": splits},
        "counts": counts,
        "maps": maps,
    }
    (folder / ENTRY).write_text(entry_text(parts), encoding="utf-8")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
