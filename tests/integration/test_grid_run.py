"""A grid from CAM to segmentation: one CAM through every refiner to two segmentation networks."""

from __future__ import annotations

import pytest

from methods.refiners.config import REFINERS
from results.io import read_run
from tests.helpers.tiny import SIZES
from tests.helpers.tiny import sizes as tiny_sizes
from tests.helpers.toys import CommandLine

NETWORKS = ("largefov", "aspp")
OF_PROTOCOL = [
    f"protocol.{key}={value}" for key, value in SIZES.items() if key.startswith(("refiner", "segmenter"))
]
"""Refiners and networks of a grid are the protocol's."""


@pytest.mark.slow
def test_every_refiner_and_network_is_scored(command_line: CommandLine) -> None:
    done = command_line.run(
        "cam",
        "--refiners",
        ",".join(REFINERS),
        "--segmenters",
        ",".join(NETWORKS),
        *OF_PROTOCOL,
        *tiny_sizes(["cam"]),
    )
    assert done.code == 0, done.out + done.err
    stored = read_run(command_line.output)
    assert {run["status"] for run in stored.runs} == {"done"}
    records = stored.records[(stored.records["metric"] == "miou") & (stored.records["method"] == "cam")]
    grid = {(refiner, network) for refiner in REFINERS for network in NETWORKS}
    assert len(grid) == 12
    for stage, split in (("pseudo_label", "train"), ("segmentation", "val")):
        rows = records[(records["stage"] == stage) & (records["split"] == split)]
        assert sorted(zip(rows["refiner"], rows["segmenter"])) == sorted(grid)
        assert rows["value"].between(0, 1, inclusive="neither").all()
    labels = records[records["stage"] == "pseudo_label"].pivot(
        index="refiner", columns="segmenter", values="value"
    )
    assert (labels["largefov"] == labels["aspp"]).all()  # the same pseudo-labels go to both networks
    assert labels["aspp"].nunique() == len(REFINERS)  # and no refiner leaves another's
