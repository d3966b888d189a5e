"""Every value at paper scale says who chose it and where that is said; and no source is of a value that is gone."""

from __future__ import annotations

import pytest

from benchmark.config import protocol_defaults
from methods.base import UNIFIED, Shared
from methods.layers.presets import COCO
from methods.registry import all_methods
from methods.setting_rows import SettingRow, rows_of, setting_rows
from methods.sources import PAPER, Entry, missing_sources, own_sources, shared_sources

OURS = {
    name: method for name, method in all_methods().items() if type(method).__module__.startswith("methods.")
}


def unified_rows() -> list[SettingRow]:
    """What the protocol `unified` gives to all methods."""
    given = {key: protocol_defaults(UNIFIED, PAPER, key.removeprefix(f"{PAPER}/")) for key in (PAPER, COCO)}
    presets = {key: Shared(each.refiner, each.segmenter, each.inference) for key, each in given.items()}
    return rows_of(presets, shared_sources())


@pytest.mark.parametrize("name", OURS)
def test_every_value_at_paper_scale_has_a_source(name: str) -> None:
    missing = missing_sources(setting_rows(OURS[name]))
    assert not missing, "\n".join(["", *missing])


def test_every_value_that_unified_gives_to_all_has_a_source() -> None:
    rows = unified_rows()
    assert {"refiner.name", "segmenter.train.learning_rate", "inference.scales"} <= {row.key for row in rows}
    assert not missing_sources(rows)


@pytest.mark.parametrize("name", OURS)
def test_every_source_of_a_method_is_of_a_value_that_it_has(name: str) -> None:
    rows = setting_rows(OURS[name])
    assert not [entry for entry in own_sources(OURS[name]) if not any(_covered(entry, row) for row in rows)]


def test_every_shared_source_is_of_a_value_that_a_method_has() -> None:
    rows = [*unified_rows(), *(row for method in OURS.values() for row in setting_rows(method))]
    assert not [entry for entry in shared_sources() if not any(_covered(entry, row) for row in rows)]


def _covered(entry: Entry, row: SettingRow) -> bool:
    return any(entry.covers(row.key, value) for value in row.defaults.values())
