"""Sections of the HTML report, from made-up records: what they say, and that no name gets out as markup."""

from __future__ import annotations

import itertools
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports import html, templating, view
from reports.sections import (
    board_sections,
    certificate,
    classes,
    complexity,
    confusion,
    cost,
    details,
    examples,
    failures,
    field,
    further,
    gain,
    leaderboard,
    methods,
    provenance,
    reported,
    thresholds,
    training,
)
from reports.templating import COLOURS, DASHES, colour, dash
from results.aggregate import leaderboard as aggregate
from results.complexity import read_profiles
from results.io import StoredRuns, read_run, records_frame, write_records
from results.schema import Record, RunRecord
from tests.conftest import ROOT
from tests.helpers.synthetic_runs import CLASSES, HOSTILE, METHODS, synthetic_run


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> view.Board:
    return board_of(synthetic_run(tmp_path_factory.mktemp("run")))


def board_of(folder: Path) -> view.Board:
    stored = read_run(folder)
    return next(view.boards(stored, aggregate(stored.records, stored.runs)))


def made_board(values: dict[str, float], metric: str = "miou", **where: Any) -> view.Board:
    """A leaderboard of methods with one segmentation score each."""
    place = {
        "dataset": "d",
        "scale": "nano",
        "protocol": "paper",
        "refiner": "own",
        "segmenter": "own",
        "seed": 0,
    }
    score = {"stage": "segmentation", "variant": "", "split": "val", "metric": metric} | where
    records = records_frame(Record(**place, **score, method=m, value=v) for m, v in values.items())
    runs = [RunRecord(**place, method=m, status="done").as_dict() for m in values]
    table = aggregate(records, runs)
    return view.Board("board-0", "d", "nano", "paper", table, records, runs, Path())


def test_entries_that_do_not_differ_significantly_share_a_place() -> None:
    board = made_board({"a": 0.61, "b": 0.60, "c": 0.5})
    keys = {entry.label: entry.key for entry in board.entries}
    tested = {"segmentation": {keys["a"]: 1, keys["b"]: 1, keys["c"]: 3}}
    board = replace(board, places=tested)
    shown = leaderboard.build(board)
    assert [row["rank"] for row in shown["rows"]] == [1, 1, 3]
    assert shown["tested"]
    assert [row["cells"][0]["best"] for row in shown["rows"]] == [True, True, False]
    partly = replace(board, places={"segmentation": {keys["a"]: 1}})
    assert [row["rank"] for row in leaderboard.build(partly)["rows"]] == [1, None, None]
    untested = leaderboard.build(replace(board, places={}))
    assert [row["rank"] for row in untested["rows"]] == [None] * 3
    assert not untested["tested"]


def test_leaderboard_knows_what_to_filter_by(board: view.Board) -> None:
    shown = leaderboard.build(board)
    assert shown["supervisions"] == ["I", "I+S", "I+SAM", "M"]
    assert shown["backbones"] == ["resnet38d", "resnet50", "vit"]
    assert list(shown["stages"]) == ["cam", "pseudo_label", "segmentation"]
    bound = next(row for row in shown["rows"] if row["title"] == "Supervised")
    assert bound["rank"] is None
    assert bound["kind"] == "bound"
    not_run = next(row for row in shown["rows"] if row["status"] == "not run")
    assert not not_run["scored"]
    assert "sam_vit_b" in not_run["reason"]


def test_heat_map_has_the_mean_and_every_class(board: view.Board) -> None:
    tables = {table["score"].name: table for table in classes.build(board)["tables"]}
    segmentation = tables["segmentation"]
    assert [row["name"] for row in segmentation["rows"]][:3] == ["mean", "background", "boat"]
    assert len(segmentation["rows"]) == 12
    entry = next(e for e in board.entries if e.label == segmentation["heads"][0]["label"])
    assert segmentation["rows"][0]["cells"][0]["mean"] == pytest.approx(entry.row["segmentation_mean"])


def test_no_heat_map_is_of_references_alone(board: view.Board) -> None:
    of_methods = ~board.records["method"].str.startswith("reference/")
    few = replace(board, records=board.records[~(of_methods & (board.records["stage"] == "segmentation"))])
    assert (few.records["stage"] == "segmentation").any()
    shown = [table["score"].name for table in classes.build(few)["tables"]]
    assert "pseudo_label" in shown
    assert "segmentation" not in shown


