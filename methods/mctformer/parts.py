"""The CAMs before the final one, each as an artifact of its own."""

from __future__ import annotations

import shutil

from methods.base import StageContext
from methods.mctformer.config import PartConfig


def part(context: StageContext, settings: PartConfig) -> None:
    """An intermediate CAM as an artifact of its own, so that it is scored."""
    for shard in sorted((context.inputs["cam"].path / settings.name).glob("*.safetensors")):
        shutil.copyfile(shard, context.output / shard.name)
