"""`bundle`: a run folder as one file that says nothing of the machine and shows no picture of the data."""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from benchmark.bundles.contents import (
    CAM_SAMPLE,
    FORM,
    FORMAT,
    LARGEST,
    MANIFEST,
    RECORDS,
    RUNS,
    content_digest,
    sampled,
    scored_stages,
)
from benchmark.bundles.form import SubmissionForm
from benchmark.config import compose
from benchmark.failures import ConfigError
from benchmark.provenance import git, release
from benchmark.store import Store
from datasets import open_dataset
from datasets.base import DataError, Dataset
from datasets.files.images import read_labels
from datasets.files.places import resolved
from methods.artifacts import CamReader, label_map_path, write_cams
from results.changes import changes_of, is_place
from results.io import StoredRuns, read_run

_PATH = re.compile(r"(?<![\w:/.])(?:~|[A-Za-z]:)?[/\\](?:[^\s/\\:'\",;()]+[/\\])*([^\s/\\:'\",;()]+)")
"""An absolute path in a text; its last part is kept."""
_FIXED_TIME = (1980, 1, 1, 0, 0, 0)


def write_bundle(
    run_dir: Path, form: SubmissionForm, output: Path, overrides: Sequence[str], methods: Sequence[str]
) -> dict[str, Any]:
    """Write `output`, whole or not at all; returns its manifest.

    overrides: settings of the data set, such as where it lies; methods: those of the run folder, () for all
    Raises DataError or ConfigError in one line where there is nothing to bundle, where something is missing, and for
    a bundle that would be larger than `LARGEST`.
    """
    stored = read_run(run_dir)
    runs = _chosen(stored, methods)
    dataset = open_data(runs[0], overrides)
    with TemporaryDirectory(dir=output.parent, prefix=".bundle-") as scratch:
        made = Path(scratch) / output.name
        manifest = _write(made, stored, runs, dataset, form)
        if (size := made.stat().st_size) > LARGEST:
            raise ConfigError(
                f"the bundle would have {size / 1e6:.0f} MB, and at most {LARGEST // 10**6} are accepted; bundle the "
                "methods one by one with --methods NAME"
            )
        made.replace(output)
    return manifest


def open_data(run: Mapping[str, Any], overrides: Sequence[str] = ()) -> Dataset:
    """The data set that a run was made on, with `overrides` that say where it lies here."""
    own = [
        p for p in changes_of(run["changes"]) if p.startswith("dataset.") and not is_place(p, run["dataset"])
    ]
    foreign = [o for o in overrides if not o.startswith("dataset.")]
    if foreign:
        raise ConfigError(
            f"{foreign[0]}: only settings of the data set are taken here, such as dataset.root=PATH"
        )
    config = compose([], run["dataset"], run["scale"], run["protocol"], [*own, *overrides])
    return open_dataset(config.dataset)


def _chosen(stored: StoredRuns, methods: Sequence[str]) -> list[dict[str, Any]]:
    """The finished runs of the named methods, all of one leaderboard."""
    known = {run["method"] for run in stored.runs}
    if unknown := [name for name in methods if name not in known]:
        raise ConfigError(f"{stored.path}: no run of {unknown[0]}; it has {', '.join(sorted(known))}")
    runs = [r for r in stored.runs if r["status"] == "done" and (not methods or r["method"] in methods)]
    if not runs:
        raise DataError(f"{stored.path}: no finished run to bundle; run the command that made it again")
    boards = {(r["dataset"], r["scale"], r["protocol"]) for r in runs}
    if len(boards) > 1:
        raise DataError(
            f"{stored.path}: holds {len(boards)} leaderboards, and a bundle has one; bundle run folders of one data "
            "set, scale and protocol"
        )
    return runs


