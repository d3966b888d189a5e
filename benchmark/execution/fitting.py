"""Stages that do not fit the memory: smaller batches of whole images, trainings in parts, or the settings to change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import nn

from benchmark.console import console
from datasets.limits import AUTO
from methods.base import MethodError
from methods.layers.networks.memory import normalises_batches, passes_in_parts, saving_memory

if TYPE_CHECKING:
    from benchmark.config import RuntimeConfig


class Fit:
    """How far a stage's batches are divided; kept over its attempts, of which each goes on where the last one ended.

    title:   of the stage, for what is said; "" says nothing
    setting: key of the training's batch size
    alone:   whether no other process trains with this one
    """

    def __init__(
        self,
        runtime: RuntimeConfig,
        title: str = "",
        setting: str = "train.batch_size",
        alone: bool = True,
    ) -> None:
        self._runtime, self._title, self._setting, self._alone = runtime, title, setting, alone
        self._auto = runtime.accumulate == AUTO
        self._parts = 1 if self._auto else int(runtime.accumulate)
        self._most: int | None = None
        self._images = self._batch = 0
        self._training = self._divisible = self._tiled = False
        self._notes: list[str] = []
        self._said: set[str] = set()

    def images_at_once(self, batch_size: int) -> int:
        """How many whole images a batch takes, where `batch_size` are set."""
        return batch_size if self._most is None else min(batch_size, self._most)

    @contextmanager
    def training(self, network: nn.Module) -> Iterator[None]:
        """A training of `network`, which is prepared for it."""
        self._training, self._divisible = True, passes_in_parts(network)
        network.train()
        if self._parts > 1 and not self._divisible:
            self._say(
                "runtime.accumulate: this network has no part that divides its batch, which stays whole"
            )
        elif self._parts > 1 and normalises_batches(network):
            note = f"batch normalisation took the statistics of {self._parts} parts of each batch"
            self._say(f"runtime.accumulate={self._parts}: {note.replace('took', 'takes')}, not of the whole")
            self._notes = [note]
        with saving_memory(network, self._parts, self._runtime.checkpoint_activations):
            yield
        self._training = False

    def gives(self, images: int, tiled: bool = False) -> None:
        """Note of how many whole images the present batch is, or how many tiles of one pass the network together."""
        self._images, self._tiled = images, tiled

    def sees(self, batch: int) -> None:
        """Note how many images a training's step is given."""
        self._batch = batch

    def divide(self, error: Exception) -> None:
        """Divide further after an attempt for which memory did not suffice, and say so.

        Raises MethodError that names the settings to change where nothing is left to divide, `error` where nothing is
        known to divide.
        """
        if self._training:
            self._divide_training(error)
        elif self._images > 1:
            self._most = self._images // 2
            what = "tiles" if self._tiled else "images"
            self._say(f"{self._images} {what} at once do not fit the memory; going on with {self._most}")
        elif self._images == 1:
            what, less = (
                ("tile", "smaller tiles") if self._tiled else ("image", "tiles (....tiles.side=1024)")
            )
            raise MethodError(
                f"out of memory with one {what} at a time: {less}, fewer or smaller inference scales, or --device cpu, "
                "need less"
            ) from error
        else:
            raise error
        self._images, self._training = 0, False

    def _divide_training(self, error: Exception) -> None:
        parts = min(self._parts, self._batch)
        if not (self._auto and self._alone and self._divisible and parts < self._batch):
            raise MethodError(self._advice(parts)) from error
        self._parts = min(2 * parts, self._batch)
        self._say(
            f"a training batch of {self._batch} images{_in(parts)} does not fit the memory; going on{_in(self._parts)}"
        )

    def _advice(self, parts: int) -> str:
        if not self._batch:
            return "out of memory before a training's first step: the network does not fit; --device cpu has more"
        runtime, found = self._runtime, []
        if self._divisible and parts < self._batch:
            more = AUTO if self._alone and not self._auto and parts == 1 else min(2 * parts, self._batch)
            found.append(f"runtime.accumulate={more}, which keeps the batch")
        if not runtime.checkpoint_activations and self._divisible:
            found.append("runtime.checkpoint_activations=true")
        if runtime.precision == "32-true":
            found.append("runtime.precision=bf16-mixed")
        if self._batch > 1:
            found.append(f"{self._setting}={self._batch // 2}, another training")
        return (
            f"out of memory in training with {self._batch} images a step{_in(parts)}; set "
            f"{', or '.join(found) or 'a smaller crop'}"
        )

    def recorded(self) -> dict[str, Any]:
        """What the artifact's manifest says of it."""
        in_parts = self._batch and self._divisible and self._parts > 1
        found: dict[str, Any] = {"training_parts": self._parts} if in_parts else {}
        if self._most is not None:
            found["images_at_once"] = self._most
        return found | ({"notes": self._notes} if self._notes else {})

    def _say(self, text: str) -> None:
        """Once."""
        if self._title and text not in self._said:
            self._said.add(text)
            console.print(f"{self._title}: {text}", markup=False)


def _in(parts: int) -> str:
    return f" in {parts} parts" if parts > 1 else ""
