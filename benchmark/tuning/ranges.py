"""Ranges that settings are tried over, in Hydra's grammar of sweeps, and the settings of each trial.

train.learning_rate=[1e-4,1e-2]     between two ends; where these are ten times apart, by size (logarithmic)
train.iterations=interval(100,200)  between two ends, evenly; with tag(log, interval(...)) by size
refiner.name=none,crf               one of several values; choice(...) and range(start,stop,step) are read too
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmark.composing import literal
from benchmark.config import plain
from benchmark.failures import ConfigError
from benchmark.planning.tuning_file import FILE, declared

if TYPE_CHECKING:
    from benchmark.config import RunConfig
    from methods.base import Method

WIDE = 10.0
"""Ratio of two ends from which on numbers between them are drawn by their size."""
MOST = 10_000
"""Values of a setting, and trials of a method: more are a slip, and their list alone could fill the memory."""
DIGITS = 3
"""Significant ones of drawn numbers: as a person would write them."""


@dataclass(frozen=True)
class Range:
    """Values of a setting: `choices`, or numbers from `low` to `high`.

    key: of the setting, with ``method.NAME.``
    logarithmic: whether equal ratios are equally likely, in place of equal differences
    whole: whether the setting takes whole numbers only
    """

    key: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    logarithmic: bool = False
    whole: bool = False

    def at(self, place: float) -> str:
        """An override with the value at a place in [0, 1) of the range."""
        if self.choices:
            return self.override(self.choices[int(place * len(self.choices))])
        if self.logarithmic:
            value = self.low * (self.high / self.low) ** place
        else:
            value = self.low + (self.high - self.low) * place
        if self.whole:
            return self.override(round(value))
        return self.override(min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high))

    def override(self, value: Any) -> str:
        return f"{self.key}={literal(value)}"

    def ends(self) -> list[str]:
        """Overrides that show whether the setting takes such values: all choices, or both ends."""
        kind = int if self.whole else float
        return [self.override(value) for value in self.choices or (kind(self.low), kind(self.high))]


def ranges_of(method: Method, config: RunConfig, given: Sequence[str]) -> list[Range]:
    """Those of the command line that concern the method, else those that it declares.

    config: with the method's settings, whose types decide what is drawn
    Raises ConfigError: there are none, or one cannot be read or has ends that its setting does not take.
    """
    prefix = f"method.{method.name}."
    texts = [text for text in given if text.startswith(prefix)]
    texts = texts or [prefix + text for text in declared(method).ranges.get(config.scale.name, ())]
    if not texts:
        raise ConfigError(
            f"{method.name} has no ranges to try: give --over '{prefix}KEY=[LOW,HIGH]', or list some in {FILE} in its "
            "folder"
        )
    return [read_range(text, plain(config.method[method.name]), prefix) for text in texts]


def read_range(text: str, settings: Mapping[str, Any], prefix: str) -> Range:
    """A range from its text; settings: the method's, as plain data. Raises ConfigError."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, RangeSweep
    from hydra.errors import HydraException

    key, sign, _ = text.partition("=")
    wrong = f"--over {text!r}: write {prefix}KEY=[LOW,HIGH], or KEY=A,B,C"
    if not sign or not key.startswith(prefix):
        raise ConfigError(wrong)
    try:
        value = OverridesParser.create().parse_override(text).value()
    except HydraException:
        raise ConfigError(wrong) from None
    if isinstance(value, ChoiceSweep):
        return Range(key, choices=tuple(map(_plain, value.list)))
    if isinstance(value, RangeSweep):
        steps = ((value.stop or 0) - (value.start or 0)) / value.step if value.step else math.inf
        if not 0 < steps <= MOST:  # NaN, too
            raise ConfigError(f"--over {text!r}: has no values, or more than {MOST}; write KEY=[LOW,HIGH]")
        return Range(key, choices=tuple(value.range()))
    ends: Sequence[Any]
    if isinstance(value, IntervalSweep):
        ends = [value.start, value.end]
        logarithmic = "log" in value.tags
    elif isinstance(value, list) and len(value) == 2 and all(_is_number(end) for end in value):
        ends = value
        logarithmic = value[0] > 0 and value[1] >= WIDE * value[0]
    else:
        raise ConfigError(wrong)
    low, high = (float(end) for end in ends)
    if not -math.inf < low < high < math.inf or (logarithmic and low <= 0):
        raise ConfigError(
            f"--over {text!r}: the first end must be the lower one{', above 0' * logarithmic}, and both finite"
        )
    present = _at(settings, key.removeprefix(prefix))
    whole = isinstance(present, int) and not isinstance(present, bool)
    return Range(key, low=low, high=high, logarithmic=logarithmic, whole=whole)


def settings_of_trials(method: str, ranges: Sequence[Range], count: int, draw: int) -> list[tuple[str, ...]]:
    """Overrides of a method's trials: first none, which is its preset, then others, each once.

    They are points of a scrambled Halton sequence, which cover the ranges more evenly than random ones and whose
    first ones do not depend on how many there are. draw: seed of the scrambling
    Raises ConfigError where there are not as many settings.
    """
    from scipy.stats.qmc import Halton

    places = Halton(len(ranges), rng=draw)
    found: dict[tuple[str, ...], None] = {(): None}
    for _ in range(100 * count):
        if len(found) == count:
            return list(found)
        (point,) = places.random(1)
        found.setdefault(tuple(each.at(float(place)) for each, place in zip(ranges, point, strict=True)))
    raise ConfigError(
        f"--trials {count}: {method}'s ranges have {len(found) - 1} settings beside its preset, and every method has "
        f"the same budget; give --trials {len(found)} or wider ranges"
    )


def every_combination(ranges: Sequence[Range]) -> list[tuple[str, ...]]:
    """Overrides of every combination of choices, after none. Raises ConfigError for a range between two ends."""
    if between := [each.key for each in ranges if not each.choices]:
        raise ConfigError(f"--grid: {between[0]} has a range without single values; write {between[0]}=A,B,C")
    if (count := math.prod(len(each.choices) for each in ranges)) > MOST:
        raise ConfigError(
            f"--grid: there are {count} combinations; give fewer values with --over, or --trials N"
        )
    combinations = itertools.product(*(each.choices for each in ranges))
    return [(), *(tuple(r.override(v) for r, v in zip(ranges, values)) for values in combinations)]


def _plain(value: Any) -> Any:
    """What Hydra's parser made of a value, as plain data."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.text if hasattr(value, "text") else value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _at(settings: Mapping[str, Any], key: str) -> Any:
    found: Any = settings
    for name in key.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found
