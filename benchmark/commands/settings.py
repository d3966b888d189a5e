"""`list --settings METHOD`: every setting of a method, one block each."""

from __future__ import annotations

from rich.padding import Padding
from rich.text import Text

from benchmark.console import console
from methods.registry import find_method
from methods.setting_rows import setting_rows


def print_settings(name: str) -> None:
    """Print key, type, range, defaults, meaning and sources of each setting. MethodError if there is no such method."""
    method = find_method(name)
    for row in setting_rows(method):
        kind = f"{row.type}, {row.limits}" if row.limits else row.type
        console.print(Text.assemble((f"method.{name}.{row.key}", "bold"), (f"  {kind}", "dim")))
        sources = [
            f"{value}: {source}" if len(row.sources) > 1 else f"source: {source}"
            for value, source in row.sources.items()
        ]
        texts = [f"default {row.default}", row.meaning, *sources]
        for text in filter(None, texts):
            console.print(Padding(Text(text), (0, 0, 0, 4)), soft_wrap=False)