def test_stages_of_a_methods_own_stand_where_its_graph_has_them(board: view.Board) -> None:
    entry = next(e for e in board.entries if e.label == "EPS")
    order = ["cam", "pseudo_label_vit", "cam_sam", "pseudo_label", "segmentation"]
    means = {
        name: {"mean": 0.1 * k, "std": math.nan, "n": 1, "split": "val" if name == order[-1] else "train"}
        for k, name in enumerate(order, 1)
    }
    steps = gain._steps(entry, means)
    assert [step["title"] for step in steps] == [
        "CAM",
        "Pseudo-label: ViT",
        "CAM: SAM",
        "Pseudo-label",
        "Segmentation",
    ]
    assert [step["gain"] for step in steps] == ["", *["+10.0"] * 3, ""]


def test_gain_is_the_difference_of_consecutive_stages(board: view.Board) -> None:
    rows = {row["label"]: row["steps"] for row in gain.build(board)["rows"]}
    steps = rows["EPS"]
    assert [step["title"] for step in steps] == ["CAM", "Pseudo-label", "Segmentation"]
    entry = next(e for e in board.entries if e.label == "EPS")
    expected = 100 * (entry.row["pseudo_label_mean"] - entry.row["cam_fixed_mean"])
    assert steps[1]["gain"] == f"+{expected:.1f}"
    assert steps[2]["gain"] == ""  # of other images
    assert "Supervised" not in rows  # a single stage gains nothing


def test_no_line_leads_from_train_to_val(board: view.Board) -> None:
    """The chart's paths end with the pseudo-labels; the segmentation, of other images, is a dot."""
    svg = str(gain.build(board)["svg"])
    segmentation = {float(x) for x in re.findall(r'<circle cx="([\d.]+)"', svg)}
    assert len(segmentation) == 1
    paths = re.findall(r'class="line[^"]*" d="M([^"]+)"', svg)
    assert len(paths) == 4
    assert all(float(point.split()[0]) < min(segmentation) for path in paths for point in path.split("L"))


def test_what_cannot_be_compared_is_folded(board: view.Board) -> None:
    """The made-up run is of shapes; no paper's number is of them."""
    data = reported.build(board)
    assert data["groups"] == []
    assert data["others"]
    shown = templating.environment().get_template("sections/reported.html").render(s=data)
    before, folded = shown.split("<details>")
    assert "<td" not in before
    assert folded.count("in the paper, shapes here") == data["total"]
    assert f"{data['total']} printed numbers that cannot be compared" in folded


def test_confusion_tables_name_object_and_context(board: view.Board) -> None:
    tables = confusion.build(board)["tables"]
    assert [(t["object"], t["context"]) for t in tables] == [("boat", "water"), ("train", "rails")]
    cells = {row["label"]: row["cells"][0] for row in tables[0]["rows"]}
    ratio = float(cells["CAM"]["text"])
    assert cells["CAM"]["share"] == pytest.approx(100 * ratio / (1 + ratio), abs=1)


def test_further_scores_have_a_table_each_and_the_classifiers_their_own(board: view.Board) -> None:
    tables = {table["name"]: table for table in further.build(board)["tables"]}
    assert list(tables) == ["cam_fixed", "pseudo_label", "segmentation", "classifier"]
    heads = tables["segmentation"]["heads"]
    assert heads == ["Boundary recall", "precision", "F1", "Small", "large", "1 class", "3 or more"]
    rows = {row["label"]: row["cells"] for row in tables["segmentation"]["rows"]}
    eps = next(e for e in board.entries if e.label == "EPS")
    recall, small = rows["EPS"][0], rows["EPS"][3]
    assert recall["text"] == f"{100 * (eps.row['segmentation_mean'] - 0.1):.1f}"
    assert small["text"] == f"{100 * (eps.row['segmentation_mean'] - 0.2):.1f}"
    assert (small["n"], small["images"]) == (3, 200)
    assert tables["classifier"]["heads"] == ["mAP", *CLASSES[1:]]
    assert "Supervised" not in {row["label"] for row in tables["classifier"]["rows"]}  # it has none
    assert "Supervised" in rows


def test_a_board_without_further_scores_has_no_such_section() -> None:
    assert further.build(made_board({"a": 0.5})) is None


def test_costs_and_times(board: view.Board) -> None:
    assert [chart["name"] for chart in cost.build(board)["charts"]] == ["training", "time", "macs", "memory"]
    shown = complexity.build(board)
    eps = next(row for row in shown["times"] if row["label"] == "EPS")
    assert eps["total"] == sum(stage["seconds"] for stage in eps["stages"])
    assert max(sum(s["width"] for s in row["stages"]) for row in shown["times"]) == pytest.approx(100)


