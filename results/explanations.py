"""Gain ledgers in a run's folder, `explanations/*.json`: what the difference of two scores is made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datasets.base import DataError
from datasets.files.sealed import read_sealed, sealed
from results.io import replace_file, require_shape

FOLDER = "explanations"


@dataclass(frozen=True)
class Share:
    """What a thing gains: fractions of mIoU, with the 95 % interval over images and seeds (of one seed, over images).

    least, most: gains when it alone is changed, in the orders that there are; None where there is no order
    what: the thing in words
    """

    name: str
    gain: float
    low: float
    high: float
    least: float | None = None
    most: float | None = None
    what: str = ""

    @property
    def by_order(self) -> tuple[float, float] | None:
        """The smallest and the largest gain, where things interact, so that these differ."""
        if self.least is None or self.most is None or self.most - self.least <= 5e-5:
            return None
        return self.least, self.most


@dataclass(frozen=True)
class Condition:
    """In what a run here differs from a paper's. name: that of the share that is worth it, where it was exchanged

    what: in words; here, paper: its values
    """

    name: str
    what: str
    here: str
    paper: str


@dataclass(frozen=True)
class Ledger:
    """What b gains over a.

    a, b: as the command names them; score: stage of the records; start, end: mean mIoU of a and of b
    shares: in the order of a run, they add up to `whole`
    conditions: where b is a number of a paper, all in which a differs from it; the last share is then unexplained
    settings: overrides of the command, as it was given them
    """

    a: str
    b: str
    score: str
    dataset: str
    scale: str
    protocol: str
    seeds: tuple[int, ...]
    start: float
    end: float
    shares: tuple[Share, ...]
    whole: Share
    conditions: tuple[Condition, ...] = ()
    settings: tuple[str, ...] = ()

    @property
    def over(self) -> str:
        """What its intervals are over."""
        return "images and seeds" if len(self.seeds) > 1 else "images alone"


_TEXTS = ("a", "b", "score", "dataset", "scale", "protocol")
_SHARE = (
    dict.fromkeys(("name", "what"), str)
    | dict.fromkeys(("gain", "low", "high"), float)
    | dict.fromkeys(("least", "most"), float | None)
)
_SHAPE = {
    **dict.fromkeys(_TEXTS, str),
    "seeds": [int],
    **dict.fromkeys(("start", "end"), float),
    "shares": [_SHARE],
    "whole": _SHARE,
    "conditions": [dict.fromkeys(("name", "what", "here", "paper"), str)],
    "settings?": [str],
}


def write_ledger(path: Path, ledger: Ledger) -> None:
    """Write a ledger as JSON with a checksum."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(sealed(asdict(ledger)), indent=1, ensure_ascii=False, allow_nan=False)
    replace_file(path, lambda file: file.write_text(text + "\n", encoding="utf-8"))


def read_ledgers(run_dir: Path) -> dict[str, Ledger]:
    """The ledgers of a run's folder by file name without its ending, in that order. Raises DataError."""
    return {path.stem: _read(path) for path in sorted((run_dir / FOLDER).glob("[!.]*.json"))}


def _read(path: Path) -> Ledger:
    try:
        document = read_sealed(path)
        require_shape(document, _SHAPE, "ledger")
        json.dumps(document, ensure_ascii=False).encode()  # UnicodeEncodeError for half of a character
        shares = tuple(_share(each) for each in document.pop("shares"))
        whole = _share(document.pop("whole"))
        seeds = tuple(document.pop("seeds"))
        compared = tuple(Condition(**each) for each in document.pop("conditions"))
        settings = tuple(document.pop("settings", []))
        if not shares or not seeds or not all(0 <= document[name] <= 1 for name in ("start", "end")):
            raise ValueError("no shares, no seeds, or a score that is no fraction")
        return Ledger(
            **document, seeds=seeds, shares=shares, whole=whole, conditions=compared, settings=settings
        )
    except (ValueError, TypeError, OSError, RecursionError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path}: damaged ({reason}); remove it, or run `explain` again") from error


def _share(values: Mapping[str, Any]) -> Share:
    """ValueError for what is no difference of fractions, TypeError for other fields."""
    for name in ("gain", "low", "high", "least", "most"):
        if values[name] is not None and not -1 <= values[name] <= 1:  # NaN is neither
            raise ValueError(f"{name} is {values[name]!r:.60}")
    return Share(**values)
