"""Where the values of settings come from, as methods and the parts they share declare it in `sources.yaml`.

    from: [mctformer]                    # methods whose values are taken over: their sources are, too
    foreground_weight:                   # a setting's values, written as on the command line, and their sources
      0.5: "paper: λ, Sec. 3.2"
      0.9: "code: script/coco_eps.sh, --lam"
    train.momentum, train.weight_decay:  # several settings, or all that a pattern names
      0.0005: "code: module/optimizer.py"
    saliency.*: "paper: Sec. 4"          # whatever the value

A source belongs to a value: one that is changed in a preset has none until its own is given. Every source begins with
who chose the value (`CHOSEN_BY`). A setting's own entry comes before a pattern, the method's file before those of
methods that it names, and these before the shared parts' (`SHARED`), which have sources for given values alone.

Light to import.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from methods.errors import MethodError

if TYPE_CHECKING:
    from methods.base import Method
    from methods.setting_rows import SettingRow

SOURCES = "sources.yaml"
CHOSEN_BY = {
    "paper": "printed in the paper, with section, equation or table",
    "code": "the reference code's, with repository, file and, where there is one, log",
    "ours": "published nowhere, so chosen here, with the reason",
    "unused": "without effect on the result as the preset is, with what decides that",
}
"""Who chose a value, and what its source then says."""
PAPER = "paper"
"""The scale whose values all have a source."""
FROM, REPOSITORY = "from", "repository"
_METHODS = Path(__file__).parent
SHARED = tuple(_METHODS / folder / SOURCES for folder in ("refiners", "segmenters", "layers"))
"""Sources of the parts that methods share: refiners, segmentation network, and what several methods set alike."""


@dataclass(frozen=True)
class Source:
    """by: one of `CHOSEN_BY`; text: where it says so, or why; of: method whose paper or code it is, "": its own."""

    by: str
    text: str
    of: str = ""

    @property
    def chosen_by(self) -> str:
        """Who chose the value: "paper", "code of MCTformer"."""
        return f"{self.by} of {self.of}" if self.of and self.by in ("paper", "code") else self.by

    def __str__(self) -> str:
        return f"{self.chosen_by}: {self.text}"


@dataclass(frozen=True)
class Entry:
    """values: None for every value of the settings."""

    patterns: tuple[str, ...]
    values: frozenset[str] | None
    source: Source

    def covers(self, key: str, value: str) -> bool:
        return (self.values is None or value in self.values) and any(
            fnmatchcase(key, p) for p in self.patterns
        )


def sources_of(key: str, values: Iterable[str], declared: Sequence[Entry]) -> dict[str, Source]:
    """Value -> source, of the values of a setting that have one."""
    found = {}
    for value in dict.fromkeys(values):
        source = next((entry.source for entry in declared if entry.covers(key, value)), None)
        if source is not None:
            found[value] = source
    return found


def check_sources(method: Method, keys: Sequence[str]) -> None:
    """MethodError where the method's file names a setting that it does not have."""
    if method.folder is None:
        return
    path = method.folder / SOURCES
    for entry in _entries(path):
        for pattern in entry.patterns:
            if not any(fnmatchcase(key, pattern) for key in keys):
                raise MethodError(
                    f"{path}: {pattern}: no setting of {method.name}; see "
                    f"`python -m benchmark list --settings {method.name}`"
                )


def missing_sources(rows: Iterable[SettingRow]) -> list[str]:
    """A line for each value of a `paper` preset without a source, with what to add to `sources.yaml`."""
    found: dict[tuple[str, str], str] = {}
    for row in rows:
        for preset, value in row.defaults.items():
            if is_paper(preset) and value not in row.sources:
                found.setdefault((row.key, value), preset)
    begins = ", ".join(f"{by}: {what}" for by, what in CHOSEN_BY.items())
    return [
        f'{key}={value} of preset {preset} has no source; add to {SOURCES}: {key}: {{{json.dumps(value)}: "BY: TEXT"}}, '
        f"where BY: TEXT is one of {begins}"
        for (key, value), preset in found.items()
    ]


