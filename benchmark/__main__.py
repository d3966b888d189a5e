"""`python -m benchmark`."""

from __future__ import annotations

import signal
import sys

from benchmark.stopping import Stopped, stoppable


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


if __name__ == "__main__":
    program()
