"""What was measured beside what papers print: the difference where both mean the same, else the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from results.aggregate import KEYS, as_rows, summarise
from results.changes import PLACES, changes_of
from results.reported import ReportedNumber, reported_of
from results.schema import CHANGES_SEPARATOR

PRINTED_VARIANTS = ("oracle", "")
"""Variants that stand beside printed numbers: for CAMs the oracle threshold, which is what most papers print."""

COLUMNS = [*KEYS, "stage", "split", "metric", "measured", "std", "n", "images", "reported", "printed", "paper",
           "source", "where", "difference", "comparable", "reason", "note"]  # fmt: skip

COCO_MASKS = "COCO masks"
"""Initial weights of a segmentation network, as papers' numbers have it."""
HEADS = {"V1": "largefov", "V2": "aspp"}
"""What papers call DeepLab's versions, and the heads of ours."""


def compare_with_papers(
    records: pd.DataFrame,
    runs: Sequence[dict[str, Any]],
    numbers: Sequence[ReportedNumber] | None = None,
) -> pd.DataFrame:
    """Every measured mIoU of a run's entries beside the printed ones, columns `COLUMNS`.

    One row a printed number of the same method, stage, split and data set; one row with the paper's best number
    and the reason where there is none on that data set; one without number where nothing is printed.
    `measured`, `reported` and `difference` are fractions, the last NaN where `comparable` is false; `reason` says
    why. `where` names paper and tables, `n` the seeds. Suspicious numbers are shown and never compared.
    """
    chosen = records[(records["metric"] == "miou") & records["variant"].isin(PRINTED_VARIANTS)]
    groups = [*KEYS, "stage", "split"]
    measured = summarise(chosen, groups).merge(
        chosen.groupby(groups, sort=False)["images"].max().reset_index(), on=groups
    )
    first: dict[tuple[str, ...], dict[str, Any]] = {}
    for run in runs:
        first.setdefault(tuple(run[key] for key in KEYS), run)
    rows = []
    for row in as_rows(measured):
        identity = tuple(row[key] for key in KEYS)
        if identity not in first or not row["n"]:  # a reference row
            continue
        run = first[identity]
        score = {key: row[key] for key in groups} | {
            "metric": "miou",
            "measured": row["mean"],
            "std": row["std"],
            "n": int(row["n"]),
            "images": int(row["images"]),
        }
        name = run["method_info"].get("reported_as", "")
        printed = [n for n in reported_of(name, numbers) if _is_score(n, row)] if name else []
        here = [n for n in printed if n.dataset == row["dataset"]]
        rows += [score | beside for beside in _beside(row, run, here or headline_of(printed))]
    return pd.DataFrame(rows, columns=COLUMNS)


def headline_of(printed: Sequence[ReportedNumber]) -> list[ReportedNumber]:
    """The highest number of the method's own paper, else of others', that is not suspicious."""
    plain = [number for number in printed if not number.suspicious]
    own = [number for number in plain if number.ours] or plain
    return [max(own, key=lambda number: number.value)] if own else []


def _is_score(number: ReportedNumber, row: Mapping[str, Any]) -> bool:
    return number.metric == "miou" and number.stage == row["stage"] and number.split in (row["split"], "")


def _beside(
    row: Mapping[str, Any], run: Mapping[str, Any], numbers: Sequence[ReportedNumber]
) -> list[dict[str, Any]]:
    """The printed numbers of one measured score; equal ones under equal conditions are one row."""
    if not numbers:
        nothing = {"reported": float("nan"), "printed": float("nan"), "difference": float("nan")}
        empty = dict.fromkeys(("paper", "source", "where", "note"), "")
        return [nothing | empty | {"comparable": False, "reason": "no paper here prints it"}]
    found: dict[tuple[str, float, str], dict[str, Any]] = {}
    for number in numbers:
        reason = _reason(row, run, number)
        known = found.get((number.paper, number.value, reason))
        if known is not None:
            known["where"] += "" if number.table in known["where"] else f", {number.table}"
            continue
        found[number.paper, number.value, reason] = {
            "reported": number.value,
            "printed": number.printed,
            "paper": number.paper,
            "source": number.source,
            "where": number.table if number.ours else f"as printed in {number.paper}, {number.table}",
            "difference": float("nan") if reason else row["mean"] - number.value,
            "comparable": not reason,
            "reason": reason,
            "note": "; ".join(filter(None, (_network(number), number.note))),
        }
    return list(found.values())


