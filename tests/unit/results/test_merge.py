"""A run folder over several commands: nothing is lost, nothing is averaged that differs in settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from results.aggregate import leaderboard
from results.io import StoredRuns, read_run, records_frame
from results.merge import add_records, merge
from results.schema import Record, RunRecord
from tests.helpers.toys import CommandLine, Toy, not_runnable

WHERE: dict[str, Any] = {
    "dataset": "shapes", "scale": "nano", "protocol": "paper", "refiner": "own", "segmenter": "own",
}  # fmt: skip


def run(method: str = "eps", seed: int = 0, status: str = "done", keys: str = "ab", **more: Any) -> RunRecord:
    """keys: of the stages one, two, ...; a letter each."""
    stages = [{"name": name, "key": key, "kind": "cam"} for name, key in zip(("one", "two", "three"), keys)]
    return RunRecord(**WHERE, method=method, seed=seed, status=status, stages=stages, **more)


def record(method: str = "eps", seed: int = 0, key: str = "a", value: float = 0.5, **more: Any) -> Record:
    values = {"stage": "cam", "variant": "", "split": "train", "metric": "miou"} | more
    return Record(**WHERE, method=method, seed=seed, key=key, value=value, **values)


def merged(
    before: tuple[list[Record], list[RunRecord]], after: tuple[list[Record], list[RunRecord]]
) -> tuple[dict[tuple[str, int, str, str], float], dict[tuple[str, int, str], dict[str, Any]], set[Any]]:
    """Values by (method, seed, changes, key), runs by (method, seed, changes), and the identities kept."""
    earlier = StoredRuns(records_frame(before[0]), [c.as_dict() for c in before[1]], Path())
    frame, runs, kept = merge(earlier, records_frame(after[0]), [c.as_dict() for c in after[1]])
    rows = frame[["method", "seed", "changes", "key", "value"]].itertuples(index=False, name=None)
    values = {tuple(row[:4]): row[4] for row in rows}
    assert len(values) == len(frame), "no number stands twice"
    return values, {(c["method"], c["seed"], c["changes"]): c for c in runs}, kept  # type: ignore[return-value]


def test_other_methods_seeds_and_settings_stay() -> None:
    before = [record(), record("cam"), record(seed=1)], [run(), run("cam"), run(seed=1)]
    changed = {"changes": "weight=2"}
    after = [record(value=0.9, **changed)], [run(**changed)]
    values, runs, _ = merged(before, after)
    assert values == {
        ("eps", 0, "", "a"): 0.5,
        ("cam", 0, "", "a"): 0.5,
        ("eps", 1, "", "a"): 0.5,
        ("eps", 0, "weight=2", "a"): 0.9,
    }
    assert list(runs) == [("eps", 0, ""), ("cam", 0, ""), ("eps", 1, ""), ("eps", 0, "weight=2")]


def test_the_same_run_replaces_its_old_self() -> None:
    before = [record(key="a"), record(key="b"), record("cam")], [run(), run("cam")]
    after = [record(key="x", value=0.7)], [run(keys="xy")]
    values, runs, _ = merged(before, after)
    assert values == {("eps", 0, "", "x"): 0.7, ("cam", 0, "", "a"): 0.5}
    assert [s["key"] for s in runs["eps", 0, ""]["stages"]] == ["x", "y"]


def test_a_success_replaces_a_failure() -> None:
    before = [record(key="a")], [run(status="failed", keys="a", reason="the disk is full")]
    values, runs, _ = merged(before, ([record(key="a"), record(key="b", value=0.6)], [run(keys="ab")]))
    assert runs["eps", 0, ""]["status"] == "done"
    assert set(values) == {("eps", 0, "", "a"), ("eps", 0, "", "b")}


@pytest.mark.parametrize(("status", "keys"), [("failed", "a"), ("failed", "ab"), ("not run", "")])
def test_a_failure_leaves_the_earlier_result(status: str, keys: str) -> None:
    before = [record(key="a"), record(key="b", value=0.6)], [run(keys="ab")]
    after = [record(key="a", value=0.1)], [run(status=status, keys=keys, reason="no weights")]
    values, runs, kept = merged(before, after)
    assert values == {("eps", 0, "", "a"): 0.5, ("eps", 0, "", "b"): 0.6}
    assert runs["eps", 0, ""]["status"] == "done"
    assert len(kept) == 1


def test_a_failure_that_got_further_is_shown() -> None:
    before = [record(key="a")], [run(keys="a")]
    after = [record(key="a"), record(key="b")], [run(status="failed", keys="ab", reason="no memory")]
    values, runs, kept = merged(before, after)
    assert runs["eps", 0, ""]["reason"] == "no memory"
    assert set(values) == {("eps", 0, "", "a"), ("eps", 0, "", "b")}
    assert not kept


def test_stopping_early_leaves_the_later_stages_of_the_same_artifacts() -> None:
    before = [record(key="a"), record(key="b", value=0.6)], [run(keys="ab", panels=[{"id": "whole"}])]
    after = [record(key="a", value=0.55)], [run(keys="a", panels=[{"id": "part"}])]
    values, runs, _ = merged(before, after)
    assert values == {("eps", 0, "", "a"): 0.55, ("eps", 0, "", "b"): 0.6}
    assert [key for *_, key in values] == ["a", "b"], "tables read the graph's order from the records"
    assert [s["key"] for s in runs["eps", 0, ""]["stages"]] == ["a", "b"]
    assert runs["eps", 0, ""]["panels"] == [{"id": "whole"}]
    values, runs, _ = merged(before, ([record(key="x")], [run(keys="x")]))
    assert set(values) == {("eps", 0, "", "x")}, "what followed from other artifacts goes"
    before = before[0], [run(keys="ab", status="failed", reason="no memory")]
    _, runs, _ = merged(before, after)
    assert runs["eps", 0, ""]["reason"] == "no memory", (
        "the later stages' failure is not mended by stopping early"
    )


def test_reference_rows_are_replaced_by_stage() -> None:
    name = "reference/all-background"
    before = [record(name, -1, "", 0.1), record(name, -1, "s", 0.2, stage="segmentation")], [run()]
    values, _, _ = merged(before, ([record(name, -1, "", 0.3)], []))
    assert values == {(name, -1, "", ""): 0.3, (name, -1, "", "s"): 0.2}


def test_the_board_names_what_tells_entries_apart() -> None:
    data = "dataset.root=DATA"
    changes = {"eps": [data, f"weight=2; flip=true; scale=3; {data}", f"weight=4; flip=true; scale=3; {data}"],
               "cam": [f"a=1; b=2; c=3; {data}"], "upper": [data]}  # fmt: skip
    records = [record(m, changes=c, value=0.5) for m, found in changes.items() for c in found]
    runs = [run(m, changes=c) for m, found in changes.items() for c in found]
    board = leaderboard(records_frame(records), [c.as_dict() for c in runs])
    named = {(row.method, row.changes.partition(";")[0]): row.differs for row in board.itertuples()}
    assert named == {
        ("eps", data): "",
        ("eps", "weight=2"): "weight=2, flip=true, scale=3",
        ("eps", "weight=4"): "weight=4, flip=true, scale=3",
        ("cam", "a=1"): "a=1, b=2, 1 more",
        ("upper", data): "",
    }


def test_the_gap_is_to_masks_on_the_same_data() -> None:
    segmentation = {"stage": "segmentation", "split": "val"}
    small = {"changes": "dataset.train=6"}
    records = [
        record(value=0.5, **segmentation),
        record("upper", value=0.8, **segmentation),
        record("upper", value=0.9, **segmentation, **small),
    ]
    masks = {"method_info": {"supervision": "M"}}
    runs = [run(), run("upper", **masks), run("upper", **masks, **small)]
    board = leaderboard(records_frame(records), [c.as_dict() for c in runs]).set_index("method")
    assert board.loc["eps", "segmentation_gap"] == pytest.approx(-0.3)


def test_adding_to_a_folder_and_reading_it_back(tmp_path: Path) -> None:
    assert add_records(tmp_path, [record()], [run()]) == []
    assert add_records(tmp_path, [record("cam")], [run("cam")]) == []
    stored = read_run(tmp_path)
    assert [c["method"] for c in stored.runs] == list(stored.records.method) == ["eps", "cam"]
    failed = run(status="failed")
    assert add_records(tmp_path, [], [failed]) == [failed]


def test_a_second_command_adds_to_the_board(command_line: CommandLine, third_party) -> None:
    third_party(Toy("one"), Toy("two"), not_runnable("demanding"))
    assert command_line.run("one", "--seeds", "0,1").code == 0
    assert command_line.run("two,demanding").code == 0
    done = command_line.run("one", "method.one.value=1", "method.one.note=mine")
    assert done.code == 0, done.err
    stored = read_run(command_line.output)
    data = "dataset.train=6; dataset.val=2"
    assert [(c["method"], c["seed"], c["changes"], c["status"]) for c in stored.runs] == [
        ("one", 0, data, "done"),
        ("one", 1, data, "done"),
        ("two", 0, data, "done"),
        ("demanding", 0, data, "not run"),
        ("one", 0, f"value=1; note=mine; {data}", "done"),
    ]
    assert "with dataset.train=6, dataset.val=2" in done.out
    assert "Toy (value=1," in done.out
    assert "value=1, note=mine" in (command_line.output / "report.html").read_text()
    board = leaderboard(stored.records, stored.runs)
    seeds = board[board.method == "one"].set_index("changes")["seeds"]
    assert seeds.to_dict() == {data: 2, f"value=1; note=mine; {data}": 1}


def test_panels_of_two_settings_do_not_overwrite_each_other(command_line: CommandLine, third_party) -> None:
    third_party(Toy("one"))
    command_line.run("one")
    command_line.run("one", "method.one.value=1")
    runs = read_run(command_line.output).runs
    pictures = [{panel["pseudo_label"] for panel in c["panels"]} for c in runs]
    assert len(runs) == 2
    assert not pictures[0] & pictures[1]
    assert all((command_line.output / path).is_file() for each in pictures for path in each)


def test_a_folder_that_cannot_be_read_is_said_before_anything_runs(
    command_line: CommandLine, third_party
) -> None:
    third_party(Toy("one"))
    command_line.run("one")
    (command_line.output / "cells.json").write_text("{")
    done = command_line.run("one", "method.one.value=1")
    assert done.code == 2
    assert "the run's files are damaged" in done.err
    assert "move the folder away" in done.err
    assert len(list(command_line.store.glob("artifacts/labels/*"))) == 1
