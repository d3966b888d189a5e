"""Settings of the refiners: what turns CAMs into pseudo-labels. Light to import."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from datasets.limits import Count, Natural, NotEmpty, OneOf, Positive, Share
from methods.layers.config import CrfConfig
from methods.refiners.gc.config import GcConfig
from methods.refiners.irn.config import IrnConfig
from methods.refiners.psa.config import PsaConfig

REFINERS = {
    "none": "methods.refiners.threshold:pseudo_label",
    "crf": "methods.refiners.crf:pseudo_label",
    "psa": "methods.refiners.psa.stages:pseudo_label",
    "irn": "methods.refiners.irn.stages:pseudo_label",
    "par": "methods.refiners.par:pseudo_label",
    "gc": "methods.refiners.gc.stages:pseudo_label",
}
"""The function of each that writes pseudo-labels."""
REFINER_SUMMARIES = {
    "none": "the CAM against a constant background",
    "crf": "dense CRF on the CAM's scores",
    "psa": "random walk along affinities that a network learns from the CAM",
    "irn": "random walk up to edges that a network learns from the CAM",
    "par": "pixel-adaptive refinement by colour and distance",
    "gc": "Gaussian correction of noisy labels",
}


@dataclass(frozen=True)
class ParConfig:
    """PAR (Ru et al., CVPR 2022).

    dilations: distances of the eight neighbours, pixels
    iterations: number of rounds
    """

    dilations: Annotated[tuple[Count, ...], NotEmpty()] = (1, 2, 4, 8, 12, 24)
    iterations: Natural = 10


@dataclass(frozen=True)
class ParStageConfig:
    """What the pseudo-labels of "par" depend on; see `ParConfig`."""

    background_threshold: float
    dilations: tuple[int, ...]
    iterations: int


@dataclass(frozen=True)
class RefinerConfig:
    """Which refiner turns CAMs into pseudo-labels, and the settings of each.

    name: "none" (constant background threshold), "crf" (dense CRF on the thresholded CAM's scores), "psa", "irn",
          "par" (pixel-adaptive refinement) or "gc" (Gaussian correction)
    background_threshold: score of the constant background map, in [0, 1]; None: the CAM's own fixed threshold.
                          Not of "irn", whose walk changes the scale of scores: it has its own
    crf_background_power: of "crf": power of the background score (1 - max CAM)^power; null: the constant one
    crf_confidence: of "crf": posterior below which a segmentation network does not learn from a label; 0: it learns from
                    all. The labels that are scored are whole
    crf, psa, irn, par, gc: of the refiner of that name only; `methods.refiners.PSA` and `IRN` have the latter by scale
    """

    name: Annotated[str, OneOf(tuple(REFINERS))] = "none"
    background_threshold: Share | None = None
    crf: CrfConfig = field(default_factory=lambda: CrfConfig(10, 3.0, 3.0, 80.0, 13.0, 10.0))
    crf_background_power: Positive | None = None
    crf_confidence: Share = 0.0
    psa: PsaConfig = field(default_factory=PsaConfig)
    irn: IrnConfig = field(default_factory=IrnConfig)
    par: ParConfig = field(default_factory=ParConfig)
    gc: GcConfig = field(default_factory=GcConfig)


@dataclass(frozen=True)
class PseudoLabelConfig:
    """What the pseudo-labels of "none" and "crf" depend on; crf: None without one.

    background_power, confidence: of "crf", the former in place of the constant score; see `RefinerConfig`
    """

    background_threshold: float
    crf: CrfConfig | None = None
    background_power: float | None = None
    confidence: float = 0.0


@dataclass(frozen=True)
class ConfidentLabelConfig:
    """What the labels that a CRF is sure of depend on, besides its artifact, which has them."""
