"""scripts/setup.sh: what it runs, says and leaves, with a stand-in for the environment's Python."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import psutil
import pytest

from tests.conftest import ROOT

STAND_IN = """#!/bin/sh
echo "$@" >> calls
case "$*" in *"-e .[test,saliency,docs]") {install};; esac
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "scripts").mkdir()
    for name in ("setup.sh", "install.py"):
        shutil.copy(ROOT / "scripts" / name, tmp_path / "scripts")
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    let_install(tmp_path, "echo fine")
    return tmp_path


def let_install(folder: Path, command: str) -> None:
    """What the shell does where the project would be installed."""
    python = folder / ".venv" / "bin" / "python"
    python.write_text(STAND_IN.format(install=command))
    python.chmod(0o755)


def start(folder: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["bash", str(folder / "scripts" / "setup.sh")],
        env=os.environ | {"PYTHON": sys.executable, "WSSS_UV": "0", "WSSS_TORCH": ""} | environment,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def set_up(folder: Path, **environment: str) -> tuple[int, str]:
    """Exit status and what was said."""
    process = start(folder, **environment)
    said = process.communicate(timeout=60)[1]
    return process.returncode, said


def calls(folder: Path) -> list[str]:
    """Installations, of all that the environment's Python was called for."""
    lines = (folder / "calls").read_text().splitlines()
    return [line.split("--no-compile ")[1] for line in lines if "--no-compile" in line]


def test_the_second_call_does_nothing(folder: Path) -> None:
    code, said = set_up(folder)
    assert code == 0
    assert "installing torch, torchvision and about 140 other packages with pip" in said
    assert calls(folder) == ["--upgrade pip", "-e .[test,saliency,docs]"]
    assert set_up(folder) == (0, "")
    assert len(calls(folder)) == 2


def test_it_installs_again_when_the_requirements_or_the_torch_asked_for_change(folder: Path) -> None:
    set_up(folder)
    newer = (folder / ".venv" / "installed").stat().st_mtime + 1
    os.utime(folder / "pyproject.toml", (newer, newer))
    set_up(folder)
    assert calls(folder)[2:] == ["--upgrade pip", "-e .[test,saliency,docs]"]
    os.utime(folder / "pyproject.toml", (0, 0))
    set_up(folder, WSSS_TORCH="torch==2.11.*")
    set_up(folder)
    assert calls(folder)[4:] == [
        "--upgrade pip",
        "torch==2.11.* -e .[test,saliency,docs]",
        "--upgrade pip",
        "--upgrade torch torchvision",
        "-e .[test,saliency,docs]",
    ]


def test_a_failure_shows_all_of_the_output_and_the_next_call_tries_again(folder: Path) -> None:
    let_install(folder, "echo first line; echo ERROR: no network >&2; exit 3")
    code, said = set_up(folder)
    assert code == 1
    assert "\nfirst line\nERROR: no network\nsetup: failed at installing torch" in said
    let_install(folder, "echo fine")
    assert set_up(folder)[0] == 0
    assert set_up(folder) == (0, "")


def test_two_at_once_install_once(folder: Path) -> None:
    os.mkfifo(folder / "go")
    let_install(folder, "cat go")
    first = start(folder)
    with (folder / "go").open("w"):  # opens when the first one is at it
        second = start(folder)
        assert second.stderr is not None
        assert second.stderr.readline() == "setup: waiting for another set-up of this folder\n"
    assert first.communicate(timeout=60)[1].endswith(" GB\n")
    assert second.communicate(timeout=60)[1] == ""
    assert (first.returncode, second.returncode) == (0, 0)
    assert calls(folder) == ["--upgrade pip", "-e .[test,saliency,docs]"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_what_it_started_ends_with_it(folder: Path, number: signal.Signals) -> None:
    os.mkfifo(folder / "pid")
    let_install(folder, "echo $$ > pid; kill -STOP $$")
    process = start(folder)
    pip = int((folder / "pid").read_text())
    os.kill(process.pid, number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + number
    assert "Traceback" not in said
    assert not psutil.pid_exists(pid=pip)
    let_install(folder, "echo fine")
    assert set_up(folder)[0] == 0


@pytest.fixture
def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("install", folder / "scripts" / "install.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.chdir(folder)
    return module


def test_signs_of_life_say_how_long_and_how_much_and_what(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(install, "EVERY", 0.01)
    size = install.size

    def go_on() -> str:
        if "Downloading" in install.last_line():
            Path("go").touch()
        return size()

    monkeypatch.setattr(install, "size", go_on)
    install.run("waiting", ["sh", "-c", "echo Downloading torch; until [ -e go ]; do :; done"])
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "setup: waiting"
    assert re.fullmatch(r"setup: +\d+ s: \.venv has 0\.0 GB; Downloading torch", said[-1])


@pytest.mark.parametrize("broken", ["unfinished", "without Python", "Python that does not run"])
def test_a_half_made_environment_is_made_anew(
    install: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """The stand-in makes it, as `python -m venv .venv` does: in the folder that is there."""
    environment = folder / ".venv"
    maker = folder / "python"
    maker.write_text("#!/bin/sh\nmkdir .venv/bin && cp stand-in .venv/bin/python\n")
    maker.chmod(0o755)
    (environment / "bin" / "python").rename(folder / "stand-in")
    if broken != "without Python":
        (environment / "bin" / "python").write_text(
            f"#!/bin/sh\nexit {int(broken == 'Python that does not run')}"
        )
        (environment / "bin" / "python").chmod(0o755)
    if broken == "unfinished":
        (environment / "unfinished").touch()
    (environment / "half").touch()
    monkeypatch.setattr(sys, "executable", str(maker))
    monkeypatch.setenv("WSSS_UV", "0")
    install.install("")
    assert calls(folder) == ["--upgrade pip", "-e .[test,saliency,docs]"]
    assert sorted(p.name for p in environment.iterdir()) == ["bin", "install.log", "installed"]


@pytest.mark.parametrize(
    ("asked", "there", "settings", "expected"),
    [
        ("", True, "", "uv"),
        ("", True, "global.constraint='x'", "pip"),
        ("", False, "", "pip"),
        ("1", True, "global.constraint='x'", "uv"),
        ("0", True, "", "pip"),
        ("1", False, "", "setup: WSSS_UV=1, but there is no uv"),
        ("yes", True, "", "setup: WSSS_UV is 'yes'"),
    ],
)
def test_uv_is_taken_unasked_only_where_pip_has_no_settings(
    install: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    asked: str,
    there: bool,
    settings: str,
    expected: str,
) -> None:
    monkeypatch.setenv("WSSS_UV", asked)
    monkeypatch.setattr(install.shutil, "which", lambda name: "/bin/uv" if there else None)
    monkeypatch.setattr(install, "pip_settings", lambda: settings)
    if expected.startswith("setup"):
        with pytest.raises(SystemExit, match=expected):
            install.installer()
    else:
        assert ("uv" if install.installer()[0] == "uv" else "pip") == expected
