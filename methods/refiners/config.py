"""Settings of the refiners: what turns CAMs into pseudo-labels. Light to import."""

from __future__ import annotations

from dataclasses import dataclass, field

from methods.layers.config import CrfConfig


@dataclass(frozen=True)
class RefinerConfig:
    """name: "none" (constant background threshold) or "crf" (dense CRF on the thresholded CAM's scores).

    background_threshold: score of the constant background map, in [0, 1]; None: the CAM's own fixed threshold
    """

    name: str = "none"
    background_threshold: float | None = None
    crf: CrfConfig = field(default_factory=lambda: CrfConfig(10, 3.0, 3.0, 80.0, 13.0, 10.0))
