"""SAM's masks and their fusion, run as a user runs them, with a SAM of random weights; interrupted and resumed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from datasets.files.images import read_labels, read_map
from methods.artifacts import CamReader, label_map_path
from methods.pictures import pictures
from methods.sam_fused import stages
from tests.helpers.tiny import sizes
from tests.helpers.toys import CommandLine, Outcome

LABELS = ("pseudo_label_vit", "pseudo_label_sam", "pseudo_label")
MADE_BY_SAM = ("masks", "pseudo_label_sam", "fusion", "pseudo_label")
GOOD = "_good_"


def run(command: CommandLine, *arguments: str) -> Outcome:
    """Six defective and three good pictures, up to the fused labels, with checkpoints and shards inside the stages."""
    return command.run_on(
        "sam_fused", "--dataset", "bluefilm", "--until", "pseudo_label", *sizes(["sam_fused"]),
        f"dataset.root={command.folder / 'data'}", "dataset.train=6", "dataset.val=2", "dataset.good=0.5",
        "method.sam_fused.sam.weights=none", "method.sam_fused.mask_batch_size=1",
        "runtime.checkpoint_every=2", "runtime.shard=3", *arguments,
    )  # fmt: skip


def artifact(store: Path, stage: str) -> Path:
    (path,) = (store / "artifacts" / stage).iterdir()
    return path


def contents(store: Path, stage: str) -> dict[str, bytes]:
    """What an artifact holds, but for its manifest, which has times."""
    folder = artifact(store, stage)
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "manifest.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def interrupted_at(original: Callable[..., Any], call: int) -> Callable[..., Any]:
    calls: Iterator[int] = iter(range(1, call + 1))

    def counted(*arguments: Any, **options: Any) -> Any:
        if next(calls) == call:
            raise KeyboardInterrupt
        return original(*arguments, **options)

    return counted


def test_p2_and_p_are_made_scored_and_resumed(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run(command_line)
    assert done.code == 0, done.err
    store = command_line.store

    records = pd.read_parquet(command_line.output / "records.parquet")
    own = records[(records["method"] == "sam_fused") & (records["metric"] == "miou")]
    scored = set(zip(own["stage"], own["variant"]))
    assert {(name, "") for name in LABELS} <= scored
    assert {("cam_sam", rule) for rule in ("fixed", "tuned", "oracle")} <= scored
    assert own["value"].between(0, 1).all()
    assert set(own.loc[own["stage"].isin(LABELS), "images"]) == {9}

    maps = CamReader(artifact(store, "masks"))
    good = [sample_id for sample_id in maps.ids if GOOD in sample_id]
    assert len(good) == 3
    assert len(maps.ids) == 9
    for sample_id in maps.ids:
        cam, is_good = maps[sample_id], sample_id in good
        assert (len(cam.classes) == 0) == is_good
        for stage in LABELS:
            labels = read_labels(label_map_path(artifact(store, stage), sample_id))
            assert labels.shape == cam.size
            assert set(labels.unique().tolist()) <= {0, *(c + 1 for c in cam.classes)}
        left = pictures(artifact(store, "masks"), sample_id)
        entropy = read_map(left["entropy of the views"].path)
        assert entropy.shape == cam.size
        assert not (is_good and entropy.any())
        assert ("masks of the views" in left) <= (not is_good)
    assert any("masks of the views" in pictures(artifact(store, "masks"), i) for i in maps.ids)

    (made,) = json.loads((command_line.output / "cells.json").read_text())["cells"]
    steps = {step["name"] for panel in made["panels"] for step in panel["steps"]}
    assert {"masks", "pseudo_label_vit", "pseudo_label_sam"} <= steps
    assert {"entropy of the views", "masks of the views"} <= steps

    expected = {stage: contents(store, stage) for stage in MADE_BY_SAM}
    again = command_line.folder / "again"
    said = ""
    for function, call in (("masks_of_views", 5), ("fusion_loss", 4), ("fused_labels", 5)):
        with monkeypatch.context() as patch:
            patch.setattr(stages, function, interrupted_at(getattr(stages, function), call))
            done = run(command_line, f"runtime.store={again}")
        assert done.code == 130, done.out + done.err
        said += done.out
    done = run(command_line, f"runtime.store={again}")
    assert done.code == 0, done.err
    said += done.out
    for place in (
        "masks: resuming at 3/9 img",
        "fusion: resuming at 2/4 it",
        "pseudo_label: resuming at 3/9 img",
    ):
        assert place in said
    assert {stage: contents(again, stage) for stage in MADE_BY_SAM} == expected