def test_complexity_says_what_each_figure_covers_and_how_it_was_made(board: view.Board) -> None:
    (table,) = complexity.build(board)["tables"]
    assert "linear and convolution layers alone; + products: with those of attention" in table.caption
    assert "Measured on a machine, random weights, precision 32-true." in table.caption
    row = dict(zip(table.heads, table.rows[1]))
    assert (row["Method"], row["Network and what is covered"]) == ("EPS", "CAM network: CRF")
    assert (row["Size"], row["MACs (G)"], row["+ products"]) == ("96x96", "0.500", "0.600")
    assert (row["time (ms)"], row["images/s"], row["in batches"]) == ("33.0 ± 1.0", "30.0", "60.0 (4)")


def made_profile(folder: Path, run: RunRecord, hardware: str, values: dict[str, float]) -> None:
    forward_pass = {"network": "CAM network", "covers": "alone", "height": 9, "width": 9, "weights": "random"}
    forward_pass |= {
        "name": "classify",
        "key": "k",
        "repeats": 4,
        "reason": "" if "seconds" in values else "too long",
    }
    place = (run.dataset, run.method, run.scale, run.protocol, run.refiner, run.segmenter)
    records = [
        Record(*place, -1, "profile", "alone", "", metric, value, key="k", changes=run.changes)
        for metric, value in values.items()
    ]
    made = replace(run, seed=-1, stages=[forward_pass], provenance={"hardware_name": hardware})
    write_records(folder / "profile" / hardware, records, [made])


def test_profiles_are_kept_apart_by_hardware_and_by_settings(tmp_path: Path) -> None:
    plain = RunRecord("d", "m", "nano", "paper", "own", "own", 0, "done")
    other = replace(plain, changes="backbone.name=vit")
    write_records(tmp_path, [], [plain, other])
    made_profile(
        tmp_path, plain, "cpu", {"macs_g": 2.0, "seconds": 0.1, "seconds_iqr": 0.001, "host_memory_mb": 90.0}
    )
    made_profile(tmp_path, plain, "gpu", {"macs_g": 2.0, "host_memory_mb": 900.0})
    board = board_of(tmp_path)
    tables = {table.name: table for table in complexity.build(board)["tables"]}
    assert list(tables) == ["complexity-cpu", "complexity-gpu"]
    assert tables["complexity-cpu"].rows == [["m", "CAM network: alone", "9x9", "2.00", "100 ± 1", "90.0"]]
    assert "m, CAM network: alone: too long." in tables["complexity-gpu"].caption
    assert [entry.row["changes"] for entry in board.entries] == ["", "backbone.name=vit"]

    made_profile(tmp_path, replace(plain, changes="backbone.name=vgg"), "cpu", {"macs_g": 7.0})
    board = board_of(tmp_path)
    assert [t.rows[0][0] for t in complexity.build(board)["tables"]] == ["m (backbone.name=vgg)", "m"]


def test_what_papers_print_stands_below_what_is_counted(tmp_path: Path) -> None:
    info = {"title": "SAM-fused", "reported_as": "SAM-fused"}
    counted = {"macs_g": 3000.0, "parameters_m": 180.0}
    for scale, more in (("paper", 1), ("nano", 0)):
        run = RunRecord("d", "m", scale, "paper", "own", "own", 0, "done", method_info=info)
        write_records(tmp_path / scale, [], [run])
        made_profile(tmp_path / scale, run, "counts", counted)
        (table,) = complexity.build(board_of(tmp_path / scale))["tables"]
        rows = [dict(zip(table.heads, row)) for row in table.rows]
        assert [row["MACs (G)"] for row in rows] == ["3000", "236"][: 1 + more]
        assert [row["Params (M)"] for row in rows] == ["180", "58.9"][: 1 + more]
        assert ("GFLOPs: " in table.caption) == bool(more)
    assert rows[0]["Method"] == "SAM-fused"


def test_threshold_curves_tell_the_best_and_the_fixed_one(board: view.Board) -> None:
    shown = thresholds.build(board)
    assert [item["label"] for item in shown["legend"]] == ["EPS", "DSKD-GC", "CA-CL", "CAM"]
    assert all(item["values"][1:] == ["0.31", "0.25"] for item in shown["legend"])
    assert shown["svg"].count('class="series"') == 4
    assert shown["svg"].count('class="mark"') == 4


