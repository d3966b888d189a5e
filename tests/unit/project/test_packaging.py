"""The project installs editable, and in no other way."""

from __future__ import annotations

import importlib
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize("hook", ["build_wheel", "build_sdist"])
def test_what_would_put_datasets_into_site_packages_is_refused(
    hook: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]
    monkeypatch.syspath_prepend(str(ROOT / system["backend-path"][0]))
    backend = importlib.import_module(system["build-backend"])
    with pytest.raises(SystemExit, match=r"editable only.*pip install -e \.") as error:
        getattr(backend, hook)(str(tmp_path))
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []
    assert callable(backend.build_editable)
