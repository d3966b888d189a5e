"""Texts of language-guided methods: class names, background words and prompts. Light to import (no torch).

A word list is a YAML file: for every class its `words`, background that co-occurs with it, the most telling first,
and perhaps `text`, what the class is called in prompts (default: its name); perhaps `common`, background of any
class:

    common: [tree, river]
    classes:
      diningtable: {text: dining table, words: [floor, carpet]}
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from datasets.base import TrainingView
from datasets.files.listing import text_of
from datasets.files.places import expanded
from datasets.limits import Count, NotEmpty
from methods.base import MethodError, NotRunnable
from methods.layers.clip.config import PromptConfig

SHIPPED = Path(__file__).parents[2] / "ca_cl" / "words"
"""Reviewed lists, by the name of their data set."""

PROMPTS = ("a photo of {}.", "an image of {}.", "a picture of {}.", "a snapshot of {}.")
"""CA-CL's context prompts (Sec. 4.4.5)."""

CLASSES, COMMON = "classes", "common"
"""Sorts of background words, as they are called in a list: of each class, and of any."""


@dataclass(frozen=True)
class TextConfig:
    """Where texts come from; `{}` of a prompt is the class's name or a background word.

    words:           word list (YAML); None: the shipped one of the data set
    words_per_class: background words used of each class, the first of its list
    prompts:         prompts, used where there is no `prompts_file`
    prompts_file:    text file with a prompt a line
    names:           what classes are called instead, as "class=text"; classes that the data lacks are passed over
    """

    words: str | None = None
    words_per_class: Count = 5
    prompts: Annotated[tuple[str, ...], NotEmpty()] = PROMPTS
    prompts_file: str | None = None
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Texts:
    """Resolved texts of C classes: part of a stage's settings, so that its key follows the files' content.

    names:      C names used in prompts
    background: C tuples of n background words; () where they are not used
    common:     background words of any class; () where they are not used
    prompts:    m prompts, each with `{}`
    """

    names: tuple[str, ...]
    background: tuple[
        Any, ...
    ]  # of tuples; OmegaConf knows no nested ones, and `predict` reads settings by it
    common: tuple[str, ...]
    prompts: tuple[str, ...]

    def of_classes(self) -> list[list[str]]:
        """C lists of m texts."""
        return [[filled(prompt, name) for prompt in self.prompts] for name in self.names]

    def of_backgrounds(self) -> list[list[str]]:
        """C lists of m n texts."""
        return [
            [filled(prompt, word) for word in words for prompt in self.prompts] for words in self.background
        ]

    def of_common_background(self) -> list[str]:
        """Every common word in the first prompt."""
        return [filled(self.prompts[0], word) for word in self.common]


def filled(prompt: str, word: str) -> str:
    return prompt.replace("{}", word)


def resolve_texts(key: str, config: TextConfig, view: TrainingView, background: Collection[str]) -> Texts:
    """Texts for the classes of `view`.

    key:        of the method's settings, "method.NAME", for what is said of them
    background: sorts of background words that are used, of `CLASSES` and `COMMON`. The others are left out, so that
                they change no key, and need not be in the list; where none is used, a data set needs no list

    Raises NotRunnable where the data set has no shipped list and none is given; MethodError, naming the file, for a
    class without words or with too few, no common words, a prompt without `{}`, or a file that is no word list.
    """
    prompts = _prompts(config)
    if not view.classes:
        return Texts((), (), (), prompts)
    path = _path(config, view)
    if path is None and background:
        raise NotRunnable(
            f"no list of background words for {view.name}; write one like {SHIPPED / 'voc2012.yaml'}, set "
            f"{key}.text.words=FILE, and a CLIP that knows these words ({key}.clip.name, {key}.clip.weights)"
        )
    content = _read(path, CLASSES in background) if path is not None else {}
    renamed = dict(_renaming(entry) for entry in config.names)
    count = config.words_per_class if CLASSES in background else 0
    entries = [_entry(content.get(CLASSES, {}), name, count, path) for name in view.classes]
    common = _strings(content.get(COMMON, []), COMMON, path) if COMMON in background else ()
    if COMMON in background and not common:
        raise MethodError(f"{path}: no `{COMMON}` background words; add `{COMMON}: [...]`")
    return Texts(
        tuple(renamed.get(name, text) for name, (text, _) in zip(view.classes, entries)),
        tuple(words for _, words in entries) if count else (),
        common,
        prompts,
    )