def test_training_curves_of_every_stage_and_their_spread_over_seeds(board: view.Board) -> None:
    entries = training.build(board)["entries"]
    assert [entry["label"] for entry in entries] == [e.label for e in board.methods if e.runs[0]["stages"]]
    chart = entries[0]["charts"][0]
    assert (chart["stage"], chart["seeds"]) == ("Classify", 3)
    assert 'class="band"' in chart["svg"]
    assert [item["label"] for item in chart["legend"]] == ["classification"]


def test_examples_are_grouped_by_why_they_are_shown(board: view.Board) -> None:
    shown = examples.build(board)
    assert [sort["name"] for sort in shown["sorts"]] == ["sample", "best", "worst", "disagreement"]
    best = next(image for image in shown["images"] if image["sort"] == "best")
    assert best["reasons"] == ["best on the whole (predictions: mean IoU 93.0)"]
    assert list(best["views"]) == ["prediction"]
    assert {entry["label"] for entry in best["entries"]} == {m.title for m in METHODS if m.runs}


def test_details_are_shown_whatever_they_are() -> None:
    content = {
        "prompts": ["a photo of {}", "a drawing of {}"],
        "choices": {"boat": [3, 1], "train": [0, 9]},
        "threshold": {"every": 5, "values": [0.1 * n for n in range(20)]},
        "final": 0.25,
        "rates": {"boat": 0.5},
        "nested": [{"a": 1}],
        "none": None,
        "short": [1, 2],
    }
    found = {(block["kind"], block["title"]): block for block in details.blocks(content)}
    rows = found["values", ""]["rows"]
    assert ("final", "0.25") in rows
    assert ("none", "–") in rows
    assert ("short", "1, 2") in rows
    assert found["table", "choices"]["heads"] == content["prompts"]
    assert found["table", "choices"]["rows"] == [("boat", ["3", "1"]), ("train", ["0", "9"])]
    assert found["table", "rates"]["rows"] == [("boat", ["0.5"])]
    assert (
        ">95<" in found["chart", "threshold"]["svg"] or "from 0 to 1.9" in found["chart", "threshold"]["svg"]
    )
    assert '"a": 1' in found["text", "nested"]["text"]
    assert details.blocks([1, "x"]) == [{"kind": "text", "title": "", "text": '[\n  1,\n  "x"\n]'}]


def test_page_wide_sections(board: view.Board) -> None:
    shown = {m["name"]: m for m in methods.build([board])["methods"]}
    assert len(shown["eps"]["deviations"]) == 1
    assert [source["values"] for source in shown["eps"]["sources"]] == [["crop=96", "rate=0.1"]]
    assert [file["title"] for file in shown["eps"]["details"]] == ["classify/guidance.json"]
    failed = failures.build([board])["rows"]
    assert [(row["label"], row["seeds"], row["status"]) for row in failed] == [
        ("SAM-Fused", [0, 1, 2], "not run")
    ]
    entries = provenance.build([board])["groups"][0]["entries"]
    eps = next(entry for entry in entries if entry["label"] == "EPS")
    assert ['"epochs": 4' in run["settings"] for run in eps["runs"]] == [True, False, False]


def test_a_methods_deviations_are_those_of_all_its_runs(board: view.Board) -> None:
    entry = next(entry for entry in board.methods if entry.row["method"] == "eps")
    another: dict[str, object] = dict.fromkeys(("topic", "paper", "code", "ours", "why"), "of its refiner")
    entry.runs[-1]["method_info"]["deviations"] = [another]
    shown = {m["name"]: m for m in methods.build([board])["methods"]}
    assert another in shown["eps"]["deviations"]
    assert len(shown["eps"]["deviations"]) == 2


def voc_board(dataset: str = "voc2012", split: str = "val", **info: Any) -> view.Board:
    """A board with one score of SEAM."""
    made = made_board({"seam": 0.6421}, split=split)
    place = {"dataset": dataset}
    runs = [
        {**run, **place, "method_info": info, "provenance": {"finished": "2026-11-30T10:00"}}
        for run in made.runs
    ]
    records = made.records.assign(**place)
    return replace(made, **place, records=records, runs=runs, table=aggregate(records, runs))


