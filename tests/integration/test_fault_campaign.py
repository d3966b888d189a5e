"""Random faults in a run of every method: signals at random times, then damage to what is stored.

Whatever happened, the same command ends with the numbers of an undisturbed run, or says why not in one line.

WSSS_FAULT_KILLS: number of signals (50); WSSS_FAULT_SEED: of all random choices (0); WSSS_FAULT_METHODS: comma-separated
(every method there is); WSSS_FAULT_FOLDER: where a campaign that was stopped goes on (a new folder)
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from methods.registry import all_methods
from tests.conftest import ROOT
from tests.helpers.tiny import data, sizes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

KILLS = int(os.environ.get("WSSS_FAULT_KILLS", "50"))
SEED = int(os.environ.get("WSSS_FAULT_SEED", "0"))


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `tests.helpers.fault_campaign` counted."""
    given = os.environ.get("WSSS_FAULT_FOLDER")
    folder = Path(given) if given else tmp_path_factory.mktemp("campaign")
    methods = os.environ.get("WSSS_FAULT_METHODS", ",".join(all_methods())).split(",")
    settings = [*data(folder / "data"), "dataset.train=12", "dataset.val=6", *sizes(methods, iterations=4)]
    settings += ["runtime.checkpoint_every=2", "runtime.shard=4"]
    arguments = ["run", "--methods", ",".join(methods), "--device", "cpu", *settings]
    environment = {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.helpers.fault_campaign", str(folder), str(KILLS), str(SEED), json.dumps(arguments)],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    found: dict[str, Any] = json.loads((folder / "counts.json").read_text())
    print(json.dumps(found, indent=1))
    return found


def test_as_many_signals_as_asked_for_came_most_of_them_in_stages(campaign: dict[str, Any]) -> None:
    places = campaign["places"]
    assert sum(campaign["signals"].values()) == sum(places.values()) == KILLS
    assert len(places) > 2
    assert places.get("planning", 0) + places.get("between stages", 0) < KILLS / 2


def test_nothing_ended_in_another_way_than_it_should(campaign: dict[str, Any]) -> None:
    assert campaign["faults"] == []


def test_every_stored_file_was_damaged_in_every_way(campaign: dict[str, Any]) -> None:
    damaged = campaign["damaged"]
    assert set(damaged) == {"flipped", "truncated", "emptied", "removed"}
    assert set(damaged.values()) == {campaign["files"]}
    assert campaign["remade"] > 0
