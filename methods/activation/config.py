"""Settings of activation maps of any classifier, and their presets by scale: those of `cam`, with a rule."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated

from datasets.limits import Batch, Conflicts, Natural, OneOf, Positive, Within
from methods.base import part
from methods.cam.config import PRESETS as CAM_PRESETS
from methods.cam.config import CamConfig
from methods.layers.config import TIMM, CamStageConfig

RULES = ("gradcam", "gradcam++", "layercam", "scorecam")
CAM = "cam"
TORCHVISION = "torchvision/"
Side = Annotated[int, Within(0, 4096)]


@dataclass(frozen=True)
class ClassifierConfig:
    """An image classifier.

    name: cam (the classifier of method `cam`, on `backbone`), or a whole network, timm/<model> or torchvision/<model>
    weights: of a whole network, reference that its training starts from; null: the library's of that name, "none": random
    outputs: output of each class, from 0, of a checkpoint that has other outputs too or has them in another order; empty:
             the outputs are the data set's classes
    side:    images are resized to squares of that side before the network, pixels; 0: only where it takes one size alone
    mean, deviation: of the three colours in [0, 1], that images are normalised by; empty: the library's of that name
    """

    name: Annotated[str, OneOf((CAM,), (TIMM, TORCHVISION))] = CAM
    weights: str | None = None
    outputs: tuple[Natural, ...] = ()
    side: Side = 0
    mean: tuple[float, ...] = ()
    deviation: tuple[Positive, ...] = ()

    def conflicts(self) -> Conflicts:
        for name in ("mean", "deviation"):
            if len(getattr(self, name)) not in (0, 3):
                yield name, "must have three numbers, one a colour, or none"


@dataclass(frozen=True)
class ActivationConfig(CamConfig):
    """Activation maps of any classifier.

    rule:    gradcam, gradcam++, layercam or scorecam
    layer:   name of the module whose activations the maps are made of, as PyTorch names it ("layer4"); empty: the last
             one that yields a map
    channels: of scorecam, those whose activations vary most and that are tried, each in a forward pass; 0: all
    masked_batch: of scorecam, masked images at once
    classifier_checkpoint: a classifier in place of the training: of PSA's or IRNet's code for the network cam, else the
             network's parameters under the library's names
    """

    rule: Annotated[str, OneOf(RULES)] = "gradcam"
    layer: str = ""
    channels: Natural = 0
    masked_batch: Batch = 64
    network: ClassifierConfig = field(default_factory=ClassifierConfig)

    def conflicts(self) -> Conflicts:
        if self.crops > 1 and self.network.name != CAM:
            yield "crops", f"is of network.name={CAM} alone; leave it at 1 with {self.network.name}"


@dataclass(frozen=True, kw_only=True)
class ActivationStageConfig(CamStageConfig):
    """What the maps depend on, besides the trained network; see `ActivationConfig`."""

    rule: str
    layer: str
    channels: int
    masked_batch: int


PRESETS = {key: part(ActivationConfig, preset) for key, preset in CAM_PRESETS.items()}
PRESETS["small"] = replace(PRESETS["small"], channels=64)
"""small: the network has 1280 channels, and as many forward passes for each scale of a photograph take a day."""
