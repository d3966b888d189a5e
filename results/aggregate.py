"""From records to tables: every score as mean, sample deviation and n over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from results.changes import BOARD, data_changes, data_title, differences_named

KEYS = ["dataset", "scale", "protocol", "method", "refiner", "segmenter", "changes"]
"""What identifies an entry of a leaderboard."""

REFERENCE = "reference/"
"""Prefix of the `method` of rows that no method made (all background, image labels only)."""

CONFUSION = "confusion:"
"""Prefix of the leaderboard columns with the confusion ratio of one context pair."""

PROVENANCE = "Provenance"
"""What a note is about that is of no score."""

CHOSEN_WITH_MASKS = "†"
"""Mark of a score whose threshold masks have chosen."""


@dataclass(frozen=True)
class Score:
    """A column of the leaderboard.

    name:    prefix of its three columns, `<name>_mean`, `<name>_std`, `<name>_n`
    title:   `stage` and `variant` select its records, `split` is the one the protocol scores
    masks:   whether masks choose its threshold
    """

    name: str
    title: str
    stage: str
    variant: str
    split: str
    masks: bool = False

    @property
    def heading(self) -> str:
        """The title, marked where masks choose the threshold."""
        return self.title + CHOSEN_WITH_MASKS if self.masks else self.title


SCORES = (
    Score("cam_fixed", "CAM fixed", "cam", "fixed", "train"),
    Score("cam_tuned", "CAM tuned", "cam", "tuned", "train", masks=True),
    Score("cam_oracle", "CAM oracle", "cam", "oracle", "train", masks=True),
    Score("pseudo_label", "Pseudo-label", "pseudo_label", "", "train"),
    Score("segmentation", "Segmentation", "segmentation", "", "val"),
)

_STAGES = {score.stage: score.title.split()[0] for score in SCORES}
_SHORT = {"cam": "CAM", "sam": "SAM", "clip": "CLIP", "crf": "CRF", "vit": "ViT"}
_SCORING = "score-"


def stage_title(name: str) -> str:
    """A stage in words: `cam` -> "CAM", `cam_sam` -> "CAM: SAM", `score-cam` -> "Scoring of CAM"."""
    if name.startswith(_SCORING):
        what = stage_title(name.removeprefix(_SCORING))
        return f"Scoring of {what if what[:2].isupper() else what[:1].lower() + what[1:]}"
    for stage, title in _STAGES.items():
        if name == stage or name.startswith(f"{stage}_"):
            rest = _words(name.removeprefix(stage))
            return f"{title}: {rest}" if rest else title
    words = _words(name)
    return words[:1].upper() + words[1:]


def _words(name: str) -> str:
    return " ".join(_SHORT.get(part, part) for part in name.split("_") if part)


_RANKED_BY = ("segmentation", "pseudo_label", "cam_fixed", "cam_oracle")


def summarise(records: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Mean, sample standard deviation (ddof = 1; NaN for n = 1) and n of `value`, groups as they occur.

    Values that are NaN (a class that occurs nowhere) do not count towards n.
    """
    groups = records.groupby(list(by), sort=False, dropna=False)["value"]
    table: pd.DataFrame = groups.agg(mean="mean", std="std", n="count").reset_index()
    return table


