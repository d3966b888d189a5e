"""What `scripts/setup.sh` does when .venv is not there or not of this pyproject.toml: makes it, and says so meanwhile.

Standard library alone. Messages go to stderr: what a command writes that sets up first stays its own.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VENV = Path(".venv")
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "installed"
"""Names the torch that was asked for; newer than the pyproject.toml that was installed."""
UNFINISHED = VENV / "unfinished"
"""There from before the environment is made until everything is in it."""
LOG = VENV / "install.log"
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EVERY = 30.0
"""Seconds between two signs of life."""


def main() -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    torch = os.environ.get("WSSS_TORCH", "")
    try:
        with one_at_a_time():
            if not installed(torch):
                began = time.monotonic()
                install(torch)
                say(f"done in {elapsed(began)}; .venv takes {size()}")
    except KeyboardInterrupt:
        sys.exit(130)


def installed(torch: str) -> bool:
    """As scripts/setup.sh asks it; another set-up may have finished meanwhile."""
    if not (PYTHON.exists() and STAMP.exists()) or STAMP.read_text() != torch:
        return False
    return Path("pyproject.toml").stat().st_mtime <= STAMP.stat().st_mtime


def install(torch: str) -> None:
    if UNFINISHED.exists() or not works("-c", ""):
        create()
    before = STAMP.read_text() if STAMP.exists() else ""
    STAMP.write_text("unfinished")
    add = installer()
    if add[0] != "uv":
        if not works("-m", "pip", "--version"):
            run("adding pip", [str(PYTHON), "-m", "ensurepip"])
        run("upgrading pip", [*add, "--upgrade", "pip"])
    if before and not torch:
        run("upgrading torch, which may be an older one", [*add, "--upgrade", "torch", "torchvision"])
    run(
        f"installing torch, torchvision and about 140 other packages with {'uv' if add[0] == 'uv' else 'pip'}: "
        "about 3 to 5 minutes and 7 GB where nothing is there yet",
        [*add, *([torch] if torch else []), "-e", ".[test,saliency,docs]"],
    )
    UNFINISHED.unlink(missing_ok=True)
    STAMP.write_text(torch)


def create() -> None:
    again = UNFINISHED.exists()
    if VENV.is_symlink():
        VENV.unlink()
    elif VENV.exists():
        shutil.rmtree(VENV)
    VENV.mkdir()
    UNFINISHED.touch()
    what = "creating .venv anew, since an earlier set-up did not finish" if again else "creating .venv"
    run(f"{what}: a few seconds", [sys.executable, "-m", "venv", str(VENV)])


def works(*arguments: str) -> bool:
    """Whether the environment's Python is there and runs this."""
    command = [str(PYTHON), *arguments]
    return PYTHON.exists() and subprocess.run(command, capture_output=True, check=False).returncode == 0


def installer() -> list[str]:
    """The command that installs what is appended to it.

    uv downloads in parallel and is several times as fast, but reads none of pip's settings: with an index, a
    certificate or constraints of pip's own it would fail or install something else. So it is taken unasked only where
    pip has no settings.
    """
    asked = os.environ.get("WSSS_UV", "")
    if asked not in ("", "0", "1"):
        sys.exit(f"setup: WSSS_UV is {asked!r}; 1 is for uv, 0 for pip")
    there = shutil.which("uv") is not None
    if asked == "1" and not there:
        sys.exit("setup: WSSS_UV=1, but there is no uv on the PATH; unset it to install with pip")
    if asked == "1" or (asked == "" and there and not pip_settings()):
        return ["uv", "pip", "install", "--python", str(PYTHON)]
    # Modules are compiled as they are first imported: most of them never are.
    return [str(PYTHON), "-m", "pip", "install", "--no-compile"]


def pip_settings() -> str:
    """Those of files and of the environment, as the pip says that the Python of this script has."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def run(what: str, command: list[str]) -> None:
    """Runs it, and says every so often that it does; if it fails, shows its whole output and raises SystemExit."""
    say(what)
    began = time.monotonic()
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # until it is known what to end
    with LOG.open("w") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING),
            close_fds=False,  # so that it holds the lock, too, should this process be killed alone
        )
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        while True:
            try:
                code = process.wait(EVERY)
                break
            except subprocess.TimeoutExpired:
                say(f"  {elapsed(began)}: .venv has {size()}; {last_line()}")
    except BaseException:  # interrupted: whatever it started ends with it
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if code:
        print(LOG.read_text(errors="replace").rstrip(), file=sys.stderr)
        sys.exit(
            f"setup: failed at {what.split(':')[0]}; the output is above. Run the same command to try again"
        )


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Set-ups that are started meanwhile wait. The system gives the lock back when its holders end, however."""
    with Path(__file__).open("r+") as lock:  # writable, which file systems over a network ask for
        os.set_inheritable(lock.fileno(), True)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another set-up of this folder")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def say(what: str) -> None:
    print(f"setup: {what}", file=sys.stderr, flush=True)


def elapsed(began: float) -> str:
    minutes, seconds = divmod(round(time.monotonic() - began), 60)
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"


def size() -> str:
    # It complains of files that pip removes meanwhile, and counts the rest.
    done = subprocess.run(["du", "-sk", str(VENV)], capture_output=True, text=True, check=False)
    return f"{1024 * int(done.stdout.split()[0]) / 1e9:.1f} GB"


def last_line() -> str:
    lines = LOG.read_text(errors="replace").split("\n")
    said = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return said if len(said) <= 80 else said[:77] + "..."


if __name__ == "__main__":
    main()
