"""Settings of Gaussian correction. Light to import."""

from __future__ import annotations

from dataclasses import dataclass, field

from methods.base import MethodError
from methods.layers.config import BackboneConfig

SCOPES = ("image", "class")


@dataclass(frozen=True)
class CorrectionConfig:
    """Gaussian correction (Bai et al., 2025, Eq. 10 to 21).

    high, low:     θ_h and θ_l: noise above the one, uncertain between them; probabilities
    similarity:    τ, cosine below which two neighbours are unlike. Half of what patch contrast drives features
                   to: 1 within an object, 0 across its border
    scope:         "image": one mixture an image, of the highest CAM at each pixel; "class": one a present class,
                   of the pixels where its CAM is the highest
    min_confidence: pixels up to this stay out of the mixture and keep their label: ReLU's zeros, most of an image,
                   would make a component of their own
    max_iterations, tolerance: of EM
    """

    high: float = 0.85
    low: float = 0.25
    similarity: float = 0.5
    scope: str = "image"
    min_confidence: float = 0.01
    max_iterations: int = 100
    tolerance: float = 1e-3


@dataclass(frozen=True)
class GcConfig:
    """Gaussian correction of any method's CAM, by the features of a pretrained network.

    backbone:   of the features; null: that of the refiner PSA, which is of the scale
    correction: its similarity is higher here: features of a classifier are all somewhat alike
    batch_size: images of equal size at once
    """

    backbone: BackboneConfig | None = None
    correction: CorrectionConfig = field(default_factory=lambda: CorrectionConfig(similarity=0.7))
    batch_size: int = 8


@dataclass(frozen=True)
class GcStageConfig:
    """What the corrected labels depend on; see `GcConfig`."""

    backbone: BackboneConfig
    correction: CorrectionConfig
    background_threshold: float
    batch_size: int


def check_correction(key: str, config: CorrectionConfig) -> None:
    """MethodError for settings that make no correction; `key` is where they were given."""
    if config.scope not in SCOPES:
        raise MethodError(f"{key}.scope={config.scope!r}: choose {', '.join(SCOPES)}")
    if not 0 < config.low < config.high < 1:
        raise MethodError(f"{key}: low={config.low} and high={config.high} must satisfy 0 < low < high < 1")
