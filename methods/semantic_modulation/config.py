"""Settings of semantic modulation, and its presets by scale: MCTformer's, with the modulation."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Annotated

from datasets.limits import NotNegative, OneOf, Within
from methods.mctformer.config import PRESETS as MCTFORMER
from methods.mctformer.config import AttendedCamConfig, MctformerConfig

RANKINGS = ("summed", "each_layer")
AXES = ("rows", "columns", "symmetric")


@dataclass(frozen=True)
class ModulationConfig:
    """Semantic modulation of class-to-patch attention (Eq. 3, 4).

    ratio:        ρ, share of the patches that count as semantically related to one, in (0, 1]
    strength:     α, from 0; 0 is MCTformer and computes nothing
    ranking:      "summed": the patch-to-patch attention that also refines the CAM ranks the patches;
                  "each_layer": every layer's own does, and its class-to-patch attention is modulated alone
    ranking_axis: which patches are related to one: "rows", those it attends to most; "columns", those that attend to
                  it most; "symmetric", by the sum of both
    include_self: a patch may be related to itself, as the ranking has it
    """

    ratio: Annotated[float, Within(0, 1, above=True)] = 0.3
    strength: NotNegative = 1.2
    ranking: Annotated[str, OneOf(RANKINGS)] = "summed"
    include_self: bool = True
    ranking_axis: Annotated[str, OneOf(AXES)] = "rows"


@dataclass(frozen=True, kw_only=True)
class ModulatedCamConfig(AttendedCamConfig):
    """What CAM inference depends on, besides the trained network."""

    modulation: ModulationConfig


@dataclass(frozen=True)
class SemanticModulationConfig(MctformerConfig):
    """Semantic modulation (Li et al., Journal of Software 2025): MCTformer's settings, and the modulation's."""

    modulation: ModulationConfig = field(default_factory=ModulationConfig)


PRESETS = {
    scale: SemanticModulationConfig(**{f.name: getattr(preset, f.name) for f in fields(preset)})
    for scale, preset in MCTFORMER.items()
}
"""MCTformer's trained weights serve both entries: the training stage is the same."""
