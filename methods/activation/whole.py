"""Whole image classifiers of timm and torchvision, as they come or with a user's own parameters."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.functional import multilabel_soft_margin_loss

from datasets.limits import suggestion
from datasets.loading.loader import Batch
from datasets.recipe import IMAGENET, Normalisation
from methods.activation.config import TORCHVISION, ClassifierConfig
from methods.activation.network import ActivationNetwork
from methods.base import MethodError
from methods.layers.cam_network import CamClassifier
from methods.layers.config import TIMM
from methods.layers.weights.files import load_into, load_state

FIRST_NORMS = ("norm1", "ln_1")
"""Of a transformer's block. What follows in the last block reaches a class token's score through that token alone."""


class WholeClassifier(ActivationNetwork, CamClassifier):
    """A library's network: images (B, 3, H, W) -> logits (B, C).

    heads: names of the layers that yield the logits
    usual: side of the images that it was made for, pixels; fixed: it takes no others
    """

    def __init__(
        self,
        network: nn.Module,
        heads: tuple[str, ...],
        usual: int,
        fixed: bool,
        normalisation: Normalisation,
        config: ClassifierConfig,
    ) -> None:
        super().__init__()
        self.network = network
        self._heads = heads
        self._usual, self._side = usual, config.side or (usual if fixed else 0)
        mean, deviation = config.mean or normalisation.mean, config.deviation or normalisation.std
        self._normalisation = Normalisation(
            (mean[0], mean[1], mean[2]), (deviation[0], deviation[1], deviation[2])
        )

    @classmethod
    def build(cls, config: ClassifierConfig, classes: int, weights: Path | None = None) -> Self:
        library = _timm if config.name.startswith(TIMM) else _torchvision
        network = cls(*library(config.name.partition("/")[2], classes), config)
        if weights is not None:
            patterns = [f"{head}.*" for head in network._heads]
            state = {
                k: v for k, v in load_state(weights).items() if k.rpartition(".")[0] not in network._heads
            }
            load_into(network.network, state, allow_missing=patterns, source=weights)
        return network

    @property
    def normalisation(self) -> Normalisation:
        return self._normalisation

    @property
    def layers(self) -> nn.Module:
        return self.network

    def heads(self) -> list[nn.Module]:
        return [self.network.get_submodule(name) for name in self._heads]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        size = self._size(images)
        if size != tuple(images.shape[-2:]):
            images = F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)
        return self.network(images)  # type: ignore[no-any-return]

    def scores(self, images: torch.Tensor) -> torch.Tensor:
        return self(images)  # type: ignore[no-any-return]

    def losses(self, forward: nn.Module, batch: Batch, settings: Any) -> Mapping[str, torch.Tensor]:
        """Multi-label soft margin loss, as `cam`'s."""
        return {"classification": multilabel_soft_margin_loss(forward(batch.images), batch.labels)}

    def names(
        self, state: Mapping[str, torch.Tensor], config: ClassifierConfig
    ) -> Mapping[str, torch.Tensor]:
        """Without a prefix that all names have, such as Lightning's "model."; of the head, the classes' outputs."""
        first = next(iter(self.network.state_dict()))
        found = min((key for key in state if key.endswith(f".{first}")), key=len, default=first)
        prefix = found.removesuffix(first)
        if not all(key.startswith(prefix) for key in state):
            prefix = ""
        chosen = {f"network.{key.removeprefix(prefix)}": value for key, value in state.items()}
        for key in (f"network.{head}.{part}" for head in self._heads for part in ("weight", "bias")):
            if config.outputs and key in chosen:
                if max(config.outputs) >= len(chosen[key]):
                    raise MethodError(
                        f"network.outputs names output {max(config.outputs)}, and the checkpoint has {len(chosen[key])}, "
                        "numbered from 0"
                    )
                chosen[key] = chosen[key][list(config.outputs)]
        return chosen

    @cached_property
    def last_layer(self) -> str:  # type: ignore[override]
        """Found by a forward pass. Of a transformer with tokens, the first normalisation of its last block."""
        side = self._side or self._usual
        device = next(self.network.parameters()).device
        images = torch.zeros(1, 3, side, side, device=device)
        yielded: dict[str, int] = {}

        def note(name: str, output: object) -> None:
            if isinstance(output, torch.Tensor):
                try:
                    maps = self.as_maps(output, images, name)
                except ValueError:
                    return
                if maps[0, 0].numel() > 1:
                    yielded.pop(name, None)  # the order is of the last time
                    yielded[name] = output.ndim

        handles = [
            module.register_forward_hook(lambda module, inputs, output, name=name: note(name, output))
            for name, module in self.network.named_modules()
            if name and not isinstance(module, (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d))
        ]
        with torch.no_grad():
            self(images)
        for handle in handles:
            handle.remove()
        if not yielded:
            raise MethodError("no layer of the network yields a map; name one as method.activation.layer")
        last = [*yielded][-1]
        if yielded[last] == 3:
            last = next((name for name in reversed(yielded) if name.endswith(FIRST_NORMS)), last)
        return last

    def as_maps(self, output: torch.Tensor, images: torch.Tensor, layer: str) -> torch.Tensor:
        """Of maps with channels last, and of a transformer's tokens, too."""
        if output.ndim == 4:
            return output.permute(0, 3, 1, 2) if self._channels_last(layer) else output
        if output.ndim != 3 or (patch := self._patch()) is None:
            raise ValueError
        height, width = (side // p for side, p in zip(self._size(images), patch))
        prefix = output.shape[1] - height * width
        if prefix != getattr(self.network, "num_prefix_tokens", int(hasattr(self.network, "class_token"))):
            raise ValueError
        return output[:, prefix:].transpose(1, 2).unflatten(2, (height, width))

    def _channels_last(self, layer: str) -> bool:
        from torchvision.models import SwinTransformer

        if isinstance(self.network, SwinTransformer):
            return layer != "permute"
        return str(getattr(self.network, "output_fmt", "")).endswith("NHWC")

    def _patch(self) -> tuple[int, int] | None:
        """Sides of the patches that a transformer cuts an image into."""
        embedding = getattr(self.network, "patch_embed", self.network)
        patch = getattr(embedding, "patch_size", None)
        return (patch, patch) if isinstance(patch, int) else patch

    def _size(self, images: torch.Tensor) -> tuple[int, int]:
        """Size at which images enter the network: whole patches."""
        height, width = (self._side, self._side) if self._side else images.shape[-2:]
        across = self._patch() or (1, 1)
        return max(1, round(height / across[0])) * across[0], max(1, round(width / across[1])) * across[1]


def _timm(name: str, classes: int) -> tuple[nn.Module, tuple[str, ...], int, bool, Normalisation]:
    import timm

    if not timm.is_model(name):
        raise _unknown("timm", name, timm.list_models())
    network: Any
    try:
        network = timm.create_model(name, num_classes=classes, dynamic_img_size=True)
        fixed = False
    except TypeError:  # not a transformer that takes images of any size
        network = timm.create_model(name, num_classes=classes)
        fixed = bool(network.pretrained_cfg.get("fixed_input_size"))
    settings = network.pretrained_cfg
    heads = settings["classifier"]
    normalisation = Normalisation(tuple(settings["mean"]), tuple(settings["std"]))
    return (
        network,
        (heads,) if isinstance(heads, str) else tuple(heads),
        settings["input_size"][-1],
        fixed,
        normalisation,
    )


def _torchvision(name: str, classes: int) -> tuple[nn.Module, tuple[str, ...], int, bool, Normalisation]:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise _unknown("torchvision", name, known)
    network: Any = models.get_model(name, weights=None, num_classes=classes)
    outputs = {
        name: getattr(module, "out_features", getattr(module, "out_channels", None))
        for name, module in network.named_modules()
    }
    head = [name for name, count in outputs.items() if count == classes][-1]
    return network, (head,), getattr(network, "image_size", 224), hasattr(network, "image_size"), IMAGENET


def _unknown(library: str, name: str, known: list[str]) -> MethodError:
    return MethodError(
        f"{library} has no classifier {name!r}; {suggestion(name, known)}"
        f"{TIMM + ' has those of timm.list_models()' if library == 'timm' else TORCHVISION + ' has ' + ', '.join(known)}"
    )
