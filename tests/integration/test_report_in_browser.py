"""The HTML report in a real browser: sorted, filtered, opened, by pointer and keyboard, on desktop and phone."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reports import build_reports, html
from results.aggregate import leaderboard
from results.io import read_run
from tests.helpers.synthetic_runs import HOSTILE, synthetic_run

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (extra: test)")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on the path")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    return build_reports(synthetic_run(folder, seeds=2), formats=["html"])["html"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM)
        yield chromium
        chromium.close()


@pytest.fixture(params=["desktop-light", "phone-dark"])
def page(browser: Any, file: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The opened report; afterwards there must have been no message, no error and no request but for the file."""
    size, _, scheme = request.param.partition("-")
    viewport = {"width": 1280, "height": 900} if size == "desktop" else {"width": 390, "height": 844}
    yield from opened(browser, file, viewport=viewport, color_scheme=scheme)


def opened(browser: Any, file: Path, **options: Any) -> Iterator[Any]:
    context = browser.new_context(**options)
    context.set_default_timeout(120_000)  # a machine may be busy
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    yield page
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [file.as_uri()]
    context.close()


def titles(page: Any) -> list[str]:
    """Methods of the leaderboard's visible rows, from above."""
    rows = page.locator("table.scores tbody tr:visible .method strong")
    return [text.strip() for text in rows.all_inner_texts()]


def ranks(page: Any) -> list[str]:
    return [
        text.strip() for text in page.locator("table.scores tbody tr:visible td.rank").all_text_contents()
    ]


def test_sorting_turns_and_returns(page: Any) -> None:
    first = titles(page)
    assert first[:4] == ["EPS", "DSKD-GC", "CA-CL", "CAM"]
    assert ranks(page)[:4] == ["1", "2", "2", "4"]  # the two in the middle do not differ significantly
    button = page.locator("th[data-column=segmentation] button")
    button.click()  # descending: the mask-supervised bound comes first, without a place
    assert titles(page)[:2] == ["Supervised", "EPS"]
    assert page.locator("th[data-column=segmentation]").get_attribute("aria-sort") == "descending"
    button.press("Enter")
    assert page.locator("th[data-column=segmentation]").get_attribute("aria-sort") == "ascending"
    assert titles(page)[-1] == "SAM-Fused"  # what has no value stays last
    button.press("Space")
    assert titles(page) == first
    page.locator("table.scores th[data-column=method] button").click()
    assert titles(page) == sorted(first, key=str.lower)


def test_costs_are_sorted_and_filtered_with_the_scores(page: Any) -> None:
    names = page.locator("table.costs tbody tr:visible .method strong")
    before = titles(page)
    page.locator(
        "table.costs th[data-column=cam_macs_g] button"
    ).click()  # the cheapest first, what has none last
    assert names.all_inner_texts() == ["EPS", "CA-CL", "DSKD-GC", "CAM", "Supervised"]
    assert titles(page) == before
    form = page.locator("form[data-board]")
    form.locator("select[name=supervision]").select_option("I")
    assert names.all_inner_texts() == ["CA-CL", "CAM"]
    assert form.locator("[role=status]").inner_text() == "2 of 8 rows"
    form.locator("select[name=stage]").select_option("cam")
    assert page.locator("table.costs th[data-column=segmentation_macs_g]").is_visible()


def test_places_follow_the_sorted_column(page: Any) -> None:
    page.locator('th[data-column="confusion:boat|water"] button').click()  # lower is better: ascending first
    assert titles(page)[:4] == ["EPS", "DSKD-GC", "CA-CL", "CAM"]
    assert ranks(page)[:4] == ["1", "2", "2", "4"]  # the two in the middle do not differ significantly


def test_filters_narrow_rows_and_columns(page: Any) -> None:
    form = page.locator("form[data-board]")
    form.locator("select[name=supervision]").select_option("I")
    assert titles(page) == ["CA-CL", "CAM"]
    assert form.locator("[role=status]").inner_text() == "2 of 8 rows"
    form.locator("select[name=backbone]").select_option("resnet50")
    assert titles(page) == ["CA-CL"]
    form.locator("select[name=supervision]").select_option("")
    form.locator("select[name=backbone]").select_option("")
    form.locator("input[type=search]").fill("dskd")
    assert titles(page) == ["DSKD-GC"]
    form.locator("input[type=search]").fill("")
    form.locator("select[name=stage]").select_option("cam")
    assert page.locator("th[data-column=segmentation]").is_hidden()
    assert page.locator("th[data-column=cam_fixed]").get_attribute("aria-sort") == "descending"
    form.locator("select[name=stage]").select_option("")
    assert page.locator("th[data-column=segmentation]").is_visible()


def test_a_panel_opens_and_its_pictures_are_there(page: Any) -> None:
    panel = page.locator("details.example").first
    assert panel.locator(".sides").is_hidden()
    panel.locator("summary").focus()
    page.keyboard.press("Enter")
    pictures = panel.locator(".sides img")
    assert pictures.count() == 1 + 2 * 4  # the truth; CAM and pseudo-label of four methods
    loaded = "images => Promise.all(images.map(i => i.decode().then(() => i.naturalWidth > 0)))"
    assert all(pictures.evaluate_all(loaded))
    page.locator("button.all-panels").click()
    assert all(page.locator("details.example").evaluate_all("all => all.map(d => d.open)"))


