"""Values that settings may take, declared with their types (`Annotated[int, Within(1)]`) and checked in one place.

Light to import; part of typed settings everywhere. OmegaConf sees the plain types and checks those.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from types import UnionType
from typing import Annotated, Any, Protocol, Union, get_args, get_origin, get_type_hints


class Limit(Protocol):
    """What a setting's value is held to."""

    def fault(self, value: Any) -> str | None:
        """What the value must be, if it is not; None where all is well."""


@dataclass(frozen=True)
class Within:
    """Numbers from `low` to `high`, without the ends themselves where `above` or `below` say so.

    besides: one more value that is allowed, such as 0 for "never"
    """

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False
    besides: float | None = None

    def fault(self, value: float) -> str | None:
        over = value > self.low if self.above else value >= self.low
        under = value < self.high if self.below else value <= self.high
        if value == self.besides or (over and under):
            return None
        other = "" if self.besides is None else f"{self.besides:g} or "
        if self.high == math.inf:
            return f"must be {other}{'above' if self.above else 'at least'} {self.low:g}"
        opening, closing = "(" if self.above else "[", ")" if self.below else "]"
        return f"must be {other}in {opening}{self.low:.10g}, {self.high:.10g}{closing}"


@dataclass(frozen=True)
class OneOf:
    """One of several names, or one that begins with a prefix (``timm/`` of a library's models)."""

    options: Sequence[str]
    prefixes: tuple[str, ...] = ()

    def fault(self, value: str) -> str | None:
        if value in self.options or any(value.startswith(p) and value != p for p in self.prefixes):
            return None
        names = ", ".join([*self.options, *(f"{p}<name>" for p in self.prefixes)])
        return f"{suggestion(value, self.options)}there are {names}"


AUTO = "auto"


@dataclass(frozen=True)
class CountOr:
    """A whole number from 1 on, written as text, or a word."""

    word: str

    def fault(self, value: str) -> str | None:
        if value == self.word or (value.isdecimal() and int(value) >= 1):
            return None
        return f"must be {self.word} or a whole number from 1 on"


class Rounding:
    """No limit: marks what decides no more than the rounding of results, and so is in no key and changes no method."""


class OffByDefault:
    """No limit: marks a setting that changes nothing at its default. There it is left out of plain data, so that keys and
    records from before the setting was there stay."""


class NotEmpty:
    """At least one item."""

    def fault(self, value: Sequence[Any]) -> str | None:
        return None if len(value) else "must have at least one item"


class Rising:
    """Numbers none of which is smaller than the one before: the ends of a range."""

    def fault(self, value: Sequence[float]) -> str | None:
        return None if list(value) == sorted(value) else "must not fall: write the smaller one first"


@dataclass(frozen=True)
class MultipleOf:
    """Whole multiples of a number."""

    of: int

    def fault(self, value: int) -> str | None:
        return f"must be a multiple of {self.of}" if value % self.of else None


Conflicts = Iterator[tuple[str, str]]
"""What a settings dataclass with a method `conflicts` says of values that are allowed alone and not together, if all
are allowed alone: (key of the part, "" for the dataclass itself; what it must be)."""


def out_of_order(settings: Any, low: str = "low", high: str = "high", *, equal: bool = True) -> Iterator[str]:
    """What must be, where setting `low` is above setting `high`, or without `equal` as large as it."""
    smaller, larger = getattr(settings, low), getattr(settings, high)
    if smaller > larger or (smaller == larger and not equal):
        yield f"{low}={smaller} must {'not be above' if equal else 'be below'} {high}={larger}"


Count = Annotated[int, Within(1)]
"""Of things of which there must be some: iterations, images at once, pixels, cells."""
Natural = Annotated[int, Within(0)]
Positive = Annotated[float, Within(0, above=True)]
NotNegative = Annotated[float, Within(0)]
Share = Annotated[float, Within(0, 1)]
"""Probabilities, scores, shares: [0, 1]."""
Inside = Annotated[float, Within(0, 1, above=True, below=True)]
"""Shares that leave something on both sides: (0, 1)."""
Similarity = Annotated[float, Within(-1, 1)]
"""Cosines."""
Batch = Annotated[int, Within(1, 4096)]
"""Images at once."""
AtOnce = Annotated[int, Within(1, 4096), Rounding()]
"""Images that pass a trained network together."""
Side = Annotated[int, Within(1, 4096)]
"""Of a picture, pixels."""
Factor = Annotated[float, Within(0, 16, above=True)]
"""On an image's size."""
Factors = Annotated[tuple[Factor, ...], NotEmpty()]
"""Factors on an image's size, one at least."""


