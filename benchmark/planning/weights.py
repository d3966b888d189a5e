"""Weight files are looked into while planning: a file that cannot be read, or is another network's, would stop a run
after hours."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from methods.base import Stage
from methods.layers.weights.contents import read_shapes
from methods.layers.weights.files import locate


def check_weights(stage: Stage, root: str | Path | None) -> None:
    """Raise MethodError for a weight file of a stage that is here and cannot be read, or does not fit its settings.

    Parts of the settings that have `weights` may say what their file must hold: `require_weights(path, shapes)`.
    """
    for reference in stage.pretrained:
        path = locate(reference, root)
        shapes = read_shapes(path) if path is not None else None
        if path is None or shapes is None:
            continue
        for part in settings_parts(stage.settings):
            if getattr(part, "weights", None) == reference and hasattr(part, "require_weights"):
                part.require_weights(path, shapes)


def settings_parts(settings: Any) -> Iterator[Any]:
    """The dataclasses that settings are made of, themselves first."""
    if dataclasses.is_dataclass(settings):
        yield settings
        for field in dataclasses.fields(settings):
            yield from settings_parts(getattr(settings, field.name))