def leaderboard(records: pd.DataFrame, runs: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The leaderboards: one row a (data set, scale, protocol, method, refiner, segmenter, changes).

    Columns: `KEYS`; `data` and `differs`, see `results.changes`; `title`, `paper`, `supervision`; `status` ("done",
    "incomplete": some seeds missing, "failed", "not run", "reference"), `reason`, `seeds` (number done); `notes`, a
    line each, "score (split): what to know of it"; for each of `SCORES` mean, std and n (fractions);
    `segmentation_gap`: mean difference to the best mask-supervised entry of the leaderboard
    with the same segmentation network and data; `confusion:<pair>_mean/_std/_n` at the fixed threshold.

    Order within a leaderboard: methods by segmentation mIoU, mask-supervised entries, reference rows, those without
    a score.
    """
    board = with_data(_entries(records, runs))
    for score in SCORES:
        board = _join(board, summarise(_select(records, score), KEYS), score.name)
    confusion = _at_fixed(records, "confusion_ratio")
    for pair in confusion["class_name"].unique():
        board = _join(
            board, summarise(confusion[confusion["class_name"] == pair], KEYS), f"{CONFUSION}{pair}"
        )
    board["segmentation_gap"] = _gap(board)
    board["differs"] = differences_named(board)
    return _ordered(board)


def per_class_iou(records: pd.DataFrame) -> pd.DataFrame:
    """IoU of every class: `KEYS`, `score` (a name of `SCORES`), `class_name`, mean, std, n."""
    parts = []
    for score in SCORES:
        chosen = _select(records, score, metric="iou")
        parts.append(summarise(chosen, [*KEYS, "class_name"]).assign(score=score.name))
    return pd.concat(parts, ignore_index=True)


def threshold_curves(records: pd.DataFrame) -> pd.DataFrame:
    """CAM mIoU against the background threshold: `KEYS`, `threshold`, mean, std, n."""
    curve = records[
        (records["stage"] == "cam") & (records["variant"] == "curve") & (records["metric"] == "miou")
    ].assign(threshold=lambda rows: rows["threshold"].round(6))
    return summarise(curve, [*KEYS, "threshold"]).sort_values([*KEYS, "threshold"], ignore_index=True)


def fixed_thresholds(records: pd.DataFrame) -> pd.DataFrame:
    """The threshold each entry's fixed CAM score was made at: `KEYS`, `threshold`."""
    fixed = _at_fixed(records, "miou")
    table: pd.DataFrame = fixed.groupby(KEYS, sort=False)["threshold"].mean().reset_index()
    return table


def as_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A table's rows as dicts by column name."""
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def varying(board: pd.DataFrame, columns: Sequence[str] = ("refiner", "segmenter", "differs")) -> list[str]:
    """Those of `columns` in which the methods of a leaderboard differ (reference rows do not count).

    `differs` is one of them wherever an entry is not all default.
    """
    methods = board[board["status"] != "reference"]
    return [c for c in columns if (board[c].any() if c == "differs" else methods[c].nunique() > 1)]


def confusion_pairs(board: pd.DataFrame) -> list[str]:
    """Context pairs ("boat|water") with at least one score on this leaderboard."""
    columns = [c for c in board.columns if c.startswith(CONFUSION) and c.endswith("_mean")]
    return [c.removeprefix(CONFUSION).removesuffix("_mean") for c in columns if board[c].notna().any()]


def _select(records: pd.DataFrame, score: Score, metric: str = "miou") -> pd.DataFrame:
    return records[
        (records["stage"] == score.stage)
        & (records["variant"] == score.variant)
        & (records["split"] == score.split)
        & (records["metric"] == metric)
    ]


def _at_fixed(records: pd.DataFrame, metric: str) -> pd.DataFrame:
    return _select(records, SCORES[0], metric)


def _join(board: pd.DataFrame, summary: pd.DataFrame, name: str) -> pd.DataFrame:
    summary = summary.rename(columns={part: f"{name}_{part}" for part in ("mean", "std", "n")})
    board = board.merge(summary, on=KEYS, how="left")
    board[f"{name}_n"] = board[f"{name}_n"].fillna(0).astype(int)
    return board


def _entries(records: pd.DataFrame, runs: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Every entry that has a run or a record, with what is known about its method and its state."""
    of_each: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for run in runs:
        of_each.setdefault(tuple(run[key] for key in KEYS), []).append(run)
    for identity in records[KEYS].drop_duplicates().itertuples(index=False, name=None):
        of_each.setdefault(identity, [])
    rows = []
    for identity, group in of_each.items():
        row: dict[str, Any] = dict(zip(KEYS, identity))
        info = group[0]["method_info"] if group else {}
        supervision = info.get("supervision", "")
        status, reason = _status(row["method"], group)
        rows.append(
            row
            | {"title": info.get("title") or row["method"].removeprefix(REFERENCE).replace("-", " ")}
            | {"paper": info.get("paper", ""), "supervision": supervision}
            | {"mask_supervised": "M" in supervision.split("+"), "status": status, "reason": reason}
            | {"seeds": sum(run["status"] == "done" for run in group), "notes": _notes(group)}
        )
    state = ["title", "paper", "supervision", "mask_supervised", "status", "reason", "seeds", "notes"]
    return pd.DataFrame(rows, columns=[*KEYS, *state]).astype({"mask_supervised": bool, "seeds": int})


def _notes(runs: Sequence[dict[str, Any]]) -> str:
    """Notes of the scores of an entry's stages and of their provenance, each once; runs of former versions have none."""
    found = [
        f"{_noted(stage)}: {note}"
        for run in runs
        for stage in run["stages"]
        for note in stage.get("notes", [])
    ]
    for run in runs:
        for thing, values in run["provenance"].get("mixed", {}).items():
            how = "; ".join(f"{value} ({', '.join(stages)})" for value, stages in values.items())
            found.append(f"{PROVENANCE}: mixed {thing}: {how}")
    return "\n".join(dict.fromkeys(found))


def _noted(stage: Mapping[str, Any]) -> str:
    """What a stage's notes are of: its scores, or what is made from it."""
    score = stage.get("score")
    return f"{stage_title(score['stage'])} ({score['split']})" if score else str(stage["name"])


def _status(method: str, runs: Sequence[dict[str, Any]]) -> tuple[str, str]:
    if method.startswith(REFERENCE):
        return "reference", ""
    missing = [run for run in runs if run["status"] != "done"]
    if not missing:
        return "done", ""
    reasons = "; ".join(dict.fromkeys(run["reason"] for run in missing if run["reason"]))
    if len(missing) == len(runs):
        failed = any(run["status"] == "failed" for run in missing)
        return "failed" if failed else "not run", reasons
    seeds = ", ".join(f"seed {run['seed']} {run['status']}" for run in missing)
    return "incomplete", f"{seeds}: {reasons}" if reasons else seeds


def with_data(table: pd.DataFrame) -> pd.DataFrame:
    """A table that has `KEYS` with a column `data`: what of the data's settings is not the default."""
    of = {
        (changes, dataset): data_changes(changes, dataset)
        for changes, dataset in table[["changes", "dataset"]].drop_duplicates().itertuples(index=False)
    }
    return table.assign(data=[of[key] for key in zip(table["changes"], table["dataset"])])


def board_name(part: pd.DataFrame) -> str:
    """What one leaderboard's data are called, see `data_title`."""
    return data_title(str(part["dataset"].iloc[0]), str(part["data"].iloc[0]))


def board_names(part: pd.DataFrame) -> tuple[str, str, str]:
    """What one leaderboard is called: its data, scale and protocol."""
    first = part.iloc[0]
    return board_name(part), str(first["scale"]), str(first["protocol"])


def _gap(board: pd.DataFrame) -> pd.Series[float]:
    where = [*BOARD, "segmenter"]
    bound = board[board["mask_supervised"]].groupby(where)["segmentation_mean"].max().rename("bound")
    joined = board.merge(bound.reset_index(), on=where, how="left")
    gap = joined["segmentation_mean"] - joined["bound"]
    return gap.where(~board["mask_supervised"] & (board["status"] != "reference"))


def _ordered(board: pd.DataFrame) -> pd.DataFrame:
    scored = board[[f"{name}_n" for name in _RANKED_BY]].sum(axis=1) > 0
    group = pd.Series(0, index=board.index)
    group[board["mask_supervised"]] = 1
    group[board["status"] == "reference"] = 2
    group[~scored & (board["status"] != "reference")] = 3
    columns = [*BOARD, "_group", *(f"{name}_mean" for name in _RANKED_BY), "method"]
    ascending = [True] * 5 + [False] * len(_RANKED_BY) + [True]
    ordered = board.assign(_group=group).sort_values(columns, ascending=ascending, na_position="last")
    return ordered.drop(columns="_group").reset_index(drop=True)
