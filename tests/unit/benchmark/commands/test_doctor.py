"""`doctor` names the weights that methods start from, and what a method needs before it has any."""

from __future__ import annotations

import pytest

from benchmark.commands import doctor
from methods.registry import all_methods


def test_a_method_that_needs_a_file_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WSSS_WEIGHTS", raising=False)
    found = list(doctor._weights())
    (said,) = [(state, text) for state, text in found if "sam_fused" in text]
    assert said[0] == "note"
    assert said[1].startswith(
        "small: sam_fused: the miniature SAM knows generated pictures only, not voc2012's"
    )
    assert "sam.weights=FILE" in said[1]
    assert not any(
        f": {name}: " in text for _, text in found for name in all_methods() if name != "sam_fused"
    )
