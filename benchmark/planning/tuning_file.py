"""What a method says of its settings' choice: `tuning.yaml` in its folder. Light to import.

ranges:                     # tried by `tune`, by scale; keys are without method.NAME., see `benchmark.tuning.ranges`
  nano:
    - train.learning_rate=[2.5e-4,4e-3]
chosen_with_masks:          # by scale: fixed background thresholds of presets that somebody chose with masks, and how
  nano: {0.25: "..."}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.failures import ConfigError

if TYPE_CHECKING:
    from methods.base import Method, Stage

FILE = "tuning.yaml"


@dataclass(frozen=True)
class Declared:
    """ranges: scale -> texts; chosen_with_masks: scale -> threshold -> how, in words."""

    ranges: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    chosen_with_masks: Mapping[str, Mapping[float, str]] = field(default_factory=dict)


def declared(method: Method) -> Declared:
    """A method's, nothing without a file. Raises ConfigError: the file and what it should say."""
    return read(method.folder / FILE) if method.folder else Declared()


@cache
def read(path: Path) -> Declared:
    """As `declared`, of a file."""
    import yaml

    if not path.is_file():
        return Declared()
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict) or document.keys() - {"ranges", "chosen_with_masks"}:
        raise ConfigError(f"{path}: should have ranges and chosen_with_masks, and nothing else")
    ranges, chosen = (document.get(key) or {} for key in ("ranges", "chosen_with_masks"))
    if not _by_scale(ranges, list) or not all(isinstance(t, str) for texts in ranges.values() for t in texts):
        raise ConfigError(f"{path}: ranges should map scales to lists of KEY=[LOW,HIGH]")
    if not _by_scale(chosen, dict) or not all(
        isinstance(threshold, int | float) and isinstance(how, str)
        for of_scale in chosen.values()
        for threshold, how in of_scale.items()
    ):
        raise ConfigError(f"{path}: chosen_with_masks should map scales to thresholds, and these to text")
    return Declared({scale: tuple(texts) for scale, texts in ranges.items()}, chosen)


def threshold_notes(method: Method, stage: Stage, scale: str) -> list[str]:
    """What reports say of a CAM whose fixed threshold was chosen with masks: a line, or none."""
    if stage.fixed_threshold is None:
        return []
    how = declared(method).chosen_with_masks.get(scale, {}).get(stage.fixed_threshold)
    return [f"fixed: masks were used to choose its threshold {stage.fixed_threshold:g}: {how}"] if how else []


def _by_scale(document: Any, kind: type) -> bool:
    from benchmark.config import SCALES

    return isinstance(document, dict) and all(
        scale in SCALES and isinstance(value, kind) for scale, value in document.items()
    )
