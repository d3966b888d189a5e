"""`torchrun --nproc_per_node 2`: the same samples, the same network, one store, one leaderboard."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import ROOT
from tests.helpers.tiny import data, sizes

pytestmark = pytest.mark.slow

TORCHRUN = ("-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0", "--standalone")
EXACT = ("method.cam.backbone.freeze_bn=true", "method.cam.train.recipe.crop=64")
"""Batch normalisation takes the statistics of a process's slice; without them the gradients are equal."""


def run(folder: Path, *launcher: str, more: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return launch(
        folder, ("run", "--methods", "cam", "--until", "cam"), launcher, (*sizes(["cam"]), *EXACT, *more)
    )


def launch(
    folder: Path, command: tuple[str, ...], launcher: tuple[str, ...], settings: tuple[str, ...]
) -> subprocess.CompletedProcess[str]:
    arguments = [
        *(*command, "--device", "cpu", "--output", str(folder / "board")),
        *(f"runtime.store={folder / 'store'}", "runtime.checkpoint_every=3"),
        *(*data(folder.parent / "data"), *settings),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *launcher, "-m", "benchmark", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (path,) = (folder / "store" / "artifacts" / "classify").glob("*/network.safetensors")
    return load_file(path)


def test_two_processes_train_what_one_does(tmp_path):
    alone, together = run(tmp_path / "one"), run(tmp_path / "two", *TORCHRUN)
    assert alone.returncode == 0, alone.stderr
    assert together.returncode == 0, together.stderr
    expected, found = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-2, atol=1e-4, msg=name)
    assert together.stdout.count("Report:") == 1, "rank 0 alone speaks"

    again = run(tmp_path / "two", *TORCHRUN)
    assert again.returncode == 0, again.stderr
    assert "classify" not in again.stdout, "everything was stored"


SUMMED = (
    "method.ca_cl.initialisation=backbone",
    "method.ca_cl.backbone.freeze_bn=true",
    "method.ca_cl.train.optimiser=sgd",  # AdamW forgives a loss of another scale
    "method.ca_cl.train.learning_rate=0.001",
    "method.ca_cl.weights.contrast=0",  # a mean over pairs, of which slices have unequal numbers
    "method.ca_cl.suppression.reduction=sum",
    "method.ca_cl.suppression.initial=0",
    "method.ca_cl.suppression.lower=-1",
)


def test_a_loss_summed_over_the_batch_is_the_same_in_two_processes(tmp_path):
    """Gradients are averaged over processes, a sum is of each one's slice."""
    terms = []
    for name, launcher in (("one", ()), ("two", TORCHRUN)):
        folder = tmp_path / name
        command = ("run", "--methods", "ca_cl", "--until", "cam")
        outcome = launch(folder, command, launcher, (*sizes(["ca_cl"]), *SUMMED))
        assert outcome.returncode == 0, outcome.stdout + outcome.stderr
        (artifact,) = (folder / "store" / "artifacts" / "guide").iterdir()
        (history,) = artifact.glob("losses-*.json")
        terms.append((json.loads(history.read_text()), load_file(artifact / "network.safetensors")))
    (expected, network), (found, shared) = terms
    assert len(found) == len(expected) > 1
    for one, two in zip(expected, found):
        assert one["suppression"] > 0
        assert two["suppression"] == pytest.approx(one["suppression"], rel=1e-3)
    for name, value in network.items():
        torch.testing.assert_close(shared[name], value, rtol=1e-2, atol=1e-4, msg=name)


def test_a_failure_in_training_is_a_row_and_ends_all_processes(tmp_path):
    outcome = run(tmp_path / "two", *TORCHRUN, more=("method.cam.train.learning_rate=1e30",))
    assert outcome.returncode != 0
    assert "failed: cam seed 0: FloatingPointError: the loss is not finite" in outcome.stdout
    assert "Report:" in outcome.stdout


def test_two_processes_run_an_experiment(tmp_path):
    """Rows of two entries, each with several trainings: all processes come to the end of all of them."""
    methods = ("semantic_modulation", "mctformer")
    outcome = launch(
        tmp_path / "two",
        ("run", "--experiment", "semantic_modulation/table2"),
        TORCHRUN,
        tuple(sizes(methods, iterations=2)),
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    # with a digest of the shortened trainings in its name
    (table,) = (tmp_path / "two" / "board" / "experiments").glob("semantic_modulation-table2-*.csv")
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert rows
    assert all(row["seeds"] == "1" for row in rows)
    assert outcome.stdout.count("md: ") == 1, "rank 0 alone speaks"
