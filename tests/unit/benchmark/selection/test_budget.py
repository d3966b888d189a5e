"""`budget`: from no mask to all of them, on pictures of bright boxes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmark.evaluation.counts import Counts, CountsHeader, CountsWriter
from benchmark.evaluation.scores import Naming
from benchmark.selection.areas import counted, expected
from benchmark.selection.evidence import image_evidence, region_evidence
from benchmark.selection.labelling import next_images, read_or_plan
from datasets.base import DataError
from results.io import read_run
from tests.helpers.painter import LightPainter, Painter
from tests.helpers.toys import CommandLine

SIZE = (12, 16)
IMAGES = 30


class SquarePainter(Painter):
    """Paints a square of four pixels, always at the same place."""

    def stages(self, config: Any, view: Any, shared: Any) -> Any:
        from dataclasses import replace

        learn, paint = super().stages(config, view, shared)
        return [learn, replace(paint, run="tests.helpers.painter:paint_square")]


def truth_of(n: int) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    mask[n % 5 : n % 5 + 4 + n % 3, n % 7 : n % 7 + 7] = 1
    return mask


@pytest.fixture
def bright(tmp_path: Path) -> Path:
    """30 images of val with a box, of which a part is too dark to be painted, and four of train that say "disc" too."""
    root = tmp_path / "bright"
    (root / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = ["id,labels,split"]
    for n in range(IMAGES + 4):
        pixels = rng.integers(0, 100, (*SIZE, 3)).astype(np.uint8)
        seen = truth_of(n).astype(bool)
        seen[:, n % 7 + 3 + n % 4 :] = False
        pixels[seen] = 220
        Image.fromarray(pixels).save(root / "images" / f"i{n:02d}.png")
        rows.append(f"i{n:02d},box,val" if n < IMAGES else f"i{n:02d},box;disc,train")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    return root


def label(root: Path, images: list[str]) -> None:
    (root / "masks").mkdir(exist_ok=True)
    for image in images:
        Image.fromarray(truth_of(int(image[1:]))).save(root / "masks" / f"{image}.png")


def test_from_no_mask_to_all(
    command_line: CommandLine, bright: Path, third_party: Callable[..., None]
) -> None:
    third_party(Painter("all_over"), LightPainter("light"), SquarePainter("four"))
    data = ("--dataset", "folder", "--scale", "nano", f"dataset.root={bright}")

    def run() -> None:
        done = command_line.run_on("all_over,light,four", *data)
        assert done.code == 0, done.err

    def document() -> dict[str, Any]:
        found: dict[str, Any] = json.loads((folder / "budget.json").read_text())
        return found

    folder = command_line.output / "budget"
    run()
    none = command_line("budget", command_line.output)
    assert none.code == 2
    assert "no image of val has a mask" in none.err
    assert "label the first 20 images of" in none.err
    assert none.err.count("\n") == 1
    plan = pd.read_csv(folder / "label-next.csv")
    assert sorted(plan["image"]) == [f"i{n:02d}" for n in range(IMAGES)]
    assert plan["probability"].sum() == pytest.approx(20)

    first = plan["image"].tolist()
    label(bright, first[:14])
    unscored = command_line("budget", command_line.output)
    assert "14 masks of val are not in the run's scores" in unscored.err
    run()
    some = command_line("budget", command_line.output)
    assert some.code == 0, some.err
    assert "14 of 30 images have masks that count" in some.out
    assert "light is better than" in some.out
    waiting = pd.read_csv(folder / "label-next.csv")
    assert waiting["image"].tolist() == first[14:]
    assert ((waiting["probability"] > 0) & (waiting["probability"] <= 1)).all()
    rows = {row["entry"]: row for row in document()["entries"]}
    assert all(row["low"] < row["value"] < row["high"] for row in rows.values())

    label(bright, first[15:16])  # the one before it has none
    run()
    gap = command_line("budget", command_line.output)
    assert "masks of 1 images do not count" in gap.out
    assert {row["entry"]: row["value"] for row in document()["entries"]} == {
        entry: pytest.approx(row["value"]) for entry, row in rows.items()
    }

    label(bright, first)
    run()
    whole = command_line("budget", command_line.output)
    assert whole.code == 0, whole.err
    assert "all with masks" in whole.out
    records = read_run(command_line.output).records
    scored = records[(records["metric"] == "miou") & (records["stage"] == "segmentation")]
    scored = scored.set_index("method")["value"]
    found = document()
    for row in found["entries"]:
        assert row["value"] == pytest.approx(scored[row["entry"]])
        before = rows[row["entry"]]
        # what was estimated from 14 of 30 was right, to within twice what is claimed of 95 %
        assert abs(before["value"] - row["value"]) <= before["high"] - before["low"]
    assert found["pair"]["first"] == "light"
    assert found["pair"]["needed_evidence"] <= IMAGES
    widths = pd.read_csv(folder / "widths.csv")
    assert (widths[["coverage_plain", "coverage_evidence", "coverage_ordered"]] > 0.8).all(axis=None)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere",), "not a run folder"),
        (("nowhere", "--kind", "saliency"), "unknown kind of map"),
        (("nowhere", "--calibration", "none.json"), "--calibration none.json: no such file"),
    ],
)
def test_faults_are_one_line(command_line: CommandLine, arguments: tuple[str, ...], said: str) -> None:
    done = command_line("budget", *arguments)
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1


def evidence_of(truth: np.ndarray, reference: np.ndarray) -> pd.DataFrame:
    """Rows as `collect` makes them, of one artifact and one image with two classes."""
    regions = region_evidence(truth[None], reference, 2)
    whole = image_evidence(truth[None], np.zeros((*truth.shape, 3), np.float32), 2)
    return pd.DataFrame(
        {"key": "a", "image": "y", "class": [-1, 0, 1], "within": [np.nan, *whole["within"].repeat(2)]}
        | {name: values[0] for name, values in regions.items()}
    )


def test_evidence_stands_in_for_counts_against_the_consensus() -> None:
    rng = np.random.default_rng(0)
    labels, reference = (rng.integers(0, 3, (10, 12)).astype(np.uint8) for _ in range(2))
    found = expected(evidence_of(labels, reference), ["a"], ["x", "y"], np.array([50, 120]), 2)
    for k in range(3):
        own, other = labels == k, reference == k
        assert found.both[0, 1, k] == pytest.approx((own & other).sum(), rel=1e-4)
        assert found.union[0, 1, k] == pytest.approx((own | other).sum(), rel=1e-4)
        assert found.truth[0, 1, k] == pytest.approx(other.sum(), rel=1e-4)
    assert found.truth[0, 0].tolist() == [50, 0, 0]  # no labels: background that is found
    assert found.both[0, 0].tolist() == [50, 0, 0]


def test_stored_counts_are_areas_by_image(tmp_path: Path) -> None:
    with CountsWriter(
        tmp_path / "counts.parquet", CountsHeader(Naming("background", ("boat", "bird")))
    ) as writer:
        writer.add("z", np.array([0, 1, 1]), np.array([0, 1, 2]), np.array([5, 7, 3]))
        writer.add("x", np.array([2, 0]), np.array([2, 255]), np.array([4, 6]))
    counts = Counts.read(tmp_path / "counts.parquet")
    found = counted([counts], [None], ["x", "y", "z"])
    assert found.both[0].tolist() == [[6, 0, 4], [0, 0, 0], [5, 7, 0]]
    assert found.truth[0].tolist() == [[6, 0, 4], [0, 0, 0], [5, 10, 0]]
    assert found.union[0].tolist() == [[6, 0, 4], [0, 0, 0], [5, 10, 3]]


def test_a_plan_stays_and_is_of_its_images(tmp_path: Path) -> None:
    images = [f"i{n}" for n in range(20)]
    masked, none = np.zeros(20, bool), np.zeros(20, bool)
    masked[:5] = True
    path = tmp_path / "plan.csv"
    planned = read_or_plan(path, images, np.ones(20), masked, none)
    assert planned.counting == 5
    assert (planned.probability == 0.25).all()
    waiting = next_images(planned, images, masked, 10)["image"].tolist()
    assert not {*images[:5]} & {*waiting}
    more = masked.copy()
    more[[images.index(image) for image in waiting[:3]]] = True
    again = read_or_plan(path, images, np.linspace(1, 2, 20), more, none)
    assert again.counting == 8
    assert (again.size == 1).all()
    assert next_images(again, images, more, 10)["image"].tolist() == waiting[3:]
    with pytest.raises(DataError, match="of other images"):
        read_or_plan(path, images[1:], np.ones(19), masked[1:], none[1:])


def test_images_without_labels_are_no_draw(tmp_path: Path) -> None:
    """Their truth is known: they count once, and nothing is said by them of the others."""
    images = [f"i{n}" for n in range(20)]
    certain = np.arange(20) < 8
    masked = certain | (np.arange(20) > 13)
    planned = read_or_plan(tmp_path / "plan.csv", images, np.ones(20), masked, certain)
    assert planned.counting == 6
    assert planned.probability.tolist() == [1.0] * 8 + [0.5] * 12
