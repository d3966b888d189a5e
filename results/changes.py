"""How settings that are not the defaults tell entries of a leaderboard apart."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from results.schema import CHANGES_SEPARATOR

if TYPE_CHECKING:
    import pandas as pd

NAMED = 2
"""How many changed settings are named beside an entry, even if fewer tell it from the others."""
PLACES = ("dataset.root=", "dataset.sbd_root=", "dataset.context_root=")
"""Where data lie is no setting that scores depend on, see `is_place`."""
BOARD = ["dataset", "scale", "protocol", "data"]
"""What tells leaderboards apart; `data` is `data_changes`, so that no leaderboard mixes data."""
USERS_OWN = "folder"
"""The data set of a user's own images: only its root says which images they are."""
_OF_THE_RUN = ("dataset.", "evaluation.", "protocol.", "runtime.", "processes=")


def changes_of(text: str) -> list[str]:
    """The ``key=value`` parts of `changes`."""
    return text.split(CHANGES_SEPARATOR) if text else []


def is_of_the_run(part: str) -> bool:
    """Whether a part of `changes` is a setting of the run, not of a method."""
    return part.startswith(_OF_THE_RUN)


def is_place(part: str, dataset: str) -> bool:
    """Whether a part of `changes` only says where data lie. The root of a user's own folder says which data they are."""
    return part.startswith(PLACES) and not (dataset == USERS_OWN and part.startswith("dataset.root="))


def data_changes(text: str, dataset: str) -> str:
    """Those of `changes` that change the data of a score, or how it is computed."""
    concerned = (p for p in changes_of(text) if p.startswith(("dataset.", "evaluation.")))
    return CHANGES_SEPARATOR.join(p for p in concerned if not is_place(p, dataset))


def data_title(dataset: str, data: str) -> str:
    """What a leaderboard's data are called: by their name, a user's own by their folder's, with settings that differ.

    data: `data_changes`
    """
    parts = changes_of(data)
    name = dataset
    if dataset == USERS_OWN:
        roots = [part.partition("=")[2] for part in parts if part.startswith("dataset.root=")]
        name = next((PurePath(root).name for root in roots), "") or dataset
        parts = [part for part in parts if not part.startswith("dataset.root=")]
    return f"{name} ({', '.join(part.removeprefix('dataset.') for part in parts)})" if parts else name


def shared_changes(board: pd.DataFrame) -> list[str]:
    """Changed settings of the run (not of a method) that all methods of one leaderboard have in common."""
    methods = board[board["status"] != "reference"]
    parts = [changes_of(text) for text in (board if methods.empty else methods)["changes"]]
    return [p for p in parts[0] if is_of_the_run(p) and all(p in other for other in parts)]


def differences_named(board: pd.DataFrame) -> list[str]:
    """For each entry, what tells it from the defaults, in short; "" for one that is all default.

    Named are all settings that tell it from the same method's other entries, then others up to `NAMED`, then how
    many more there are. What all methods of the leaderboard share is left out.
    """
    named: dict[object, str] = {}
    for _, part in board.groupby(BOARD, sort=False):
        shared = shared_changes(part)
        for _, entries in part.groupby("method", sort=False):
            parts = [[p for p in changes_of(text) if p not in shared] for text in entries["changes"]]
            for index, own in zip(entries.index, parts):
                telling = [p for p in own if not all(p in other for other in parts)]
                rest = [p for p in own if p not in telling]
                shown = telling + rest[: max(0, NAMED - len(telling))]
                more = len(own) - len(shown)
                named[index] = ", ".join([*shown, *([f"{more} more"] if more else [])])
    return [named[index] for index in board.index]
