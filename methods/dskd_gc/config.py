"""Settings of DSKD-GC, and its presets by scale: the single-stage network with a student, labels corrected."""

from __future__ import annotations

from methods.toco.config import SingleStageConfig
from methods.toco.presets import SINGLE_STAGE

DskdConfig = SingleStageConfig
PRESETS = SINGLE_STAGE
