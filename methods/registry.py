"""Finds methods: every package in this folder with a METHOD, and third parties' entry points."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import sys
from functools import cache
from importlib.metadata import entry_points

import methods
from methods.base import Method, MethodError

ENTRY_POINT_GROUP = "wsss_benchmark.methods"


@cache
def all_methods() -> dict[str, Method]:
    """Registry name -> method, in the board's order: those of `--methods all` first, then by name."""
    found: dict[str, Method] = {}
    for module in pkgutil.iter_modules(methods.__path__):
        if module.ispkg:
            method = getattr(importlib.import_module(f"methods.{module.name}"), "METHOD", None)
            if method is not None:
                found[method.name] = method
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        try:
            method = entry.load()
        except Exception as error:  # a broken plug-in must not take the others with it
            print(f"warning: method plug-in {entry.value} does not load: {error}", file=sys.stderr)
            continue
        if method.name in found:
            raise MethodError(f"method plug-in {entry.value} takes the name {method.name!r}; rename it")
        found[method.name] = method
    return dict(sorted(found.items(), key=lambda item: (not item[1].in_all, item[0])))


def find_method(name: str) -> Method:
    """The method of that name; MethodError with a suggestion if there is none."""
    known = all_methods()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise MethodError(f"unknown method {name!r}; {hint}there are {', '.join(known)}")
    return known[name]
