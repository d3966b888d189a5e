"""How Ctrl-C and SIGTERM end a command: workers end, one line says so, the exit code is 130 or 143. Light to import."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

INTERRUPTED, TERMINATED = 130, 143
"""Exit codes after Ctrl-C and SIGTERM, as shells have them."""
_heard = {"SIGTERM": False, "SIGINT": False}


class Stopped(SystemExit):
    """The exit after a signal that has been answered."""


@contextmanager
def stoppable() -> Iterator[None]:
    """In the body, both signals raise KeyboardInterrupt in the main thread; where it leaves the body, it is said and
    becomes `Stopped`. So does what leaves the body in its place: it breaks into any code, whose cleaning up may then fail
    in its turn. May be nested."""
    _heard.update(dict.fromkeys(_heard, False))
    before = signal.signal(signal.SIGTERM, _terminated)
    of_keyboard = signal.getsignal(signal.SIGINT)
    if of_keyboard is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupted)
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
    except Exception:
        if was_told():
            _stop()
        raise
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
        if of_keyboard is signal.default_int_handler:
            signal.signal(signal.SIGINT, of_keyboard)


def was_told() -> bool:
    """Whether a signal has come. An error after it is of code that it broke into: whoever catches it lets it pass."""
    return any(_heard.values())


def _stop() -> NoReturn:
    exec(
        ""
    )  # else Python, which an interrupt has left through an `exec`, would kill itself and not exit with our code
    from benchmark.console import console

    console.print("\nStopped. Everything finished is stored; the same command resumes.")
    raise Stopped(TERMINATED if _heard["SIGTERM"] else INTERRUPTED)


def _interrupted(number: int, frame: object) -> None:
    _heard["SIGINT"] = True
    raise KeyboardInterrupt


def _terminated(number: int, frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _heard["SIGTERM"] = True
    raise KeyboardInterrupt