def test_tabs_move_with_the_arrow_keys(page: Any) -> None:
    tabs = page.locator("[data-section=classes] [role=tab]")
    tabs.last.focus()
    page.keyboard.press("ArrowLeft")
    assert tabs.nth(tabs.count() - 2).get_attribute("aria-selected") == "true"
    assert page.locator("[data-section=classes] [role=tabpanel]:visible").count() == 1
    page.keyboard.press("End")
    assert tabs.last.get_attribute("aria-selected") == "true"


def test_a_legend_sets_its_entry_apart(page: Any) -> None:
    figure = page.locator("[data-section=thresholds] .figure")
    button = figure.locator("button[data-series]").first
    button.click()
    page.mouse.move(0, 0)
    page.keyboard.press("Tab")
    assert button.get_attribute("aria-pressed") == "true"
    chosen = button.get_attribute("data-series")
    assert "faded" not in (figure.locator(f"g.series[data-series='{chosen}']").get_attribute("class") or "")
    assert figure.locator("g.series.faded").count() >= 2


def test_the_page_is_no_wider_than_the_window(page: Any) -> None:
    page.locator("button.all-panels").click()
    for details in page.locator("details").all():
        details.evaluate("d => { d.open = true; }")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_boards_are_filtered_by_protocol(browser: Any, tmp_path: Path) -> None:
    from results.io import write_run

    stored = read_run(synthetic_run(tmp_path, seeds=1, images=0))
    records, runs = stored.records, stored.runs
    other = records.assign(protocol="unified")
    import pandas as pd

    write_run(tmp_path, pd.concat([records, other]), [*runs, *({**c, "protocol": "unified"} for c in runs)])
    both = read_run(tmp_path)
    file = tmp_path / "report.html"
    file.write_text(html.render(both, leaderboard(both.records, both.runs)), encoding="utf-8")
    for page in opened(browser, file):
        assert page.locator("article:visible").count() == 2
        page.locator("#board-filters select[name=protocol]").select_option("unified")
        assert page.locator("article:visible").get_attribute("data-protocol") == "unified"
        assert page.locator("#board-filters [role=status]").inner_text() == "1 of 2 leaderboards"


def test_hostile_names_run_nothing(browser: Any, tmp_path: Path) -> None:
    stored = read_run(synthetic_run(tmp_path, seeds=1, hostile=HOSTILE, images=1))
    file = tmp_path / "report.html"
    file.write_text(html.render(stored, leaderboard(stored.records, stored.runs)), encoding="utf-8")
    for page in opened(browser, file):
        assert titles(page)[0] == "EPS" + HOSTILE
        page.locator("th[data-column=segmentation] button").click()
        assert titles(page)[0] == "Supervised" + HOSTILE


def test_a_picture_is_enlarged_and_closed_by_pointer_and_keyboard(page: Any) -> None:
    panel, large = page.locator("details.example").first, page.locator("dialog.enlarged")
    panel.locator("summary").click()
    picture = panel.locator(".sides img").nth(1)
    before = picture.bounding_box()["width"]
    picture.click()
    assert large.locator("img").bounding_box()["width"] > 2.5 * before
    assert large.locator("figcaption").inner_text() == picture.get_attribute("alt")
    page.keyboard.press("Escape")
    assert large.is_hidden()
    picture.focus()
    page.keyboard.press("Enter")
    assert large.is_visible()
    large.locator("button").click()
    assert large.is_hidden()


def test_the_ranking_column_and_whole_charts_are_seen_first(page: Any) -> None:
    """Without scrolling sideways, on a phone too."""
    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    shown = page.locator("th[data-column=segmentation]").bounding_box()
    assert 0 <= shown["x"] <= shown["x"] + shown["width"] <= width
    assert page.locator("table.scores td.rank").first.bounding_box()["x"] >= 0
    for chart in page.locator(".canvas svg.chart:visible").all():
        inside = chart.evaluate(
            "svg => [...svg.querySelectorAll('text')].filter(t => getComputedStyle(t).display !== 'none')"
            ".map(t => t.getBoundingClientRect()).every(b => b.left >= 0 && b.right <= innerWidth)"
        )
        box = chart.bounding_box()
        assert inside
        assert box["x"] + box["width"] <= width


def test_headings_shrink_with_their_level(page: Any) -> None:
    found = page.locator("h1:visible, h2:visible, h3:visible, h4:visible").evaluate_all(
        "all => all.map(h => [Number(h.tagName[1]), parseFloat(getComputedStyle(h).fontSize)])"
    )
    by_level = {level: {size for other, size in found if other == level} for level, _ in found}
    assert [min(by_level[level]) for level in sorted(by_level)] == sorted(
        (max(sizes) for sizes in by_level.values()), reverse=True
    )
    assert all(after - before <= 1 for (before, _), (after, _) in itertools.pairwise(found))