def suggestion(value: str, options: Sequence[str]) -> str:
    """``did you mean 'sgd'? `` where an option is close, else nothing."""
    close = difflib.get_close_matches(value, list(options), n=1)
    return f"did you mean {close[0]!r}? " if close else ""


def first_fault(settings: Any, prefix: str = "") -> str | None:
    """The first setting that breaks a limit, as one line with its key, value and what it must be; or None.

    settings: a dataclass instance, whose dataclasses, tuples and dictionaries are looked into
    prefix:   of the key: "dataset" where `settings` is that part of a run's
    """
    return next(_faults(settings, type(settings), prefix), None)


def _faults(value: Any, hint: Any, key: str) -> Iterator[str]:
    if value is None:
        return
    origin = get_origin(hint)
    if origin is Annotated:
        plain, *limits = get_args(hint)
        found = list(_faults(value, plain, key))
        yield from found or (f"{key}={_shown(value)}: {why}" for why in _broken(limits, value))
    elif origin in (Union, UnionType):  # optional parts
        for part in get_args(hint):
            if part is not type(None):
                yield from _faults(value, part, key)
    elif dataclasses.is_dataclass(value):
        hints = field_hints(type(value))  # type: ignore[arg-type]
        parts = [
            _faults(getattr(value, name), part, f"{key}.{name}".strip(".")) for name, part in hints.items()
        ]
        found = list(chain.from_iterable(parts))
        conflicts: Iterable[tuple[str, str]] = getattr(value, "conflicts", tuple)()
        yield from found or (f"{key}.{part}".strip(".") + f": {why}" for part, why in conflicts)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _faults(item, type(item), f"{key}.{name}")
    elif origin is tuple:
        yield from _tuple_faults(value, get_args(hint), key)
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{key}={value}: must be a finite number"


def _tuple_faults(value: Sequence[Any], parts: tuple[Any, ...], key: str) -> Iterator[str]:
    if parts[-1] is Ellipsis:
        parts = parts[:1] * len(value)
    if len(parts) != len(value):
        yield f"{key}={_shown(value)}: must have {len(parts)} items"
        return
    for index, (item, part) in enumerate(zip(value, parts, strict=True)):
        yield from _faults(item, part, f"{key}[{index}]")


def _broken(limits: Sequence[Any], value: Any) -> Iterator[str]:
    """`Annotated` may carry what is no limit of ours, too."""
    for limit in limits:
        if hasattr(limit, "fault") and (why := limit.fault(value)) is not None:
            yield why


def _shown(value: Any) -> str:
    return f"[{','.join(map(str, value))}]" if isinstance(value, (list, tuple)) else str(value)


def rounding_fields(cls: type) -> frozenset[str]:
    """Names of a dataclass's fields that are marked as `Rounding`."""
    return _marked(cls, Rounding)


def off_fields(settings: Any) -> frozenset[str]:
    """Names of a dataclass instance's fields that are marked as `OffByDefault`, and have their default."""
    marked = _marked(type(settings), OffByDefault)  # type: ignore[arg-type]
    return frozenset(
        field.name
        for field in (dataclasses.fields(settings) if marked else ())
        if field.name in marked and getattr(settings, field.name) == _default(field)
    )


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


@cache
def _marked(cls: type, mark: type) -> frozenset[str]:
    """Names of a dataclass's fields that are marked so; none where its types cannot be told."""
    try:
        hints = field_hints(cls)
    except NameError:  # a type of a plug-in's that is imported for type checking alone
        return frozenset()
    return frozenset(
        name
        for name, hint in hints.items()
        if any(isinstance(each, mark) for each in getattr(hint, "__metadata__", ()))
    )


@cache
def field_hints(cls: type) -> dict[str, Any]:
    """Types of a dataclass's fields by name, with their limits (`Annotated`)."""
    hints = get_type_hints(cls, include_extras=True)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls)}
