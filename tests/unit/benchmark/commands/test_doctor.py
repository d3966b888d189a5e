"""`doctor` names the weights that methods start from, and what a method needs before it has any."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from benchmark.commands import doctor
from benchmark.failures import ConfigError
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


def test_locks_are_tried_where_the_store_will_be(tmp_path, monkeypatch):
    ((state, text),) = doctor._store(tmp_path / "store")
    assert state == "ok"
    assert text.startswith(f"{tmp_path / 'store'} (file system ")
    assert text.endswith("): a lock of one process keeps another out")
    assert not [*tmp_path.iterdir()]
    monkeypatch.setattr(
        doctor, "FileLock", lambda file: nullcontext()
    )  # as where locks hold on one machine's word
    ((state, text),) = doctor._store(tmp_path)
    assert (state, "locks do not hold between processes" in text) == ("bad", True)

    def refuse(file):
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(doctor, "FileLock", refuse)
    ((state, text),) = doctor._store(tmp_path)
    assert (state, "no lock can be taken: FileSystem" in text) == ("bad", True)


def test_the_stores_place_needs_no_data_set(monkeypatch, tmp_path):
    for section in ("_environment", "_devices", "_weights"):
        monkeypatch.setattr(doctor, section, lambda: iter(()))
    monkeypatch.setattr(doctor, "_data", lambda *arguments: iter(()))
    tried = []
    monkeypatch.setattr(doctor, "_store", lambda root: iter(tried.append(root) or ()))
    assert doctor.examine(None, [f"runtime.store={tmp_path}"])
    assert tried == [tmp_path]
    with pytest.raises(ConfigError, match=r"dataset\.root=x: say of which data set"):
        doctor.examine(None, ["dataset.root=x", f"runtime.store={tmp_path}"])
