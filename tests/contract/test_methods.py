"""Every registered method keeps the contract that a plug-in's author tests theirs by."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from benchmark.config import compose
from benchmark.testing import MethodContract
from datasets import open_dataset
from datasets.base import TrainingView
from methods.base import NotRunnable
from methods.registry import all_methods
from tests.helpers.tiny import sizes


class TestEveryMethod(MethodContract):
    @pytest.fixture(scope="class", params=list(all_methods()))
    @classmethod
    def name(cls, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture(scope="class")
    @classmethod
    def overrides(cls, name: str) -> Sequence[str]:
        return sizes([name])


def test_only_what_needs_a_file_of_others_plans_nothing() -> None:
    """At these scales a method says what it needs; it is not tested there."""
    left_out = set()
    for name, method in all_methods().items():
        for preset in method.presets:
            scale, _, dataset = preset.partition("/")
            config = compose([name], dataset or None, scale)
            opened = open_dataset(config.dataset)
            view = TrainingView(
                opened.name, opened.classes, {"train": (), "val": ()}, generated=opened.generated
            )
            try:
                method.stages(config.method[name], view, config.shared)
            except NotRunnable:
                left_out.add((name, preset))
    assert left_out == {("sam_fused", "small")}  # a SAM of photographs
