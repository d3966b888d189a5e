"""How signals end a command, wherever they break in."""

from __future__ import annotations

import signal

import pytest

from benchmark.stopping import Stopped, stoppable


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("nested", [False, True])
def test_what_fails_in_its_turn_is_the_stop_as_well(
    number: signal.Signals, code: int, nested: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """A library's cleaning up that does not expect to be interrupted raises an error of its own."""

    def broken_into() -> None:
        try:
            signal.raise_signal(number)
        finally:
            raise AttributeError("half made")

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
