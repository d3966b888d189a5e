"""What the leaderboard says of the networks that make CAMs and predictions: operations, parameters, circumstances.

Each distinct network is counted once, on the meta device, and its counts are kept in the store, so that a
leaderboard that is written anew reads them and needs no torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.config import plain
from benchmark.console import console
from benchmark.failures import one_line, package_of
from benchmark.planning.code_version import code_version
from benchmark.provenance import machine, packages
from benchmark.store import StoredArtifact, content_key
from datasets.base import DataError
from methods.base import Kind

if TYPE_CHECKING:
    from benchmark.planning.plan import Plan
    from datasets.base import Dataset
    from methods.base import Stage

NAME = "count-network"
"""Of the counts in the store."""
COUNTED = (Kind.CAM, Kind.PREDICTION)
"""Kinds of artifacts whose networks the leaderboard has columns for."""
LOOKED_AT = 200
"""Images whose sizes are read to find the most common one."""

_said: set[str] = set()
"""Keys of networks whose failure was said: a leaderboard is written anew after every method."""


class Costs:
    """What the stages of a plan's runs cost beside their seconds and memory."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._size: tuple[int, int] | None = None

    def of(self, stage: Stage, inputs: Mapping[str, Any], artifact: StoredArtifact) -> dict[str, Any]:
        """For the stage's entry in `RunRecord.stages`: images, machine, threads and counts.

        inputs: settings of its inputs' stages by role; artifact: the stage's artifact
        """
        dataset = self._plan.dataset
        hardware = artifact.manifest.get("provenance", {}).get("hardware", {})
        return {
            "images": sum(len(dataset.ids(split)) for split in stage.splits)
            + artifact.manifest.get("further_images", 0),
            "machine": machine(hardware) if hardware else "",
            "threads": hardware.get("threads"),
            "counts": self._counts(stage, inputs),
        }

    def _counts(self, stage: Stage, inputs: Mapping[str, Any]) -> dict[str, Any] | None:
        """Counts of the network that makes the board's CAM or prediction; None of any other stage, and where there
        is none or it cannot be counted, which is said."""
        if stage.profile is None or stage.yields not in COUNTED or stage.scored_as is not None:
            return None
        store = self._plan.store
        classes = len(self._plan.dataset.training_view().classes)
        if self._size is None:
            try:
                self._size = usual_size(self._plan.dataset)
            except DataError as error:  # the images are gone since they were used
                _say("images", f"networks are not counted: {error}")
                return None
        parts = {
            "profile": stage.profile,
            "settings": plain(stage.settings),
            "inputs": plain(inputs),
            "classes": classes,
            "size": self._size,
            "code": [
                code_version(stage.profile.split(":")[0]),
                code_version("benchmark.profiling.complexity"),
            ],
            "packages": packages(),
        }
        key = content_key(parts)
        if (found := store.find(NAME, key)) is not None:
            store.touch(NAME, key)
            return found.manifest["counts"]  # type: ignore[no-any-return]
        try:
            counts = count_network(stage, inputs, classes, self._size)
        except Exception as error:  # the leaderboard is wanted without it, too
            reason = one_line(error, Path(store.root), [package_of(stage.profile)])
            _say(key, f"{stage.name}: its network is not counted: {reason}")
            return None
        # a store that cannot be written may hold everything but this, which other packages make anew
        with suppress(OSError), store.building(NAME, key) as work:
            if work is not None:
                store.commit(NAME, key, work, {"kind": "counts", "counts": counts})
        return counts


def _say(key: str, text: str) -> None:
    """Print it, once for a key."""
    if key not in _said:
        _said.add(key)
        console.print(text, markup=False)


def count_network(
    stage: Stage, inputs: Mapping[str, Any], classes: int, size: tuple[int, int]
) -> dict[str, Any] | None:
    """Of one image as the stage passes it through its network, all scales and mirror images: `name`, `covers`,
    `height`, `width`, `macs_g`, `macs_attention_g`, `parameters_m` as `results.complexity.METRICS` has them.

    None where it has no network. inputs: settings of its inputs' stages by role; classes: object classes;
    size: (H, W) of the image
    """
    import torch

    from benchmark.profiling.complexity import forward_pass_complexity, stage_forward_passes

    with torch.device("meta"):
        forward_passes = [
            p for p in stage_forward_passes(stage, inputs, classes, size) if p.module is not None
        ]
        if not forward_passes:
            return None
        # the last one is the most complete; what follows the network (CRF) is not counted
        counted = forward_pass_complexity(forward_passes[-1])
    return {
        "name": forward_passes[-1].network,
        "covers": forward_passes[-1].covers,
        "height": forward_passes[-1].size[0],
        "width": forward_passes[-1].size[1],
        "macs_g": counted.layer_macs / 1e9,
        "macs_attention_g": counted.macs / 1e9,
        "parameters_m": counted.parameters / 1e6,
    }


def usual_size(dataset: Dataset) -> tuple[int, int]:
    """(H, W) of most of the first training images. Raises DataError where one cannot be read."""
    from datasets.files.decoding import image_size

    ids = islice(dataset.ids("train"), LOOKED_AT)
    sizes = Counter(image_size(dataset.sample(sample_id).image) for sample_id in ids)
    return sizes.most_common(1)[0][0]
