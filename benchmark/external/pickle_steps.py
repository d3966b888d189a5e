"""Following a pickle's instructions on plain data, without unpickling: nothing is imported, looked up or called.

The opcodes are listed by `pickletools`. Those that containers, numbers and text are made of are followed; a function
that the pickle names is handed by its name to the caller, who knows the few that it can do without. All others are
refused.

`pickle.Unpickler` with a list of allowed names in `find_class` is no substitute: it runs nothing else either, but a file
of nine bytes that numbers an entry of its memo 2**29 makes it fill 8 GB, one of 2 MB that nests tuples in a key crashes
the interpreter, and BUILD lets a file set attributes of what `find_class` has returned.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np


class RefusedError(Exception):
    """Why a pickle is no dictionary of arrays."""


@dataclass
class Name:
    """A class or function that the pickle names: "module name"."""

    text: str


@dataclass
class Made:
    """Something built in two steps (made, then given its state); the pickle may refer to it in between."""

    value: Any


UNFOLDED = 8
"""Bytes that a pickle may make of each of its own; arrays of published files are as large as what they are made from."""

Call = Callable[[str, tuple[Any, ...]], Any]
"""("module name", arguments) -> what the function would have made. Raises RefusedError."""
Build = Callable[["Made", tuple[Any, ...]], None]
"""Gives something that `Call` made its state. Raises RefusedError."""


def follow(file: BytesIO, call: Call, build: Build, *, outside: bool = False) -> Any:
    """Follow one pickle to its end; RefusedError, or what broken data raise: ValueError, LookupError, TypeError.

    outside: it may refer to things outside of it (torch's storages), which become their descriptions
    """
    stack: list[Any] = []
    marks: list[int] = []  # lengths of the stack
    room = UNFOLDED * len(file.getbuffer())
    memo: dict[Any, Any] = {}  # by number
    for opcode, argument, _ in pickletools.genops(file):
        name = opcode.name
        if name in ("PROTO", "FRAME"):
            continue
        if name == "STOP":
            return value_of(stack.pop())
        if name == "MARK":
            marks.append(len(stack))
        elif name in ("MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT"):
            memo[len(memo) if argument is None else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(memo[argument])
        elif name == "POP":
            stack.pop()
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in _LITERALS:
            stack.append(argument)
        elif name == "GLOBAL":
            stack.append(Name(str(argument)))
        elif name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(Name(f"{module} {attribute}"))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            size = int(name[-1])
            stack[-size:] = [tuple(stack[-size:])]
        elif name == "TUPLE":
            stack.append(tuple(_to_mark(stack, marks)))
        elif name == "APPEND":
            item = stack.pop()
            of_type(stack[-1], list).append(item)
        elif name == "APPENDS":
            items = _to_mark(stack, marks)
            of_type(stack[-1], list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = _to_mark(stack, marks) if name == "SETITEMS" else [stack.pop(-2), stack.pop()]
            target = of_type(stack[-1], dict)
            target.update(zip(map(_key, items[::2]), items[1::2], strict=True))
        elif name == "REDUCE":
            arguments, function = of_type(stack.pop(), tuple), stack.pop()
            made = call(of_type(function, Name).text, arguments)
            room -= len(made) if isinstance(made, bytes) else getattr(made, "nbytes", 0)
            if room < 0:
                raise RefusedError("unfolds into far more than its size")
            stack.append(made)
        elif name == "BUILD":
            state = of_type(stack.pop(), tuple)
            build(of_type(stack[-1], Made), state)
        elif name == "BINPERSID" and outside:
            stack.append(tuple(of_type(stack.pop(), tuple)))
        else:
            raise RefusedError(f"holds the instruction {name}")
    raise RefusedError("ends too soon")


_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
_LITERALS = frozenset(
    {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
    | {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
    | {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}
)


def _to_mark(stack: list[Any], marks: list[int]) -> list[Any]:
    """Take what lies above the last mark, and the mark."""
    position = marks.pop()
    items = stack[position:]
    del stack[position:]
    return items


def _key(item: Any) -> Any:
    """A key of a dictionary. Text and numbers alone: the hash of tuples within tuples overflows the C stack."""
    return of_type(value_of(item), str, int, np.number)


def value_of(item: Any) -> Any:
    """What has been built, where something was built in two steps."""
    return item.value if isinstance(item, Made) else item


def of_type(item: Any, *kinds: type) -> Any:
    if not isinstance(item, kinds):
        raise RefusedError(f"holds a {type(item).__name__} where a {kinds[0].__name__} belongs")
    return item
