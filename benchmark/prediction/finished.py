"""What an earlier call of `predict` has finished: a line for each image, and tables in which its rows can be replaced."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from results.csv_cells import harmless, original

Row = Sequence[Any]
"""Cells of a table, the image's file first."""


@dataclass(frozen=True)
class Finished:
    """An image whose results are there.

    file: as tables name it; name: of the results; size, changed: of the image, in bytes and nanoseconds
    parts: what was written of it; scored: whether its stage reported probabilities
    """

    file: str
    name: str
    size: int
    changed: int
    parts: tuple[str, ...]
    scored: bool

    def line(self) -> str:
        return json.dumps(asdict(self)) + "\n"


def read_finished(path: Path) -> dict[str, Finished]:
    """By file, each as its last line says; what is damaged, or was broken off, is left out: it is made again."""
    found = {}
    lines = path.read_bytes().splitlines() if path.is_file() else []
    for line in lines:
        with suppress(ValueError, TypeError, KeyError, RecursionError):
            said = json.loads(line)
            one = Finished(**said | {"parts": tuple(said["parts"])})
            texts, numbers = (one.file, one.name, *one.parts), (one.size, one.changed)
            if (
                all(isinstance(text, str) for text in texts)
                and all(type(number) is int for number in numbers)
                and one.name in (one.file, Path(one.file).with_suffix("").as_posix())
            ):
                found[one.file] = one
    return found


class Table:
    """A CSV that grows by the rows of one image at a time."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._path, self._columns = path, list(columns)
        self._file: IO[str] | None = None

    def files(self) -> set[str] | None:
        """Images that have rows there; None where there is no such table."""
        rows = self._there()
        return None if rows is None else {original(row[0]) for row in rows}

    def open(self, kept: Callable[[str], bool]) -> None:
        """To be written to; rows of other images than those that are kept are dropped."""
        rows = [row for row in self._there() or () if kept(original(row[0]))]
        self.close()
        temporary = self._path.with_name(f"{self._path.name}.tmp")
        with _written(temporary, "w") as file:
            csv.writer(file).writerows([self._columns, *rows])
        temporary.replace(self._path)
        self._file = _written(self._path, "a")

    def add(self, rows: Sequence[Row]) -> None:
        """Written at once: whoever follows a table sees an image when it is finished."""
        assert self._file is not None
        csv.writer(self._file).writerows([harmless(cell) for cell in row] for row in rows)
        self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _there(self) -> list[list[str]] | None:
        if not self._path.is_file():  # of a pipe there would be no end
            return None
        try:
            with self._path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
                head, *rows = csv.reader(file)
        except (ValueError, csv.Error):  # empty, or no CSV
            return None
        return [row for row in rows if len(row) == len(head)] if head == self._columns else None


def _written(path: Path, mode: str) -> IO[str]:
    """A table open to be written. Names of files that are no UTF-8 keep their bytes."""
    return path.open(mode, newline="", encoding="utf-8", errors="surrogateescape")


def put(path: Path, text: str) -> None:
    """Write a file whole, in place of whatever is there."""
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def state_of(path: Path) -> tuple[int, int] | None:
    """Bytes and time of the last change, in nanoseconds; None of an empty file, or one that is not there."""
    try:
        found = os.stat(path)  # noqa: PTH116 - called for every image of a folder that is watched
    except OSError:
        return None
    return (found.st_size, found.st_mtime_ns) if found.st_size else None
