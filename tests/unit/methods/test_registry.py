"""How methods are found: the forms of an entry point, and that a broken one is a line and costs nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import methods
from methods import registry
from methods.base import Method, MethodError
from methods.registry import all_methods, broken_methods, find_method
from tests.helpers.toys import Toy

METHOD = Toy("plugged")
CLASS = Toy
NUMBER = 3
HERE = __name__
Plug = Callable[..., None]


class Unfinished(Method):
    """Without title and the like."""

    name = "unfinished"

    def stages(self, config, view, shared):
        return []


UNFINISHED = Unfinished()


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch):
    """Entry points in place of those that are installed."""

    def plug(**values: str) -> None:
        found = [EntryPoint(name, value, registry.ENTRY_POINT_GROUP) for name, value in values.items()]
        monkeypatch.setattr(registry, "entry_points", lambda group: found)
        registry.discover.cache_clear()

    yield plug
    monkeypatch.undo()
    registry.discover.cache_clear()


@pytest.mark.parametrize("value", [HERE, f"{HERE}:METHOD"])
def test_an_entry_point_is_a_module_or_a_method_of_one(plugged: Plug, value: str):
    plugged(mine=value)
    assert find_method("plugged") is METHOD
    assert broken_methods() == {}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (f"{HERE}:METOD", "there is no such object"),
        (f"{HERE}:", "there is no such object"),
        (f"{HERE}:CLASS", "this is the class Toy, not an instance of it"),
        (f"{HERE}:NUMBER", "this is of type int, not a Method"),
        ("json", "module json has no METHOD"),
    ],
)
def test_a_wrong_entry_point_is_told_the_right_forms(plugged: Plug, command_line, value: str, words: str):
    plugged(mine=value)
    assert "cam" in all_methods()
    line = broken_methods()["mine"]
    assert (
        f'entry point mine = "{value}": {words}; write "package.module", whose METHOD is the method' in line
    )
    listed = command_line("list")
    assert (listed.code, listed.err) == (0, "")
    assert f"  broken: {line}" in listed.out.splitlines()
    done = command_line("run", "--methods", "mine")
    assert (done.code, done.err) == (2, f"error: method mine: {line}\n")
    assert "broken" not in command_line.run("cam", "--dry-run").err


def test_a_plug_in_that_is_not_there_or_fails_is_a_line(plugged: Plug, tmp_path, monkeypatch):
    package = tmp_path / "theirs"
    package.mkdir()
    (package / "__init__.py").write_text("from theirs import parts\n")
    (package / "parts.py").write_text("import json\nx = 1\njson.loads('{')\n")
    monkeypatch.syspath_prepend(tmp_path)
    plugged(theirs="theirs:METHOD", gone="no_such_module")
    assert "cam" in all_methods()
    found = broken_methods()
    assert re.search(r'theirs = "theirs:METHOD" does not load: JSONDecodeError: ', found["theirs"])
    assert found["theirs"].endswith("(parts.py:3, in <module>)")  # not json's line
    assert "ModuleNotFoundError: No module named 'no_such_module'" in found["gone"]


def test_a_method_without_all_attributes_says_which(plugged: Plug):
    plugged(mine=f"{HERE}:UNFINISHED")
    assert "unfinished" not in all_methods()
    assert (
        "Unfinished lacks title, paper, summary, needs, supervision, config, presets"
        in broken_methods()["mine"]
    )


def test_a_plug_in_may_not_take_a_name(plugged: Plug):
    before = find_method("cam")
    plugged(mine=f"{HERE}:TAKEN")
    assert find_method("cam") is before
    assert "takes the name 'cam', which another method has" in broken_methods()["mine"]


TAKEN = Toy("cam")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import no_such_library\n", "ModuleNotFoundError: No module named 'no_such_library' (__init__.py:1"),
        ("def f(:\n", "SyntaxError: invalid syntax"),
        ("METHOD = 3\n", "METHOD: this is of type int, not a Method; write METHOD = YourMethod()"),
    ],
)
def test_a_broken_folder_is_a_line_and_costs_no_other_method(
    plugged: Plug, command_line, tmp_path: Path, monkeypatch, source: str, words: str
):
    (tmp_path / "half_written").mkdir()
    (tmp_path / "half_written" / "__init__.py").write_text(source)
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    plugged()
    listed = command_line("list")
    (line,) = (text for text in listed.out.splitlines() if "methods/half_written" in text)
    assert words in line
    assert any(text.split()[:2] == ["cam", "*"] for text in listed.out.splitlines())
    with pytest.raises(MethodError, match=r"method half_written: folder methods/half_written"):
        find_method("half_written")


def test_a_broken_method_that_all_may_have_meant_is_said(plugged: Plug, command_line):
    plugged(mine="json")
    done = command_line("run", "--methods", "all", "--scale", "nano", "--until", "nothing")
    assert done.err.startswith('warning: entry point mine = "json": module json has no METHOD')


class WithFaultyFiles(Toy):
    """A method whose YAML files cannot be read."""

    @property
    def experiments(self):
        raise MethodError("experiments.yaml: not YAML")

    @property
    def deviations(self):
        raise MethodError("deviations.yaml: not YAML")


FAULTY = WithFaultyFiles("faulty")


def test_faulty_files_beside_a_method_are_lines_and_cost_no_other_method(plugged: Plug, command_line):
    plugged(mine=f"{HERE}:FAULTY", other=f"{HERE}:METHOD")
    listed = command_line("list")
    assert listed.code == 0
    assert "  broken: experiments.yaml: not YAML" in listed.out.splitlines()
    assert "eps/table3 " in listed.out
    done = command_line("run", "--experiment", "faulty/table1")
    assert (done.code, done.err) == (2, "error: experiments.yaml: not YAML\n")
    done = command_line.run("faulty,plugged")  # found while planning, not by the leaderboard at the end
    assert done.code == 1
    assert "failed: faulty seed 0: deviations.yaml: not YAML" in done.out
    assert any(line.startswith("plugged · seed 0 ") for line in done.out.splitlines())
