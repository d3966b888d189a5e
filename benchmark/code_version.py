"""Version of the code a stage can reach: a hash of its sources, so that a README edit retrains nothing.

The closure of first-party imports is followed statically from the stage's module, and docstrings and
comments do not count.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from functools import cache
from pathlib import Path

PACKAGES = ("methods", "datasets", "benchmark", "results")


def code_version(module: str) -> str:
    """Hash over the normalised sources of `module` and every first-party module it imports, 16 hex digits."""
    digest = hashlib.sha256()
    for name in sorted(reached_modules(module)):
        digest.update(f"{name}:{_source_hash(name)};".encode())
    return digest.hexdigest()[:16]


def reached_modules(module: str) -> set[str]:
    """The closure of first-party imports, `module` included."""
    seen: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += _imports(name)
    return seen


@cache
def _tree(name: str) -> ast.Module | None:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return ast.parse(Path(spec.origin).read_text())


@cache
def _source_hash(name: str) -> str:
    tree = _tree(name)
    if tree is None:
        return "none"
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and body:
            first = body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


@cache
def _imports(name: str) -> tuple[str, ...]:
    tree = _tree(name)
    if tree is None:
        return ()
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return tuple(sorted(m for m in found if m.split(".")[0] in PACKAGES and _exists(m)))


@cache
def _exists(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ModuleNotFoundError, AttributeError):
        return False
