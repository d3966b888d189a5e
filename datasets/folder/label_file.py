"""The label CSV and the class list of a `folder` data set."""

from __future__ import annotations

import csv
import difflib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from datasets.base import IGNORE, DataError
from datasets.folder.good import GoodNames
from datasets.folder.spellings import BACKGROUND, is_background, is_ignored, may_be_ignored, same_names

ID_COLUMNS = ("id", "image", "file", "filename")
LABEL_COLUMNS = ("labels", "image_labels", "classes", "class")
SPLIT_COLUMNS = ("split", "suggested_split")

_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
_NUMBERED = re.compile(r"^(-?\d+)[\s,:;]+(.+)$")
_SEPARATOR_LINE = re.compile(r"\"?sep=(.|\\t)\"?[,;]*", re.IGNORECASE)
_CVAT = re.compile(r"^(?P<name>[^:]*):(?P<colour>\d+,\d+,\d+)?:[^:]*:[^:]*$")
"""A line of CVAT's labelmap.txt, ``label:color_rgb:parts:actions``."""


@dataclass(frozen=True)
class LabelRow:
    """One line of the CSV: its number in the file, class indices from 0, and "train", "val" or None."""

    number: int
    id: str
    labels: tuple[int, ...]
    split: str | None


@dataclass(frozen=True)
class LabelFile:
    """A label CSV. `split_column` is its name or None; `left_out` counts the rows of a test split."""

    path: Path
    classes: tuple[str, ...]
    rows: tuple[LabelRow, ...]
    split_column: str | None
    left_out: int


def read_label_file(
    path: Path, classes: tuple[str, ...] | None, allow_empty: bool, good: GoodNames | None = None
) -> LabelFile:
    """Read a label CSV (UTF-8; separated by comma, semicolon or tab).

    Labels of a cell are separated by ``;``, ``|`` or ``,``, or else by spaces. A name of several words needs one
    of the former (``pitted surface; rust``, or ``pitted surface;`` alone), in one row at least, or `classes`.

    classes: names in the order of their mask values, or None: all names of the file, sorted
    allow_empty: accept rows without a label; good: labels that say so
    Raises DataError, with the row's number (the header is row 1), for a missing column, an unknown class name
    or split, a row without id or labels, words that may be one name or two, and an empty file.
    """
    header, lines = _read_csv(path)
    id_column = _column(path, header, ID_COLUMNS)
    label_column = _column(path, header, LABEL_COLUMNS)
    split_column = next((c for c in SPLIT_COLUMNS if c in header), None)

    written = {line[label_column] for _, line in lines}  # a few, however many rows there are
    known = classes or _names_set_apart(written)
    names_in = {cell: _names(cell, known) for cell in written}
    cells = []
    left_out = 0
    for number, line in lines:
        where = f"{path} row {number}"
        split = None
        if split_column is not None:
            value = line[split_column].lower()
            if value == "test":
                left_out += 1
                continue
            if value not in _SPLITS:
                raise DataError(f"{where}: {split_column} is {value!r}; write train or val")
            split = _SPLITS[value]
        cells.append((number, _image_id(where, line[id_column]), names_in[line[label_column]], split))
    if not cells:
        raise DataError(f"{path}: no images listed; add a row for each image")
    good = good or GoodNames()
    used = {name for _, _, names, _ in cells for name in names}
    good.require_sure(used, path)
    if no_defect := {name for name in used if name in good}:
        without = {number for number, _, names, _ in cells if no_defect.intersection(names)}
        cells = [
            (n, i, tuple(name for name in names if name not in no_defect), s) for n, i, names, s in cells
        ]
    else:
        without = set()
    if (pair := same_names(sorted(used))) and not any(name in good for name in pair):
        raise DataError(
            f"{path}: labels {pair[0]!r} and {pair[1]!r} are one name but for case, spaces, hyphens or Unicode form;"
            " write one of them in all rows"
        )
    if classes is None:
        classes = tuple(sorted({name for _, _, names, _ in cells for name in names}))
        if not classes:
            raise DataError(f"{path}: no label in column {label_column}; write class names there")
        _require_one_word_names(path, [names for _, _, names, _ in cells], known)

    rows = []
    index = {name: place for place, name in enumerate(classes)}
    for number, image_id, names, split in cells:
        where = f"{path} row {number}"
        if not names and not allow_empty and number not in without:
            raise DataError(
                f"{where}: image {image_id!r} has no labels; add one, or set dataset.allow_empty=true to"
                " keep it as background only"
            )
        labels = {index[name] if name in index else class_index(where, name, classes) for name in names}
        rows.append(LabelRow(number, image_id, tuple(sorted(labels)), split))
    return LabelFile(path, classes, tuple(rows), split_column, left_out)


