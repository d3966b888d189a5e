"""What the networks of PSA and IRNet share: the levels of a backbone, and the mean of a loss over pairs of cells."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

EPSILON = 1e-5


class Levels:
    """The feature maps of a backbone that pass its taps, from shallow to deep, and its output.

    taps: (module, whether its input is meant instead of its output)
    """

    def __init__(self, taps: Iterable[tuple[nn.Module, bool]]) -> None:
        self._seen: list[torch.Tensor] = []
        for module, of_input in taps:
            module.register_forward_hook(self._keep_input if of_input else self._keep_output)

    def of(self, backbone: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
        self._seen.clear()
        last = backbone(images)
        found = [*self._seen, last]
        self._seen.clear()
        return found

    def _keep_input(self, module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        self._seen.append(inputs[0])

    def _keep_output(self, module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        self._seen.append(output)


def pair_mean(values: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """Over the pairs `where` (B, P, h, w); of values (B, P, h, w) or (B, 2, P, h, w)."""
    components = 1
    if values.ndim > where.ndim:
        components, where = values.shape[1], where.unsqueeze(1)
    return (values * where).sum() / (components * where.sum() + EPSILON)
