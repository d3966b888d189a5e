"""Options of `verify` that say nothing sensible are one line, before a bundle is opened."""

from __future__ import annotations

import pytest

from benchmark.bundles.form import is_address
from tests.helpers.toys import CommandLine


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--recompute", "-1"], "--recompute N, of at least 1, and --weights FOLDER belong together"),
        (["--recompute", "-1", "--weights", "."], "--recompute N, of at least 1"),
        (["--weights", "."], "--recompute N, of at least 1"),
        (["--accept", "--address", "javascript:alert(1)"], "an address that begins with https://"),
        (["--accept", "--address", 'https://x"><script>'], "without spaces or quotes"),
        (["--accept", "--address", "https://a\x1b[31m\nb"], "without spaces or quotes"),
    ],
)
def test_odd_options(command_line: CommandLine, options: list[str], said: str) -> None:
    done = command_line("verify", "nowhere.zip", *options)
    assert done.code == 2
    assert said in done.err.splitlines()[-1]
    assert "\x1b" not in done.err


@pytest.mark.parametrize("text", ["https://example.org/a-b_(c)?d=1&e=%20#f", "https://例え.jp/ü"])
def test_addresses(text: str) -> None:
    assert is_address(text)
    assert not is_address(text + " ")
    assert not is_address(text.replace("https", "ftp"))
