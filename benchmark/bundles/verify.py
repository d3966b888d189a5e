"""`verify`: what can be checked of a bundle, without its data, with them, and with its network.

Levels: *claimed*, a bundle that opens; *consistent*, its parts agree with each other; *re-scored*, with the data set at
hand its label maps and sampled CAMs have the counts that it says; *re-run*, the networks of all runs give their label
maps.
"""

from __future__ import annotations

import datetime
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.bundles.check import NAMED, Check, bins_of, named
from benchmark.bundles.contents import Bundle, sampled, scored_stages
from benchmark.bundles.rescoring import rescored_cams, rescored_maps, same_data
from benchmark.config import compose, plain
from benchmark.evaluation.counts import Counts
from benchmark.evaluation.curves import cam_counts
from benchmark.evaluation.evaluator import held_out_ids
from benchmark.evaluation.scores import MetricRow, metric_rows
from benchmark.failures import ConfigError
from benchmark.provenance import release
from datasets.base import DataError, Dataset
from methods.base import MethodError
from results.aggregate import REFERENCE
from results.changes import changes_of, is_place
from results.merge import RUN_KEYS, identity
from results.submissions import LEVELS

EXACT = ("miou", "pixel_accuracy", "iou", "precision", "recall")
"""Metrics that follow from the counts."""
TOLERANCE = 1e-9
ENOUGH_IMAGES = 30
"""From so many images on, that no image is given a class that it does not have is no coincidence."""


@dataclass(frozen=True)
class Verification:
    """level: one of `LEVELS`; checks: in the order they were made; version: of this project; date: ISO, UTC"""

    level: str
    checks: list[Check]
    version: str
    date: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def verify(
    bundle: Bundle, dataset: Dataset | None = None, rerun: Callable[[Bundle], Check] | None = None
) -> Verification:
    """All checks that are possible with what is at hand.

    dataset: what the bundle says it was scored on, with its masks; rerun: applies the network to images (`rerun`)
    """
    checks = [
        _settings(bundle), _code(bundle), _belonging(bundle), _lists(bundle), _scores(bundle), _maps(bundle),
        _cams(bundle), _labels_at_test(bundle),
    ]  # fmt: skip
    level = 1 if all(check.passed for check in checks) else 0
    if dataset is not None:
        checks += [same_data(bundle, dataset), rescored_maps(bundle, dataset), rescored_cams(bundle, dataset)]
        level = 2 if level == 1 and all(check.passed for check in checks) else min(level, 1)
    if rerun is not None:
        checks.append(rerun(bundle))
        level = (
            3 if level == 2 and checks[-1].passed and not checks[-1].notes else level
        )  # all of its networks
    if not all(check.passed for check in checks):
        level = 0
    today = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return Verification(LEVELS[level], checks, release(), today)


def _settings(bundle: Bundle) -> Check:
    """Each run's settings are its preset's and what it says it changed."""
    check = Check("settings are those of the preset, and what is said to differ")
    for run in bundle.runs:
        name = run["method"]
        changed = [c for c in changes_of(run["changes"]) if not is_place(c, run["dataset"])]
        try:
            parts = {part: run[part] for part in ("refiner", "segmenter")}
            config = compose([name], run["dataset"], run["scale"], run["protocol"], changed, **parts)
        except (ConfigError, MethodError, DataError, RecursionError) as error:
            check.notes.append(f"{name}: settings not compared ({error})")
            continue
        ours = {
            "method": config.method[name],
            **{part: getattr(config, part) for part in ("dataset", "protocol", "evaluation")},
        }
        for part, settings in ours.items():
            given, expected = run["settings"].get(part), plain(settings)
            rounding = {key for key, _, _ in _differences(expected, plain(settings, rounding=False))}
            check.faults += [
                f"{name} seed {run['seed']}: {part}.{key} is {value!r:.40}, the preset's is {own!r:.40}"
                for key, value, own in _differences(given, expected)
                if key not in rounding and not is_place(f"{part}.{key}=", run["dataset"])
            ]
    return check


