"""Numbers that papers print, as data: one YAML file a paper, one entry a table, one list of values a row.

A file has `source` (the citation), `ours` (what the paper's own method is called here) and `tables`. A table has
`table` (its number), `title`, `columns`, `rows` and, like each of its columns and rows, any of `FIELDS`: what a
row says overrides its column, what a column says overrides the table; notes add up. A row has `values`, one a
column and as printed, `~` where nothing is, and a label `row` (by default its `method`). `total` is the position
of a column that prints the mean over the others.

A number that cannot be what it is printed as carries `suspicious` with the reason: it is shown and never held against
ours; a direction that is tested with it says so.
`variant` is empty for a method as its paper compares it with others, and says what differs in an ablation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets.base import DataError

if TYPE_CHECKING:
    import pandas as pd

FOLDER = Path(__file__).parent

PERCENTAGES = ("miou", "iou", "pixel_accuracy", "boundary_recall", "boundary_precision", "boundary_f1")
"""Metrics that papers print in percent and records hold as fractions."""
PLAIN = ("confusion_ratio", "macs_g", "parameters_m", "images_per_second", "hours", "memory_mb")
"""Metrics that are printed in the units of their names."""

IMAGES = {
    ("voc2012", "train"): 1464,
    ("voc2012", "val"): 1449,
    ("voc2012", "test"): 1456,
    ("coco2014", "train"): 82081,
    ("coco2014", "val"): 40137,
}
"""Images that the papers' scores are over, by data set and split."""

FIELDS = ("method", "variant", "venue", "dataset", "split", "stage", "metric", "class", "supervision", "protocol",
          "backbone", "initialisation", "refiner", "segmenter", "segmenter_backbone", "ground_truth", "images",
          "note", "suspicious")  # fmt: skip
"""What a table, a column or a row may say of its numbers."""

_OF_STAGE = {"refiner": "pseudo_label", "segmenter": "segmentation", "segmenter_backbone": "segmentation"}
"""Fields that describe numbers of one stage only: a row states them once for all its columns."""


@dataclass(frozen=True)
class ReportedNumber:
    """One printed number.

    paper:     name of its file; `source`, `table`, `title`, `row`, `column`: where it is printed
    method:    what the field calls it, the same in all files; `ours`: it is the paper's own method
    variant:   what differs from the method as published; empty if nothing does
    value:     in the units of the records (fractions for shares); `printed`: as it is printed
    dataset, split, stage, metric, class_name: as in `results.schema.Record`; an empty split is not said
    supervision, protocol, backbone, initialisation, refiner, segmenter, segmenter_backbone: how it was made;
               empty where the paper does not say
    ground_truth: where a data set has several, the one it was scored against; empty where the paper does not say
    images:    number of images scored, 0 where unknown
    note:      remarks; suspicious: why the number cannot be what it is printed as, else empty
    """

    paper: str
    source: str
    table: str
    title: str
    row: str
    column: str
    method: str
    ours: bool
    variant: str
    venue: str
    dataset: str
    split: str
    stage: str
    metric: str
    class_name: str
    value: float
    printed: float
    supervision: str
    protocol: str
    backbone: str
    initialisation: str
    refiner: str
    segmenter: str
    segmenter_backbone: str
    ground_truth: str
    images: int
    note: str
    suspicious: str


@cache
def load_reported(folder: Path = FOLDER) -> tuple[ReportedNumber, ...]:
    """All numbers of a folder's YAML files, in printed order. Raises DataError that names file, table and row."""
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise DataError(f"{folder}: no YAML file with reported numbers")
    return tuple(number for path in files for number in _read(path))


def reported_frame(numbers: Sequence[ReportedNumber] | None = None) -> pd.DataFrame:
    """Numbers (by default all) as a table with the fields of `ReportedNumber` as columns."""
    import pandas as pd

    names = [field.name for field in fields(ReportedNumber)]
    rows = load_reported() if numbers is None else numbers
    return pd.DataFrame([[getattr(row, name) for name in names] for row in rows], columns=names)


def reported_of(method: str, numbers: Sequence[ReportedNumber] | None = None) -> tuple[ReportedNumber, ...]:
    """The numbers printed of a method as published (no variant), those of its own paper first."""
    found = [
        n for n in (load_reported() if numbers is None else numbers) if n.method == method and not n.variant
    ]
    return tuple(sorted(found, key=lambda number: not number.ours))


