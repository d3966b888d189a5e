"""The single-stage network: a transformer with classifiers, decoder and, for distillation, projector."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import nn

from datasets.recipe import IMAGENET, Normalisation
from methods.base import MethodError
from methods.layers.cam_network import CamNetwork
from methods.layers.networks.vit import MultiClassTokenViT, build_vit, whole_patches
from methods.toco.config import NetworkConfig
from methods.toco.parts import DecoderConfig, DistillationConfig
from methods.toco.released_names import network_names


class Encoded(NamedTuple):
    """class_token: (B, D); patches: (B, D, h, w), of the last layer; middle: likewise, of the auxiliary layer."""

    class_token: torch.Tensor
    patches: torch.Tensor
    middle: torch.Tensor


class Decoder(nn.Sequential):
    """LargeFOV of ToCo: two dilated 3x3 convolutions and the classifier to C + 1 maps, background first."""

    def __init__(self, channels: int, outputs: int, config: DecoderConfig) -> None:
        layers: list[nn.Module] = []
        for before in (channels, config.width):
            layers.append(
                nn.Conv2d(before, config.width, 3, padding=config.dilation, dilation=config.dilation)
            )
            if config.norm:
                layers.append(nn.BatchNorm2d(config.width))
            layers.append(nn.ReLU())
        super().__init__(*layers, nn.Conv2d(config.width, outputs, 1))


class Projector(nn.Module):
    """DINO's head (Caron et al., ICCV 2021): three layers, unit length, a linear layer with unit weights.

    forward: (..., D) -> (..., outputs), cosines
    """

    def __init__(self, channels: int, hidden: int, bottleneck: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(channels, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, bottleneck),
        )
        self.last = nn.Parameter(torch.empty(outputs, bottleneck))
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        nn.init.trunc_normal_(self.last, std=0.02)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return F.linear(F.normalize(self.layers(tokens), dim=-1), F.normalize(self.last, dim=-1))


class Branch(CamNetwork):
    """One network: transformer, classifier, auxiliary classifier, decoder and, for distillation, projector.

    classifier, auxiliary_classifier: 1x1 convolutions without bias, whose maps are the CAMs
    heads: the modules that learn at the head's rate
    """

    in_training = ("projector.*",)
    file = "teacher"

    def __init__(
        self,
        vit: MultiClassTokenViT,
        classes: int,
        config: NetworkConfig,
        distillation: DistillationConfig | None,
    ) -> None:
        super().__init__()
        if not 1 <= config.auxiliary_layer <= vit.depth:
            raise MethodError(
                f"auxiliary_layer={config.auxiliary_layer}: {config.vit.name} has {vit.depth} layers; "
                f"choose 1 (the last) to {vit.depth}"
            )
        self.encoder = vit
        self._auxiliary_block = vit.depth - config.auxiliary_layer
        self._pooling = config.pooling
        self.classifier = nn.Conv2d(vit.channels, classes, 1, bias=False)
        self.auxiliary_classifier = nn.Conv2d(vit.channels, classes, 1, bias=False)
        self.decoder = Decoder(vit.channels, classes + 1, config.decoder)
        self.projector = None
        if distillation is not None:
            self.projector = Projector(
                vit.channels, distillation.hidden, distillation.bottleneck, distillation.outputs
            )

    @classmethod
    def build(cls, config: NetworkConfig, classes: int, weights: Path | None = None) -> Self:
        """Without projector, which inference does not need."""
        return cls(build_vit(config.vit, 1, weights), classes, config, None)

    @property
    def normalisation(self) -> Normalisation:
        return self.encoder.normalisation

    def heads(self) -> list[nn.Module]:
        new = [self.classifier, self.auxiliary_classifier, self.decoder]
        return new if self.projector is None else [*new, self.projector]

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that do not decay."""
        return {f"encoder.{name}" for name in self.encoder.no_weight_decay()}

    def encode(self, images: torch.Tensor) -> Encoded:
        """Images (B, 3, H, W), sides multiples of the patch -> tokens of the last and of the auxiliary layer."""
        tokens, middle = self.encoder.with_middle(images, self._auxiliary_block)
        return Encoded(tokens.classes[:, 0], tokens.patches, middle)

    def classified(self, patches: torch.Tensor, classifier: nn.Module) -> torch.Tensor:
        """Logits of pooled patch tokens: (B, D, h, w) -> (B, C)."""
        pool = F.adaptive_max_pool2d if self._pooling == "max" else F.adaptive_avg_pool2d
        return classifier(pool(patches, 1)).flatten(1)  # type: ignore[no-any-return]

    def early_parameters(self) -> Iterator[nn.Parameter]:
        """Those that the auxiliary layer's patch tokens depend on."""
        late = {
            id(p)
            for module in (*self.encoder.trunk.blocks[self._auxiliary_block + 1 :], self.encoder.trunk.norm)
            for p in module.parameters()
        }
        return (p for p in self.encoder.parameters() if id(p) not in late)

    def project(self, patches: torch.Tensor) -> torch.Tensor:
        """Projected patch tokens: (B, D, h, w) -> (B, K, h, w)."""
        assert self.projector is not None
        return self.projector(patches.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # type: ignore[no-any-return]

    def maps(self, images: torch.Tensor, settings: Any) -> torch.Tensor:
        return self.activations(images)

    def scores(self, images: torch.Tensor) -> torch.Tensor:
        """Of the pooled patch tokens, whose classifier makes the CAM."""
        return self.classified(self.features(images), self.classifier)

    def names(self, state: Mapping[str, torch.Tensor], config: NetworkConfig) -> Mapping[str, torch.Tensor]:
        """Of a checkpoint of ToCo's code. MethodError for a transformer of another normalisation."""
        if self.normalisation != IMAGENET:
            raise MethodError(
                f"ToCo's networks expect ImageNet's normalisation, which is not that of {config.vit.name}; "
                "set method.toco.vit.normalisation=imagenet"
            )
        return network_names(state)

    def activations(self, images: torch.Tensor) -> torch.Tensor:
        """Rectified class maps of images of any size: (B, 3, H, W) -> (B, C, h, w), Eq. 1 but for the maximum."""
        patches = self.encode(whole_patches(images, self.encoder.patch_size)).patches
        return self.classifier(patches).relu()  # type: ignore[no-any-return]

    def both_activations(self, images: torch.Tensor) -> torch.Tensor:
        """`activations` and those of the auxiliary layer, one after the other: (B, 2 C, h, w)."""
        encoded = self.encode(whole_patches(images, self.encoder.patch_size))
        maps = self.classifier(encoded.patches), self.auxiliary_classifier(encoded.middle)
        return torch.cat(maps, 1).relu()

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Patch tokens of the last layer of images of any size: (B, D, h, w)."""
        return self.encode(whole_patches(images, self.encoder.patch_size)).patches

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of the decoder for images of any size: (B, C + 1, h, w)."""
        return self.decoder(self.features(images))  # type: ignore[no-any-return]


def build_branch(
    config: NetworkConfig,
    classes: int,
    distillation: DistillationConfig | None = None,
    weights_path: Path | None = None,
) -> Branch:
    """Network of a configuration; the transformer starts from `weights_path` (None: random)."""
    return Branch(build_vit(config.vit, 1, weights_path), classes, config, distillation)