def resolve_prompts(key: str, config: PromptConfig, view: TrainingView) -> Texts:
    """Texts of a method that compares all classes with one list of background words.

    Errors as of `resolve_texts`; MethodError also where words are given and each is a class's name.
    """
    texts = resolve_texts(key, TextConfig(prompts=config.prompts, names=config.names), view, ())
    taken = {*texts.names, *view.classes}
    common = tuple(word for word in config.background if word not in taken)
    if config.background and not common:
        raise MethodError(
            "text.background: every word names a class; give words of what is around the objects"
        )
    return replace(texts, common=common)


def _prompts(config: TextConfig) -> tuple[str, ...]:
    prompts, source = config.prompts, "text.prompts"
    if config.prompts_file is not None:
        source = config.prompts_file
        lines = [line.strip() for line in _text(expanded(config.prompts_file)).splitlines()]
        prompts = tuple(line for line in lines if line)
    if not prompts:
        raise MethodError(f"{source}: no prompt; give at least one, such as 'a photo of {{}}.'")
    for prompt in prompts:
        if prompt.count("{}") != 1:
            raise MethodError(
                f"{source}: prompt {prompt!r} must have {{}} once, for the class's name; e.g. 'a photo of {{}}.'"
            )
    return prompts


def _path(config: TextConfig, view: TrainingView) -> Path | None:
    """The word list: the one given, or the shipped one where there is one."""
    if config.words is not None:
        return expanded(config.words)
    shipped = SHIPPED / f"{view.name}.yaml"
    return shipped if shipped.is_file() else None


def _text(path: Path) -> str:
    try:
        return text_of(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise MethodError(f"cannot read {path}: {reason}; correct the setting that names it") from None


def _read(path: Path, needs_classes: bool) -> dict[str, Any]:
    import yaml  # type: ignore[import-untyped]

    try:
        content = yaml.safe_load(_text(path))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        raise MethodError(f"{path}{where}: not YAML; write it like the lists in {SHIPPED}") from None
    absent: dict[str, Any] | None = None if needs_classes else {}
    if not isinstance(content, dict) or not isinstance(content.get(CLASSES, absent), dict):
        raise MethodError(f"{path}: no word list (no `classes`); write it like the lists in {SHIPPED}")
    return content


def _entry(classes: dict[Any, Any], name: str, count: int, path: Path | None) -> tuple[str, tuple[str, ...]]:
    """What the class is called, and its first `count` words; for a count of 0 it need not be in the list."""
    entry = classes.get(name)
    if entry is None and not count:
        return name, ()
    if entry is None:
        raise MethodError(f"{path}: no background words for class {name!r}; add `{name}: {{words: [...]}}`")
    if not isinstance(entry, dict):
        raise MethodError(f"{path}: class {name!r} must be `{{words: [...]}}`, perhaps with `text`")
    words = _strings(entry.get("words", []), f"class {name!r}", path) if count else ()
    if len(words) < count:
        raise MethodError(
            f"{path}: class {name!r} has {len(words)} background words, text.words_per_class={count}; add some"
        )
    (text,) = _strings([entry.get("text", name)], f"text of class {name!r}", path)
    return text, words[:count]


def _strings(value: Any, what: str, path: Path | None) -> tuple[str, ...]:
    """YAML reads bare yes, no, on and numbers as something else: they need quotes."""
    if not isinstance(value, list) or not all(isinstance(word, str) and word.strip() for word in value):
        raise MethodError(f"{path}: {what} must be a list of words (quote those such as 'on' and '7')")
    return tuple(value)


def _renaming(entry: str) -> tuple[str, str]:
    name, separator, text = entry.partition("=")
    if not (separator and name and text):
        raise MethodError(f"text.names: {entry!r} must be class=text")
    return name, text