def test_scores_on_the_fields_data_stand_beside_its_own_at_the_papers_year() -> None:
    data = field.build(voc_board(reported_as="SEAM"))
    assert data is not None
    assert (data["legend"][0]["label"], data["legend"][-1]["label"]) == ("I", "this run")
    svg = str(data["svg"])
    assert "64.2 here, nano scale, paper protocol" in svg
    found = {
        title: float(x)
        for title, x in re.findall(r"<title>([^:]+):[^<]*</title>\s*<circle[^>]*cx=\"([\d.]+)\"", svg)
    }
    label = voc_board(reported_as="SEAM").entries[0].label
    assert found[label] == found["SEAM"] < found["DuPL‡"]
    assert "VOC val" in svg


def test_a_method_that_the_field_does_not_have_stands_at_the_year_of_its_run() -> None:
    data = field.build(voc_board(dataset="coco2014"))
    assert data is not None
    assert data["head"] == "COCO val"
    assert ">2026</text>" in str(data["svg"])


def test_other_data_and_other_images_have_no_place_in_the_field(board: view.Board) -> None:
    assert field.build(board) is None
    assert field.build(voc_board(dataset="shapes")) is None
    assert field.build(voc_board(split="train")) is None


def test_an_empty_board_has_only_its_leaderboard(tmp_path: Path) -> None:
    write_records(tmp_path, [], [RunRecord("d", "m", "nano", "paper", "own", "own", 0, "failed", "why")])
    assert [section.name for section in board_sections(board_of(tmp_path))] == ["leaderboard"]


class _Tags(HTMLParser):
    """Tags with attributes, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def shape(page: str) -> list[tuple[str, tuple[str, ...]]]:
    """Tags and their attributes' names: what hostile names must not change."""
    return [(tag, tuple(sorted(attrs))) for tag, attrs in _Tags(page).tags]


PLACEHOLDER = "xPLACEHOLDERx"


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> StoredRuns:
    """A small run with the placeholder wherever a name or a text can stand."""
    folder = tmp_path_factory.mktemp("names")
    two, few = METHODS[:2], CLASSES[:4]
    return read_run(synthetic_run(folder, 1, PLACEHOLDER, methods=two, classes=few, images=2))


def rendered(stored: StoredRuns, name: str) -> str:
    """The page with a name in the placeholder's stead, in the profiles too."""
    named = renamed(stored, name)
    profiles = [renamed(profile, name) for profile in read_profiles(stored.path)]
    with mock.patch.object(view, "read_profiles", return_value=profiles):
        return html.render(named, aggregate(named.records, named.runs))


def renamed(stored: StoredRuns, name: str) -> StoredRuns:
    records = stored.records.copy()
    for column in records.select_dtypes(exclude="number"):
        records[column] = records[column].str.replace(PLACEHOLDER, name, regex=False)
    runs = json.loads(json.dumps(stored.runs).replace(PLACEHOLDER, json.dumps(name)[1:-1]))
    return StoredRuns(records, runs, stored.path)


@pytest.fixture(scope="module")
def tame(stored: StoredRuns) -> list[tuple[str, tuple[str, ...]]]:
    return shape(rendered(stored, "x"))


HOSTILE_TEXT = st.text(
    alphabet=st.one_of(
        st.sampled_from("<>&\"'/=`{}%#;|\\ -!"), st.characters(codec="utf-8", categories=["L", "N"])
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=12)
@given(HOSTILE_TEXT)
def test_no_name_changes_the_pages_structure(stored: StoredRuns, tame: Any, name: str) -> None:
    assert shape(rendered(stored, "x" + name)) == tame


@pytest.mark.parametrize("name", [HOSTILE, '"><img src=x onerror=alert(1)>', "{{ 7*7 }}", "--></style><!--"])
def test_known_attacks_stay_text(stored: StoredRuns, tame: Any, name: str) -> None:
    page = rendered(stored, "x" + name)
    assert shape(page) == tame
    assert name in _Tags(page).text


def test_every_image_and_chart_has_an_alternative_text(stored: StoredRuns) -> None:
    tags = _Tags(rendered(stored, "x")).tags
    assert all(attrs.get("alt") for tag, attrs in tags if tag == "img")
    charts = [attrs for tag, attrs in tags if tag == "svg"]
    assert charts
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in charts)
    ids = [attrs["id"] for _, attrs in tags if attrs.get("id")]
    assert len(ids) == len(set(ids))
    targets = [str(attrs["href"])[1:] for tag, attrs in tags if tag == "a"]
    assert set(targets) <= set(ids)


