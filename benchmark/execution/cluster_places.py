"""The workers of a cluster as places for stages: who may make which, and whether there is room."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmark.execution.tasks import Task
from benchmark.planning.graph import runs_network
from benchmark.planning.plan import Plan

GPU = "GPU"
"""The resource that workers with a GPU declare: `dask worker --resources GPU=1`."""


@dataclass(frozen=True)
class Place:
    """A worker. slots: stages it makes at once; devices: how many of them may have a GPU"""

    slots: int
    devices: int = 0


@dataclass
class Places:
    """The workers of a command, and how much of them is taken by tasks that need a GPU and by others."""

    workers: dict[str, Place] = field(default_factory=dict)
    with_device: int = 0
    others: int = 0

    def has_room(self, device: bool) -> bool:
        """Whether a worker is free for a task that needs a GPU, or for another one."""
        if not device:
            return self.with_device + self.others < sum(self._slots())
        plain, devices = self._slots()
        return self.with_device + max(0, self.others - plain) < devices

    def candidates(self, device: bool) -> list[str]:
        """Workers that may do such a task; one without a GPU leaves those with GPUs alone while others are free."""
        if device:
            return [name for name, place in self.workers.items() if place.devices]
        if self.others < self._slots()[0]:
            return [name for name, place in self.workers.items() if place.slots > place.devices]
        return list(self.workers)

    def _slots(self) -> tuple[int, int]:
        """Without and with a GPU."""
        devices = sum(min(place.devices, place.slots) for place in self.workers.values())
        return sum(place.slots for place in self.workers.values()) - devices, devices


def needs_device(plan: Plan, task: Task) -> bool:
    """Whether a task is for workers with a GPU, where some declare one: it runs a network, or the command says cuda."""
    if task.scoring or plan.config.runtime.device == "cpu":
        return False
    planned = plan.runs[task.run].stages[task.stage]
    inputs = [up.stage.yields for up in planned.inputs.values()]
    return plan.config.runtime.device == "cuda" or runs_network(planned.stage, inputs)
