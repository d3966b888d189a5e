"""The code version: what a stage can reach counts, and of that only what is executed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.planning import code_version as versions
from tests.conftest import ROOT

SOURCES = {
    "__init__": "",
    "stages": "from thirdparty.parts import scale\nfrom .maths import half\n\ndef run():\n    return scale(half(1))\n",
    "parts": "def scale(x):\n    return 2 * x\n",
    "maths": "def half(x):\n    return x / 2\n",
    "unused": "X = 1\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A third party's package; returns a function that rewrites a module and gives the version anew."""
    folder = tmp_path / "thirdparty"
    folder.mkdir()
    for name, text in SOURCES.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)

    def version(module: str = "", text: str = "") -> str:
        if module:
            (folder / f"{module}.py").write_text(text)
        clear()
        return versions.code_version("thirdparty.stages")

    yield version
    clear()


def clear() -> None:
    for cached in (versions._file, versions._tree, versions._source_hash, versions._imports):
        cached.cache_clear()


def test_comments_docstrings_and_layout_do_not_count(package):
    before = package()
    text = '"""What it is."""\n# why\ndef scale(x):\n    """Twice."""\n\n    return (2 * x)  # two\n'
    assert package("parts", text) == before


@pytest.mark.parametrize("module", ["stages", "parts", "maths"])
def test_what_is_imported_counts(package, module):
    before = package()
    assert package(module, SOURCES[module] + "\nY = 2\n") != before


def test_what_is_not_imported_does_not_count(package):
    before = package()
    assert package("unused", "X = 2\n") == before


def test_imports_for_type_checking_do_not_count(package):
    head = "from __future__ import annotations\nfrom typing import TYPE_CHECKING\n"
    text = head + "if TYPE_CHECKING:\n    from thirdparty.unused import X\n" + SOURCES["parts"]
    before = package("parts", text)
    assert package("unused", "X = 3\n") == before


def test_a_missing_name_and_a_cycle_are_no_trouble(package):
    package("parts", "import thirdparty.stages, thirdparty.nowhere\n" + SOURCES["parts"])
    assert versions.reached_modules("thirdparty.stages") == {
        "thirdparty.stages",
        "thirdparty.parts",
        "thirdparty.maths",
    }


def test_a_stage_reaches_its_method_the_layers_and_the_loader_but_no_other_method():
    reached = versions.reached_modules("methods.eps.network")
    assert {"methods.eps.losses", "methods.layers.networks.backbones", "datasets.loading.loader"} <= reached
    assert not any(m.startswith(("methods.supervised", "benchmark")) for m in reached)


def test_the_harness_counts_but_not_what_it_prints_nor_how_runs_are_configured():
    reached = versions.reached_modules("benchmark.execution.context")
    assert {
        "benchmark.execution.context",
        "benchmark.execution.training",
        "datasets.loading.loader",
    } <= reached
    assert not {"benchmark.console", "benchmark.config", "benchmark.cli"} & reached


def test_following_imports_imports_nothing():
    code = (
        "import sys; from benchmark.planning.code_version import code_version;"
        "code_version('methods.eps.network');"
        "assert not {'torch', 'methods'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(ROOT), check=True)
