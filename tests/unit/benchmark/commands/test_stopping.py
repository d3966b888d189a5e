"""SIGTERM stops as Ctrl-C does: workers end, one line says so, and the exit code is 143."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from benchmark import cli
from benchmark.failures import ConfigError
from benchmark.stopping import Stopped, stoppable

ROOT = Path(__file__).parents[4]
ALONE = """
import signal
from benchmark import cli

def work(**settings):
    print("at work", flush=True)
    signal.pause()

cli.app = work
cli.main()
"""
WITH_WORKERS = """
import os, signal
from benchmark import cli
from datasets.loading.workers import process_pool

def work(**settings):
    with process_pool(2) as pool:
        workers = [pool.submit(os.getpid), pool.submit(signal.pause)]
        workers[0].result()
        print(*(pool._processes), flush=True)
        workers[1].result()

if __name__ == "__main__":
    cli.app = work
    cli.main()
"""

IMPORTING = """
import signal, sys
from benchmark.__main__ import program

class Waiting:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "benchmark.cli":
            print("at work", flush=True)
            signal.pause()

sys.meta_path.insert(0, Waiting)
program()
"""
THROUGH_EXEC = ALONE.replace(
    "    signal.pause()", "    exec('signal.pause()')  # as dataclasses do when they are defined"
)


@pytest.mark.parametrize("code", [ALONE, WITH_WORKERS, IMPORTING, THROUGH_EXEC])
@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_all_in_one_line(tmp_path, code, number, exit_code):
    script = tmp_path / "script.py"
    script.write_text(code)
    process = subprocess.Popen(
        [sys.executable, script],
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # in a shell's background, where this may run, an interrupt is ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    began = process.stdout.readline().split()
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == exit_code, err
    assert out.split("\n") == ["", "Stopped. Everything finished is stored; the same command resumes.", ""]
    assert err == ""
    assert not [pid for pid in began if pid.isdecimal() and psutil.pid_exists(int(pid))]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("nested", [False, True])
def test_what_fails_in_its_turn_is_the_stop_as_well(
    number: signal.Signals,
    code: int,
    nested: bool,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    """A library's cleaning up that does not expect to be interrupted raises an error of its own."""

    def broken_into() -> None:
        try:
            signal.raise_signal(number)
        finally:
            raise AttributeError("half made")

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a new process
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before or signal.SIG_DFL))

    def command() -> None:
        with stoppable():
            if nested:
                with stoppable():
                    broken_into()
            broken_into()

    handlers = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(Stopped) as stopped:
        command()
    assert stopped.value.code == code
    assert capsys.readouterr().out.count("Stopped.") == 1
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)] == handlers


def test_an_error_without_a_signal_is_itself() -> None:
    with pytest.raises(AttributeError), stoppable():
        raise AttributeError


def test_a_stop_is_no_wrong_setting(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal that breaks into reading settings can come out as a complaint about them."""

    def broken_into(**settings: object) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            raise ConfigError("half read")

    monkeypatch.setattr(cli, "app", broken_into)
    monkeypatch.setattr(sys, "argv", ["benchmark", "list"])
    with pytest.raises(Stopped) as stopped:
        cli.main()
    assert stopped.value.code == 143
    assert "half read" not in capsys.readouterr().err
