"""Example pictures of a run folder: the same images for every entry, some of them chosen by how well they go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.config import plain
from benchmark.console import console
from benchmark.planning.code_version import code_version
from benchmark.planning.plan import Plan
from benchmark.store import Store, content_key
from datasets.base import DataError, Sample
from methods.artifacts import CamReader, label_map_path
from methods.base import Kind
from methods.pictures import Picture, pictures

CHOSEN = 2
"""Images of each sort (best, worst, most disagreeing) and of each kind of label map."""

FOLDER = "panels"

_DRAWN = (Kind.CAM, Kind.PSEUDO_LABEL, Kind.PREDICTION)
"""Kinds of artifacts that have a picture."""
LONGEST = 240
"""Pixels of a picture's longest side; pages show it at half of that, so it is sharp on dense screens."""


@dataclass(frozen=True)
class Example:
    """An image to show. reasons: {"sort": "sample", "best", "worst" or "disagreement", "kind", "value"}.

    value: mean over the entries of the image's mean IoU, for "disagreement" their deviation; None for "sample"
    """

    sample: Sample
    split: str
    reasons: tuple[dict[str, Any], ...]


def illustrate(plan: Plan, run_dir: Path) -> None:
    """Draw the panels of every entry of a run folder that is of the plan's data, and note them in its runs.

    Of each entry the lowest seed that has a result is shown. Pictures are named by what they show, so those that are
    there stay; those that no run names any more are deleted.
    """
    from results.io import read_run, write_run_records

    runs = read_run(run_dir).runs
    entries = _entries(plan, runs)
    if entries:
        drawn = [_Pictures(plan, run, run_dir) for run in entries]
        panels: list[list[dict[str, Any]]] = [[] for _ in entries]
        for example in examples(plan, entries):
            try:
                shown = _given(plan, example, run_dir)
                made = [shown | pictures.draw(example.sample) for pictures in drawn]
            except DataError as error:  # its stage has failed for it; the leaderboard is still wanted
                console.print(f"no panel of {example.sample.id}: {error}", markup=False)
                continue
            for of_entry, panel in zip(panels, made):
                of_entry.append(panel)
        for run in runs:
            if _is_shown(plan, run):
                run["panels"] = []
        for run, of_entry in zip(entries, panels):
            run["panels"] = of_entry
        write_run_records(run_dir, runs)
    _delete_unnamed(runs, run_dir)


def examples(plan: Plan, runs: Sequence[dict[str, Any]]) -> list[Example]:
    """Images to show: some training images evenly spaced, then the best, worst and most disagreeing ones.

    The latter by the entries' mean IoU on each image, of the pseudo-labels (train) and of the predictions (val).
    """
    chosen: dict[str, Example] = {}
    for sample in plan.dataset.training_view().examples()[: plan.config.evaluation.panels]:
        chosen[sample.id] = Example(sample, "train", ({"sort": "sample", "kind": "", "value": None},))
    for kind, split in ((Kind.PSEUDO_LABEL, "train"), (Kind.PREDICTION, "val")):
        scores = _scores(plan.store, runs, kind)
        for sort, sample_id, value in choose(scores):
            reason = {"sort": sort, "kind": kind.value, "value": round(value, 4)}
            before = chosen.get(sample_id)
            sample = before.sample if before else plan.dataset.sample(sample_id)
            chosen[sample_id] = Example(sample, split, (*(before.reasons if before else ()), reason))
    return list(chosen.values())


def choose(scores: Sequence[dict[str, float]]) -> list[tuple[str, str, float]]:
    """(sort, id, value) of `CHOSEN` images a sort, those that every entry has a score of; no id twice.

    scores: of each entry, the mean IoU by image id
    """
    ids = [i for i in (scores[0] if scores else ()) if all(np.isfinite(s.get(i, np.nan)) for s in scores)]
    if not ids:
        return []
    table = np.array([[s[i] for i in ids] for s in scores])  # (entries, images)
    mean, deviation = table.mean(0), table.std(0)
    sorts = [("best", mean, -mean), ("worst", mean, mean)]
    if len(scores) > 1:
        sorts.append(("disagreement", deviation, -deviation))
    found: list[tuple[str, str, float]] = []
    taken: set[int] = set()
    for sort, values, order in sorts:
        best = [n for n in np.argsort(order, kind="stable").tolist() if n not in taken][:CHOSEN]
        taken.update(best)
        found += [(sort, ids[n], float(values[n])) for n in best]
    return found


