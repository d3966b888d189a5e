"""Reports of a made-up run: what they say, that they escape names, that a page needs nothing from outside."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rich.console import Console
from rich.table import Table

from datasets.base import DataError
from reports import build_reports, panels
from reports.panels import kind_colour
from reports.terminal import print_leaderboard, render
from reports.text import duration, markdown_leaderboard, mean_and_deviation, percent, points
from results.aggregate import leaderboard
from results.io import read_run, write_records
from results.schema import RunRecord
from results.significance import Significance, significance
from tests.helpers.synthetic_runs import HOSTILE, synthetic_run


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def page(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    written = build_reports(run_dir, tmp_path_factory.mktemp("report"))
    assert {kind: path.name for kind, path in written.items()} == {
        "html": "report.html",
        "latex": "tables.tex",
        "csv": "leaderboard.csv",
        "markdown": "report.md",
    }
    return written["html"].read_text(encoding="utf-8")


class _Page(HTMLParser):
    """Tags with attributes, and the text of each table row."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append("")

    def handle_data(self, data: str) -> None:
        if self.rows:
            self.rows[-1] += data

    def named(self, name: str) -> list[dict[str, str | None]]:
        return [attrs for tag, attrs in self.tags if tag == name]


def test_page_asks_nothing_from_outside(page: str) -> None:
    parsed = _Page(page)
    for _, attrs in parsed.tags:
        assert (attrs.get("src") or "data:").startswith("data:")
        assert (attrs.get("href") or "#").startswith(("#", "data:"))
    assert not parsed.named("link")[1:]
    assert len(parsed.named("script")) == 1
    assert "url(http" not in page
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_page_shows_scores_states_and_panels(page: str) -> None:
    parsed = _Page(page)
    rows = [" ".join(row.split()) for row in parsed.rows]
    eps = next(row for row in rows if row.startswith("1 EPS"))
    assert "n=3" in eps
    assert "±" in eps
    assert any("SAM-Fused" in row and "needs the weights sam_vit_b" in row for row in rows)
    assert any("all background" in row for row in rows)
    assert "A. Author et al., A paper, 2021" in page
    # gain of each stage, four kinds of cost, thresholds, a ledger; of five methods two trainings and a curve of details
    assert page.count("<svg") == 7 + 5 * (2 + 1)
    images = parsed.named("img")
    # each with image and truth: two with CAM and pseudo-label of 4 methods, two with the prediction of 5
    assert len(images) == 2 * (2 + 2 * 4) + 2 * (2 + 5)
    assert all(image["alt"] for image in images)
    ids = [attrs["id"] for _, attrs in parsed.tags if attrs.get("id")]
    assert len(ids) == len(set(ids))


def test_numbers_of_another_data_set_are_shown_with_the_reason_and_no_difference(page: str) -> None:
    assert "Reported and measured" in page
    row = next(row for row in _Page(page).rows if "voc2012 in the paper, shapes here" in row)
    assert not re.search(r"[+−]\d", row)


def test_names_are_escaped_in_html(tmp_path: Path) -> None:
    page = build_reports(synthetic_run(tmp_path, seeds=1, hostile=HOSTILE))["html"].read_text(
        encoding="utf-8"
    )
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    parsed = _Page(page)
    assert len(parsed.named("script")) == 1
    assert any(HOSTILE in row for row in parsed.rows)


def test_panels_outside_the_run_are_not_embedded(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), (1, 2, 3)).save(tmp_path / "secret.png")
    paths = dict.fromkeys(("truth", "cam", "pseudo_label", "prediction"))
    run = RunRecord(
        "shapes", "cam", "nano", "paper", "own", "own", 0, "done",
        panels=[{"id": "a", "labels": [], "image": "../secret.png", **paths}],
    )  # fmt: skip
    write_records(tmp_path / "run", [], [run])
    page = build_reports(tmp_path / "run")["html"].read_text(encoding="utf-8")
    assert "data:image" not in page


def test_what_was_made_on_the_way_is_escaped_and_of_the_run(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "run"):
        place.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4), (1, 2, 3)).save(place / "a.png")
    steps = [{"name": HOSTILE, "picture": "a.png"}, {"name": "secret", "picture": "../a.png"},
             {"name": "changed", "picture": "a.png",
              "legend": [{"name": "lost", "share": 0.125}, {"name": "won", "share": 0.01}]}]  # fmt: skip
    panel = {"id": "a", "labels": [], "image": None, "truth": None, "cam": "a.png", "steps": steps}
    run = RunRecord(
        "shapes", "cam", "nano", "paper", "own", "own", 0, "done",
        panels=[panel | dict.fromkeys(("pseudo_label", "prediction"))],
    )  # fmt: skip
    write_records(tmp_path / "run", [], [run])
    page = build_reports(tmp_path / "run")["html"].read_text(encoding="utf-8")
    assert page.count("data:image") == 3  # the CAM, and what is the run's own
    assert "Secret" not in page
    assert "<script>alert" not in page
    alternative = "Changed of cam on a: lost 12.5 % of the pixels, won 1.0 % of the pixels"
    assert f'alt="{alternative}"' in page
    for number, kind in ((1, "lost 12.5 %"), (2, "won 1.0 %")):
        assert f'<span class="chip" style="background:{kind_colour(number)}"></span>{kind}' in page


def test_a_run_whose_every_cell_failed_still_has_reports(tmp_path: Path) -> None:
    run = RunRecord("shapes", "cam", "nano", "paper", "own", "own", 0, "failed", "the disk is full")
    write_records(tmp_path, [], [run])
    written = build_reports(tmp_path)
    for kind in ("html", "csv", "markdown"):
        assert "the disk is full" in written[kind].read_text(encoding="utf-8")


