"""What differs between two methods, and the runs in between, each a job: one side with some of the other's parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmark.config import OWN, RunConfig, compose, plain
from benchmark.explanation.ledger import Changed, subsets
from benchmark.failures import ConfigError
from benchmark.planning.plan import Job
from datasets.limits import first_fault
from methods.registry import find_method

METHOD = "method"
_HANDED = ("inference", "refiner", "segmenter")
"""Parts that a protocol can give to any method."""
_SETTINGS = ("backbone", "vit", "train", "background_threshold")
"""Settings that methods have in common: where two have one of the same type, it is exchanged between them."""
WORDS = {
    METHOD: "method: losses, maps, and what has no line here",
    "backbone": "network of the CAM and its initial weights",
    "vit": "transformer of the CAM and its initial weights",
    "train": "training of the CAM's network: schedule, crops, augmentation",
    "inference": "scales and mirror images of the CAM",
    "background_threshold": "background threshold of the CAM",
    "refiner": "refiner of the pseudo-labels",
    "segmenter": "segmentation network, its initial weights and training",
    "test": "test of the network: scales, mirror images, CRF",
}
"""The things that two methods can differ in, in the order of a run."""
OF_STAGE = {
    "cam": tuple(WORDS)[:6],
    "pseudo_label": tuple(WORDS)[:7],
    "segmentation": tuple(WORDS),
}
"""Whose score -> the things that it depends on."""
LAST = {"cam": "cam", "pseudo_label": "pseudo_label", "segmentation": "prediction"}
"""Stage of the records -> kind of artifact at which a run may stop."""
_TEST = ("test_scales", "test_flip", "test_crf", "test_tiles")


@dataclass(frozen=True)
class Side:
    """A method as it is compared. config: of it alone; parts: thing -> settings, None where it has none to hand over"""

    name: str
    method: str
    config: RunConfig
    parts: dict[str, Any]


def read_side(text: str, dataset: str | None, scale: str, protocol: str, overrides: Sequence[str]) -> Side:
    """Of METHOD, METHOD:REFINER or METHOD:REFINER:SEGMENTER (`own` for its own); ConfigError for anything else.

    overrides: those of other methods are left out
    """
    name, *parts = text.split(":")
    if len(parts) > 2 or not all([name, *parts]):
        raise ConfigError(
            f"{text!r}: write METHOD, METHOD:REFINER or METHOD:REFINER:SEGMENTER, as in METHOD:crf"
        )
    method = find_method(name).name
    refiner, segmenter = [*parts, OWN, OWN][:2]
    given = [o for o in overrides if not o.startswith("method.") or o.split(".")[1] == method]
    config = compose([method], dataset, scale, protocol, given, refiner=refiner, segmenter=segmenter)
    shared, own = config.protocol, config.method[method]
    found = {part: getattr(shared, part) or getattr(own, part, None) for part in _HANDED}
    found |= {part: getattr(own, part, None) for part in _SETTINGS}
    return Side(text, method, config, found)


def differences(a: Side, b: Side, stage: str) -> list[str]:
    """The things in which two sides differ, of those that the score of a stage depends on."""
    return [thing for thing in OF_STAGE[stage] if _differ(a, b, thing)]


def _differ(a: Side, b: Side, thing: str) -> bool:
    if thing == METHOD:
        return _core(a) != _core(b)
    if thing == "test":
        first, second = a.parts["segmenter"], b.parts["segmenter"]
        return None not in (first, second) and bool(_tests(first) != _tests(second))
    first, second = a.parts[thing], b.parts[thing]
    if thing in _SETTINGS and type(first) is not type(second):
        return False  # then it is a part of the method
    if thing == "segmenter" and None not in (first, second):
        first = replace(first, **_tests(second))
    return bool(first != second)


def _core(side: Side) -> tuple[str, Any]:
    """What is left of a method's settings without the parts that have a line of their own."""
    own = plain(side.config.method[side.method])
    return side.method, {key: value for key, value in own.items() if key not in (*_HANDED, *_SETTINGS)}


def _tests(segmenter: Any) -> dict[str, Any]:
    return {name: getattr(segmenter, name) for name in _TEST}


def possible(a: Side, b: Side, changed: Changed, things: Sequence[str]) -> bool:
    """Whether there is such a run: a part that a method has of its own kind alone goes with that method."""
    if METHOD not in things:
        return True
    own = [
        thing for thing in things if thing in _HANDED and (b if thing in changed else a).parts[thing] is None
    ]
    return all((thing in changed) == (METHOD in changed) for thing in own)


def sets(a: Side, b: Side, things: Sequence[str]) -> list[Changed]:
    """The sets of things whose change gives a run that there is."""
    return subsets(things, lambda changed: possible(a, b, changed, things))


def cell(a: Side, b: Side, changed: Changed, things: Sequence[str]) -> RunConfig:
    """The configuration of side a with the changed things from side b; ConfigError where these do not go together.

    What comes from the side of the method itself stays as that has it, so that the run is the method's usual one and
    its artifacts are shared.
    """
    of = b if METHOD in changed else a
    taken: dict[str, Any] = {}
    for part in _HANDED:
        value = (b if part in changed else a).parts[part]
        if part == "segmenter" and "test" in things:
            value = replace(value, **_tests((b if "test" in changed else a).parts["segmenter"]))
        if value is not None and value != of.parts[part]:
            taken[part] = value
    settings = {part: (b if part in changed else a).parts[part] for part in _SETTINGS if part in things}
    own: Any = of.config.method[of.method]
    config = replace(
        of.config,
        protocol=replace(of.config.protocol, **taken),
        method={of.method: replace(own, **settings)},
    )
    if fault := first_fault(config):
        raise ConfigError(f"{of.name} with {', '.join(sorted(changed)) or 'nothing'} of {b.name}: {fault}")
    return config


def jobs(
    a: Side, b: Side, chosen: Sequence[Changed], things: Sequence[str], stage: str, seeds: Sequence[int]
) -> list[Job]:
    """A job for each set, labelled by what is changed."""
    return [
        Job(
            cell(a, b, changed, things), seeds, LAST[stage], label="+".join(t for t in things if t in changed)
        )
        for changed in chosen
    ]
