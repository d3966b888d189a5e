"""A run against a paper's row: what is exchanged, what is not run here, and what stays unexplained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmark.explanation.cells import Side, cell, differences, read_side, sets
from benchmark.explanation.explain_command import ledger
from benchmark.explanation.ledger import subsets
from benchmark.explanation.paper import REST, conditions, is_paper, paper_side, printed_number
from benchmark.failures import ConfigError
from reports.ledgers import ledger_table
from results.explanations import read_ledgers
from tests.helpers.tiny import data, sizes
from tests.helpers.toys import CommandLine

ROW = "paper:eps/Tab. 6/EPS V1"


def side(text: str, *overrides: str, dataset: str = "shapes", scale: str = "nano") -> Side:
    return read_side(text, dataset, scale, "paper", overrides)


def test_a_row_is_found_by_its_place_or_is_the_highest() -> None:
    a = side("eps")
    assert printed_number(a, ROW, "segmentation").printed == 71.0
    assert printed_number(a, f"{ROW}/val", "segmentation").printed == 71.0
    assert printed_number(a, "paper", "segmentation").printed == 71.0
    assert printed_number(a, "paper", "pseudo_label").printed == 71.6
    coco = side("eps", dataset="coco2014", scale="paper")
    assert printed_number(coco, "paper", "segmentation").printed == 35.7
    assert [is_paper(text) for text in ("paper", ROW, "papers", "eps:paper")] == [True, True, False, False]


@pytest.mark.parametrize(
    ("method", "text", "score", "said"),
    [
        ("eps", "paper:eps/Tab. 6/nothing", "segmentation", r"there are 'paper:eps/Tab\. 5/EPS V1'"),
        ("eps", "paper:eps/Tab. 3/naive", "pseudo_label", "no row"),
        ("eps", f"{ROW}/test", "segmentation", "no row"),
        ("sam_fused", "paper", "segmentation", "no paper here prints"),
        ("supervised", "paper", "segmentation", "no paper here prints"),
    ],
)
def test_what_names_no_row_is_refused(method: str, text: str, score: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as error:
        printed_number(side(method), text, score)
    assert "\n" not in str(error.value)


def test_what_can_be_had_here_is_exchanged_and_the_rest_is_named() -> None:
    a = side("eps:none:aspp", "method.eps.overlap_threshold=0.3")
    number = printed_number(a, ROW, "segmentation")
    b = paper_side(a, number)
    things = differences(a, b, "segmentation")
    assert things == ["inference", "background_threshold", "segmenter", "test"]
    found = {each.name: each for each in conditions(a, b, number, things, [0, 1])}
    assert set(things) <= found.keys()
    assert {"data", "scale", "backbone", "backbone_weights", "train", "segmenter_backbone"} <= found.keys()
    assert (found["data"].here, found["data"].paper) == ("shapes (drawn)", "voc2012")
    assert (found["segmenter"].here, found["segmenter"].paper) == ("aspp", "DeepLab V1")
    assert found["segmenter_weights"].paper == "COCO masks"
    assert found["test"].paper == "0.5, 0.75, 1, 1.25, 1.5; mirrored; CRF"
    assert found["settings"].here == "overlap_threshold=0.3"
    assert found["seeds"].here == "2"
    assert "protocol" not in found
    config = cell(a, b, frozenset(things), things)
    assert config.method["eps"].background_threshold == 0.2
    assert config.protocol.segmenter is not None
    assert config.protocol.segmenter.head == "largefov"
    assert config.protocol.segmenter.test_crf is not None
    assert config.protocol.segmenter.backbone == a.parts["segmenter"].backbone
    assert len(sets(a, b, things)) == 2 ** len(things)


def test_a_run_at_paper_scale_on_the_papers_data_differs_in_its_seeds_alone() -> None:
    a = side("eps", dataset="coco2014", scale="paper")
    number = printed_number(a, "paper", "segmentation")
    b = paper_side(a, number)
    things = differences(a, b, "segmentation")
    assert things == []
    names = [each.name for each in conditions(a, b, number, things, [0])]
    assert names == ["ground_truth", "seeds"]  # COCO-Stuff's masks in the paper


@pytest.mark.parametrize(
    ("method", "row", "name", "paper"),
    [
        ("eps", "eps/Tab. 5/EPS V1", "segmenter_backbone", "VGG16"),
        ("eps", "eps/Tab. 6/EPS V1", "segmenter_weights", "COCO masks"),
        ("cam", "lpcam/Tab. 2/CAM", "backbone", "ResNet-50"),
        ("mctformer", "ca_cl/Tab. 1/MCTformer", "vit", "ViT-B"),
    ],
)
def test_what_a_row_says_of_its_networks_counts_more_than_the_preset(
    method: str, row: str, name: str, paper: str
) -> None:
    score = "segmentation" if name.startswith("segmenter") else "pseudo_label"
    a = side(method, dataset="voc2012", scale="paper")
    number = printed_number(a, f"paper:{row}", score)
    found = {each.name: each.paper for each in conditions(a, paper_side(a, number), number, [], [0])}
    assert found[name] == paper


@pytest.mark.parametrize(
    "setting",
    ["inference.tiles.side=1024", "backbone.output_stride=16", "segmenter.padding_is_background=true"],
)
def test_changed_settings_without_a_line_of_their_own_are_listed(setting: str) -> None:
    a = side("eps", f"method.eps.{setting}", dataset="voc2012", scale="paper")
    number = printed_number(a, "paper", "segmentation")
    found = {each.name: each.here for each in conditions(a, paper_side(a, number), number, [], [0])}
    assert setting.partition("=")[0] in found["settings"]


def test_drawn_data_are_not_the_papers_of_the_same_name() -> None:
    a = side("sam_fused", dataset="bluefilm")
    number = printed_number(a, "paper", "pseudo_label")
    b = paper_side(a, number)
    found = conditions(a, b, number, differences(a, b, "pseudo_label"), [0])
    assert (found[0].here, found[0].paper) == ("bluefilm (drawn)", "bluefilm, the split is not said")
    assert "refiner" not in {each.name for each in found}  # its own fusion, in the paper too


def test_a_cams_number_is_at_a_threshold_chosen_otherwise() -> None:
    a = side("eps")
    number = printed_number(a, "paper", "cam")
    b = paper_side(a, number)
    assert differences(a, b, "cam") == ["inference"]
    found = {each.name: each for each in conditions(a, b, number, ["inference"], [0])}
    assert "background_threshold" not in found
    assert found["choice"].here == "fixed"


def test_what_no_exchange_explains_is_the_last_share() -> None:
    a = side("eps:none")
    number = printed_number(a, "paper:eps/Tab. 3/adaptive", "pseudo_label")
    b = paper_side(a, number)
    things = differences(a, b, "pseudo_label")
    assert things == ["inference", "background_threshold"]
    gains = {"inference": 0.03, "background_threshold": -0.01}
    rng = np.random.default_rng(0)
    images, every = rng.normal(0, 0.01, 400), subsets(things, lambda changed: True)
    values = {
        c: {0: 0.5 + sum(gains[name] for name in c), 1: 0.5 + sum(gains[name] for name in c)} for c in every
    }
    resampled = {c: {seed: value + images for seed, value in values[c].items()} for c in every}
    compared = tuple(conditions(a, b, number, things, [0, 1]))
    found = ledger(a, b, "pseudo_label", things, values, resampled, number, compared)
    assert (found.start, found.end) == (pytest.approx(0.5), pytest.approx(0.694))
    *parts, rest = found.shares
    assert {each.name: pytest.approx(each.gain) for each in parts} == gains
    assert rest.name == REST
    assert rest.gain == pytest.approx(0.694 - 0.52)
    assert rest.low < rest.gain < rest.high
    assert found.whole.gain == pytest.approx(0.194)
    table = {row[0]: row[1:] for row in ledger_table("x", found).rows}
    assert table["data set"] == ["shapes (drawn)", "voc2012", "not run here", ""]
    assert table["background threshold"][:3] == ["0.25", "0.2", "−1.0"]
    assert table["not explained here"][2] == "+17.4"
    assert table["seeds"][2] == "in the intervals"


def test_the_command_sets_a_run_against_a_row(command_line: CommandLine, tmp_path: Path) -> None:
    settings = [*sizes(["eps"]), *data(tmp_path / "shapes"), f"runtime.store={command_line.store}"]
    common = ("eps:none", "paper:eps/Tab. 3/adaptive", *settings, "method.eps.inference.scales=[0.5,1,1.5,2]",
              "method.eps.inference.flip=true", "--score", "pseudo_label", "--device", "cpu")  # fmt: skip
    planned = command_line("explain", *common, "--dry-run")
    assert planned.code == 0, planned.err
    assert "differs in: background_threshold; 2 combinations, 2 runs" in planned.out
    assert "not run here: data set; scale: networks, schedules, other settings" in planned.out
    place = tmp_path / "explanations" / "ledger.json"
    done = command_line("explain", *common, "--output", str(place))
    assert done.code == 0, done.err
    found = read_ledgers(tmp_path)["ledger"]
    assert [share.name for share in found.shares] == ["background_threshold", REST]
    assert found.end == pytest.approx(0.694)
    assert sum(share.gain for share in found.shares) == pytest.approx(found.end - found.start)
    assert "not explained here" in done.out
    assert "not run here" in done.out
