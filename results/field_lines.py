"""A method's results in fewer lines: what a table shows where a line for every source would repeat its neighbour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from results.field import CONDITIONS, UNKNOWN, Conditions, FieldMethod, Number, Result

_OF_THE_CLASSIFIER = ("cam", "pseudo_label")
_CLASSIFIER = ("cam_backbone", "cam_pretraining")
_ROUNDING = 0.1
"""Papers round others' numbers or cut them off; what differs by less is the same number."""


@dataclass
class _Line:
    place: int
    """Of its result in the file."""
    result: Result
    numbers: list[Number]


def condensed(method: FieldMethod) -> list[Result]:
    """A line for each variant, supervision and segmentation network.

    A segmentation number that equals one of a line whose conditions contradict none of its own joins that line, which
    then has what is known of both. CAM and pseudo-labels join the first line of their variant and classifier; where
    several refiners made pseudo-labels of one classifier, the highest are shown.
    """
    lines: list[_Line] = []
    places = sorted(range(len(method.results)), key=lambda i: -len(_known(method.results[i].conditions)))
    for place in places:
        result = method.results[place]
        own = []
        for number in result.numbers:
            if number.score in _OF_THE_CLASSIFIER:
                continue
            line = next(
                (x for x in lines if _agree(x.result, result, CONDITIONS) and _has(x.numbers, number)), None
            )
            if line is None:
                own.append(number)
            else:
                line.numbers.append(number)
                known = {
                    c: v for c, v in _known(result.conditions).items() if _narrower(v, _said(line.result, c))
                }
                line.result = replace(line.result, conditions=replace(line.result.conditions, **known))
        if own:
            lines.append(_Line(place, result, own))
    lines.sort(key=lambda x: x.place)
    for score in _OF_THE_CLASSIFIER:
        _add(method.results, score, lines)
    lines.sort(key=lambda x: x.place)
    return [replace(line.result, numbers=tuple(line.numbers)) for line in lines]


def _add(results: Sequence[Result], score: str, lines: list[_Line]) -> None:
    """Give the numbers of a classifier's score to the lines that they belong to."""
    found: list[tuple[_Line, str, list[Number]]] = []
    for place in sorted(range(len(results)), key=lambda i: -len(_known(results[i].conditions))):
        result = results[place]
        if not (numbers := list(result.of(score))):
            continue
        same = [x for x in lines if _agree(x.result, result, ())]
        of_classifier = [x for x in same if all(_said(x.result, c) == _said(result, c) for c in _CLASSIFIER)]
        backbone = [x for x in same if _said(x.result, "cam_backbone") == _said(result, "cam_backbone")]
        backbone = [x for x in backbone if _agree(x.result, result, _CLASSIFIER)]
        equal = [x for x, _, there in found if x in same and all(_has(there, n) for n in numbers)
                 and _agree(x.result, result, _CLASSIFIER)]  # fmt: skip
        line = next(iter((*equal, *of_classifier, *backbone)), None)
        if line is None:
            known = {c: _said(result, c) for c in _CLASSIFIER}
            line = _Line(place, replace(result, conditions=Conditions(**known)), [])
            lines.append(line)
        found.append((line, result.conditions.refiner, numbers))
    for line in lines:
        here = [(refiner, n) for x, refiner, numbers in found if x is line for n in numbers]
        if here:
            best, highest = max(here, key=lambda pair: pair[1].value)
            line.numbers += [
                n for refiner, n in here if score == "cam" or refiner in (best, UNKNOWN) or _has([highest], n)
            ]


def _known(conditions: Conditions) -> dict[str, str]:
    return {name: said for name, said in vars(conditions).items() if said != UNKNOWN}


def _said(result: Result, condition: str) -> str:
    return str(getattr(result.conditions, condition))


def _agree(one: Result, other: Result, conditions: Sequence[str]) -> bool:
    """Whether two results are of one variant and contradict each other in none of the conditions."""
    if (one.variant, one.supervision) != (other.variant, other.supervision):
        return False
    pairs = [(_said(one, c), _said(other, c)) for c in conditions]
    return all(a == b or _narrower(a, b) or _narrower(b, a) for a, b in pairs)


def _narrower(said: str, than: str) -> bool:
    """Whether one says more of the same: anything than "unknown", "ImageNet-21k" than "ImageNet"."""
    return than == UNKNOWN or said.startswith(f"{than}-")


def _has(numbers: Sequence[Number], number: Number) -> bool:
    return any(n.score == number.score and abs(n.value - number.value) < _ROUNDING for n in numbers)