def _write(
    path: Path, stored: StoredRuns, runs: Sequence[dict[str, Any]], dataset: Dataset, form: SubmissionForm
) -> dict[str, Any]:
    files: dict[str, str] = {}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:

        def add(name: str, data: bytes, packing: int = zipfile.ZIP_DEFLATED) -> None:
            info = zipfile.ZipInfo(name, _FIXED_TIME)
            info.compress_type = packing
            packed.writestr(info, data)
            files[name] = hashlib.sha256(data).hexdigest()

        add(FORM, json.dumps(form.as_dict(), indent=1, ensure_ascii=False).encode())
        add(RECORDS, _records(stored, runs))
        add(RUNS, json.dumps({"runs": [_without_machine(run) for run in runs]}, ensure_ascii=False).encode())
        stages = scored_stages(runs)
        splits: dict[str, Any] = {}
        for key, stage in stages.items():
            folder = artifact_folder(stored.path, stage)
            split = stage["score"]["split"]
            splits.setdefault(split, _split(dataset, split))
            if stage["kind"] != "image_scores":
                counts = folder.parents[1] / stage["score"]["name"] / stage["score"]["key"] / "counts.parquet"
                add(f"counts/{key}.parquet", _bytes(counts), zipfile.ZIP_STORED)
            if stage["kind"] == "prediction":
                for number, image in enumerate(splits[split]["ids"]):
                    add(
                        f"maps/{key}/{number}.png",
                        _label_map(label_map_path(folder, image)),
                        zipfile.ZIP_STORED,
                    )
        digest = content_digest(files)
        for key, stage in stages.items():
            if stage["kind"] == "cam":
                add(f"cams/{key}.safetensors", _cam_sample(artifact_folder(stored.path, stage), digest))
        manifest = {
            "format": FORMAT,
            "code": git() | {"release": release()},
            "dataset": {"name": dataset.name, "classes": list(dataset.classes), "splits": splits},
            "files": files,
        }
        packed.writestr(zipfile.ZipInfo(MANIFEST, _FIXED_TIME), json.dumps(manifest, ensure_ascii=False))
    return manifest


def artifact_folder(run_dir: Path, stage: Mapping[str, Any]) -> Path:
    """The stored artifact of a scored stage. DataError where it is gone."""
    folder = resolved(run_dir / stage["path"])
    if not folder.is_dir():
        left = Store(folder.parents[2]).discarded(folder.parent.name, folder.name)
        if left is not None:
            raise DataError(
                f"{folder}: discarded (--discard-intermediate); delete {left.path} and run the command that made "
                f"{run_dir} again without that option, which makes it anew"
            )
        raise DataError(f"{folder}: gone; run the command that made {run_dir} again, which makes it anew")
    return folder


def _split(dataset: Dataset, split: str) -> dict[str, Any]:
    ids = list(dataset.ids(split))
    return {
        "ids": ids,
        "images": dataset.fingerprint("images", split),
        "masks": dataset.fingerprint("masks", split),
    }


def _records(stored: StoredRuns, runs: Sequence[Mapping[str, Any]]) -> bytes:
    """Those of the chosen runs, and of the reference rows."""
    chosen = {(r["method"], r["refiner"], r["segmenter"], r["changes"], r["seed"]) for r in runs}
    columns = stored.records[["method", "refiner", "segmenter", "changes", "seed"]]
    kept = [tuple(row) in chosen or row[-1] == -1 for row in columns.itertuples(index=False)]
    buffer = io.BytesIO()
    stored.records[kept].to_parquet(buffer, index=False)
    return buffer.getvalue()


def _without_machine(run: Mapping[str, Any]) -> dict[str, Any]:
    """A run without its pictures, and without absolute paths in any text."""
    bare = {key: value for key, value in run.items() if key != "panels"}
    bare["stages"] = [{k: v for k, v in stage.items() if k != "path"} for stage in run["stages"]]
    return _scrubbed(bare) | {"panels": []}  # type: ignore[no-any-return]


def _scrubbed(value: Any) -> Any:
    if isinstance(value, str):
        return _PATH.sub(r"…/\1", value)
    if isinstance(value, Mapping):
        return {_scrubbed(key): _scrubbed(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_scrubbed(each) for each in value]
    return value


def _label_map(path: Path) -> bytes:
    """A label map as the smallest PNG, without a palette."""
    buffer = io.BytesIO()
    Image.fromarray(read_labels(path).numpy()).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _cam_sample(folder: Path, digest: str) -> bytes:
    reader = CamReader(folder)
    chosen = sampled(reader.ids, digest)
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / "cams.safetensors"
        write_cams(path, {i: reader[i] for i in chosen})
        return path.read_bytes()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        raise DataError(f"{path}: gone; run the command that made the run folder again") from None


def describe(manifest: Mapping[str, Any], output: Path) -> str:
    """One line on a bundle that has been written."""
    kinds = [name.partition("/")[0] for name in manifest["files"]]
    maps, cams = kinds.count("maps"), kinds.count("cams")
    return (
        f"{output}: {output.stat().st_size / 1e6:.1f} MB; counts of {kinds.count('counts')} scored artifacts, {maps} "
        f"label maps, CAMs of up to {CAM_SAMPLE} images from each of {cams} artifacts"
    )
