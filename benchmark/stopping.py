"""How Ctrl-C and SIGTERM end a command: workers end, one line says so, the exit code is 130 or 143. Light to import."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

INTERRUPTED, TERMINATED = 130, 143
"""Exit codes after Ctrl-C and SIGTERM, as shells have them."""
_heard = {"SIGTERM": False}


class Stopped(SystemExit):
    """The exit after a signal that has been answered."""


def program() -> None:
    """The command line as a process of its own, which signals end in order from its first import on."""
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # names of files may be no text
    try:
        with stoppable():
            from benchmark.cli import main

            main()
    except Stopped:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a further Ctrl-C could only break into the end
        raise


@contextmanager
def stoppable() -> Iterator[None]:
    """In the body, both signals raise KeyboardInterrupt in the main thread; where it leaves the body, it is said and
    becomes `Stopped`. May be nested."""
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        yield
    except Stopped:
        raise
    except KeyboardInterrupt:
        _stop()
    except SystemExit as exit_:
        if exit_.code == INTERRUPTED:  # typer has turned Ctrl-C into it
            _stop()
        raise
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _stop() -> NoReturn:
    exec(
        ""
    )  # else Python, which an interrupt has left through an `exec`, would kill itself and not exit with our code
    from benchmark.console import console

    console.print("\nStopped. Everything finished is stored; the same command resumes.")
    raise Stopped(TERMINATED if _heard["SIGTERM"] else INTERRUPTED)


def _terminated(number: int, frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _heard["SIGTERM"] = True
    raise KeyboardInterrupt
