"""`--discard-intermediate`: what goes, what stays for others, and what is made again."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from benchmark.bundles.write import artifact_folder
from benchmark.execution.discarding import USERS, in_use
from benchmark.store import Store
from datasets.base import DataError
from methods.base import Kind, Stage
from results.io import read_run
from tests.helpers.toys import Toy

OPTION = "--discard-intermediate"
DRAFT = "draft"


class Draft(Toy):
    """A draft, which is scored and shown on the way."""

    def stages(self, config: Any, view: Any, shared: Any) -> list[Stage]:
        return [
            Stage(DRAFT, "tests.helpers.toys:fill", config, Kind.PSEUDO_LABEL, scored_as=DRAFT, seeded=False),
            *self.after(config),
        ]

    def after(self, config: Any) -> Sequence[Stage]:
        return ()


class Chain(Draft):
    """The draft, and pseudo-labels that are made of it by `run`."""

    def after(self, config: Any) -> Sequence[Stage]:
        return (Stage("labels", self.run, config, Kind.PSEUDO_LABEL, inputs={"draft": DRAFT}),)


def copy(context: Any, settings: Any) -> None:
    shutil.copytree(context.inputs["draft"].path, context.output, dirs_exist_ok=True)
    (context.output / "manifest.json").unlink()


COPY = f"{__name__}:copy"


def stored(store: Path, part: str = "artifacts") -> dict[str, str]:
    """Stage -> key of what a part of the store has of the chain's two stages."""
    return {p.parent.name: p.name for p in store.glob(f"{part}/*/*") if p.parent.name in (DRAFT, "labels")}


def scores(folder: Path) -> list[tuple[Any, ...]]:
    records = read_run(folder).records
    own = records[records.metric == "miou"]
    return sorted(zip(own.method, own.stage, own.variant, own.value))


def test_what_is_done_with_goes_and_nothing_is_made_twice(command_line, third_party):
    third_party(Chain("chain", COPY))
    whole = command_line.run("chain", f"runtime.store={command_line.folder / 'whole'}")
    expected = scores(command_line.output)
    panels = read_run(command_line.output).runs[0]["panels"]
    shutil.rmtree(command_line.output)
    done = command_line.run("chain", OPTION)
    assert (whole.code, done.code) == (0, 0), done.out
    assert stored(command_line.store).keys() == {"labels"}
    assert stored(command_line.store, "discarded").keys() == {DRAFT}
    assert f"discarded {DRAFT} {stored(command_line.store, 'discarded')[DRAFT][:12]}: " in done.out
    assert not [*command_line.store.glob("removed/*/*")]
    assert scores(command_line.output) == expected
    shown = read_run(command_line.output).runs[0]["panels"]
    for before, after in zip(panels, shown, strict=True):
        always = any(reason["sort"] == "sample" for reason in before["reasons"])
        assert after["steps"] == (before["steps"] if always else [])  # files are named by what they show
        assert [step["name"] for step in before["steps"]] == [DRAFT]
    plan = command_line.run("chain", "--dry-run")
    assert "discarded, and not needed" in plan.out
    assert "1 runs, 0 stages to do" in plan.out
    for option in ((), (OPTION,)):
        again = command_line.run("chain", *option)
        assert (again.code, stored(command_line.store).keys()) == (0, {"labels"})
        assert "(2 of 2 stages stored before)" in again.out
        assert scores(command_line.output) == expected
    assert command_line(
        "prune", "--runs", command_line.folder, "--store", command_line.store, "--days", "0"
    ).out == ("0 folders, 0 B; --yes deletes them\n")


def test_what_is_needed_again_is_made_again(command_line, third_party):
    third_party(Chain("chain", COPY))
    command_line.run("chain", OPTION)
    before = scores(command_line.output)
    shutil.rmtree(command_line.store / "artifacts" / "labels")
    again = command_line.run("chain")
    assert again.code == 0, again.out
    assert stored(command_line.store).keys() == {DRAFT, "labels"}
    assert scores(command_line.output) == before
    command_line.run("chain", OPTION)
    shutil.rmtree(command_line.store / "artifacts" / f"score-{DRAFT}")  # as other settings of the scoring do
    assert command_line.run("chain").code == 0
    assert stored(command_line.store).keys() == {DRAFT, "labels"}


def test_rows_of_other_plans_keep_theirs(command_line, third_party):
    third_party(Chain("chain", COPY), Draft("alone"))
    assert command_line.run("chain", OPTION).code == 0
    assert command_line.run("alone", OPTION).code == 0
    assert stored(command_line.store).keys() == {DRAFT, "labels"}  # what a plan is for is made, and stays
    assert command_line.run("chain", OPTION).code == 0
    assert stored(command_line.store).keys() == {DRAFT, "labels"}
    elsewhere = command_line.folder / "elsewhere"  # named from there, too
    command_line.output.rename(elsewhere)
    assert command_line.run("chain", OPTION).code == 0
    assert DRAFT in stored(command_line.store)
    shutil.rmtree(elsewhere)
    assert command_line.run("chain", OPTION).code == 0
    assert DRAFT not in stored(command_line.store)


@pytest.mark.parametrize("alive", [True, False])
def test_what_another_command_needs_stays_while_it_runs(command_line, third_party, alive):
    third_party(Chain("chain", COPY))
    command_line.run("chain", f"runtime.store={command_line.folder / 'other'}")
    name = f"{DRAFT}/{stored(command_line.folder / 'other')[DRAFT]}"
    shutil.rmtree(command_line.output)
    if not alive:  # what one that was killed has left
        (command_line.store / USERS).mkdir(parents=True)
        (command_line.store / USERS / "killed.txt").write_text(name)
    with in_use(Store(command_line.store), [name]) if alive else nullcontext():
        assert command_line.run("chain", OPTION).code == 0
    assert (DRAFT in stored(command_line.store)) == alive
    assert not [*(command_line.store / USERS).glob("*.txt")]
    assert command_line.run("chain", OPTION).code == 0
    assert DRAFT not in stored(command_line.store)


@pytest.mark.parametrize("ends", ["explode", "interrupt"])
def test_what_an_unfinished_stage_needs_stays(command_line, third_party, ends):
    third_party(Chain("chain", f"tests.helpers.toys:{ends}"))
    assert command_line.run("chain", OPTION).code != 0
    assert stored(command_line.store).keys() == {DRAFT}
    third_party(Chain("chain", COPY))
    done = command_line.run("chain", OPTION)
    assert done.code == 0, done.out
    assert f"chain · seed 0 · {DRAFT}:" not in done.out  # it was stored
    assert stored(command_line.store).keys() == {"labels"}


def test_who_needs_what_was_discarded_is_told_how_to_have_it(command_line, third_party):
    third_party(Chain("chain", COPY))
    command_line.run("chain", OPTION)
    (stage,) = (s for s in read_run(command_line.output).runs[0]["stages"] if s["name"] == DRAFT)
    with pytest.raises(DataError, match=r"discarded .*; delete .* and run the command") as raised:
        artifact_folder(command_line.output, stage)
    shutil.rmtree(str(raised.value).partition("delete ")[2].partition(" and run ")[0])
    assert command_line.run("chain").code == 0
    assert artifact_folder(command_line.output, stage).is_dir()


def test_it_is_of_methods(command_line):
    done = command_line("run", "--experiment", "eps/table3", OPTION)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "--discard-intermediate is of --methods" in done.err