def find_reported(
    reference: str, stage: str, metric: str = "miou", class_name: str = ""
) -> ReportedNumber | None:
    """The number of "paper/table/row" or "paper/table/row/column" at a stage; None where the row prints none.

    class_name: a pattern. A test's number is never meant. Raises DataError if there is no such row.
    """
    row = [
        n
        for n in load_reported()
        if reference in (place := f"{n.paper}/{n.table}/{n.row}", f"{place}/{n.column}")
    ]
    if not row:
        raise DataError(f"no reported numbers at {reference!r}; {FOLDER} has paper/table/row")
    for number in row:
        of_score = number.stage == stage and number.metric == metric and number.split != "test"
        if of_score and fnmatchcase(number.class_name, class_name):
            return number
    return None


def _read(path: Path) -> Iterator[ReportedNumber]:
    import yaml

    try:
        document = yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    _require_keys(path.name, document, ("source", "ours", "tables"))
    for table in document["tables"]:
        where = f"{path.name}, {table.get('table', 'a table without number')}"
        _require_keys(where, table, ("table", "title", "columns", "rows"), ("total", *FIELDS))
        for column in table["columns"]:
            _require_keys(where, column, ("name",), FIELDS)
        labels = [row.get("row", row.get("method", "")) for row in table["rows"]]
        for row, label in zip(table["rows"], labels):
            here = f"{where}, row {label!r}"
            _require_keys(here, row, ("values",), ("row", *FIELDS))
            if not label or labels.count(label) > 1:
                raise DataError(f"{here}: give every row a label of its own: row or method")
            if len(row["values"]) != len(table["columns"]):
                raise DataError(f"{here}: {len(row['values'])} values for {len(table['columns'])} columns")
            for column, printed in zip(table["columns"], row["values"]):
                if printed is not None:
                    yield _number(path.stem, document, table, column, row, label, printed, here)


def _number(
    paper: str, document: Any, table: Any, column: Any, row: Any, label: str, printed: Any, where: str
) -> ReportedNumber:
    said: dict[str, Any] = {"metric": "miou", "protocol": "paper"}
    for part in (table, column, row):
        said |= {key: part[key] for key in FIELDS if key in part}
    said["note"] = "; ".join(part["note"] for part in (row, column, table) if part.get("note"))
    for key, stage in _OF_STAGE.items():
        if said.get("stage") != stage:
            said.pop(key, None)
    for key in ("method", "dataset", "stage"):
        if not said.get(key):
            raise DataError(f"{where}: its {key} is said nowhere")
    metric = said["metric"]
    if metric not in PERCENTAGES + PLAIN:
        raise DataError(f"{where}: unknown metric {metric!r}; there are {', '.join(PERCENTAGES + PLAIN)}")
    share = metric in PERCENTAGES
    if isinstance(printed, bool) or not isinstance(printed, (int, float)):
        raise DataError(f"{where}: {printed!r} is no number")
    if not 0 <= printed <= (100 if share else float("inf")):
        raise DataError(f"{where}: {printed} is out of range for {metric}")
    return ReportedNumber(
        paper=paper,
        source=document["source"],
        table=table["table"],
        title=table["title"],
        row=label,
        column=column["name"],
        ours=said["method"] == document["ours"],
        class_name=said.pop("class", ""),
        value=printed / 100 if share else float(printed),
        printed=float(printed),
        images=said.pop("images", IMAGES.get((said["dataset"], said.get("split", "")), 0)),
        **{key: said.get(key, "") for key in FIELDS if key not in ("class", "images")},
    )


def _require_keys(where: str, found: Any, needed: Sequence[str], allowed: Sequence[str] = ()) -> None:
    if not isinstance(found, Mapping):
        raise DataError(f"{where}: {found!r} should have {', '.join(needed)}")
    missing = [key for key in needed if key not in found]
    unknown = [key for key in found if key not in (*needed, *allowed)]
    if missing:
        raise DataError(f"{where}: {missing[0]} is missing")
    if unknown:
        raise DataError(f"{where}: unknown key {unknown[0]!r}; there are {', '.join((*needed, *allowed))}")
