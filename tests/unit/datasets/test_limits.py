"""Limits of settings: what is refused, where it is found, and how it is said."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.config import PRECISIONS, RuntimeConfig, compose
from datasets.limits import (
    Conflicts,
    Count,
    Factors,
    MultipleOf,
    NotNegative,
    OneOf,
    Rising,
    Share,
    Within,
    first_fault,
    out_of_order,
)
from methods.base import MethodError
from methods.registry import all_methods


@dataclass(frozen=True)
class Part:
    share: Share = 0.5
    sizes: Annotated[tuple[Count, ...], Rising()] = (1, 2)
    plain: float = 1.0


@dataclass(frozen=True)
class Settings:
    part: Part = field(default_factory=Part)
    optional: Part | None = None
    bits: Annotated[int, Within(8, 16, besides=0)] = 0
    network: Annotated[str, OneOf(("small", "large"), ("timm/",))] = "small"
    named: dict[str, Part] = field(default_factory=dict)
    limit: Annotated[float | None, Within(0)] = None


@dataclass(frozen=True)
class Range:
    low: Share = 0.2
    high: Share = 0.7
    turn: Annotated[int, MultipleOf(90)] = 0

    def conflicts(self) -> Conflicts:
        for why in out_of_order(self):
            yield "", why
        for why in out_of_order(self, equal=False):
            yield "low", why


@dataclass(frozen=True)
class Ranged:
    range: Range = field(default_factory=Range)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        (Range(0.8), "range: low=0.8 must not be above high=0.7"),
        (Range(0.7), "range.low: low=0.7 must be below high=0.7"),
        (Range(2.0, 0.1), "range.low=2.0: must be in [0, 1]"),  # what is wrong alone is said first
        (Range(turn=45), "range.turn=45: must be a multiple of 90"),
        (Range(turn=-180), None),
    ],
)
def test_values_are_held_against_each_other(settings, fault):
    assert first_fault(Ranged(settings)) == fault


def test_what_is_well_has_no_fault():
    assert first_fault(Settings()) is None
    assert first_fault(Settings(network="timm/anything", bits=16, limit=2.0)) is None


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        (Settings(part=Part(share=-0.1)), "part.share=-0.1: must be in [0, 1]"),
        (Settings(optional=Part(share=2.0)), "optional.share=2.0: must be in [0, 1]"),
        (Settings(named={"a": Part(share=2.0)}), "named.a.share=2.0: must be in [0, 1]"),
        (Settings(part=Part(sizes=(1, 0))), "part.sizes[1]=0: must be at least 1"),
        (Settings(part=Part(sizes=(2, 1))), "part.sizes=[2,1]: must not fall: write the smaller one first"),
        (Settings(part=Part(plain=float("inf"))), "part.plain=inf: must be a finite number"),
        (Settings(part=Part(share=float("nan"))), "part.share=nan: must be a finite number"),
        (Settings(bits=7), "bits=7: must be 0 or in [8, 16]"),
        (Settings(limit=-1.0), "limit=-1.0: must be at least 0"),
        (Settings(network="smal"), "network=smal: did you mean 'small'? there are small, large, timm/<name>"),
        (Settings(network="timm/"), "network=timm/: there are small, large, timm/<name>"),
    ],
)
def test_a_fault_names_key_value_and_range(settings, fault):
    assert first_fault(settings) == fault
    assert first_fault(settings, "dataset") == f"dataset.{fault}"


@given(st.floats(allow_nan=False), st.booleans(), st.booleans())
def test_ends_belong_to_the_range_unless_it_is_open(value, above, below):
    inside = 0 <= value <= 1 and not (above and value == 0) and not (below and value == 1)
    assert (Within(0, 1, above, below).fault(value) is None) == inside


def test_every_preset_is_within_its_limits():
    for method in all_methods().values():
        for scale, preset in method.presets.items():
            assert first_fault(preset, f"{method.name} {scale}") is None


def test_every_precision_can_be_had():
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.precision.precision import _PRECISION_INPUT_STR

    assert set(PRECISIONS) < set(get_args(_PRECISION_INPUT_STR))
    for precision in PRECISIONS:
        Fabric(accelerator="cpu", precision=precision)  # raises for what it cannot do


def test_half_precision_is_not_replaced_by_another_on_a_cpu():
    from benchmark.execution.distributed import make_fabric

    with pytest.raises(MethodError, match="16-mixed needs a GPU; bf16-mixed trains on a CPU"):
        make_fabric(RuntimeConfig(device="cpu", precision="16-mixed"))


def test_limits_do_not_show_in_the_types_that_overrides_are_read_by():
    config = compose(["cam"], overrides=["method.cam.train.iterations=7", "method.cam.inference.scales=[2]"])
    assert config.method["cam"].train.iterations == 7
    assert config.method["cam"].inference.scales == (2.0,)


def test_aliases_say_what_they_mean():
    @dataclass(frozen=True)
    class Local:
        factors: Factors = (1.0,)
        weight: NotNegative = 0.0

    Local.__annotations__ = {"factors": Factors, "weight": NotNegative}
    assert first_fault(Local()) is None
    assert first_fault(Local(factors=())) == "factors=[]: must have at least one item"
    assert first_fault(Local(weight=-1.0)) == "weight=-1.0: must be at least 0"
