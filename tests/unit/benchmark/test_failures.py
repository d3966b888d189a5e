"""Errors of the system say what to do where that is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.failures import one_line


def fail(do: str, place: Path) -> OSError:
    """The system's error for what was tried at a place."""
    try:
        if do == "replace":
            (place.parent / "new").write_text("x")
            (place.parent / "new").replace(place)
        else:
            getattr(place, do)()
    except OSError as error:
        return error
    raise AssertionError("nothing failed")


@pytest.mark.parametrize(
    ("there", "do", "below", "said"),
    [
        ("file", "mkdir", "", "a folder belongs there; move it away"),
        ("file", "mkdir", "deeper", "something in its path is a file; move that away"),
        ("folder", "read_bytes", "", "a file belongs there; move it away"),
        ("folder", "replace", "", "a file belongs there; move it away"),
        ("loop", "read_bytes", "", "remove the loop of links"),
    ],
)
def test_the_place_and_what_to_do_are_said(
    tmp_path: Path, there: str, do: str, below: str, said: str
) -> None:
    place = tmp_path / "place"
    if there == "file":
        place.write_text("x")
    elif there == "folder":
        place.mkdir()
    else:
        place.symlink_to(place)
    line = one_line(fail(do, place / below), tmp_path)
    assert line.startswith(f"{place / below}: ")
    assert line.endswith(said)