def is_paper(preset: str) -> bool:
    """Whether a preset of `SettingRow.defaults` is of paper scale: "paper", "paper/coco2014", "unified paper"."""
    return preset.split()[-1].partition("/")[0] == PAPER


def paper_sources(row: SettingRow) -> dict[str, Source]:
    """Those of the values at paper scale."""
    values = dict.fromkeys(value for preset, value in row.defaults.items() if is_paper(preset))
    return {value: row.sources[value] for value in values if value in row.sources}


def counted(rows: Iterable[SettingRow]) -> Counter[str]:
    """Number of values at paper scale by who chose them."""
    return Counter(source.chosen_by for row in rows for source in paper_sources(row).values())


def declared_by(method: Method) -> tuple[Entry, ...]:
    """All sources that a method has, in the order in which they are looked up. MethodError on a wrong `sources.yaml`."""
    own = () if method.folder is None else _with_origins(method.folder / SOURCES)
    return (*own, *shared_sources())


def own_sources(method: Method) -> tuple[Entry, ...]:
    """Those of the method's own file."""
    return () if method.folder is None else _entries(method.folder / SOURCES)


def shared_sources() -> tuple[Entry, ...]:
    """Those of the parts that methods share."""
    return tuple(entry for path in SHARED for entry in _shared(path))


def repository(method: Method) -> str:
    """Whose files its sources name, and of which commit; "" if not said."""
    return "" if method.folder is None else str(_document(method.folder / SOURCES).get(REPOSITORY, ""))


def _with_origins(path: Path) -> tuple[Entry, ...]:
    """A method's own, and those of the methods it takes values from."""
    from methods.registry import find_method

    found = list(_entries(path))
    for name in _names(path):
        title = find_method(name).title
        found += [
            replace(entry, source=replace(entry.source, of=entry.source.of or title))
            for entry in _with_origins(_METHODS / name / SOURCES)
        ]
    return tuple(found)


@cache
def _shared(path: Path) -> tuple[Entry, ...]:
    entries = _entries(path)
    for entry in entries:
        if entry.values is None:
            raise MethodError(f"{path}: {', '.join(entry.patterns)}: give the value that the source is of")
    return entries


@cache
def _document(path: Path) -> dict[str, Any]:
    import yaml

    if not path.is_file():
        return {}
    try:
        # Everything stays text: a value is compared as it is written on the command line.
        document = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise MethodError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise MethodError(f"{path}: should map settings to sources, or to values and their sources")
    return document


def _names(path: Path) -> list[str]:
    names = _document(path).get(FROM, [])
    if not isinstance(names, list):
        raise MethodError(f"{path}: {FROM} should be a list of methods")
    for name in names:
        if not (_METHODS / name / SOURCES).is_file():
            raise MethodError(f"{path}: {FROM}: there is no {_METHODS / name / SOURCES}")
    return names


@cache
def _entries(path: Path) -> tuple[Entry, ...]:
    """Of a file, entries for settings before those for patterns, the rest in the file's order."""
    found = []
    for keys, said in _document(path).items():
        if keys in (FROM, REPOSITORY):
            continue
        patterns = tuple(key.strip() for key in keys.split(","))
        if isinstance(said, dict):
            found += [
                Entry(patterns, frozenset({v}), _source(s, f"{path}: {keys}: {v}")) for v, s in said.items()
            ]
        else:
            found.append(Entry(patterns, None, _source(said, f"{path}: {keys}")))
    return tuple(sorted(found, key=lambda entry: any("*" in pattern for pattern in entry.patterns)))


def _source(said: Any, where: str) -> Source:
    by, colon, text = said.partition(":") if isinstance(said, str) else ("", "", "")
    if not colon or by not in CHOSEN_BY or not text.strip():
        begins = ", ".join(f'"{each}: ..."' for each in CHOSEN_BY)
        raise MethodError(
            f"{where}: a source begins with who chose the value and says where: one of {begins}"
        )
    return Source(by, " ".join(text.split()))
