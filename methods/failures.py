"""How a method says that it cannot run, and where in an author's code an exception arose."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path


class MethodError(Exception):
    """A method cannot run; the message is one line that says what, where and what to do."""


class NotRunnable(MethodError):  # noqa: N818 - it is a state of the board, not an accident
    """The method's inputs do not cover this data; shown as "not run", with what it needs."""


def raised_at(error: BaseException, packages: Sequence[str] = ()) -> str:
    """ "stages.py:41, in cam": the innermost line in one of these packages or modules, the first that has any.

    So a method's author sees their own line, not that of the library that it called. Without one in any of them:
    the innermost of all; "" where the exception was never raised.
    """
    frames = list(traceback.walk_tb(error.__traceback__))
    for package in packages:
        own = [f for f in frames if f"{f[0].f_globals.get('__name__')}.".startswith(f"{package}.")]
        if own:
            frames = own
            break
    if not frames:
        return ""
    frame, line = frames[-1]
    return f"{Path(frame.f_code.co_filename).name}:{line}, in {frame.f_code.co_name}"