def _differences(given: Any, expected: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Leaves in which two trees of plain data differ."""
    if isinstance(given, Mapping) and isinstance(expected, Mapping):
        for name in sorted({*given, *expected}):
            yield from _differences(
                given.get(name), expected.get(name), f"{key}.{name}" if key else str(name)
            )
    elif _listed(given) != _listed(expected) and not (isinstance(given, str) and given.startswith("…/")):
        yield key, given, expected


def _listed(value: Any) -> Any:
    return [_listed(each) for each in value] if isinstance(value, (list, tuple)) else value


def _code(bundle: Bundle) -> Check:
    """The commit is one of this project's history."""
    check = Check("the code is a known version")
    for commit in sorted({_commit(run) for run in bundle.runs}):
        if not commit:
            check.notes.append("made with an installed version, not with a checkout")
            continue
        command = ["git", "cat-file", "-e", f"{commit}^{{commit}}"]
        try:
            known = not subprocess.run(
                command, cwd=Path(__file__).parent, capture_output=True, check=False
            ).returncode
        except OSError:  # no git here
            known = False
        if not known:
            check.notes.append(
                f"commit {commit[:12]} is not in the history here; fetch it to compare the code"
            )
    if any(run["provenance"].get("git", {}).get("dirty") for run in bundle.runs):
        check.notes.append("made with changes that were not committed")
    return check


def _commit(run: Mapping[str, Any]) -> str:
    commit = str(run["provenance"].get("git", {}).get("commit", ""))
    return commit if all(c in "0123456789abcdef" for c in commit) else ""


def _belonging(bundle: Bundle) -> Check:
    """Every run and score is there once, and every score that is checked is of its run's own artifact."""
    check = Check("every score is of a stage of its run, and there once")
    if len(set(map(identity, bundle.runs))) < len(bundle.runs):
        check.faults.append("a run is there twice")
    known = {
        (*identity(run), stage["key"], stage["score"]["stage"], stage["score"]["split"])
        for run in bundle.runs
        for stage in run["stages"]
        if stage.get("score")
    }
    rows = bundle.records[~bundle.records["method"].astype(str).str.startswith(REFERENCE)]
    rows = rows[rows["metric"].isin(EXACT)]
    of = list(rows[[*RUN_KEYS, "key", "stage", "split"]].itertuples(index=False, name=None))
    strange = {f"{row[-2]} {row[-1]} of {row[3]}" for row in of if row not in known}
    check.faults += named(sorted(strange), "scores that no stage of their run has:")
    twice = rows.duplicated(
        [*RUN_KEYS, "key", "stage", "split", "variant", "threshold", "metric", "class_name"]
    )
    check.faults += named(sorted(set(rows["stage"][twice])), "scores that are there twice:")
    return check


def _lists(bundle: Bundle) -> Check:
    """Every score is over images of its split, and over as many as it says."""
    check = Check("scores are over the images of their split")
    for key, stage in scored_stages(bundle.runs).items():
        if key not in bundle.keys("counts"):
            continue
        counts, ids = bundle.counts(key), bundle.ids(stage["score"]["split"])
        if strange := sorted(set(counts.images) - set(ids)):
            check.faults.append(
                f"{stage['name']}: scored {strange[0]!r:.60}, which is not in the split's list"
            )
        if counts.header.naming.classes != tuple(bundle.manifest["dataset"]["classes"]):
            check.faults.append(f"{stage['name']}: counts are of other classes")
        own = bundle.records[(bundle.records["key"] == key) & (bundle.records["metric"] == "miou")]
        plain_rows = own[own["variant"] != "tuned"]
        if len(plain_rows) and set(plain_rows["images"]) != {len(counts.images)}:
            check.faults.append(f"{stage['name']}: counts of {len(counts.images)} images, scores of others")
    return check


def _scores(bundle: Bundle) -> Check:
    """Every score that the counts decide is what they give."""
    check = Check("scores follow from the counts")
    for key, stage in scored_stages(bundle.runs).items():
        rows = bundle.records[(bundle.records["key"] == key) & bundle.records["metric"].isin(EXACT)]
        if key not in bundle.keys("counts"):
            if len(rows):
                check.faults.append(f"{stage['name']}: has scores and no counts")
            continue
        if not (rows["metric"] == "miou").any():
            check.faults.append(f"{stage['name']}: has counts and no scores")
        counts = bundle.counts(key)
        fraction = _evaluation(bundle, key).get("held_out", 0.2)
        if not isinstance(fraction, float) or not 0 < fraction < 1:
            check.faults.append(f"{stage['name']}: evaluation.held_out is {fraction!r:.40}")
            continue
        groups: Any = rows.groupby(["variant", "threshold"], dropna=False)
        for (variant, threshold), part in groups:
            found = _recomputed(counts, variant, threshold, fraction, stage["score"]["split"])
            if found is None:
                check.faults.append(f"{stage['name']}: no counts at threshold {threshold:g}")
                continue
            check.faults += _unequal(stage["name"], part.to_dict("records"), found)
    return check


def _evaluation(bundle: Bundle, key: str) -> Mapping[str, Any]:
    for run in bundle.runs:
        if any(stage["key"] == key for stage in run["stages"]):
            evaluation = run["settings"].get("evaluation")
            return evaluation if isinstance(evaluation, Mapping) else {}
    return {}


def _recomputed(
    counts: Counts, variant: str, threshold: float, fraction: float, split: str
) -> dict[tuple[str, str], float] | None:
    """Scores by metric and class at one threshold."""
    weights = None
    if variant == "tuned":
        left_out = held_out_ids(counts.images, fraction)
        weights = np.array([image not in left_out for image in counts.images], np.int64)
    matrices = counts.matrices(weights)
    if counts.header.thresholds is not None:
        place = np.flatnonzero(np.isclose(counts.header.thresholds, threshold, rtol=0, atol=1e-6))
        if not len(place):
            return None
        matrices = matrices[place[0]]
    rows: list[MetricRow] = metric_rows(
        matrices, counts.header.naming, partial(MetricRow, "", variant, split)
    )
    return {(row.metric, row.class_name): row.value for row in rows}


def _unequal(
    stage: str, rows: Sequence[Mapping[str, Any]], found: Mapping[tuple[str, str], float]
) -> list[str]:
    faults = []
    for row in rows:
        said, ours = row["value"], found.get((row["metric"], row["class_name"]), float("nan"))
        if not (np.isnan(said) and np.isnan(ours)) and not abs(said - ours) <= TOLERANCE:
            name = " ".join(filter(None, (row["metric"], row["class_name"], row["variant"])))
            faults.append(f"{stage}: {name} is said to be {said:.6f}, the counts give {ours:.6f}")
    return faults[:NAMED]


def _maps(bundle: Bundle) -> Check:
    """Label maps have at least the predicted pixels that were counted; the rest lies where the truth is ignored."""
    check = Check("label maps are those that were counted")
    for key, stage in scored_stages(bundle.runs).items():
        if stage["kind"] != "prediction":
            continue
        ids = bundle.ids(stage["score"]["split"])
        counts = bundle.counts(key)
        predicted = _pixels_by_class(counts)
        absent, unlike = [], []
        for number, image in enumerate(ids):
            if image not in predicted:
                continue
            labels = bundle.label_map(key, number)
            if labels is None:
                absent.append(image)
                continue
            pixels = np.bincount(labels.ravel(), minlength=256)
            if (predicted[image] > pixels).any():
                unlike.append(image)
        check.faults += named(absent, f"{stage['name']}: no label map of")
        check.faults += named(
            unlike, f"{stage['name']}: the label map has not the classes that were counted of"
        )
    return check


def _pixels_by_class(counts: Counts) -> dict[str, np.ndarray]:
    """Counted pixels by predicted id, (256,), of each image."""
    code = counts.image.astype(np.int64) * 256 + counts.pred
    sums = np.bincount(code, counts.count, len(counts.images) * 256).astype(np.int64)
    return dict(zip(counts.images, sums.reshape(-1, 256)))


def _cams(bundle: Bundle) -> Check:
    """CAMs are of the images that the bundle's content draws, and have the scores that were counted."""
    check = Check("sampled CAMs are those that were counted")
    for key, stage in scored_stages(bundle.runs).items():
        if stage["kind"] != "cam":
            continue
        if key not in bundle.keys("cams"):
            check.faults.append(f"{stage['name']}: no CAMs")
            continue
        cams, counts = bundle.cams(key), bundle.counts(key)
        if counts.bin is None:
            check.faults.append(f"{stage['name']}: its counts have no thresholds")
            continue
        drawn = sampled(bundle.ids(stage["score"]["split"]), bundle.digest())
        if sorted(cams) != sorted(drawn):
            check.faults.append(f"{stage['name']}: its CAMs are not of the images that its content draws")
        bins = bins_of(counts)
        unlike = []
        for image in sorted(set(cams) & set(counts.images)):
            made = cam_counts(cams[image], np.zeros(cams[image].size, np.uint8), bins)
            ours = _by_score(made.pred, made.bin, made.pixels)
            said = counts.image == counts.images.index(image)
            theirs = _by_score(counts.pred[said], counts.bin[said], counts.count[said])
            if any(pixels > ours.get(score, 0) for score, pixels in theirs.items()):
                unlike.append(image)
        check.faults += named(unlike, f"{stage['name']}: the CAM has not the scores that were counted of")
    return check


def _by_score(pred: np.ndarray, bins: np.ndarray, pixels: np.ndarray) -> dict[tuple[int, int], int]:
    found: dict[tuple[int, int], int] = {}
    for score in zip(pred.tolist(), bins.tolist(), pixels.tolist()):
        found[score[:2]] = found.get(score[:2], 0) + score[2]
    return found


def _labels_at_test(bundle: Bundle) -> Check:
    """A network that does not know an image's labels gives some image a class that it does not have."""
    check = Check("predictions were made without the labels of the images")
    for key, stage in scored_stages(bundle.runs).items():
        if stage["kind"] != "prediction":
            continue
        counts = bundle.counts(key)
        classes = len(counts.header.naming.classes)
        code = counts.image.astype(np.int64) * 256
        true = np.zeros(len(counts.images) * 256, np.bool_)
        true[(code + counts.gt)[counts.count > 0]] = True
        objects = (counts.pred > 0) & (counts.pred <= classes) & (counts.count > 0)
        foreign = objects & ~true[code + counts.pred]
        if len(counts.images) >= ENOUGH_IMAGES and objects.any() and not foreign.any():
            check.faults.append(
                f"{stage['name']}: in none of {len(counts.images)} images a class is found that it does not have, as "
                "where labels are known at test time"
            )
    return check
