"""Every setting of a method as a row: type, range, default by preset, meaning, source. Light to import.

Types and ranges are those of the dataclasses (`datasets.limits`), defaults those of the presets. A meaning comes from
the docstring of the dataclass that has the field, which lists fields as ``name: text``. A source says who chose a value,
and where that is said (`methods.sources`).
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from datasets.limits import NotEmpty, OneOf, Rising, Within, field_hints
from methods.base import UNIFIED, Method
from methods.sources import Entry, Source, check_sources, declared_by, sources_of

PART = "its settings"
"""Default of an optional part that a preset has; the settings of the part have rows of their own."""


@dataclass(frozen=True)
class SettingRow:
    """One setting of a method.

    key:      as it is written after `method.NAME.`: "train.learning_rate"
    type:     "int", "float or null", "list of float"
    limits:   values that are allowed, in words; "" for all of the type
    defaults: preset ("nano", "paper/coco2014", "unified paper") -> value as an override has it; a preset in which
              the part that holds the setting is null has none
    meaning:  "" if nothing is declared
    sources:  value among the defaults -> where it comes from, of the values that have a source
    """

    key: str
    type: str
    limits: str
    defaults: Mapping[str, str]
    meaning: str
    sources: Mapping[str, Source]

    @property
    def default(self) -> str:
        """The default where all presets agree; else each different value with the presets that have it.

        Presets of a data set or of the protocol `unified` are named where they differ from their scale's.
        """
        presets: dict[str, list[str]] = {}
        for preset, value in self.defaults.items():
            scale = preset.removeprefix(f"{UNIFIED} ").partition("/")[0]
            if preset == scale or self.defaults.get(scale) != value:
                presets.setdefault(value, []).append(preset)
        if len(presets) == 1:
            return next(iter(presets))
        return "; ".join(f"{value} ({', '.join(names)})" for value, names in presets.items())


def setting_rows(method: Method) -> list[SettingRow]:
    """The settings of a method, in the order in which they are declared. Raises MethodError on a wrong `sources.yaml`."""
    presets = dict(method.presets) | {f"{UNIFIED} {key}": value for key, value in method.unified.items()}
    rows = rows_of(presets, declared_by(method))
    check_sources(method, [row.key for row in rows])
    return rows


def rows_of(presets: Mapping[str, Any], declared: Sequence[Entry] = ()) -> list[SettingRow]:
    """The settings of dataclasses, by preset; declared: sources, in the order in which they are looked up."""
    fields: dict[str, _Field] = {}
    defaults: dict[str, dict[str, str]] = {}
    for preset, config in presets.items():
        for found, value in _fields(config):
            fields.setdefault(found.key, found)
            defaults.setdefault(found.key, {})[preset] = value
    return [
        SettingRow(
            key,
            type_name(of.hint),
            limits(of.hint),
            defaults[key],
            of.meaning,
            sources_of(key, defaults[key].values(), declared),
        )
        for key, of in sorted(fields.items(), key=lambda item: item[1].place)
    ]


@dataclass(frozen=True)
class _Field:
    """place: positions among the fields of the dataclasses on the way to it."""

    key: str
    place: tuple[int, ...]
    hint: Any
    meaning: str


def _fields(config: Any, prefix: str = "", above: tuple[int, ...] = ()) -> Iterator[tuple[_Field, str]]:
    """The settings of a preset with their values; of a part that may be null, that it is there comes first."""
    meanings = field_meanings(type(config))
    for position, (name, hint) in enumerate(field_hints(type(config)).items()):  # type: ignore[arg-type]
        value, key, place = getattr(config, name), f"{prefix}{name}", (*above, position)
        part = dataclasses.is_dataclass(value)
        if not part or NoneType in get_args(hint):
            yield _Field(key, place, hint, meanings.get(name, "")), PART if part else written(value)
        if part:
            yield from _fields(value, f"{key}.", place)


def field_meanings(cls: type) -> dict[str, str]:
    """What the docstrings of a dataclass and its bases say of its fields, in lists of ``name: text``."""
    found: dict[str, str] = {}
    for base in reversed([c for c in cls.__mro__ if dataclasses.is_dataclass(c)]):
        names = "|".join(field.name for field in dataclasses.fields(base))
        if not names or "__doc__" not in vars(base):
            continue
        text = inspect.cleandoc(base.__doc__ or "")
        listed = re.compile(rf"(?:^|(?<=[.;] ))((?:{names})(?:, (?:{names}))*):\s", re.MULTILINE)
        heads = list(listed.finditer(text))
        for head, following in zip(heads, [*heads[1:], None]):
            body = text[head.end() : following.start() if following else len(text)]
            # A list ends at an empty line or where a line goes back to the margin; one in the first line is there.
            first = "\n" not in text[: head.start()]
            body = re.split(r"\n\n" if first else r"\n(?=\S)|\n\n", body)[0]
            meaning = " ".join(body.split()).rstrip(";. ")
            found |= dict.fromkeys(head[1].split(", "), meaning)
    return found


def type_name(hint: Any) -> str:
    """A field's type in words: "float", "list of int", "text or null"."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return type_name(parts[0])
    if origin in (Union, UnionType):
        return " or ".join("null" if part is NoneType else type_name(part) for part in parts)
    if origin is tuple:
        kinds = list(dict.fromkeys(type_name(part) for part in parts if part is not Ellipsis))
        count = "list" if Ellipsis in parts else f"list of {len(parts)}"
        return f"{count} {'' if Ellipsis not in parts else 'of '}{' or '.join(kinds)}"
    if dataclasses.is_dataclass(hint):
        return "settings"
    return {str: "text", bool: "true or false"}.get(hint, getattr(hint, "__name__", str(hint)))


def limits(hint: Any) -> str:
    """What a field's values are held to, in words: "at least 1", "one of sgd, adamw"; "" for nothing."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        said = [limits(parts[0]), *(text for limit in parts[1:] if (text := _limit(limit)))]
        return ", ".join(filter(None, said))
    if origin in (Union, UnionType, tuple):
        said = [limits(part) for part in parts if part not in (NoneType, Ellipsis)]
        return ", ".join(dict.fromkeys(filter(None, said)))
    return ""


def _limit(limit: Any) -> str:
    if isinstance(limit, Within):
        # A value that is in no range has the range named.
        fault = limit.fault(float("nan"))
        return (fault or "").removeprefix("must be ").removeprefix("in ")
    if isinstance(limit, OneOf):
        return "one of " + ", ".join([*limit.options, *(f"{prefix}<name>" for prefix in limit.prefixes)])
    if isinstance(limit, NotEmpty):
        return "at least one"
    return "smaller one first" if isinstance(limit, Rising) else ""


def written(value: Any) -> str:
    """A value as an override on the command line has it: null, true, [0.5,1.0]."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(written, value))}]"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) if re.fullmatch(r"[\w./+:-]+", str(value)) else f"'{value}'"