def _reason(row: Mapping[str, Any], run: Mapping[str, Any], number: ReportedNumber) -> str:
    """Why a printed number is not comparable with a measured one; empty if it is."""
    settings = run["settings"].get("method") or {}
    segmenter = (run["settings"].get("protocol") or {}).get("segmenter") or settings.get("segmenter") or {}
    if number.suspicious:
        return f"suspicious: {number.suspicious}"
    if number.dataset != row["dataset"]:
        return f"{number.dataset} in the paper, {row['dataset']} here"
    if number.split != row["split"]:
        return "the paper does not say which images"
    if row["scale"] != "paper":
        return f"the networks of scale {row['scale']} are not the paper's"
    if number.protocol != row["protocol"]:
        return f"{row['protocol']} protocol here, the authors' own in the paper"
    schedule = run["method_info"].get("schedule") or row["dataset"]
    if schedule != row["dataset"]:
        return f"trained with the schedule of {schedule}, not of {row['dataset']}"
    truth = (run["settings"].get("dataset") or {}).get("ground_truth", "")
    if number.ground_truth and truth and number.ground_truth != truth:
        return f"ground truth {number.ground_truth} in the paper, {truth} here"
    agreed = (*PLACES, *([f"dataset.ground_truth={truth}"] if number.ground_truth else []))
    if changed := [c for c in changes_of(row.get("changes") or "") if not c.startswith(agreed)]:
        return f"settings changed here: {CHANGES_SEPARATOR.join(changed)}"
    if number.images and row["images"] and number.images != row["images"]:
        return f"{number.images} images in the paper, {row['images']} here"
    refiner = row["refiner"] if row["refiner"] != "own" else (settings.get("refiner") or {}).get("name", "")
    if number.refiner and refiner and number.refiner != refiner:
        return f"refiner {number.refiner} in the paper, {refiner} here"
    if row["stage"] == "segmentation" and segmenter:
        return _other_network(number, segmenter)
    return ""


def is_network(printed: str, name: str) -> bool:
    """Whether a network's name is the one that a paper prints; True where it prints none."""
    return not printed or _plain(name.removeprefix("timm/")).startswith(_plain(printed))


def _other_network(number: ReportedNumber, segmenter: Mapping[str, Any]) -> str:
    """Why a segmentation network is not the paper's."""
    head = str(segmenter.get("head", ""))
    backbone = str((segmenter.get("backbone") or {}).get("name", "")).removeprefix("timm/")
    if number.segmenter and head and not head.startswith(HEADS[number.segmenter]):
        return f"DeepLab {number.segmenter} in the paper, {head} here"
    if backbone and not is_network(number.segmenter_backbone, backbone):
        return f"{number.segmenter_backbone} in the paper, {backbone} here"
    masks = (number.initialisation == COCO_MASKS, segmenter.get("init") == "coco-masks")
    if number.initialisation and masks[0] != masks[1]:
        return "weights that saw COCO's masks " + ("in the paper, not here" if masks[0] else "here")
    return ""


def _network(number: ReportedNumber) -> str:
    """How a number was made, in few words: backbone, refiner, segmentation network, initial weights, ground truth."""
    segmenter = " ".join(filter(None, (number.segmenter and f"DeepLab {number.segmenter}",
                                       number.segmenter_backbone)))  # fmt: skip
    parts = (number.backbone, number.refiner and f"refiner {number.refiner}", segmenter)
    start = number.initialisation and f"from {number.initialisation}"
    truth = number.ground_truth and f"ground truth {number.ground_truth}"
    return ", ".join(filter(None, (*parts, start, truth)))


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())
