"""Several processes under torchrun: rank 0 leads, the others take part in training only.

Rank 0 alone owns the store, the console and the records. Before a stage that trains, it tells the others which
one; they run the same function with a scratch folder for output, so that the gradients of all are averaged.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, cast

from benchmark.console import console
from benchmark.failures import ConfigError
from benchmark.provenance import world_size
from methods.base import MethodError

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from torch.distributed import ProcessGroup

    from benchmark.config import RuntimeConfig

PATIENCE = timedelta(minutes=1)
"""How long a process that failed waits for the others to come out of training and hear of it."""
_FOREVER = timedelta(days=365)
"""The others wait idle for as long as rank 0's stages without training take."""
_DONE = (-1, -1)


class Team:
    """The processes of one run, joined by `fabric`; create it in all of them."""

    def __init__(self, fabric: Fabric) -> None:
        import torch.distributed as dist

        self.fabric = fabric
        self.leads: bool = fabric.global_rank == 0
        self._control = cast("ProcessGroup", dist.new_group(backend="gloo", timeout=_FOREVER))
        console.quiet = not self.leads

    def wait(self) -> None:
        """Until all processes are here."""
        import torch.distributed as dist

        dist.barrier(group=self._control)

    def begin(self, run: int, stage: int) -> None:
        """Rank 0: the others now run this stage of the plan with it."""
        self._pass((run, stage))

    def dismiss(self) -> None:
        """Rank 0: there is nothing left to train."""
        self._pass(_DONE)

    def next_stage(self) -> tuple[int, int] | None:
        """Other ranks: what rank 0 begins next, as (run, stage); None when it dismisses them."""
        run, stage = self._pass(_DONE)
        return None if (run, stage) == _DONE else (run, stage)

    def agree(self, error: str | None) -> str | None:
        """After a stage, exchange failures: takes this process's, returns the first of any process.

        Where some processes are still training with one that has failed, none could go on: then the run ends,
        and the same command resumes it.
        """
        import torch.distributed as dist

        try:
            dist.monitored_barrier(self._control, timeout=_FOREVER if error is None else PATIENCE)
        except RuntimeError:
            print(
                f"error: rank {self.fabric.global_rank} failed while others train or were ended: {error};"
                " the same command resumes",
                file=sys.stderr,
            )
            sys.stderr.flush()
            os._exit(1)  # torchrun ends the others, which are inside a collective operation
        errors: list[str | None] = [None] * self.fabric.world_size
        dist.all_gather_object(errors, error, group=self._control)
        return next((f"rank {rank}: {e}" if rank else e for rank, e in enumerate(errors) if e), None)

    def _pass(self, values: tuple[int, int]) -> tuple[int, int]:
        import torch
        import torch.distributed as dist

        message = torch.tensor(values)
        dist.broadcast(message, 0, group=self._control)
        run, stage = message.tolist()
        return run, stage


def form_team(runtime: RuntimeConfig) -> Team | None:
    """The processes of this run under torchrun; None without it. Raises ConfigError where a cluster is asked for."""
    if world_size() <= 1:
        return None
    if runtime.scheduler is not None:
        raise ConfigError("--scheduler and torchrun exclude each other: start this command without torchrun")
    threading.Thread(target=_end_with, args=(os.getppid(),), name="launcher watch", daemon=True).start()
    return Team(make_fabric(runtime))


def _end_with(launcher: int) -> None:
    """torchrun that is killed tells its processes nothing: they would train on, or wait for each other for ever."""
    while (
        os.getppid() == launcher
    ):  # it goes to another parent at once, even where nobody buries the killed one
        time.sleep(1)
    os._exit(1)


def make_fabric(runtime: RuntimeConfig) -> Fabric:
    """Lightning Fabric for the run's device and precision; under torchrun, DDP over its processes.

    Raises MethodError for a device or a precision that is not to be had here.
    """
    import torch
    from lightning_fabric import Fabric

    if runtime.device == "cuda" and not torch.cuda.is_available():
        raise MethodError("--device cuda: no CUDA device is visible; use --device cpu or check `doctor`")
    if runtime.precision == "16-mixed" and (runtime.device == "cpu" or not torch.cuda.is_available()):
        raise MethodError("runtime.precision=16-mixed needs a GPU; bf16-mixed trains on a CPU, too")
    if runtime.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        # Else every new tensor is filled with NaN first, which nothing here relies on.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    nodes = world_size() // local
    fabric = Fabric(
        accelerator=runtime.device,
        devices=local,
        num_nodes=nodes,
        precision=runtime.precision,  # type: ignore[arg-type]  # one of PRECISIONS, which a dataclass cannot say
    )
    fabric.launch()
    return fabric
