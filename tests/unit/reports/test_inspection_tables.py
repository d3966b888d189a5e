"""Verdicts and defects in the reports, from made-up records: what they say, and where there is nothing to say."""

from __future__ import annotations

from collections.abc import Iterable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from reports import view
from reports.sections import board_sections, inspection
from reports.tables import inspection_text_tables
from reports.terminal import print_leaderboard
from results.aggregate import leaderboard
from results.inspection import inspection_metrics
from results.io import StoredRuns, records_frame
from results.schema import Record, RunRecord

PLACE = {"dataset": "d", "scale": "nano", "protocol": "paper", "refiner": "own", "segmenter": "own"}
NUMBERS = [
    ("miou", "", 0.5),
    ("image_auroc", "max", 0.9),
    ("escapes_at_overkill", "max|0.05", 0.125),
    ("escapes_at_overkill", "max|0.01", 0.9),  # in the table of numbers alone
    ("escapes", "", 0.25),
    ("escapes", "dent", 0.5),
    ("defects_found", "", 0.75),
    ("defects_found", "dent", 0.6),
    ("alarms_per_good_part", "", 1.5),
    ("area_bias", "", -0.2),
    ("aupro", "", 0.8),
    ("verdicts", "OK|OK", 0.9),
    ("verdicts", "OK|dent", 0.1),
    ("verdicts", "dent|OK", 0.5),
    ("verdicts", "dent|dent", 0.5),
]


def stored_run(numbers: Iterable[tuple[str, str, float]] = tuple(NUMBERS), **more: Any) -> StoredRuns:
    """One method with two seeds, whose numbers differ by .02."""
    where = {"stage": "segmentation", "variant": "", "split": "val", "images": 40} | more
    records = [
        Record(**PLACE, **where, method="m", seed=seed, metric=m, class_name=c, value=v + 0.02 * seed)
        for seed in (0, 1)
        for m, c, v in numbers
    ]
    runs = [RunRecord(**PLACE, method="m", seed=seed, status="done").as_dict() for seed in (0, 1)]
    return StoredRuns(records_frame(records), runs, Path("nowhere"))


def board_of(stored: StoredRuns) -> view.Board:
    table = leaderboard(stored.records, stored.runs)
    return view.Board("board-0", "d", "nano", "paper", table, stored.records, stored.runs, Path())


def test_the_section_has_a_table_of_each_kind() -> None:
    built = inspection.build(board_of(stored_run()))
    assert built is not None
    tables = {table["name"]: table for table in built["tables"]}
    assert list(tables) == [f"segmentation-{kind}" for kind in ("verdicts", "defects", "types", "confusion")]
    shown = {
        name: [
            (head, cell["text"]) for row in table["rows"] for head, cell in zip(table["heads"], row["cells"])
        ]
        for name, table in tables.items()
    }
    assert shown["segmentation-verdicts"] == [
        ("AUROC", "91.0"), ("Escapes at 5 % overkill", "13.5"), ("Escapes", "26.0")
    ]  # fmt: skip
    assert shown["segmentation-defects"] == [
        ("Defects found", "76.0"), ("False alarms a good part", "1.51"), ("AUPRO", "81.0"), ("Area bias", "−19.0")
    ]  # fmt: skip
    assert shown["segmentation-types"] == [("dent: found", "61.0"), ("dent: escapes", "51.0")]
    assert [row["label"] for row in tables["segmentation-confusion"]["rows"]] == ["m · OK", "m · dent"]
    assert shown["segmentation-confusion"] == [
        ("OK", "91.0"), ("dent", "11.0"), ("OK", "51.0"), ("dent", "51.0")
    ]  # fmt: skip
    cell = tables["segmentation-defects"]["rows"][0]["cells"][1]
    assert (cell["std"], cell["n"], cell["images"]) == ("0.01", 2, 40)


def test_predictions_come_before_cams() -> None:
    both = stored_run([("defects_found", "", 0.4)], stage="cam", variant="fixed", split="train")
    records = records_frame(
        Record(**{str(k): v for k, v in row.items() if k != "schema_version"})
        for stored in (both, stored_run())
        for row in stored.records.to_dict("records")
    )
    built = inspection.build(board_of(StoredRuns(records, both.runs, Path("nowhere"))))
    assert built is not None
    names = [table["name"] for table in built["tables"]]
    assert (names[0], names[-1]) == ("segmentation-verdicts", "cam_fixed-defects")


def test_text_tables_for_latex_and_markdown() -> None:
    stored = stored_run()
    tables = inspection_text_tables(stored, leaderboard(stored.records, stored.runs))
    assert [table.heads[0] for table in tables] == ["Method"] * 4
    assert list(tables[0].rows[0]) == ["m", "91.0 ± 1.4", "13.5 ± 1.4", "26.0 ± 1.4"]
    assert tables[3].text_columns == 2
    assert [list(row[:2]) for row in tables[3].rows] == [["m", "OK"], ["m", "dent"]]


def test_the_terminal_has_a_table_below_the_leaderboard() -> None:
    said = StringIO()
    print_leaderboard(stored_run(), Console(file=said, width=100))
    lines = said.getvalue().splitlines()
    below = lines[next(n for n, line in enumerate(lines) if "Good or not" in line) :]
    (row,) = [line.split() for line in below if line.startswith("m ")]
    assert row == ["m", "91.0", "13.5", "26.0", "76.0", "1.51", "81.0"]


@pytest.mark.parametrize("numbers", [[("miou", "", 0.5)], []])
def test_nothing_is_shown_where_nothing_was_inspected(numbers: list[tuple[str, str, float]]) -> None:
    stored = stored_run(numbers)
    board = board_of(stored)
    assert inspection_metrics(stored.records).empty
    assert "inspection" not in [section.name for section in board_sections(board)]
    assert not inspection_text_tables(stored, board.table)
    said = StringIO()
    print_leaderboard(stored, Console(file=said, width=100))
    assert "Good or not" not in said.getvalue()
