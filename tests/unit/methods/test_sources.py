"""Sources of values: found for the value that they are of, missing where there is none, and errors of one line."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
import yaml

from methods import sources
from methods.base import Method, MethodConfig, MethodError
from methods.setting_rows import setting_rows
from methods.sources import Source, counted, missing_sources, paper_sources, repository


@dataclass(frozen=True)
class Walk:
    """steps, length: of the walk."""

    steps: int = 4
    length: float = 1.0


@dataclass(frozen=True)
class Plain(MethodConfig):
    """level: of a test; prompts: texts; last: its walk."""

    level: float = 0.5
    prompts: tuple[str, ...] = ("a {}.",)
    last: Walk = field(default_factory=Walk)


class Example(Method):
    name = "example"
    title = "An example"
    config = Plain
    presets: ClassVar = {"nano": Plain(level=0.25), "paper": Plain(), "paper/coco2014": Plain(level=0.9)}
    unified: ClassVar = {"paper": Plain(level=0.7)}

    def stages(self, config: Any, view: Any, shared: Any) -> list[Any]:
        return []


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the method's module, with no sources of shared parts."""
    module = ModuleType("example_module")
    module.__file__ = str(tmp_path / "__init__.py")
    monkeypatch.setitem(sys.modules, "example_module", module)
    monkeypatch.setattr(Example, "__module__", "example_module")
    monkeypatch.setattr(sources, "SHARED", ())
    return tmp_path


def declare(folder: Path, text: str) -> dict[str, dict[str, Source]]:
    """Sources of all settings by key, with a file of that text."""
    (folder / "sources.yaml").write_text(text)
    return {row.key: dict(row.sources) for row in setting_rows(Example())}


WHOLE = """
repository: of/them, commit 1
level:
  0.5: "paper: Sec. 3, λ"
  0.9: "code: coco.sh, --lam"
  0.7: "ours: for all methods"
prompts: {"['a {}.']": "ours: not published"}
last.*: "unused: of the walk"
last.steps: {4: "paper: Tab. 2"}
"""


def test_a_source_is_of_a_value_and_a_settings_own_comes_before_a_pattern(folder: Path) -> None:
    found = declare(folder, WHOLE)
    assert found["level"] == {
        "0.5": Source("paper", "Sec. 3, λ"),
        "0.9": Source("code", "coco.sh, --lam"),
        "0.7": Source("ours", "for all methods"),
    }
    assert [str(found[key]["4" if key.endswith("s") else "1"]) for key in ("last.steps", "last.length")] == [
        "paper: Tab. 2",
        "unused: of the walk",
    ]
    assert repository(Example()) == "of/them, commit 1"


def test_values_are_counted_by_who_chose_them_at_paper_scale(folder: Path) -> None:
    declare(folder, WHOLE)
    assert counted(setting_rows(Example())) == {"paper": 2, "code": 1, "ours": 2, "unused": 1}


def test_what_is_missing_at_paper_scale_is_said_with_a_line_that_mends_it(folder: Path) -> None:
    declare(
        folder, WHOLE.replace("  0.9", "  0.8").replace("prompts:", "last.length:").replace("['a {}.']", "2")
    )
    missing = missing_sources(setting_rows(Example()))
    assert [line.partition(" has no source")[0] for line in missing] == [
        "level=0.9 of preset paper/coco2014",
        "prompts=['a {}.'] of preset paper",
    ]
    assert all('"BY: TEXT"' in line and "ours: published nowhere" in line for line in missing)
    lines = [line.partition("add to sources.yaml: ")[2].partition(", where")[0] for line in missing]
    added = [line.replace("BY: TEXT", "ours: chosen") for line in lines]
    text = (folder / "sources.yaml").read_text() + "\n".join(added).replace("level: {", "'level ': {")
    sources._entries.cache_clear()
    sources._document.cache_clear()
    assert yaml.safe_load(added[1]) == {"prompts": {"['a {}.']": "ours: chosen"}}
    declare(folder, text)
    assert not missing_sources(setting_rows(Example()))


def test_shared_sources_and_those_of_other_methods_come_after_the_methods_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = folder / "shared.yaml"
    shared.write_text('level: {0.5: "code: shared", 0.9: "code: shared"}\nlast.steps: {4: "code: shared"}\n')
    monkeypatch.setattr(sources, "SHARED", (shared,))
    theirs = folder / "theirs"
    theirs.mkdir()
    (theirs / "sources.yaml").write_text('level: {0.9: "paper: theirs"}\nlast.steps: {5: "paper: theirs"}\n')
    monkeypatch.setattr(sources, "_METHODS", folder)
    monkeypatch.setattr("methods.registry.find_method", lambda name: Example())
    found = declare(folder, 'from: [theirs]\nlevel: {0.5: "paper: own"}\n')
    assert {value: str(source) for value, source in found["level"].items()} == {
        "0.5": "paper: own",
        "0.9": "paper of An example: theirs",
    }
    assert str(found["last.steps"]["4"]) == "code: shared"  # theirs is of another value
    (level,) = (row for row in setting_rows(Example()) if row.key == "level")
    assert list(paper_sources(level)) == ["0.5", "0.9"]


def test_a_shared_source_names_the_value_that_it_is_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = folder / "shared.yaml"
    shared.write_text('level: "code: of any value"\n')
    monkeypatch.setattr(sources, "SHARED", (shared,))
    with pytest.raises(MethodError, match="level: give the value that the source is of"):
        setting_rows(Example())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'levle: "paper: Sec. 4"',
            "levle: no setting of example; see `python -m benchmark list --settings example`",
        ),
        ('last.stpes*: "paper: Sec. 4"', "no setting of example"),
        ("level: Sec. 4", "level: a source begins with who chose the value and says where: one of"),
        ('level: {0.5: "paper:"}', "level: 0.5: a source begins with who chose"),
        ('level: {0.5: ["paper: Sec. 4"]}', "level: 0.5: a source begins with who chose"),
        ("- level", "should map settings"),
        ("from: mctformer", "from should be a list of methods"),
        ("from: [mctfromer]", "from: there is no"),
        ("level: [", "not YAML"),
    ],
)
def test_a_wrong_file_is_one_line(folder: Path, text: str, said: str) -> None:
    with pytest.raises(MethodError) as error:
        declare(folder, text)
    assert said in str(error.value)
    assert str(folder / "sources.yaml") in str(error.value)
    assert "\n" not in str(error.value)
