"""The one training loop: Lightning Fabric, checkpoints every N iterations, resumable with equal results."""

from __future__ import annotations

import json
import math
import random
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import nn

from benchmark.console import Progress, console

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from datasets.loading.loader import Batch

POINTS = 100
"""Points of a loss curve: one for every hundredth of the iterations."""
Losses = Callable[[nn.Module, "Batch"], Mapping[str, torch.Tensor]]


def train(
    fabric: Fabric,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    losses: Losses,
    batches: Callable[[int, int], Iterator[Batch]],
    iterations: int,
    learning_rate: Callable[[int], float],
    *,
    checkpoint: Path,
    history: Path,
    checkpoint_every: int,
    progress: Progress,
    log: Callable[[Mapping[str, float], int], None] = lambda values, iteration: None,
) -> int:
    """Minimise the sum of `losses` for `iterations` steps; returns how many were still to be done.

    checkpoint: file of the newest state, read if it exists and replaced atomically
    history:    JSON file written at the end: mean of each loss term over every hundredth of the iterations
    log:        called with these means and the iteration as they come
    Under torchrun every process has its slice of each batch and gradients are averaged; batch normalisation takes
    the statistics of the slice, rank 0's running ones are kept.
    Raises FloatingPointError when the loss is not finite; looked at whenever a mean or a checkpoint is due.
    """
    base_rates = [group["lr"] for group in optimizer.param_groups]
    state: dict[str, Any] = {"iteration": 0, "history": [], "sums": {}}
    # Before the optimiser's state is read: it follows its parameters. Convolutions are a fifth faster with channels
    # last (ResNet-38d's miniature on CPU; tensor cores on GPU), and everything behind them follows their layout.
    network.to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if checkpoint.exists() and _sound(checkpoint):
        state = _restore(checkpoint, fabric, network, optimizer)
    elif fabric.global_rank > 0:  # the same network everywhere, but each process drops its own channels
        torch.manual_seed(torch.initial_seed() + fabric.global_rank)
    wrapped, fabric_optimizer = fabric.setup(network, optimizer)
    wrapped.train()
    sums: dict[str, torch.Tensor] = {k: v.to(fabric.device) for k, v in state["sums"].items()}
    point_every = math.ceil(iterations / POINTS)
    start = state["iteration"]
    progress.start(iterations, "it", done=start)
    for iteration, batch in zip(range(start, iterations), batches(start, iterations)):
        factor = learning_rate(iteration)
        for group, rate in zip(optimizer.param_groups, base_rates):
            group["lr"] = rate * factor
        terms = losses(wrapped, batch)
        total = torch.stack(list(terms.values())).sum()
        fabric_optimizer.zero_grad()
        fabric.backward(total)
        fabric_optimizer.step()
        for name, value in terms.items():
            value = value.detach()  # stays on the device: no synchronisation
            sums[name] = sums[name] + value if name in sums else value
        done, last = iteration + 1, iteration + 1 == iterations
        point_due = last or done % point_every == 0
        checkpoint_due = last or done % checkpoint_every == 0
        if point_due or checkpoint_due:
            sums = {name: cast(torch.Tensor, fabric.all_reduce(value)) for name, value in sums.items()}
            count = done - (state["history"][-1]["iteration"] if state["history"] else 0)
            means = {name: float(value) / count for name, value in sums.items()}
            if not all(np.isfinite(v) for v in means.values()):
                found = ", ".join(f"{name} {value}" for name, value in means.items())
                raise FloatingPointError(
                    f"the loss is not finite before iteration {done} ({found}); lower the learning rate"
                )
        if point_due:
            state["history"].append({"iteration": done, **means})
            log(means, done)
            progress.note(" ".join(f"{k} {v:.4f}" for k, v in means.items()))
            sums = {}
        if checkpoint_due:
            for group, rate in zip(optimizer.param_groups, base_rates):
                group["lr"] = rate
            state |= {"iteration": done, "sums": sums}
            _save(checkpoint, fabric, network, optimizer, state)
        progress.advance(1)
    progress.stop()
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # what files hold
    if fabric.is_global_zero:
        history.write_text(json.dumps(state["history"]))
    fabric.barrier()
    return iterations - start


def _save(
    path: Path, fabric: Fabric, network: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> None:
    """Rank 0 writes; all processes take part, since each has random numbers of its own."""
    state = {
        **state,
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "precision": fabric.strategy.precision.state_dict(),  # the loss scale of 16-mixed
        "torch_rng": _of_all(torch.get_rng_state(), fabric),
        "cuda_rng": _of_all(torch.cuda.get_rng_state(fabric.device), fabric) if _on_cuda(fabric) else None,
    }
    if not fabric.is_global_zero:
        return
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:  # torch's own writer hides why it failed (a full disk, say)
        torch.save(state, file)
    temporary.replace(path)


def _sound(checkpoint: Path) -> bool:
    """Whether a checkpoint is what was written; if not, that is said, and the training begins anew.

    torch itself looks at no checksum.
    """
    try:
        with zipfile.ZipFile(checkpoint) as file:
            damaged = file.testzip()
    except (OSError, ValueError, NotImplementedError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        damaged = " ".join(str(error).split())
    if damaged:
        console.print(f"{checkpoint}: damaged ({damaged}); this training begins anew", markup=False)
    return not damaged


def _restore(
    path: Path, fabric: Fabric, network: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    state = torch.load(path, weights_only=True, map_location="cpu")
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    fabric.strategy.precision.load_state_dict(state["precision"])
    torch.set_rng_state(_own(state["torch_rng"], fabric))
    if state["cuda_rng"] is not None and _on_cuda(fabric):
        torch.cuda.set_rng_state(_own(state["cuda_rng"], fabric), fabric.device)
    return {name: state[name] for name in ("iteration", "history", "sums")}


def _of_all(state: torch.Tensor, fabric: Fabric) -> torch.Tensor:
    """Every process's state, (processes, n); of a single one (n,)."""
    return cast(torch.Tensor, fabric.all_gather(state)).cpu()


def _own(states: torch.Tensor, fabric: Fabric) -> torch.Tensor:
    """This process's generator state of those saved, (processes, n) or (n,); reused where there were fewer."""
    states = states.reshape(-1, states.shape[-1])
    return states[fabric.global_rank % len(states)].clone()


def _on_cuda(fabric: Fabric) -> bool:
    return fabric.device.type == "cuda"


def seed_everything(seed: int) -> None:
    """Seed every generator a library may draw from."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
