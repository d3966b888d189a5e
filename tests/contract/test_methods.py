"""Every registered method keeps the contract that a plug-in's author tests theirs by."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from benchmark.testing import MethodContract
from methods.registry import all_methods
from tests.helpers.tiny import sizes


class TestEveryMethod(MethodContract):
    @pytest.fixture(scope="class", params=list(all_methods()))
    def name(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture(scope="class")
    def overrides(self, name: str) -> Sequence[str]:
        return sizes([name])