def _scores(store: Store, runs: Sequence[dict[str, Any]], kind: Kind) -> list[dict[str, float]]:
    """Mean IoU of each image, of every run whose artifact of that kind was scored."""
    from benchmark.evaluation.counts import Counts
    from benchmark.evaluation.per_image import image_mean_iou

    found = []
    for run in runs:
        for stage in run["stages"]:
            if stage.get("shown") and stage["kind"] == kind and stage["score"] is not None:
                scores = store.intact(stage["score"]["name"], stage["score"]["key"])
                if scores and (counts := scores.path / "counts.parquet").exists():  # no masks, no counts
                    found.append(image_mean_iou(Counts.read(counts)))
    return found


def _entries(plan: Plan, runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The run of each entry that is shown: the lowest seed with a result on the plan's data."""
    from results.aggregate import KEYS

    first: dict[tuple[str, ...], dict[str, Any]] = {}
    for run in sorted(runs, key=lambda c: c["seed"]):
        if _is_shown(plan, run):
            first.setdefault(tuple(run[key] for key in KEYS), run)
    return list(first.values())


def _is_shown(plan: Plan, run: dict[str, Any]) -> bool:
    """Whether a run has something to show and is of the plan's data, wherever that lies: other data's ids may
    name other images."""
    here, there = plain(plan.config.dataset), run["settings"].get("dataset", {})
    same_data = {**there, "root": None} == {**here, "root": None}
    return same_data and any(stage.get("shown") for stage in run["stages"])


def _given(plan: Plan, example: Example, run_dir: Path) -> dict[str, Any]:
    """What is the same for all entries: image and truth, and why the image is shown."""
    from datasets.files.images import read_labels
    from reports.panels import overlay

    sample, mask = example.sample, plan.dataset.mask_path(example.sample.id)
    image = _image(sample)
    name = content_key({"id": sample.id, "data": plan.dataset.fingerprint("images", example.split)})
    panel: dict[str, Any] = {
        "id": sample.id,
        "split": example.split,
        "reasons": list(example.reasons),
        "labels": [plan.dataset.classes[c] for c in sample.labels],
        "image": _save(image, f"image-{name}", run_dir),
        "truth": None,
    }
    if mask is not None:
        truth = np.asarray(read_labels(mask))
        if truth.shape != image.shape[:2]:
            raise DataError(f"{mask}: the mask's size is not that of its image; export it at that size")
        panel["truth"] = _save(overlay(image, truth), f"truth-{name}", run_dir)
    return panel


class _Pictures:
    """Draws what one run's artifacts hold of an image."""

    def __init__(self, plan: Plan, run: dict[str, Any], run_dir: Path) -> None:
        self._store, self._run_dir, self._code = plan.store, run_dir, code_version("reports.panels")
        self._stages = run["stages"]
        self._shown = {Kind(stage["kind"]): stage for stage in self._stages if stage.get("shown")}
        self._readers: dict[Path, CamReader] = {}

    def draw(self, sample: Sample) -> dict[str, Any]:
        """Relative paths of the pictures; None where the artifact has nothing of the image.

        steps: [{"name", "picture"}] of what comes on the way, in the stages' order: artifacts that are scored under
               a name of their own, and the maps that stages leave (`methods.pictures`); of those of kinds also
               "legend": [{"name", "share"}], the share of the image's pixels
        """
        board = {
            kind.value: self._artifact(self._shown[kind], sample) if kind in self._shown else None
            for kind in _DRAWN
        }
        steps = [step for stage in self._stages for step in self._steps(stage, sample)]
        return {**board, "steps": [step for step in steps if step["picture"]]}

    def _steps(self, stage: dict[str, Any], sample: Sample) -> Iterator[dict[str, Any]]:
        if stage["kind"] in _DRAWN and stage.get("shown") is False:
            yield {"name": stage["name"], "picture": self._artifact(stage, sample)}
        if (artifact := self._store.intact(stage["name"], stage["key"])) is None:
            return
        for title, found in pictures(artifact.path, sample.id).items():
            draw = partial(_of_kinds, found.path, sample) if found.kinds else partial(_grey, found.path)
            step = {"name": title, "picture": self._picture(stage, sample, title, draw)}
            yield step | ({"legend": _legend(found)} if found.kinds else {})

    def _artifact(self, stage: dict[str, Any], sample: Sample) -> str | None:
        draw = self._cam if stage["kind"] == Kind.CAM else _label_map
        if (artifact := self._store.intact(stage["name"], stage["key"])) is None:
            return None
        return self._picture(stage, sample, stage["kind"], partial(draw, artifact.path, sample))

    def _picture(
        self,
        stage: dict[str, Any],
        sample: Sample,
        what: str,
        draw: Callable[[], np.ndarray | None],
    ) -> str | None:
        from reports.panels import is_as_saved

        parts = {"artifact": stage["key"], "id": sample.id, "code": self._code}
        name = f"{what.replace(' ', '-')}-{content_key(parts)}"
        for path in (self._run_dir / FOLDER).glob(f"{name}-*.webp"):
            if is_as_saved(path):
                return str(path.relative_to(self._run_dir))
        picture = draw()
        return None if picture is None else _save(picture, name, self._run_dir)

    def _cam(self, artifact: Path, sample: Sample) -> np.ndarray | None:
        from reports.panels import cam_overlay

        if artifact not in self._readers:
            self._readers[artifact] = CamReader(artifact)
        cams = self._readers[artifact]
        if sample.id not in cams.ids:
            return None
        cam = cams[sample.id]
        return cam_overlay(_image(sample), cam.maps, cam.classes)


def _label_map(artifact: Path, sample: Sample) -> np.ndarray | None:
    from datasets.files.images import read_labels
    from reports.panels import overlay

    path = label_map_path(artifact, sample.id)
    return overlay(_image(sample), np.asarray(read_labels(path))) if path.exists() else None


def _grey(file: Path) -> np.ndarray:
    """(H, W, 3) uint8"""
    from datasets.files.images import read_map

    return read_map(file).numpy()[..., None].repeat(3, axis=2)


def _of_kinds(file: Path, sample: Sample) -> np.ndarray:
    """(H, W, 3) uint8"""
    from datasets.files.images import read_map
    from reports.panels import kinds_overlay

    return kinds_overlay(_image(sample), read_map(file).numpy())


def _legend(found: Picture) -> list[dict[str, Any]]:
    """Names of the kinds, but the first, which is shown clear, and their shares of the pixels."""
    from datasets.files.images import read_map

    kinds = read_map(found.path).numpy()
    return [
        {"name": name, "share": round(float((kinds == value).mean()), 4)}
        for value, name in enumerate(found.kinds)
        if value > 0
    ]


def _image(sample: Sample) -> np.ndarray:
    """(H, W, 3) uint8"""
    from datasets.files.images import read_image

    return read_image(sample.image).permute(1, 2, 0).numpy()


def _save(picture: np.ndarray, name: str, run_dir: Path) -> str:
    from reports.panels import named_by_content, save_panel

    path = run_dir / FOLDER / f"{name}.webp"
    save_panel(path, picture, LONGEST)
    return str(named_by_content(path).relative_to(run_dir))


def _delete_unnamed(runs: Sequence[dict[str, Any]], run_dir: Path) -> None:
    named = {run_dir / path for run in runs for panel in run["panels"]
             for path in (*panel.values(), *(step["picture"] for step in panel.get("steps", [])))
             if isinstance(path, str)}  # fmt: skip
    for file in (run_dir / FOLDER).glob("*.webp"):
        if file not in named:
            file.unlink()
