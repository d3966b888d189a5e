"""The house's rules: which way imports run, who knows whom, and that planning stays light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from methods.base import Kind
from methods.registry import all_methods
from tests.conftest import ROOT

FORBIDDEN = {
    "methods": {"benchmark", "results", "reports"},
    "datasets": {"benchmark", "methods", "results", "reports"},
    "reports": {"benchmark", "methods"},
    "results": {"benchmark", "methods", "reports"},
}
SOURCES = [
    path
    for folder in (*FORBIDDEN, "benchmark")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if not path.is_relative_to(ROOT / "results" / "runs")  # what runs and the built documentation write
]


def imported(tree: ast.AST) -> Iterator[str]:
    """Top-level packages that a module imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield (node.module or "").split(".")[0]


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_run_one_way(package):
    wrong = [
        (str(path.relative_to(ROOT)), name)
        for path in SOURCES
        if path.is_relative_to(ROOT / package)
        for name in imported(ast.parse(path.read_text()))
        if name in FORBIDDEN[package]
    ]
    assert not wrong


@cache
def modules() -> dict[str, Path]:
    """Dotted name -> file of every module; a package has its folder's name."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in SOURCES
    }


@cache
def module_imports() -> dict[str, set[str]]:
    """Module -> the modules that it imports, anywhere in it but for type checking."""
    known = modules()
    found: dict[str, set[str]] = {}
    for name, path in known.items():
        tree = ast.parse(path.read_text())
        typed = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            for inner in ast.walk(node)
        }
        nodes = [node for node in ast.walk(tree) if id(node) not in typed]
        names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        for node in nodes:
            if isinstance(node, ast.ImportFrom) and node.module:
                parts = {f"{node.module}.{alias.name}" for alias in node.names}
                names |= {part if part in known else node.module for part in parts}
        found[name] = (names & set(known)) - {name}
    return found


def circle(graph: dict[str, set[str]]) -> tuple[str, ...]:
    """One circle of a graph, () for none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return tuple(error.args[1])
    return ()


@cache
def folder(name: str) -> str:
    """What a module is layered as: its folder, or itself where that folder has folders of its own."""
    path = modules()[name]
    alone = any(inner.is_dir() and any(inner.glob("*.py")) for inner in path.parent.iterdir())
    return name if alone or path.name == "__init__.py" else name.rpartition(".")[0]


def test_no_module_imports_itself_by_way_of_others():
    assert not circle(module_imports())


def test_no_folder_imports_a_folder_that_imports_it():
    graph: dict[str, set[str]] = {}
    for name, others in module_imports().items():
        graph.setdefault(folder(name), set()).update(folder(other) for other in others)
    assert not circle({name: others - {name} for name, others in graph.items()})


def test_a_circle_is_found():
    assert set(circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == {"a", "b", "c"}


def docstrings(tree: ast.AST) -> set[int]:
    """Ids of the constants that document something."""
    return {
        id(statement.value)
        for node in ast.walk(tree)
        if not isinstance(node, (ast.Lambda, ast.IfExp))
        for statement in getattr(node, "body", ())
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    }


def mentions(path: Path) -> Iterator[str]:
    """Identifiers and strings of a module."""
    tree = ast.parse(path.read_text())
    documentation = docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value
        for field in ("id", "attr", "arg", "name", "module"):
            if isinstance(value := getattr(node, field, None), str):
                yield value


def test_the_harness_names_no_method():
    # "cam" is also a kind of artifact, which the harness has to know
    names = set(all_methods()) - {kind.value for kind in Kind}
    assert {"eps", "supervised"} <= names
    word = re.compile(rf"\b({'|'.join(sorted(names))})\b")
    found = [
        (str(path.relative_to(ROOT)), text)
        for path in SOURCES
        if path.is_relative_to(ROOT / "benchmark")
        for text in mentions(path)
        if word.search(text.lower().replace("weakly supervised", ""))  # the field's name, no method's
    ]
    assert not found


def in_a_new_process(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_planning_imports_neither_torch_nor_timm_nor_pandas(tmp_path):
    code = f"""
import sys
import benchmark.cli
from benchmark.config import compose
from benchmark.console import console
from benchmark.commands.dry_run import print_plan
from benchmark.planning.plan import make_plan
from methods.registry import all_methods
methods = [name for name, method in all_methods().items() if method.default]
places = ["dataset.root={tmp_path}/data", "runtime.store={tmp_path}/store"]
config = compose(methods, overrides=["dataset.train=4", "dataset.val=2", *places])
plan = make_plan(config, [0])
assert all(run.status == "planned" for run in plan.runs)
console.quiet = True
assert print_plan(plan)
print(*({{"torch", "torchvision", "timm", "pandas", "lightning_fabric"}} & set(sys.modules)))
"""
    assert in_a_new_process(code).strip() == ""


def test_settings_without_overrides_need_no_hydra():
    code = """
import sys
from benchmark.config import compose
assert compose(["cam"]).method["cam"].train.iterations > 0
print(*{"hydra", "omegaconf"} & set(sys.modules))
"""
    assert in_a_new_process(code).strip() == ""


def test_the_folder_datasets_breaks_no_library():
    code = "import timm, open_clip, segment_anything, datasets; print(datasets.__file__)"
    assert Path(in_a_new_process(code).strip()) == ROOT / "datasets" / "__init__.py"