@dataclass(frozen=True)
class ClassList:
    """Object classes in the order of their mask values, from 1.

    left_out: what the list holds besides, in its spelling: the background, and pixels that are not scored
    unsure:   the last class, if it may be one of VOC's names for 255 (``void``)
    """

    names: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    unsure: str | None = None

    @property
    def remark(self) -> str | None:
        """What was made of foreign spellings, for `doctor`."""
        said = [
            f"{name!r} as 0, the background" if is_background(name) else f"{name!r} as {IGNORE}, not scored"
            for name in self.left_out
            if name.lower() != BACKGROUND
        ]
        return f"of the class list, no classes: {'; '.join(said)}" if said else None


def read_class_file(path: Path) -> ClassList:
    """The class list of a file.

    Lines are names, perhaps numbered (``1 inclusion``), or those of CVAT's labelmap.txt; ``background`` may stand
    first, in any tool's spelling, and labelme's ``__ignore__`` before it. Numbers must be mask values: rise by one
    from 0 (background) or 1, but for 255 and -1 of what is not scored. Raises DataError.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not UTF-8; save it as such") from None
    lines = [line for line in lines if line and not line.startswith("#")]
    if lines and all(cvat := [_CVAT.match(line) for line in lines]):
        lines = [match["name"].strip() for match in cvat if match]
    matches = [_NUMBERED.match(line) for line in lines]
    names, left_out = lines, []
    if lines and all(matches):
        numbered = [(int(m[1]), m[2].strip()) for m in matches if m]
        left_out = [name for number, name in numbered if number in (-1, IGNORE) and _not_scored(name)]
        numbered = [(number, name) for number, name in numbered if name not in left_out]
        numbers, names = [n for n, _ in numbered], [name for _, name in numbered]
        expected = list(range(numbers[0], numbers[0] + len(numbers))) if numbers else []
        starts_well = bool(numbers) and numbers[0] == (0 if is_background(names[0]) else 1)
        if numbers != expected or not starts_well:
            raise DataError(
                f"{path}: class numbers {numbers[:6]} are not mask values;"
                f" number them from 0 {BACKGROUND}, or from 1 without it"
            )
    found = object_classes(names, path)
    return ClassList(found.names, (*left_out, *found.left_out), found.unsure)


def _not_scored(name: str) -> bool:
    return is_ignored(name) or may_be_ignored(name)


def object_classes(names: Sequence[str], source: Path | str) -> ClassList:
    """Object classes of a list in the order of mask values, which may begin with the background.

    labelme's ``__ignore__`` may stand before it, and what is not scored at the end.
    Raises DataError where none is left, names repeat, or the order would shift the ids.
    """
    classes, left_out = list(names), []
    if len(classes) > 1 and is_ignored(classes[0]) and is_background(classes[1]):
        left_out.append(classes.pop(0))
    if classes and is_background(classes[0]):
        left_out.append(classes.pop(0))
    while classes and is_ignored(classes[-1]):
        left_out.append(classes.pop())
    for place, name in enumerate(classes):
        if is_background(name) or is_ignored(name):
            after = f" after {classes[place - 1]!r}" if place else ""
            raise DataError(
                f"{source}: {name!r} stands{after} where a class is expected, so which mask value a name has is not"
                f" clear; write {BACKGROUND} first, or leave it out, then the classes in the order of mask values 1, 2,"
                f" ...; {IGNORE} needs no name"
            )
    if not classes:
        raise DataError(f"{source}: no class names; give at least one that is not {BACKGROUND}")
    repeated = sorted(name for name, count in Counter(classes).items() if count > 1)
    if repeated:
        raise DataError(f"{source}: class {repeated[0]!r} appears twice; remove one")
    if pair := same_names(classes):
        raise DataError(
            f"{source}: classes {pair[0]!r} and {pair[1]!r} are one name but for case, spaces, hyphens or Unicode"
            " form; remove one, or name them apart"
        )
    return ClassList(
        tuple(classes),
        tuple(left_out),
        classes[-1] if len(classes) > 1 and may_be_ignored(classes[-1]) else None,
    )


def _read_csv(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Lower-case header, and (row number, cells) of the rows that are not blank."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            if declared := _SEPARATOR_LINE.fullmatch(first.rstrip("\r\n")):  # Excel's, before the header
                delimiter = declared[1].replace("\\t", "\t")
            else:
                file.seek(0)
                delimiter = max(",;\t", key=first.count)
            above = 1 if declared else 0  # lines before the header, for rows' numbers
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            header = [name.strip().lower() for name in next(reader, [])]
            lines = []
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    continue
                if len(cells) > len(header):
                    raise DataError(
                        f"{path} row {reader.line_num + above}: {len(cells)} cells under {len(header)} columns;"
                        " put quotes around labels that contain the separator"
                    )
                padded = [cell.strip() for cell in cells] + [""] * (len(header) - len(cells))
                lines.append((reader.line_num + above, dict(zip(header, padded, strict=True))))
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8 text; save it as CSV UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{path} row {reader.line_num}: not CSV ({error}); correct the row") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check dataset.labels") from None
    if not header:
        raise DataError(f"{path}: empty; write columns id and labels in its first row, then a row an image")
    return header, lines


def _column(path: Path, header: list[str], names: tuple[str, ...]) -> str:
    for name in names:
        if name in header:
            return name
    raise DataError(
        f"{path}: no column {names[0]} (columns: {', '.join(header)}); name it {' or '.join(names)}"
    )


def _image_id(where: str, cell: str) -> str:
    image_id = cell.replace("\\", "/").removeprefix("./")
    if not image_id:
        raise DataError(f"{where}: no id; write the image's file name, or remove the row")
    if image_id.startswith("/") or ".." in image_id.split("/"):
        raise DataError(f"{where}: id {cell!r} leads out of the image folder; write a path under it")
    return image_id


def _names(cell: str, known: Collection[str]) -> tuple[str, ...]:
    """Class names of a label cell; the background and what is not scored are never labels, in whatever spelling.

    known: names that may have several words; where only spaces separate, the longest that fits is taken
    """
    if cell in known:
        return (cell,)
    separator = _separator(cell)
    names = (
        [" ".join(name.split()) for name in cell.split(separator)] if separator else _by_words(cell, known)
    )
    return tuple(name for name in names if name and not (is_background(name) or is_ignored(name)))


def _separator(cell: str) -> str | None:
    return next((s for s in ";|," if s in cell), None)


def _by_words(cell: str, known: Collection[str]) -> list[str]:
    words, names = cell.split(), []
    longest = max((len(name.split()) for name in known), default=1)
    while words:
        lengths = range(min(longest, len(words)), 0, -1)
        fits = next((n for n in lengths if " ".join(words[:n]) in known), 1)
        names.append(" ".join(words[:fits]))
        words = words[fits:]
    return names


def _names_set_apart(cells: Iterable[str]) -> frozenset[str]:
    """Names in those cells that have a separator, of which each may be several words."""
    return frozenset(name for cell in cells if _separator(cell) for name in _names(cell, ()))


def _require_one_word_names(path: Path, rows: Sequence[tuple[str, ...]], known: Collection[str]) -> None:
    """Raise DataError where words that spaces separate are likely one name: none stands without the other.

    As two classes they could not be told apart anyway: each would be in the same images.
    """
    images_of: dict[str, set[int]] = {}
    for number, names in enumerate(rows):
        for name in names:
            images_of.setdefault(name, set()).add(number)
    for names in rows:
        for first, second in pairwise(names):
            if images_of[first] == images_of[second] and not {first, second} & set(known):
                raise DataError(
                    f"{path}: {first!r} and {second!r} always stand together; if they are one class, end the"
                    f" name with a semicolon ({first} {second};) or write it in classes.txt, a name a line; if"
                    " they are two, write both there"
                )


def class_index(where: str, name: str, classes: tuple[str, ...]) -> int:
    """Index of a class name; DataError that begins with `where` and suggests the closest name."""
    if name in classes:
        return classes.index(name)
    close = difflib.get_close_matches(name, classes, n=1, cutoff=0.0)[0]
    raise DataError(
        f"{where}: unknown class {name!r} (classes: {', '.join(classes)}); did you mean {close!r}?"
    )
