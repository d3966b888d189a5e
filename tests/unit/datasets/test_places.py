"""Paths that pathlib fails for."""

from __future__ import annotations

from pathlib import Path

import pytest

from datasets.files.places import expanded, resolved


def test_home_is_as_shells_have_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/a") == tmp_path / "a"
    assert expanded("~nobody-of-this-name/a") == Path("~nobody-of-this-name/a")


def test_links_are_followed_and_loops_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "to").mkdir()
    (tmp_path / "link").symlink_to("to")
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.chdir(tmp_path)
    assert resolved("link/a") == tmp_path.resolve() / "to" / "a"
    assert resolved(tmp_path / "loop" / "a").name == "a"