def test_empty_run_is_one_clear_line(tmp_path: Path) -> None:
    write_records(tmp_path, [], [])
    with pytest.raises(DataError, match=r"the run is empty.*`run` fills it"):
        build_reports(tmp_path)
    console = Console(record=True, width=200)
    print_leaderboard(read_run(tmp_path), console)
    assert "the run is empty" in console.export_text()


@pytest.mark.parametrize("width", [80, 120])
def test_terminal_table_fits_and_cuts_no_number(run_dir: Path, width: int) -> None:
    console = Console(record=True, width=width, force_terminal=False)
    print_leaderboard(read_run(run_dir), console)
    text = console.export_text()
    assert all(len(line) <= width for line in text.splitlines())
    assert "…" not in text
    assert ("0.40" in text and "confusion" in text) == (width == 120)
    for needed in ("EPS", "n=3", "all background", "needs the weights sam_vit_b"):
        assert needed in text


def test_terminal_marks_what_is_best_by_significance(run_dir: Path) -> None:
    stored = read_run(run_dir)
    board = leaderboard(stored.records, stored.runs)
    found = significance(stored, board)
    standings = found.standings
    leads = standings[(standings["class_name"] == "") & (standings["group"] == 1)]
    (expected,) = board.loc[board["method"].isin(leads["method"]), "title"].unique()
    assert bold_titles(board, found) == {expected}
    tied = standings["method"].isin(["eps", "cam"])
    assert bold_titles(board, replace(found, standings=standings.assign(group=tied.astype(int)))) == {
        "EPS",
        "CAM",
    }
    assert bold_titles(board, replace(found, standings=standings.iloc[:0])) == set()


def bold_titles(board: pd.DataFrame, found: Significance) -> set[str]:
    """Entries of the terminal's leaderboard that have a score in bold."""
    (table,) = (part for part in render(board, found, 120) if isinstance(part, Table))
    columns = [list(column.cells) for column in table.columns]
    scores = [cells for cells in columns if any("±" in str(cell) for cell in cells)]
    return {str(columns[0][n]) for cells in scores for n, cell in enumerate(cells) if cell.style == "bold"}


def test_terminal_does_not_read_names_as_markup(tmp_path: Path) -> None:
    run = RunRecord(
        "shapes",
        "x",
        "nano",
        "paper",
        "own",
        "own",
        0,
        "failed",
        "[red]why[/]",
        method_info={"title": "[bold]x[/red]"},
    )
    write_records(tmp_path, [], [run])
    console = Console(record=True, width=120)
    print_leaderboard(read_run(tmp_path), console)
    text = console.export_text()
    assert "[bold]x[/red]" in text
    assert "[red]why[/]" in text


def test_markdown_escapes_cell_separators(run_dir: Path) -> None:
    stored = read_run(run_dir)
    lines = markdown_leaderboard(leaderboard(stored.records, stored.runs)).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1


def test_numbers_are_written_alike() -> None:
    assert percent(0.6123) == "61.2"
    assert percent(float("nan")) == "–"
    assert points(-0.031) == "−3.1"
    assert mean_and_deviation({"x_mean": 0.5, "x_std": 0.0123}, "x") == "50.0 ± 1.2"
    assert mean_and_deviation({"x_mean": 0.5, "x_std": float("nan")}, "x") == "50.0"
    ratio = {"confusion:a|b_mean": 20.6, "confusion:a|b_std": 0.125}
    assert mean_and_deviation(ratio, "confusion:a|b") == "20.60 ± 0.12"
    assert [duration(s) for s in (0.42, 59.6, 200, 7500)] == [
        "0.4 s",
        "1 min 00 s",
        "3 min 20 s",
        "2 h 05 min",
    ]


def test_label_colours_are_vocs() -> None:
    colours = panels.colour_labels(np.array([[0, 1, 2], [15, 20, 255]], dtype=np.uint8))
    assert colours.tolist() == [
        [[0, 0, 0], [128, 0, 0], [0, 128, 0]],
        [[192, 128, 128], [0, 64, 128], [224] * 3],
    ]


def test_overlays_touch_only_what_is_labelled_or_active() -> None:
    image = np.full((6, 8, 3), 100, dtype=np.uint8)
    labels = np.zeros((6, 8), dtype=np.uint8)
    labels[:3] = 1
    mixed = panels.overlay(image, labels)
    assert (mixed[3:] == 100).all()
    assert (mixed[:3, :, 0] > 100).all()
    maps = np.zeros((1, 3, 4), dtype=np.float16)
    maps[0, 0] = 1
    shown = panels.cam_overlay(image, maps, [0])
    assert shown.shape == image.shape
    assert (shown[0, :, 0] > shown[0, :, 1] + 50).all()
    assert (shown[-1] == 100).all()
    assert (panels.cam_overlay(image, np.zeros((0, 3, 4)), []) == 100).all()


def test_saved_label_maps_keep_their_colours(tmp_path: Path) -> None:
    labels = np.kron(np.arange(25).reshape(5, 5), np.ones((80, 80))).astype(np.uint8)
    rgb = panels.colour_labels(labels)
    panels.save_panel(tmp_path / "deep" / "labels.png", rgb, longest=200)
    saved = np.asarray(Image.open(tmp_path / "deep" / "labels.png").convert("RGB"))
    assert saved.shape == (200, 200, 3)
    assert (saved == rgb[::2, ::2]).all()
    encoded = panels.encode(tmp_path / "deep" / "labels.png", 100)
    assert (encoded.kind, encoded.size) == ("image/png", (100, 100))
    noise = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    panels.save_panel(tmp_path / "photo.jpg", noise)
    assert panels.encode(tmp_path / "photo.jpg", 30).kind == "image/webp"
