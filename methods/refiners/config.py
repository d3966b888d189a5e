"""Settings of the refiners: what turns CAMs into pseudo-labels. Light to import."""

from __future__ import annotations

from dataclasses import dataclass, field

from methods.layers.config import CrfConfig
from methods.refiners.psa.config import PsaConfig


@dataclass(frozen=True)
class RefinerConfig:
    """name: "none" (constant background threshold), "crf" (dense CRF on the thresholded CAM's scores) or "psa".

    background_threshold: score of the constant background map, in [0, 1]; None: the CAM's own fixed threshold
    crf, psa: of the refiner of that name only; `methods.refiners.PSA` has the latter by scale
    """

    name: str = "none"
    background_threshold: float | None = None
    crf: CrfConfig = field(default_factory=lambda: CrfConfig(10, 3.0, 3.0, 80.0, 13.0, 10.0))
    psa: PsaConfig = field(default_factory=PsaConfig)


@dataclass(frozen=True)
class PseudoLabelConfig:
    """What the pseudo-labels of "none" and "crf" depend on; crf: None without one."""

    background_threshold: float
    crf: CrfConfig | None = None
