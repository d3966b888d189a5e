"""Settings as rows: every method's are complete, and what a row says follows from types, presets and docstrings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import pytest
from omegaconf import OmegaConf

from benchmark.config import plain
from datasets.limits import Count, NotEmpty, OneOf, Rising, Share, Within
from methods.base import Method, MethodConfig
from methods.registry import all_methods
from methods.setting_rows import PART, setting_rows, written


@pytest.mark.parametrize("name", all_methods())
def test_every_setting_has_a_row_with_its_meaning_and_defaults(name: str) -> None:
    method = all_methods()[name]
    rows = {row.key: row for row in setting_rows(method)}
    assert not [row.key for row in rows.values() if not row.meaning]
    for preset, config in method.presets.items():
        for key, value in leaves(plain(config)).items():
            assert rows[key].defaults[preset] == written(value), f"{preset}: {key}"


def leaves(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found = {}
    for name, value in node.items():
        nested = isinstance(value, dict)
        found |= leaves(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return found


@dataclass(frozen=True)
class Walk:
    """steps: of the walk; names, others: what it is called,
    by whom.
    """

    steps: Count = 4
    names: Annotated[tuple[str, ...], NotEmpty()] = ("a", "b")
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plain(MethodConfig):
    """Settings of a test.

    kind:   "soft": not hard; "hard": see `walk`
    level:  from low to
            high
    walk:   null: none

    Whatever follows is of no field.
    """

    kind: Annotated[str, OneOf(("soft", "hard"), ("timm/",))] = "soft"
    level: Share = 0.5
    ends: Annotated[tuple[int, int], Rising()] = (0, 1)
    walk: Walk | None = None
    rate: Annotated[float, Within(0, above=True, besides=-1)] = 5e-4
    last: Walk = field(default_factory=Walk)


class Example(Method):
    name = "example"
    config = Plain
    presets: ClassVar = {
        "nano": Plain(level=0.25),
        "small": Plain(),
        "paper": Plain(walk=Walk(steps=6)),
        "paper/coco2014": Plain(walk=Walk(steps=7)),
    }
    unified: ClassVar = {"paper": Plain(kind="hard", walk=Walk(steps=6))}

    def stages(self, config: Any, view: Any, shared: Any) -> list[Any]:
        return []


def test_a_row_says_type_range_default_and_meaning() -> None:
    rows = {row.key: row for row in setting_rows(Example())}
    said = {key: (row.type, row.limits, row.default, row.meaning) for key, row in rows.items()}
    assert list(said)[3:8] == ["walk", "walk.steps", "walk.names", "walk.others", "rate"]
    assert said["kind"] == (
        "text",
        "one of soft, hard, timm/<name>",
        "soft (nano, small, paper); hard (unified paper)",
        '"soft": not hard; "hard": see `walk`',
    )
    assert said["level"] == ("float", "[0, 1]", "0.25 (nano); 0.5 (small, paper)", "from low to high")
    assert said["ends"] == ("list of 2 int", "smaller one first", "[0,1]", "")
    assert said["walk"] == ("settings or null", "", f"null (nano, small); {PART} (paper)", "null: none")
    assert said["walk.steps"] == ("int", "at least 1", "6 (paper); 7 (paper/coco2014)", "of the walk")
    assert said["last.names"] == ("list of text", "at least one", "[a,b]", "what it is called, by whom")
    assert said["last.others"][3] == said["last.names"][3]
    assert said["rate"][:3] == ("float", "-1 or above 0", "0.0005")


def test_defaults_are_written_as_overrides_are() -> None:
    values = [None, True, 1e-5, 3.0, ("a", 2), (), "", "nano/sam", ("a photo of {}.", "b")]
    texts = [written(value) for value in values]
    assert texts == [*("null", "true", "1e-05", "3", "[a,2]", "[]", "''", "nano/sam", "['a photo of {}.',b]")]
    read = OmegaConf.to_object(OmegaConf.from_dotlist([f"x{i}={text}" for i, text in enumerate(texts)]))
    assert read == {f"x{i}": list(v) if isinstance(v, tuple) else v for i, v in enumerate(values)}
