"""Accepted bundles: `results/leaderboard/<name>/`, one folder each, in the layout of a run folder.

records.parquet, cells.json   of its runs, without pictures, without what stages wrote beside their result
submission.json               a `Submission`'s other fields; sealed, so that a change by hand is noticed
counts/<key>.parquet          per-image counts of a scored artifact, where they have at most `LARGEST_COUNTS` bytes
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from datasets.base import DataError
from datasets.files.sealed import read_sealed, sealed
from results.io import StoredRuns, read_run
from results.merge import RUN_KEYS, identity, merge

LEVELS = ("claimed", "consistent", "re-scored", "re-run")
"""How far a bundle was verified, the least first; `benchmark.bundles.verify` says what each is."""
LARGEST_COUNTS = 10**6
"""Bytes of an artifact's counts that are kept; of larger ones only the SHA-256 is."""
ENTRY, COUNTS = "submission.json", "counts"
_FIELDS = ("form", "bundle", "verification", "dataset", "counts", "maps")


@dataclass(frozen=True)
class Submission:
    """An accepted bundle.

    stored:       its runs; `stored.path` is its folder
    form:         the answers of its form
    bundle:       sha256 and bytes of the file, address ("" where it lies nowhere public)
    verification: level, checks, version, date
    dataset:      name; splits: number of images, SHA-256 of their list, fingerprints of images and masks
    counts:       of each scored artifact sha256 and bytes of its counts, and whether they are kept
    maps:         of each prediction SHA-256 of its label maps' hashes, and their number
    """

    stored: StoredRuns
    form: dict[str, Any]
    bundle: dict[str, Any]
    verification: dict[str, Any]
    dataset: dict[str, Any]
    counts: dict[str, Any]
    maps: dict[str, Any]

    @property
    def rank(self) -> tuple[int, str]:
        """Orders submissions of the same run: verified further first, then the earlier one."""
        return -LEVELS.index(self.verification["level"]), self.verification["date"]


def entry_text(parts: dict[str, Any]) -> str:
    """Content of `submission.json`; parts: the fields of a `Submission` but `stored`."""
    return json.dumps(sealed(parts), indent=1, ensure_ascii=False) + "\n"


def read_submission(folder: Path) -> Submission:
    """An accepted bundle. DataError in one line where a file is missing, damaged or changed."""
    path = folder / ENTRY
    try:
        document = read_sealed(path)
        found = Submission(read_run(folder), **{name: document[name] for name in _FIELDS})
        _check_types(found)
        for key, of in found.counts.items():
            kept = folder / COUNTS / f"{key}.parquet"
            if of["kept"] and hashlib.sha256(kept.read_bytes()).hexdigest() != of["sha256"]:
                raise ValueError(f"the counts of {key} are not those that were accepted")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: not as `verify --accept` wrote it ({error}); accept the bundle again, "
            "or remove its folder"
        ) from None
    return found


def _check_types(found: Submission) -> None:
    """ValueError, KeyError, TypeError or AttributeError unless it has runs, and what `site` and `accept` read."""
    form, bundle, verification = found.form, found.bundle, found.verification
    texts = [bundle["sha256"], verification["version"], verification["date"], found.dataset["name"]]
    texts += [form[name] for name in ("submitter", "hardware", "masks_used")]
    texts += [note for each in verification["checks"] for note in [each["what"], *each["notes"]]]
    if not found.stored.runs or not all(isinstance(text, str) for text in texts):
        raise ValueError("it has no run, or a text in it is none")
    if not 0 <= form["hours"] < math.inf or verification["level"] not in LEVELS:
        raise ValueError("a number in it is none")
    if bundle["address"] and not bundle["address"].startswith("https://"):
        raise ValueError("its address does not begin with https://")
    for part in (*found.counts.values(), *found.maps.values(), *found.dataset["splits"].values()):
        part.keys()


def read_submissions(folder: Path, but: str = "") -> list[Submission]:
    """All accepted bundles in a folder, by `Submission.rank`; without the one of the name `but` if it is damaged."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; `verify BUNDLE --accept` makes it")
    folders = sorted(path.parent for path in folder.glob(f"*/{ENTRY}"))
    found = []
    for each in folders:
        try:
            found.append(read_submission(each))
        except DataError:
            if each.name != but:
                raise
    return sorted(found, key=lambda s: s.rank)


def pooled(submissions: Sequence[Submission], folder: Path) -> StoredRuns:
    """All runs as those of one folder. Of a run that several submitted the first one's stands."""
    whole = StoredRuns(submissions[0].stored.records.iloc[:0], [], folder)
    for each in submissions:
        known = set(map(identity, whole.runs))
        runs = [run for run in each.stored.runs if identity(run) not in known]
        chosen = set(map(identity, runs))
        of = each.stored.records[RUN_KEYS].itertuples(index=False, name=None)
        records: pd.DataFrame = each.stored.records[[name in chosen for name in of]]
        records, runs, _ = merge(whole, records, runs)
        whole = StoredRuns(records, runs, folder)
    return whole