# Machado, Oliveira and Fernandes, A physiologically-based model for simulation of color vision deficiency, 2009, Tab. 1
VISIONS = {
    "usual": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def themes() -> dict[str, dict[str, str]]:
    """Colours of the style sheet's two themes by variable name."""
    sheet = (ROOT / "reports" / "templates" / "css" / "page.css").read_text()
    parts = sheet.split("prefers-color-scheme: dark")
    found = [dict(re.findall(r"--([a-z]+(?:-\w+)?): (#[0-9a-f]{6})", part)) for part in parts]
    return {"light": found[0], "dark": found[1]}


def linear(hexadecimal: str) -> np.ndarray:
    srgb = np.array([int(hexadecimal[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE Lab of linear sRGB, D65."""
    to_xyz = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
                       [0.0193339, 0.1191920, 0.9503041]])  # fmt: skip
    t = to_xyz @ rgb / np.array([0.95047, 1, 1.08883])
    f = np.where(t > 216 / 24389, np.cbrt(t), (24389 / 27 * t + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(a: str, b: str) -> float:
    """WCAG's contrast ratio."""
    low, high = sorted(float(np.array([0.2126, 0.7152, 0.0722]) @ linear(c)) for c in (a, b))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_series_are_told_apart_with_any_colour_vision(theme: str, vision: str) -> None:
    colours = [themes()[theme][f"series-{n}"] for n in range(COLOURS)]
    seen = [lab(np.clip(np.array(VISIONS[vision]) @ linear(c), 0, 1)) for c in colours]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 25


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_contrast_is_enough_to_read(theme: str) -> None:
    colours = themes()[theme]
    for text in ("ink", "muted", "accent", "bad", "warn", "good"):
        assert contrast(colours[text], colours["paper"]) >= 4.5, text
    for number in range(COLOURS):
        assert contrast(colours[f"series-{number}"], colours["paper"]) >= 2.95, number


def test_twenty_four_series_differ_in_colour_or_dash() -> None:
    assert len({(colour(n), dash(n)) for n in range(COLOURS * DASHES)}) == 24


def test_a_board_without_segmentation_still_shows_what_it_has() -> None:
    board = made_board({"a": 0.5, "b": 0.4}, stage="cam", variant="fixed", split="train")
    assert [entry.label for entry in board.entries] == ["a", "b"]
    shown = leaderboard.build(board)
    assert shown["main"] == "cam_fixed"
    assert isinstance(board.table, pd.DataFrame)


def access(masks_closed: bool = True, **files: int) -> dict[str, Any]:
    """What a stage has of the leak certificate."""
    opened = {kind: {"files": count, "sha256": "0" * 64} for kind, count in files.items()}
    record = {"masks_closed": masks_closed, "refused": 0, "images": {"train": 3, "val": 0}, "opened": opened}
    record |= {"elsewhere": 2, "endings": {".json": 1, "": 1}}
    return {
        "inputs": [],
        "pretrained": {"timm/net": "abc" * 20},
        "seen_masks": "",
        "sha256": "d" * 64,
        "record": record,
    }


class TestCertificate:
    @pytest.fixture
    def recorded(self, board: view.Board) -> view.Board:
        """The made-up board, whose first run alone was watched; its first stage opened masks."""
        first, *rest = board.runs
        stages = [
            stage | {"access": access(n > 0, images=3, **({} if n else {"masks": 1}))}
            for n, stage in enumerate(first["stages"])
        ]
        return replace(board, runs=[first | {"stages": stages}, *rest])

    def test_nothing_where_no_stage_was_watched(self, board: view.Board) -> None:
        assert certificate.build([board]) is None

    def test_stages_say_what_they_opened(self, recorded: view.Board) -> None:
        data = certificate.build([recorded])
        assert data is not None
        watched = next(e for e in data["entries"] if not all(row["unknown"] for row in e["stages"]))
        assert watched["stages"][0]["masks"] == "opened"
        assert watched["stages"][0]["others"] == ["1 mask", "2 from elsewhere (1 .json, 1 without ending)"]
        assert watched["seen"] == ["shapes"]
        facts = {fact["term"]: fact["text"] for fact in data["facts"]}
        assert facts["Masks opened, as declared, in"] == 1
        assert facts["Masks closed in"] == len(watched["stages"]) - 1

    def test_the_page_shows_it(self, recorded: view.Board) -> None:
        data = certificate.build([recorded])
        page = templating.environment().get_template("sections/certificate.html").render(s=data)
        assert "has seen masks: shapes" in page
        assert "timm/net <code>abcabca" in page
