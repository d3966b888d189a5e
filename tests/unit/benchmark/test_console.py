"""What names of files could tell a terminal to do is shown instead."""

from __future__ import annotations

import io

import pytest
from rich.table import Table

from benchmark import console as shown
from benchmark.console import console, on_one_line
from tests.helpers.toys import CommandLine

HOSTILE = "a\x1b[31mb\u202ec"
HARMLESS = "a\\x1b[31mb\\u202ec"


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    file = io.StringIO()
    monkeypatch.setattr(console, "_file", file)
    return file


def test_control_characters_are_shown_as_escapes() -> None:
    assert on_one_line(f"{HOSTILE}\n\t é") == f"{HARMLESS}\\n\\t é"


def test_printed_text_and_tables(said: io.StringIO) -> None:
    console.print(f"{HOSTILE}\nnext", markup=False)
    assert said.getvalue() == f"{HARMLESS}\nnext\n"
    table = Table(HOSTILE)
    table.add_row(HOSTILE)
    console.print(table)
    assert not {"\x1b", "\u202e"} & set(said.getvalue())


def test_a_worker_keeps_its_colours_and_sends_no_other_code(said: io.StringIO) -> None:
    shown.Shown().show(("print", "\x1b[33mslow\x1b[0m [bold] \u202eand"))
    assert said.getvalue() == "slow [bold] \\u202eand\n"


def test_an_error_is_one_line_whatever_the_file_is_called(command_line: CommandLine) -> None:
    done = command_line("prune", "--store", HOSTILE)
    assert done.code == 2
    assert HARMLESS in done.err
    assert done.err.count("\n") == 1
    assert "\x1b" not in done.err
