"""Settings of Gaussian correction. Light to import."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from datasets.limits import (
    AtOnce,
    Conflicts,
    Count,
    Inside,
    OneOf,
    Positive,
    Similarity,
    Within,
    out_of_order,
)
from methods.layers.config import BackboneConfig

SCOPES = ("image", "class")
POSTERIORS = ("literal", "capped")


@dataclass(frozen=True)
class CorrectionConfig:
    """Gaussian correction (Bai et al., 2025, Eq. 11 to 21).

    high, low:     θ_h and θ_l: noise above the one, uncertain between them; probabilities
    similarity:    τ, cosine below which two neighbours are unlike. Half of what patch contrast drives features
                   to: 1 within an object, 0 across its border
    scope:         "image": one mixture an image, of the highest CAM at each pixel; "class": one a present class,
                   of the pixels where its CAM is the highest
    min_confidence: pixels up to this (-1: none, of scope "image") stay out of the mixture and keep their label: ReLU's
                   zeros, most of an image, would make a component of their own
    posterior:     "literal": the noise of a confidence x as Eq. 17 is printed, which rises again above the upper
                   component's mean where the lower one is the broader; "capped": as printed at
                   min(x, upper mean), so that a CAM's peak is never noisier than the upper component's middle
    max_iterations: of EM; tolerance: change of the likelihood at which EM ends
    """

    high: Inside = 0.85
    low: Inside = 0.25
    similarity: Similarity = 0.5
    scope: Annotated[str, OneOf(SCOPES)] = "image"
    min_confidence: Annotated[float, Within(-1, 1)] = 0.01
    posterior: Annotated[str, OneOf(POSTERIORS)] = "literal"
    max_iterations: Count = 100
    tolerance: Positive = 1e-3

    def conflicts(self) -> Conflicts:
        for why in out_of_order(self, equal=False):
            yield "", why
        if self.scope == "class" and self.min_confidence < 0:
            yield (
                f"min_confidence={self.min_confidence}",
                "with scope=class give 0 or more; where every CAM is 0, none is the highest",
            )


@dataclass(frozen=True)
class GcConfig:
    """Gaussian correction of any method's CAM, by the features of a pretrained network.

    backbone:   of the features; null: that of the refiner PSA, which is of the scale
    correction: its similarity is higher here: features of a classifier are all somewhat alike
    batch_size: images of equal size at once
    """

    backbone: BackboneConfig | None = None
    correction: CorrectionConfig = field(default_factory=lambda: CorrectionConfig(similarity=0.7))
    batch_size: AtOnce = 8


@dataclass(frozen=True)
class GcStageConfig:
    """What the corrected labels depend on; see `GcConfig`."""

    backbone: BackboneConfig
    correction: CorrectionConfig
    background_threshold: float
    batch_size: AtOnce
