"""`prune`: what goes is what no run names and nothing named was made from; listed unless --yes."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from filelock import FileLock

from benchmark.commands.prune import leftovers
from benchmark.store import SCRATCH, Store
from datasets.files.sealed import read_sealed, sealed
from tests.helpers.toys import CommandLine, Toy, fill, registered


@pytest.fixture(scope="module")
def once(generated: Path, tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    """A store with the artifacts of a run, and those of one whose folder is gone."""
    command_line = CommandLine(tmp_path_factory.mktemp("used"), generated)
    with registered(Toy("sound")):
        assert command_line.run("sound", "method.sound.value=1").code == 0
        shutil.rmtree(command_line.output)
        assert command_line.run("sound").code == 0
    return command_line


@pytest.fixture
def used(once: CommandLine, command_line: CommandLine, third_party) -> CommandLine:
    """Such a store, with abandoned work in it."""
    third_party(Toy("sound"))
    command_line.begin_with(once)
    work = command_line.store / "work" / "labels" / ("f" * 24) / SCRATCH
    work.mkdir(parents=True)
    (work / "checkpoint-1.pt").write_bytes(b"x" * 5000)
    return command_line


def folders(store: Path) -> set[str]:
    return {str(p.relative_to(store)) for part in ("artifacts", "work") for p in store.glob(f"{part}/*/*")}


def prune(used: CommandLine, *more: str):
    return used("prune", "--runs", str(used.folder), "--store", str(used.store), *more)


def test_it_lists_and_deletes_nothing_without_yes(used):
    before = folders(used.store)
    done = prune(used, "--days", "0")
    assert done.code == 0
    assert folders(used.store) == before
    assert "3 folders" in done.out  # labels, their scores, work
    assert f"work/labels/{'f' * 24}  5.0 kB" in done.out


def test_with_yes_what_runs_name_stays_and_is_not_made_anew(used):
    before = folders(used.store)
    assert prune(used, "--days", "0", "--yes").code == 0
    left = folders(used.store)
    assert len(before - left) == 3
    assert {name.split("/")[1] for name in before - left} == {"labels", "score-labels"}
    done = used.run("sound")
    assert "1 of 1 stages stored before" in done.out
    assert folders(used.store) == left


def test_what_a_run_uses_is_young_again(used):
    month = time.time() - 30 * 86400
    for path in used.store.rglob("*"):
        os.utime(path, (month, month))
    assert "3 folders" in prune(used).out
    assert used.run("sound", "method.sound.value=1").code == 0
    shutil.rmtree(used.output)
    assert used.run("sound").code == 0
    assert "1 folders" in prune(used).out


def test_what_is_young_stays(used):
    assert "0 folders" in prune(used).out


def test_a_clock_that_ran_ahead_keeps_nothing_for_ever(used):
    later = time.time() + 30 * 86400
    for path in used.store.rglob("*"):
        os.utime(path, (later, later))
    assert "0 folders" in prune(used).out
    assert "3 folders" in prune(used, "--days", "0").out


def test_places_may_be_links_and_have_any_name(used):
    place = used.folder / "a store, мой 名"
    used.store.rename(place)
    (used.folder / "link to it").symlink_to(place)
    done = used(
        "prune",
        "--runs",
        str(used.folder),
        "--store",
        str(used.folder / "link to it"),
        "--days",
        "0",
        "--yes",
    )
    assert done.code == 0, done.err
    assert "deleted 3 folders" in done.out


@pytest.mark.parametrize(
    "runs",
    [
        "7",
        "[3]",
        '[{"stages": [{"name": "a", "key": 1}]}]',
        '[{"stages": 1}]',
        '[{"stages": [{"score": 1}]}]',
    ],
)
def test_runs_of_another_type_are_one_line(used, runs):
    (used.output / "cells.json").write_text(f'{{"schema_version": 1, "cells": {runs}}}')
    done = prune(used, "--days", "0", "--yes")
    assert done.code == 2
    assert "cells.json: damaged (" in done.err
    assert done.err.count("\n") == 1


def test_a_pipe_in_place_of_the_runs_is_not_waited_for(used):
    (used.output / "cells.json").unlink()
    os.mkfifo(used.output / "cells.json")
    done = prune(used, "--days", "0", "--yes")
    assert done.code == 2
    assert "no regular file" in done.err


def test_what_somebody_else_has_pruned_meanwhile_is_left_out(used, monkeypatch):
    found = leftovers(Store(used.store), used.folder, 0)
    monkeypatch.setattr("benchmark.commands.prune.leftovers", lambda *given: found)
    shutil.rmtree(found[0].path)
    done = prune(used, "--days", "0", "--yes")
    assert done.code == 0, done.err
    assert "deleted 2 folders" in done.out


def test_a_run_that_loses_its_artifacts_meanwhile_says_so(used, third_party):
    """`--days 0` takes what no leaderboard names yet, inputs of a run at work among them."""
    third_party(Toy("sound", "tests.unit.benchmark.commands.test_prune:fill_and_lose"))
    done = used.run("sound", "method.sound.value=2", f"method.sound.note={used.store}")
    assert done.code == 1
    assert "run the same command again" in done.out
    assert "Traceback" not in done.out + done.err
    third_party(Toy("sound"))
    assert used.run("sound", "method.sound.value=2").code == 0


def fill_and_lose(context, settings):
    """As `fill`, and the artifact is pruned as soon as it is there."""
    fill(context, settings)
    commit = Store.commit

    def lost(store, stage, key, work, manifest):
        done = commit(store, stage, key, work, manifest)
        if stage == "labels":
            Store.commit = commit
            store._verified.discard(done.path)
            shutil.rmtree(done.path)
        return done

    Store.commit = lost


def test_what_a_run_holds_stays(used):
    key = "f" * 24
    with FileLock(used.store / "locks" / f"{key}.lock"):
        assert prune(used, "--days", "0", "--yes").code == 0
    assert f"work/labels/{key}" in folders(used.store)


def test_what_a_named_artifact_was_made_from_stays(used):
    (named,) = set(used.store.glob("artifacts/labels/*/manifest.json")) - {
        used.store / line.split()[0] / "manifest.json"
        for line in prune(used, "--days", "0").out.splitlines()[:-1]
    }
    (other,) = set(used.store.glob("artifacts/labels/*/manifest.json")) - {named}
    manifest = read_sealed(named) | {"inputs": {"cam": other.parent.name}}
    named.write_text(json.dumps(sealed(manifest)))
    assert prune(used, "--days", "0", "--yes").code == 0
    assert other.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--runs", "nowhere"), "no run folder in it"),
        (("--store", "nowhere"), "--store nowhere: no such folder"),
        (("--days", "-1"), "--days -1: must not be negative"),
    ],
)
def test_faults_are_one_line(used, arguments, said):
    before = folders(used.store)
    done = prune(used, *arguments, "--yes")
    assert done.code == 2
    assert said in done.err
    assert len(done.err.splitlines()) == 1
    assert folders(used.store) == before


def test_a_run_that_cannot_be_read_stops_it(used):
    (used.output / "cells.json").write_text("{")
    done = prune(used, "--days", "0", "--yes")
    assert done.code == 2
    assert "what its run needs is not known" in done.err
