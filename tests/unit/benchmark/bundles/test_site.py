"""The public leaderboard's pages, from made-up accepted bundles."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from benchmark.bundles.site import build_site
from datasets.base import DataError
from tests.helpers.accepted import made_up_submission
from tests.helpers.synthetic_runs import HOSTILE


class _Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]


def _text(page: str) -> str:
    return " ".join(re.sub("<[^>]+>", " ", page).split())


def test_the_pages_show_every_submission_and_how_far_it_was_verified(tmp_path: Path) -> None:
    made_up_submission(tmp_path / "board" / "one", "A. Researcher", "consistent", raised=0.05)
    made_up_submission(tmp_path / "board" / "two", "B. Other", "re-scored")
    index = build_site(tmp_path / "board", tmp_path / "site").read_text()
    text = _text(index)
    for shown in (
        "2 accepted bundles", "A. Researcher", "B. Other", "consistent 2025-03-04 version 0.2", "re-scored 2025-03-04",
        "shapes nano scale, paper protocol", "Hardware a GPU", "GPU hours of the bundle 2.5", "1.2 MB, SHA-256",
        "made with an installed version",
    ):  # fmt: skip
        assert shown in text
    assert index.count("<strong>EPS</strong>") == 2  # one of each submitter
    assert text.index("Supervised") > text.rindex("CAM cam")  # with masks: last
    links = _Tags(index).links
    assert "shapes-nano-paper/report.html" in links
    assert "https://example.org/run.zip" in links
    assert not [link for link in links if link.startswith("javascript")]


def test_of_a_run_of_two_submitters_the_one_verified_further_is_compared(tmp_path: Path) -> None:
    made_up_submission(tmp_path / "board" / "one", "A. Researcher", "consistent", raised=0.05)
    further = made_up_submission(tmp_path / "board" / "two", "B. Other", "re-run")
    build_site(tmp_path / "board", tmp_path / "site")
    page = _text((tmp_path / "site" / "shapes-nano-paper" / "report.html").read_text())
    records = further.stored.records
    own = records[(records["method"] == "eps") & (records["stage"] == "segmentation")]
    mean = own[own["metric"] == "miou"]["value"].mean()
    assert f"Best without masks: EPS with {100 * mean:.1f}" in page
    assert f"{100 * (mean + 0.05):.1f} ±" not in page


def test_what_submitters_wrote_is_escaped(tmp_path: Path) -> None:
    made_up_submission(tmp_path / "board" / "plain")
    plain = _Tags(build_site(tmp_path / "board", tmp_path / "plain").read_text())
    made_up_submission(tmp_path / "hostile" / "one", hostile=HOSTILE)
    page = build_site(tmp_path / "hostile", tmp_path / "site").read_text()
    assert HOSTILE not in page
    assert "alert(" in page
    assert _Tags(page).names.count("script") == plain.names.count("script") == 0


def test_without_submissions_the_page_says_so(tmp_path: Path) -> None:
    (tmp_path / "board").mkdir()
    assert "No bundle has been accepted yet" in build_site(tmp_path / "board", tmp_path).read_text()


def test_a_missing_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="verify BUNDLE --accept"):
        build_site(tmp_path / "nowhere", tmp_path)
