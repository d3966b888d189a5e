"""An experiment of toy methods, the command that runs it, and the table that it writes."""

from __future__ import annotations

import csv

from methods.experiment import Experiment, ExperimentRow
from tests.helpers.toys import CommandLine, Toy


def toy() -> Toy:
    """A method with the experiment `toy/fill`, one of whose rows is of the method `other`."""
    method = Toy("toy")
    method.experiments = (  # type: ignore[misc]
        Experiment(
            "fill",
            "What every pixel is given",
            ("pseudo-label",),
            (
                ExperimentRow("background", "sam_fused/Tab. 3/ViT + SAM", ("pseudo_label",), ("value=0",)),
                ExperimentRow("class 1", "", ("pseudo_label",), ("value=1",)),
                ExperimentRow("the other entry", "eps/Tab. 3/naive", ("pseudo_label",), method="other"),
                ExperimentRow(
                    "with maps", "eps/Tab. 3/adaptive", ("pseudo_label",), unavailable="needs maps of old"
                ),
                ExperimentRow("on GPUs", "", ("pseudo_label",), ("value=1",), scales=("paper",)),
            ),
        ),
    )
    return method


def arguments(command: CommandLine, name: str = "toy/fill") -> tuple[str, ...]:
    """Of a run of the experiment with two seeds, on a few generated pictures."""
    data = ("dataset.train=6", "dataset.val=2", f"dataset.root={command.data}")
    return ("run", "--experiment", name, "--device", "cpu", "--seeds", "0,1", "--output", str(command.output),
            f"runtime.store={command.store}", "runtime.processes=1", *data)  # fmt: skip


def table(command: CommandLine, key: str = "row") -> dict[str, dict[str, str]]:
    """Lines of the one table of `toy/fill`, by what stands in their column `key`."""
    (path,) = (command.output / "experiments").glob("toy-fill*.csv")
    with path.open() as file:
        return {row[key]: row for row in csv.DictReader(file)}
