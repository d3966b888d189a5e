"""The record schema: long format, one row a number, with provenance beside it.

A *run* is one method with its settings on one data set with one seed. A run folder holds `records.parquet` (and
the same as CSV), `cells.json`, one `RunRecord` a run, and `panels/`.
Reports are pure functions of these. Bump SCHEMA_VERSION when a column changes its meaning.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

SCHEMA_VERSION = 1

CHANGES_SEPARATOR = "; "

EXTERNAL = "external/"
"""Prefix of the `method` of rows that were made elsewhere and scored from their files."""

COLUMNS = (
    "schema_version",
    "dataset",      # e.g. shapes
    "method",       # registry name, a reference row ("reference/all-background"), or files: "external/<name>"
    "scale",        # nano, small, paper
    "protocol",     # paper, unified
    "refiner",      # registry name or "own"
    "segmenter",    # registry name or "own"
    "changes",      # settings that are not the defaults: "key=value; key=value", or ""
    "seed",         # int; -1 for reference rows
    "stage",        # cam, pseudo_label, segmentation; a method's own for what comes before: cam_original;
                    # classifier; profile; of what scoring a stage took: score-<its name>
    "variant",      # for CAMs the threshold rule: fixed, tuned, oracle, curve; else ""
    "split",        # scored split
    "metric",       # miou, iou, precision, recall, pixel_accuracy, confusion_ratio, threshold, seconds;
                    # false_alarms: share of pixels predicted as a class that the masks lack, where they lack one;
                    # boundary_recall, boundary_precision, boundary_f1, miou_by_size, miou_by_class_count;
                    # where data have good parts image_auroc, escapes, overkill, escapes_at_overkill,
                    # overkill_at_escapes, escapes_calibrated, overkill_calibrated, verdicts, defects_found,
                    # defects_found_by_size, alarms_per_good_part, aupro, area_error, area_bias (results.inspection);
                    # mean_average_precision, average_precision (of the stage classifier); and
                    # host_memory_mb, device_memory_mb: peaks of a stage, 10^6 bytes; of a profile, see complexity;
                    # of trainings step_seconds, and wait_share: part of their time that waits for data
    "class_name",   # "" for metrics over all classes; "boat|water" for confusion_ratio; the subset of images or
                    # regions for miou_by_size (small, medium, large) and miou_by_class_count (0, 1, 2, 3+);
                    # the score of an image, and a given rate ("max|0.05"); "true|said" for verdicts
    "value",        # float; fractions in [0, 1], seconds, ...
    "threshold",    # background threshold in force (NaN where there is none)
    "images",       # number of images scored; of shares of defects, the number of these; of aupro, of regions
    "key",          # key of the scored artifact
)  # fmt: skip


@dataclass(frozen=True)
class Record:
    """One number."""

    dataset: str
    method: str
    scale: str
    protocol: str
    refiner: str
    segmenter: str
    seed: int
    stage: str
    variant: str
    split: str
    metric: str
    value: float
    class_name: str = ""
    threshold: float = float("nan")
    images: int = 0
    key: str = ""
    changes: str = ""
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True)
class RunRecord:
    """What happened to one run (data set x method x scale x protocol x refiner x segmenter x changes x seed).

    status:   "done", "failed" or "not run"; `reason` is one line for the latter two
    method_info: title, paper, supervision ("I+S"), deviations, `reported_as`, its name in `results/reported`, and
              `schedule`, the data set that its settings were made for
    settings: the resolved configuration; `changes`: what of it is not the default, as in the records
    stages:   one dict a stage: name, key, kind, seconds (of the last part where resumed), cached, resumed, bytes,
              host_memory_mb, on a GPU device_memory_mb, of trainings step_seconds and wait_share, path (of the
              artifact, from the run's folder); shown (bool), score, access, losses and details, which
              `benchmark.run_folder.traces` explains; images: of its splits; machine and threads it was made with;
              counts: of the network that made the board's CAM or prediction
              (`benchmark.profiling.counts.count_network`), else null;
              notes: what its scores were made without or with, a line each; scoring: name, seconds, cached and
              memory of it, or null; of a profile one for each forward pass (`benchmark.profiling.profile`)
    provenance: git (commit, dirty; or version), packages, hardware, device and determinism of the last stage;
              weights: reference -> SHA-256 of all pretrained weights it started from; mixed: what was not the same for
              all stages (commit, a package, hardware) -> how it was -> stages; seconds: of all stages and their
              scoring; finished
    panels:   example images: list of {"id", "labels", "image", "truth", "cam", "pseudo_label", "prediction"}, the
              last five being paths relative to the run folder, or null; "split" and "reasons" (why this image:
              `benchmark.run_folder.panels.Example`); "steps": list of {"name", "picture"}, what the method made on the
              way, of a map of kinds also "legend", list of {"name", "share"} from the second kind on
    """

    dataset: str
    method: str
    scale: str
    protocol: str
    refiner: str
    segmenter: str
    seed: int
    status: str
    reason: str = ""
    method_info: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    stages: list[dict[str, Any]] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)
    panels: list[dict[str, Any]] = field(default_factory=list)
    changes: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
