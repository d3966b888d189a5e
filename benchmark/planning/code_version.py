"""Version of the code a stage can reach: a hash of its sources, so that a README edit retrains nothing.

The closure of imports is followed statically from the stage's module, through this project's packages and the
module's own (a third party's method). Comments, docstrings and imports for type checking do not count.
Nothing is imported, so that planning stays quick.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from datasets.limits import suggestion

PACKAGES = ("methods", "datasets", "benchmark", "results")
SILENT = frozenset({"benchmark.console"})
"""Modules that only show progress: rewording a line retrains nothing."""


def code_version(module: str) -> str:
    """Hash over the normalised sources of `module` and every module it reaches, 16 hex digits."""
    digest = hashlib.sha256()
    for name in sorted(reached_modules(module)):
        digest.update(f"{name}:{_source_hash(name)};".encode())
    return digest.hexdigest()[:16]


def reached_modules(module: str) -> set[str]:
    """The closure of imports within this project and the package of `module`, `module` included."""
    packages = (*PACKAGES, module.split(".")[0])
    seen: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += [m for m in _imports(name) if m.split(".")[0] in packages and _file(m) is not None]
    return seen - SILENT


def function_fault(address: str) -> str:
    """Why "package.module:function" or "package.module:Class.function" leads to no function, one line; "" where it
    does, as far as sources tell."""
    module, _, name = address.partition(":")
    first, *rest = name.split(".")
    if not module or len(rest) > 1 or not all(part.isidentifier() for part in (first, *rest)):
        return f'{address!r} is not of the form "package.module:function"'
    if _file(module) is None and not _importable(module):
        return f"there is no module {module!r}"
    known = _defined(module)
    if known is not None and first not in known:
        return f"module {module} {_lacks(first, known)}"
    packages = (*PACKAGES, module.split(".")[0])
    members = _members(module, first, packages) if rest and known is not None else None
    if members is not None and rest[0] not in members:
        return f"{module}:{first} {_lacks(rest[0], members)}"
    return ""


def _lacks(name: str, known: set[str]) -> str:
    public = sorted(each for each in known if not each.startswith("_"))
    return f"has no {name!r}; {suggestion(name, public)}it has {', '.join(public) or 'nothing'}"


def _importable(module: str) -> bool:
    """Whether there is a module without a source, a compiled one; imports its parents."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _defined(module: str) -> set[str] | None:
    """Names that a module's source binds at its top level; None where that cannot be told without importing it."""
    tree = _tree(module)
    names = set(_bindings(tree)) if tree is not None else {"*"}
    return None if names & {"*", "__getattr__"} else names


def _members(module: str, name: str, packages: tuple[str, ...]) -> set[str] | None:
    """Names that a class and its bases bind; None where what is called `name` is no class, as far as sources tell.

    Bases from other packages than these, torch's say, count as binding nothing: no library has functions of stages.
    """
    tree, file = _tree(module), _file(module)
    if module.split(".")[0] not in packages or tree is None or file is None:
        return set()
    bound = _bindings(tree)
    node = bound.get(name)
    if isinstance(node, ast.ImportFrom):
        original = next(a.name for a in node.names if name in (a.asname, a.name))
        return _members(_absolute(node, module, file.name == "__init__.py"), original, packages)
    if not isinstance(node, ast.ClassDef):
        return None
    found = set(_bindings(node))
    for base in node.bases:
        inherited: set[str] | None = set()  # of a built-in class, or one with parameters
        if isinstance(base, ast.Name) and base.id in bound:
            inherited = _members(module, base.id, packages)
        elif isinstance(base, ast.Attribute) and isinstance(base.value, ast.Name):
            source = next((m for m in _imports(module) if m.split(".")[-1] == base.value.id), "")
            inherited = _members(source, base.attr, packages)
        if inherited is None:
            return None
        found |= inherited
    return found


def _bindings(tree: ast.Module | ast.ClassDef) -> dict[str, ast.AST]:
    """What a module or a class binds itself, also in branches: name -> the statement, or the name, that does."""
    found: dict[str, ast.AST] = {}
    todo: list[ast.AST] = [*tree.body]
    while todo:
        node = todo.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found[node.name] = node  # what is bound inside is its own
            continue
        if isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name: node for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.asname or alias.name.split(".")[0]: node for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found[node.id] = node
        todo += ast.iter_child_nodes(node)
    return found


@cache
def _file(name: str) -> Path | None:
    """Source file of a module, found without importing its parents; None if there is none."""
    top, *rest = name.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin is not None and spec.origin.endswith(".py") else None
    for folder in spec.submodule_search_locations or ():
        path = Path(folder, *rest)
        for file in (path.with_name(f"{path.name}.py"), path / "__init__.py"):
            if file.is_file():
                return file
    return None


@cache
def _tree(name: str) -> ast.Module | None:
    file = _file(name)
    return ast.parse(file.read_text(encoding="utf-8")) if file is not None else None


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
    """Names that may be modules: of ``from a import b``, both ``a`` and ``a.b``."""
    tree, file = _tree(name), _file(name)
    if tree is None or file is None:
        return ()
    found: set[str] = set()
    for node in _executed(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = _absolute(node, name, file.name == "__init__.py")
            found.add(source)
            found.update(f"{source}.{alias.name}" for alias in node.names)
    return tuple(sorted(found))


def _executed(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under ``if TYPE_CHECKING:``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        yield node
        yield from _executed(node)


def _absolute(node: ast.ImportFrom, importer: str, is_package: bool) -> str:
    """Module that ``from ..a import b`` names, seen from `importer`."""
    if node.level == 0:
        return node.module or ""
    parts = importer.split(".")
    base = parts[: len(parts) - node.level + is_package]
    return ".".join([*base, *([node.module] if node.module else [])])
