"""Maps of the activations of a layer, by one of the rules; and `cam`'s classifier with them."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import nn

from datasets.limits import suggestion
from methods.activation.config import ActivationStageConfig
from methods.activation.rules import BY_GRADIENT, score_cam
from methods.base import MethodError
from methods.cam.network import PlainCam
from methods.layers.cam_network import CamNetwork


class ActivationNetwork(CamNetwork):
    """A CAM network whose maps are made of the activations of any of its layers."""

    @property
    @abstractmethod
    def last_layer(self) -> str:
        """Name of the last module that yields a map."""

    @property
    def layers(self) -> nn.Module:
        """The module whose parts can be chosen as the layer."""
        return self

    def as_maps(self, output: torch.Tensor, images: torch.Tensor, layer: str) -> torch.Tensor:
        """A layer's output for a batch of images -> (B, K, h, w); ValueError where it is no map."""
        if output.ndim != 4:
            raise ValueError
        return output

    def maps(self, images: torch.Tensor, settings: ActivationStageConfig) -> torch.Tensor:
        layer = settings.layer or self.last_layer
        with torch.inference_mode(False), torch.no_grad():  # a graph begins where the layer ends
            images = images.clone()  # a tensor made in inference mode takes no part in gradients
            output, scores = self._watched(images, layer)
            try:
                activations = self.as_maps(output.detach(), images, layer)
            except ValueError:
                raise MethodError(
                    f"layer={layer}: its output {tuple(output.shape)} is no map of the image; choose another layer"
                ) from None
            if settings.rule not in BY_GRADIENT:
                return score_cam(images, activations, self.scores, settings.channels, settings.masked_batch)
            rule = BY_GRADIENT[settings.rule]
            return torch.stack(
                [
                    rule(activations, self.as_maps(self._gradient(score, output, layer), images, layer))
                    for score in scores.unbind(1)
                ],
                1,
            )

    @staticmethod
    def to_unit(maps: torch.Tensor) -> torch.Tensor:
        """As others', but exactly: gradients may be small."""
        return maps / maps.amax((-2, -1), keepdim=True).clamp(min=torch.finfo(maps.dtype).tiny)

    def _watched(self, images: torch.Tensor, layer: str) -> tuple[torch.Tensor, torch.Tensor]:
        """The layer's output, by which gradients of the scores (B, C) that follow can be taken, and these."""
        seen: list[torch.Tensor] = []

        def begin_graph(module: nn.Module, inputs: object, output: object) -> torch.Tensor:
            if not isinstance(output, torch.Tensor):
                raise MethodError(f"layer={layer} yields no tensor; choose another layer")
            torch.set_grad_enabled(True)
            seen[:] = [output.detach().requires_grad_()]
            return seen[0].clone()  # what follows may change it in place

        handle = self._module(layer).register_forward_hook(begin_graph)
        try:
            scores = self.scores(images)
        finally:
            handle.remove()
        if not seen:
            raise MethodError(f"layer={layer} takes no part in the scores; choose another layer")
        return seen[0], scores

    def _module(self, layer: str) -> nn.Module:
        named = dict(self.layers.named_modules())
        if layer not in named:
            parts = ", ".join(name for name, _ in self.layers.named_children())
            hint = suggestion(layer, list(named))
            raise MethodError(f"layer={layer}: there is none; {hint}there are {parts}, and parts of these")
        return named[layer]

    def _gradient(self, score: torch.Tensor, output: torch.Tensor, layer: str) -> torch.Tensor:
        (gradient,) = torch.autograd.grad(score.sum(), output, retain_graph=True, allow_unused=True)
        if gradient is None:
            raise MethodError(f"layer={layer} takes no part in the scores; choose another layer")
        return gradient


class CamActivation(ActivationNetwork, PlainCam):
    """`cam`'s classifier; of its last layer, Grad-CAM is CAM."""

    @property
    def last_layer(self) -> str:
        return "backbone"
