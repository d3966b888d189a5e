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
    sys.modules.pop("thirdparty", None)  # a compiled module is looked for by importing its parents


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


NAMES = """
import json as reading
from .maths import half
LIMIT: int = 3
first, (second, third) = 1, (2, 3)
if LIMIT:
    def guarded(): ...
try:
    import no_such_library
except ImportError:
    no_such_library = None
class Kind: inner = 1
def outer():
    def nested(): ...
"""


@pytest.mark.parametrize(
    "name",
    ["reading", "half", "LIMIT", "first", "third", "guarded", "no_such_library", "Kind", "outer"],
)
def test_a_function_is_found_however_its_module_binds_it(package, name):
    package("stages", NAMES)
    assert versions.function_fault(f"thirdparty.stages:{name}") == ""


@pytest.mark.parametrize("name", ["nested", "inner", "json", "run"])
def test_a_name_that_a_module_does_not_bind_is_no_function_of_it(package, name):
    package("stages", NAMES)
    assert f"module thirdparty.stages has no {name!r}" in versions.function_fault(f"thirdparty.stages:{name}")


@pytest.mark.parametrize("source", ["from .maths import *\n", "def __getattr__(name): ...\n"])
def test_what_only_an_import_can_tell_is_let_pass(package, source):
    package("stages", source)
    assert versions.function_fault("thirdparty.stages:half") == ""


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("thirdparty.stages:rnu", "module thirdparty.stages has no 'rnu'; did you mean 'run'? it has"),
        ("thirdparty.stage:run", "there is no module 'thirdparty.stage'"),
        ("third.stages:run", "there is no module 'third.stages'"),
        ("thirdparty.stages.run", "is not of the form"),
        ("thirdparty.stages:a.b.c", "is not of the form"),
        ("thirdparty.stages:", "is not of the form"),
    ],
)
def test_a_wrong_address_says_what_is_wrong(package, address, words):
    package()
    assert words in versions.function_fault(address)


def test_a_compiled_module_is_let_pass():
    assert versions.function_fault("_socket:socket") == ""


CLASSES = """
from torch import nn
from thirdparty import maths
from thirdparty.parts import Base as Renamed
class Own(Renamed, nn.Module):
    def cam(cls): ...
class Other(maths.Deep): ...
alias = Own
def run(): ...
"""


@pytest.fixture
def classes(package):
    package("parts", "from thirdparty import maths\nclass Base(maths.Deep):\n    def classify(cls): ...\n")
    package("maths", "class Deep(dict):\n    def scores(cls): ...\n")
    package("stages", CLASSES)


@pytest.mark.parametrize(
    "name", ["Own.cam", "Own.classify", "Own.scores", "Other.scores", "alias.anything", "run.anything"]
)
def test_a_function_of_a_class_is_found_in_its_bases(classes, name):
    assert versions.function_fault(f"thirdparty.stages:{name}") == ""


def test_a_misspelt_function_of_a_class_is_not(classes):
    fault = versions.function_fault("thirdparty.stages:Own.clasify")
    assert fault.startswith(
        "thirdparty.stages:Own has no 'clasify'; did you mean 'classify'? it has cam, classify"
    )
    assert "has no 'classify'" in versions.function_fault("thirdparty.stages:Other.classify")
    assert "has no 'Oher'" in versions.function_fault("thirdparty.stages:Oher.cam")
