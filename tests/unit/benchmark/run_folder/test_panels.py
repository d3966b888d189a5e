"""Which images are shown, what stages leave for the reports, and what the run folder keeps of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark.evaluation.confusion import pair_counts
from benchmark.evaluation.counts import Counts, CountsHeader, CountsWriter
from benchmark.evaluation.per_image import image_mean_iou
from benchmark.evaluation.scores import Naming, mean_iou
from benchmark.run_folder.panels import CHOSEN, choose
from benchmark.run_folder.traces import LONGEST, POINTS, details, losses
from datasets.base import ContextClass
from datasets.files.images import read_map
from methods.base import Kind, Stage
from methods.pictures import contact_sheet, pictures, write_kinds, write_picture
from reports.panels import kind_colour, kinds_overlay
from results.io import read_run
from tests.helpers.toys import CommandLine, Toy, ToyConfig


def test_image_scores_are_the_mean_iou_of_each_image_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, (5, 12, 16), dtype=np.uint8)  # 3 is the context region of background
    predicted = rng.integers(0, 3, truth.shape, dtype=np.uint8)
    predicted[0, :3] = 255  # counts as background
    truth[1] = 255  # nothing to score
    truth[2][truth[2] == 2] = 0  # a class that is predicted only
    naming = Naming("background", ("a", "b"), (ContextClass("water", 0, 1),))
    with CountsWriter(tmp_path / "counts.parquet", CountsHeader(naming)) as writer:
        for number, (t, p) in enumerate(zip(truth, predicted)):
            counts = pair_counts(t[None], p[None], 4, 3)[0]
            gt, pred = np.nonzero(counts)
            writer.add(f"{number}", gt, np.append(np.arange(3), 255)[pred], counts[gt, pred])
    found = image_mean_iou(Counts.read(tmp_path / "counts.parquet"))
    assert np.isnan(found["1"])
    for number in (0, 2, 3, 4):
        matrix = np.zeros((3, 3), np.int64)
        t, p = truth[number] % 3, predicted[number] % 255 % 3
        np.add.at(matrix, (t.ravel(), p.ravel()), 1)
        assert found[str(number)] == pytest.approx(float(mean_iou(matrix)))


def test_maps_of_kinds_keep_their_names_and_grey_ones_have_none(tmp_path: Path) -> None:
    kinds = torch.tensor([[0, 1, 2], [3, 3, 0]], dtype=torch.uint8)
    write_kinds(tmp_path, "what changed", "a", kinds, ("nothing", "one", "two", "three"))
    write_picture(tmp_path, "doubt", "a", torch.full((2, 3), 0.2))
    found = pictures(tmp_path, "a")
    assert found["what changed"].kinds == ("nothing", "one", "two", "three")
    assert found["doubt"].kinds == ()
    assert np.array_equal(read_map(found["what changed"].path), kinds)
    assert (read_map(found["doubt"].path) == 51).all()
    assert pictures(tmp_path, "b") == {}


def test_kinds_are_coloured_over_the_grey_image() -> None:
    image = np.full((1, 4, 3), (30, 60, 90), np.uint8)
    shown = kinds_overlay(image, np.array([[0, 1, 2, 3]]), opacity=1.0)
    assert shown[0, 0].tolist() == [60, 60, 60]
    colours = [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in shown[0, 1:].tolist()]
    assert colours == [kind_colour(kind) for kind in (1, 2, 3)]
    lightness = sorted(float(np.dot(rgb, (0.299, 0.587, 0.114))) for rgb in shown[0, 1:])
    assert np.diff(lightness).min() > 15  # told apart without hues


@pytest.mark.parametrize(("count", "size"), [(1, (3, 5)), (3, (8, 12)), (8, (13, 19))])
def test_a_contact_sheet_shows_every_map_in_its_place(count: int, size: tuple[int, int]) -> None:
    maps = torch.linspace(0.6, 1, count)[:, None, None].expand(count, 3, 5)
    sheet = contact_sheet(maps)
    assert sheet.shape == size
    columns = (size[1] + 2) // 7
    for number in range(count):
        top, left = number // columns * 5, number % columns * 7
        assert torch.equal(sheet[top : top + 3, left : left + 5], maps[number])
    assert (sheet == 0.5).sum() == sheet.numel() - count * 15


def test_best_worst_and_most_disputed_images() -> None:
    ids = [f"{n}" for n in range(8)]
    one = dict(zip(ids, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.2, 0.1]))
    two = one | {"3": 0.1, "4": 0.95, "lacking": 0.0} | {"5": float("nan")}
    found = choose([one, two])
    assert [(sort, i) for sort, i, _ in found] == [
        ("best", "0"), ("best", "1"), ("worst", "7"), ("worst", "6"), ("disagreement", "3"), ("disagreement", "4"),
    ]  # fmt: skip
    assert found[0][2] == pytest.approx(0.9)
    assert found[4][2] == pytest.approx(0.25)


def test_a_single_method_disagrees_with_nobody() -> None:
    found = choose([{"a": 0.5, "b": 0.4, "c": 0.3}])
    assert [sort for sort, _, _ in found] == ["best"] * CHOSEN + ["worst"]  # no image twice
    assert choose([]) == []
    assert choose([{"a": 0.5}, {"b": 0.5}]) == []


def test_losses_are_thinned_and_keep_their_end(tmp_path: Path) -> None:
    for number, length in ((1, 3), (2, 1001), (10, 2)):
        history = [{"iteration": 100 * (n + 1), "loss": 1 / (n + 1)} for n in range(length)]
        (tmp_path / f"losses-{number}.json").write_text(json.dumps(history))
    found = losses(tmp_path)
    assert [len(history) for history in found] == [3, 167, 2]  # by number of the training, not by name
    assert [history[-1]["iteration"] for history in found] == [300, 100_100, 200]
    assert all(len(history) <= POINTS for history in found)


def test_details_are_kept_thinned_or_named(tmp_path: Path) -> None:
    files = {
        "guidance": {"threshold": list(range(1000)), "names": ["a"] * 300, "final": 0.3},
        "manifest": {"of": "the store"},
        "losses-1": [],
        "huge": {"text": "x" * LONGEST},
    }
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    (tmp_path / "torn.json").write_text("{")
    found = details(tmp_path)
    assert set(found) == {"guidance.json", "huge.json", "torn.json"}
    assert found["guidance.json"]["threshold"] == {"every": 5, "values": list(range(0, 1000, 5))}
    assert len(found["guidance.json"]["names"]) == 300
    assert found["guidance.json"]["final"] == 0.3
    assert "200" in found["huge.json"]["note"]
    assert found["torn.json"]["note"].startswith("not read: no JSON (")


def test_every_command_redraws_the_folder_with_the_same_images(
    command_line: CommandLine, third_party
) -> None:
    third_party(Toy("one"), Toy("two"))
    command_line.run("one", "--seeds", "0,1")
    alone = read_run(command_line.output).runs
    assert [bool(run["panels"]) for run in alone] == [True, False]  # the lowest seed is shown
    command_line.run("two", "method.two.value=3")
    runs = {(run["method"], run["seed"]): run for run in read_run(command_line.output).runs}
    one, two = runs["one", 0]["panels"], runs["two", 0]["panels"]
    assert [panel["id"] for panel in one] == [panel["id"] for panel in two]
    assert [panel["reasons"] for panel in one] == [panel["reasons"] for panel in two]
    assert {"disagreement"} <= {reason["sort"] for panel in one for reason in panel["reasons"]}
    assert all(a["truth"] == b["truth"] and a["pseudo_label"] != b["pseudo_label"] for a, b in zip(one, two))
    named = {panel[kind] for panel in [*one, *two] for kind in ("image", "truth", "pseudo_label")}
    assert {str(p.relative_to(command_line.output)) for p in command_line.output.glob("panels/*")} == named


class Gradual(Toy):
    """Labels the leaderboard scores, labels on the way to them, and a map that nobody scores."""

    def stages(self, config: Any, view: Any, shared: Any) -> Sequence[Stage]:
        on_the_way = Stage(
            "pseudo_label_first",
            "tests.helpers.toys:fill_doubtfully",
            ToyConfig(1),
            Kind.PSEUDO_LABEL,
            scored_as="pseudo_label_first",
        )
        return [on_the_way, *super().stages(config, view, shared)]


def test_what_a_method_made_on_the_way_is_shown(command_line: CommandLine, third_party) -> None:
    third_party(Gradual("gradual"), Toy("plain"))
    for _ in range(2):  # the pictures of the first time stay
        done = command_line.run("gradual,plain", "method.gradual.value=2")
        assert done.code == 0, done.err
        runs = {run["method"]: run["panels"] for run in read_run(command_line.output).runs}
        assert runs["plain"]
        assert all(panel["steps"] == [] for panel in runs["plain"])
        for panel in runs["gradual"]:
            assert [step["name"] for step in panel["steps"]] == ["pseudo_label_first", "changed", "doubt"]
            first, changed, doubt = (command_line.output / step["picture"] for step in panel["steps"])
            lost, won = panel["steps"][1]["legend"]
            assert (lost["name"], lost["share"], won["name"]) == ("lost", 0, "won")
            assert won["share"] == pytest.approx(0.5, abs=0.01)
            with Image.open(changed) as picture:
                shown = np.asarray(picture.convert("RGB")).astype(int)
                upper, lower = np.array_split(shown, 2)
                assert (upper[2:-2, :, 0] - upper[2:-2, :, 2]).mean() > 100  # yellow over the grey image
                assert abs((lower[2:-2, :, 0] - lower[2:-2, :, 2]).mean()) < 10
            with Image.open(doubt) as picture:
                assert np.abs(np.asarray(picture.convert("RGB")).astype(int) - 64).max() <= 2
            assert first.read_bytes() != (command_line.output / panel["pseudo_label"]).read_bytes()
    page = (command_line.output / "report.html").read_text()
    assert page.count("<figcaption>Pseudo-label: first</figcaption>") == len(runs["gradual"])
    assert page.count("<figcaption>Doubt</figcaption>") == len(runs["gradual"])
    assert page.count("On the way") == len(runs["gradual"])
