"""What CA-CL trains: a CAM network and the threshold θ, with a record of what training chose."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from methods.ca_cl.config import SuppressionConfig
from methods.cam.network import PlainCam


class Guided(NamedTuple):
    """maps: (B, C, h, w) in [0, 1] (Eq. 1); threshold: θ, scalar or (C,)."""

    maps: torch.Tensor
    threshold: torch.Tensor


class GuidedNetwork(nn.Module):
    """Images (B, 3, H, W) -> `Guided`.

    The record lies in buffers, so that it is in checkpoints:
    thresholds:           (iterations,) θ, of all classes (iterations, C) where each has its own
    selected:             (iterations,) background texts suppressed per pair of an image and a class
    prompt_choices:       (C, m) how often DCPS chose each prompt
    Under torchrun it is that of the first process's share of the images.
    """

    def __init__(
        self, cam: PlainCam, settings: SuppressionConfig, learned: bool, prompts: int, iterations: int
    ) -> None:
        """learned: whether θ is a parameter that training moves"""
        super().__init__()
        self.cam = cam
        self.bounds = (settings.lower, settings.upper)
        shape = (cam.classifier.out_channels,) if settings.per_class else ()
        self.threshold = nn.Parameter(torch.full(shape, settings.initial), requires_grad=learned)
        self.iteration: torch.Tensor
        self.thresholds: torch.Tensor
        self.selected: torch.Tensor
        self.prompt_choices: torch.Tensor
        self.register_buffer("iteration", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("thresholds", torch.zeros(iterations, *shape))
        self.register_buffer("selected", torch.zeros(iterations))
        self.register_buffer("prompt_choices", torch.zeros(cam.classifier.out_channels, prompts))

    def forward(self, images: torch.Tensor) -> Guided:
        return Guided(self.cam(images).sigmoid(), self.threshold)

    @torch.no_grad()
    def project_threshold(self) -> None:
        """Bring θ back into its bounds after an optimiser's step."""
        self.threshold.clamp_(*self.bounds)

    @torch.no_grad()
    def record(
        self, classes: torch.Tensor, prompts: torch.Tensor, selected: torch.Tensor | None = None
    ) -> None:
        """Note an iteration's choices: classes (N,), prompts (N,) of the pairs, selected (N, L) bool or None."""
        one = torch.ones_like(classes, dtype=self.prompt_choices.dtype)
        self.prompt_choices.index_put_((classes, prompts), one, accumulate=True)
        self.thresholds.index_copy_(0, self.iteration, self.threshold[None])
        if selected is not None:
            mean = selected.sum().to(self.selected.dtype) / max(1, len(selected))
            self.selected.index_copy_(0, self.iteration, mean[None])
        self.iteration += 1
