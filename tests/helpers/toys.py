"""Small methods for tests of the harness, registered as a third party's would be, and a way to call the CLI."""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from benchmark.cli import main
from datasets.base import TrainingView
from methods import registry
from methods.base import Kind, Method, MethodConfig, MethodError, NotRunnable, Shared, Stage, Supervision


@dataclass(frozen=True)
class ToyConfig(MethodConfig):
    """value: class id that every pixel is given; note: anything, part of the key."""

    value: int = 0
    note: str = ""


class Toy(Method):
    """One stage that yields pseudo-labels. `run` is what it does, `refuses` why it does not."""

    title = "Toy"
    paper = "none"
    summary = "for tests"
    needs = "nothing"
    supervision = frozenset({Supervision.LABELS})
    config = ToyConfig
    presets = {"nano": ToyConfig()}  # noqa: RUF012

    def __init__(
        self,
        name: str,
        run: str = "tests.helpers.toys:fill",
        refuses: MethodError | None = None,
        pretrained: tuple[str, ...] = (),
    ) -> None:
        self.name, self.run, self.refuses = name, run, refuses  # type: ignore[misc]
        self.pretrained = pretrained

    def stages(self, config: Any, view: TrainingView, shared: Shared) -> Sequence[Stage]:
        if self.refuses is not None:
            raise self.refuses
        return [Stage("labels", self.run, config, Kind.PSEUDO_LABEL, pretrained=self.pretrained)]


def fill(context: Any, settings: ToyConfig) -> None:
    """Give every pixel of the training images the class `settings.value`."""
    from datasets.files import images
    from methods.artifacts import label_map_path

    for _, samples in context.shards(context.view.samples("train")):
        for sample in samples:
            labels = np.full(images.image_size(sample.image), settings.value, np.uint8)
            images.write_labels(label_map_path(context.output, sample.id), labels)
            context.advance(1)


def fill_doubtfully(context: Any, settings: ToyConfig) -> None:
    """As `fill`; a quarter of doubt in every pixel and what changed in half of them, to be seen among the examples."""
    import torch

    from datasets.files import images
    from methods.pictures import write_kinds, write_picture

    fill(context, settings)
    for sample in context.view.samples("train"):
        size = images.image_size(sample.image)
        write_picture(context.output, "doubt", sample.id, torch.full(size, 0.25))
        kinds = torch.zeros(size, dtype=torch.uint8)
        kinds[: size[0] // 2] = 2
        write_kinds(context.output, "changed", sample.id, kinds, ("nothing", "lost", "won"))


def take_masks(context: Any, settings: ToyConfig) -> None:
    """As `fill`, once it has been handed the true masks."""
    assert context.masks() is not None
    fill(context, settings)


def open_masks(context: Any, settings: ToyConfig) -> None:
    """As `fill`, once every true mask of train has been opened."""
    masks = context.masks()
    for sample in context.view.samples("train"):
        masks.path_of(sample.id).read_bytes()
    fill(context, settings)


def ask_for_a_mask(context: Any, settings: ToyConfig) -> None:
    """As `fill`, after a try to open the file that `settings.note` names, whose refusal is not said."""
    with suppress(PermissionError):
        Path(settings.note).read_bytes()
    fill(context, settings)


def look_for_note(context: Any, settings: ToyConfig) -> None:
    """As `fill`; fails where the file that `settings.note` names does not exist."""
    if not Path(settings.note).exists():
        raise FileNotFoundError(settings.note)
    fill(context, settings)


def read_note(context: Any, settings: ToyConfig) -> None:
    """As `fill`, once it has read the file that `settings.note` names."""
    Path(settings.note).read_bytes()
    fill(context, settings)


def explode(context: Any, settings: ToyConfig) -> None:
    """Fail half-way, with the progress display open."""
    for _, samples in context.shards(context.view.samples("train")):
        context.advance(len(samples) // 2)
        raise ValueError("a wire\nhas come loose")


def interrupt(context: Any, settings: ToyConfig) -> None:
    raise KeyboardInterrupt


def not_runnable(name: str) -> Toy:
    return Toy(name, refuses=NotRunnable("needs text embeddings; set method.toy.text=FILE"))


class _EntryPoint:
    def __init__(self, method: Method) -> None:
        self.method = method
        self.name, self.value = method.name, f"toys:{method.name}"

    def load(self) -> Method:
        return self.method


@contextmanager
def registered(*methods: Method) -> Iterator[None]:
    """Registers methods as installed packages' entry points would."""
    entries = [_EntryPoint(m) for m in methods]
    registry.discover.cache_clear()
    with patch.object(registry, "entry_points", lambda group: entries):
        yield
    registry.discover.cache_clear()


@pytest.fixture
def third_party(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Registers methods as installed packages' entry points would, for one test."""

    def register(*methods: Method) -> None:
        entries = [_EntryPoint(m) for m in methods]
        monkeypatch.setattr(registry, "entry_points", lambda group: entries)
        registry.discover.cache_clear()

    yield register
    monkeypatch.undo()
    registry.discover.cache_clear()


@dataclass(frozen=True)
class Outcome:
    """What a command did: exit code, what it printed, what it said on stderr."""

    code: int
    out: str
    err: str


class CommandLine:
    """`python -m benchmark` in this process, in a folder of its own.

    data: where generated data sets are drawn; all tests share them
    """

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder, self.store, self.output = folder, folder / "store", folder / "run"
        self.data = data

    def __call__(self, *arguments: str) -> Outcome:
        out, err = io.StringIO(), io.StringIO()
        with (
            patch.object(sys, "argv", ["benchmark", *map(str, arguments)]),
            patch.dict(os.environ, XDG_CACHE_HOME=str(self.folder / "cache")),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            try:
                main()
            except SystemExit as exit_:
                code = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
            else:
                code = 0
        return Outcome(code, out.getvalue(), err.getvalue())

    def begin_with(self, other: CommandLine) -> None:
        """Take a copy of what another has stored and written; paths in it are relative."""
        for name in ("store", "run"):
            shutil.copytree(other.folder / name, self.folder / name)

    def run(self, methods: str, *arguments: str) -> Outcome:
        """`run` on a few generated pictures, with store and output in the folder."""
        data = ("dataset.train=6", "dataset.val=2", f"dataset.root={self.data}")
        return self.run_on(methods, *data, *arguments)

    def run_on(self, methods: str, *arguments: str) -> Outcome:
        """`run` on the data set that the arguments say."""
        place = ("--output", str(self.output), f"runtime.store={self.store}")
        here = () if any("processes=" in given for given in arguments) else ("runtime.processes=1",)
        return self("run", "--methods", methods, "--device", "cpu", *place, *here, *arguments)


@pytest.fixture
def command_line(tmp_path: Path, generated: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return CommandLine(tmp_path, generated)
