"""Finds methods: every package in this folder with a METHOD, and third parties' entry points."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import traceback
from collections.abc import Callable, Iterator
from functools import cache, partial
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

import methods
from methods.base import Method, MethodError
from methods.experiment import Experiment
from methods.failures import raised_at

ENTRY_POINT_GROUP = "wsss_benchmark.methods"
ATTRIBUTE = "METHOD"
FORMS = f'"package.module", whose {ATTRIBUTE} is the method, or "package.module:{ATTRIBUTE}"'
"""What an entry point may be."""


def all_methods() -> dict[str, Method]:
    """Registry name -> method, in the board's order: those of `--methods all` first, then by name."""
    return discover()[0]


def broken_methods() -> dict[str, str]:
    """Folder's or entry point's name -> why it is no method, one line; the others are not affected."""
    return discover()[1]


def all_experiments() -> tuple[dict[str, tuple[Method, Experiment]], dict[str, str]]:
    """Every method's, by METHOD/EXPERIMENT; and by method why its file of them cannot be read, one line."""
    found: dict[str, tuple[Method, Experiment]] = {}
    faulty: dict[str, str] = {}
    for name, method in all_methods().items():
        try:
            found |= {f"{name}/{experiment.name}": (method, experiment) for experiment in method.experiments}
        except MethodError as error:
            faulty[name] = str(error)
    return found, faulty


@cache
def discover() -> tuple[dict[str, Method], dict[str, str]]:
    """`all_methods` and `broken_methods`."""
    found: dict[str, Method] = {}
    broken: dict[str, str] = {}
    for name, where, package, load in _sources():
        try:
            method = _method_of(load())
            if method is None:  # a folder of shared parts
                continue
            if method.name in found:
                raise MethodError(f"takes the name {method.name!r}, which another method has; rename it")
            found[method.name] = method
        except MethodError as error:
            broken[name] = f"{where}: {error}"
        except Exception as error:
            place = raised_at(error, [package])
            said = " ".join(str(error).split())
            broken[name] = f"{where} does not load: {type(error).__name__}: {said} ({place})"
    return dict(sorted(found.items(), key=lambda item: (not item[1].default, item[0]))), broken


def _sources() -> Iterator[tuple[str, str, str, Callable[[], Any]]]:
    """(name, what it is called in messages, its top package, what loads a module or a method)"""
    for module in pkgutil.iter_modules(methods.__path__):
        if module.ispkg:
            package = f"methods.{module.name}"
            load = partial(importlib.import_module, package)
            yield module.name, f"folder methods/{module.name}", package, load
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        where = f'entry point {entry.name} = "{entry.value}"'
        yield entry.name, where, entry.value.split(":")[0].split(".")[0], partial(_load, entry)


def _load(entry: Any) -> Any:
    try:
        value = entry.load()
    except AttributeError as error:
        frame, _ = [*traceback.walk_tb(error.__traceback__)][-1]
        if frame.f_globals["__name__"].startswith("importlib."):  # not in the author's code
            raise MethodError(f"there is no such object; write {FORMS}") from error
        raise
    if isinstance(value, ModuleType) and not hasattr(value, ATTRIBUTE):
        raise MethodError(f"module {value.__name__} has no {ATTRIBUTE}; write {FORMS}")
    if not isinstance(value, (ModuleType, Method)):
        raise MethodError(f"{_kind(value)}; write {FORMS}")
    return value


def _method_of(value: Any) -> Method | None:
    """The method of a module, or the value itself; None for a module without one. Raises MethodError."""
    method = getattr(value, ATTRIBUTE, None) if isinstance(value, ModuleType) else value
    if method is None:
        return None
    if not isinstance(method, Method):
        raise MethodError(f"{ATTRIBUTE}: {_kind(method)}; write {ATTRIBUTE} = YourMethod()")
    missing = [name for name in Method.__annotations__ if not hasattr(method, name)]
    if missing:
        raise MethodError(f"{type(method).__name__} lacks {', '.join(missing)}; see methods/base.py")
    return method


def _kind(value: Any) -> str:
    if isinstance(value, type):
        return f"this is the class {value.__name__}, not an instance of it"
    return f"this is of type {type(value).__name__}, not a Method"


def find_method(name: str) -> Method:
    """The method of that name; MethodError with a suggestion if there is none, with the reason if it is broken."""
    known = all_methods()
    if name in known:
        return known[name]
    if name in broken_methods():
        raise MethodError(f"method {name}: {broken_methods()[name]}")
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise MethodError(f"unknown method {name!r}; {hint}there are {', '.join(known)}")
