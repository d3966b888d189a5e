"""An unset variable of the shell is no value: it is refused, and the option named."""

from __future__ import annotations

import pytest

from benchmark.commands.arguments import require_values
from benchmark.config import compose
from benchmark.failures import ConfigError


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--methods", ""], "--methods: an empty value"),
        (["run", "--output", " "], "--output: an empty value"),
        (["run", "--methods="], "--methods= has no value"),
        (["run", "dataset.root="], "dataset.root= has no value"),
        (["run", "+dataset.root="], "+dataset.root= has no value"),
        (["report", ""], "report: an empty value"),
        (["", "run"], "command line: an empty value"),
    ],
)
def test_empty_values_are_refused(arguments, words):
    with pytest.raises(ConfigError) as refused:
        require_values(arguments)
    assert str(refused.value).startswith(words)
    assert "unset variable of the shell" in str(refused.value)


@pytest.mark.parametrize("argument", ["a=b", "dataset.classes=''", "--methods=cam", "a==", "--", "x=1="])
def test_other_arguments_pass(argument):
    require_values(["run", argument])


def test_settings_that_are_no_text_are_refused(command_line):
    done = command_line("run", "--methods", "cam", "dataset.root=/data/\udcff")
    assert done.code == 2
    assert "bytes that are no UTF-8; give a link" in done.err
    assert done.err.count("\n") == 1


def test_the_command_line_looks(command_line):
    for arguments in (("run", "--methods", ""), ("run", "--methods", "cam", "dataset.root=")):
        done = command_line(*arguments)
        assert done.code == 2
        assert "unset variable" in done.err
        assert done.err.count("\n") == 1


@pytest.mark.parametrize("name", ["dataset.root", "runtime.store", "runtime.weights_root", "runtime.log_dir"])
def test_folders_are_not_empty_texts(name):
    with pytest.raises(ConfigError, match=f"^{name} is empty; name a folder"):
        compose([], overrides=[f"{name}=''"])
