"""Settings of DSKD-GC, and its presets by scale: the single-stage network with a student, labels corrected."""

from __future__ import annotations

from methods.toco.config import SINGLE_STAGE, SingleStageConfig

DskdConfig = SingleStageConfig
PRESETS = SINGLE_STAGE
