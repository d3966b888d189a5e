"""Settings of the saliency maps that a method trains with. Light to import (no torch)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from datasets.base import DataError, Sample, TrainingView
from datasets.files.fingerprints import content_fingerprint
from datasets.files.places import expanded
from datasets.limits import AtOnce, OneOf
from methods.base import Kind, MethodError, NotRunnable, Stage

SAMPLED = 32
"""Maps whose values are looked at."""
LOW = 128
"""Maps of which none reaches this are class ids, percentages, 0 and 1, or colours of a palette."""
SOURCES = ("folder", "rembg", "nano")


@dataclass(frozen=True)
class SaliencyConfig:
    """Where saliency maps come from.

    source:  ``"folder"`` (maps that you have), ``"rembg"`` (an off-the-shelf detector, extra `saliency`) or
             ``"nano"`` (the miniature detector that ships with the project)
    folder:  for "folder": 8-bit maps ``<id>.png`` of the images' size, from 0 (background) to 255 (salient)
    resize:  for "folder": accept maps of another size and resize them (bilinear) instead of refusing
    model:   for "rembg": the detector's name there
    weights: for "nano" and "rembg": reference or file of the detector's weights; empty for ``nano/saliency``
             or ``rembg/<model>``, whose file is looked for in $U2NET_HOME and in the weights folder
    batch_size: for "nano": images of equal size at once
    content: hash of the folder's maps, filled in by `resolve`
    """

    source: Annotated[str, OneOf(SOURCES)] = "nano"
    folder: str | None = None
    resize: bool = False
    model: str = "u2netp"
    weights: str = ""
    batch_size: AtOnce = 32
    content: str = ""

    @property
    def pretrained(self) -> tuple[str, ...]:
        """References of the weights that the maps depend on, for `Stage.pretrained`."""
        if self.source == "folder":
            return ()
        return (self.weights or (f"rembg/{self.model}" if self.source == "rembg" else "nano/saliency"),)


def resolve(settings: SaliencyConfig, view: TrainingView) -> SaliencyConfig:
    """Settings of the stage that yields the training images' maps. The hash of a folder's maps is filled in,
    so that other maps under the same path make another artifact.

    Raises MethodError for maps that cannot be read, NotRunnable where maps of the training images are not there.
    """
    if settings.source != "folder":
        return settings
    samples = view.samples("train")
    require_maps(settings, samples)
    _require_scaled(settings, samples)
    try:
        content = content_fingerprint([(s.id, map_path(settings, s.id)) for s in samples])
    except DataError as error:
        raise MethodError(str(error)) from None
    return replace(settings, content=content)


def saliency_stage(settings: SaliencyConfig) -> Stage:
    """The training images' maps; settings: of `resolve`."""
    return Stage(
        "saliency",
        "methods.layers.saliency.stage:detect",
        settings,
        Kind.SALIENCY,
        pretrained=settings.pretrained,
        seeded=False,
        profile="methods.layers.saliency.profile:detect",
    )


def map_path(settings: SaliencyConfig, sample_id: str) -> Path:
    """Where a folder's map of an image lies."""
    if settings.folder is None:
        raise NotRunnable(
            "saliency maps are needed; set saliency.folder=PATH of <id>.png, or saliency.source"
        )
    return expanded(settings.folder) / f"{sample_id}.png"


def _require_scaled(settings: SaliencyConfig, samples: tuple[Sample, ...]) -> None:
    """Raises MethodError where the maps stay far below 255: as they are read, next to nothing would be salient."""
    from datasets.files.decoding import opened

    looked_at = samples[:: max(1, len(samples) // SAMPLED)]
    highest = 0
    for sample in looked_at:
        try:
            with opened(map_path(settings, sample.id)) as image:
                extrema: Any = image.convert("L").getextrema()
        except DataError:
            continue  # said where maps are read
        highest = max(highest, extrema[1])
    if 0 < highest < LOW:
        raise MethodError(
            f"saliency maps in {settings.folder}: the maximum of {len(looked_at)} of them is {highest} of 255, so next"
            f" to nothing would be salient; scale them to 0..255 (maps of 0 and {highest}: times {255 // highest}),"
            " and save them without a palette"
        )


def require_maps(settings: SaliencyConfig, samples: tuple[Sample, ...]) -> None:
    """Raises NotRunnable, with their number and the first names, if maps are missing in the folder."""
    missing = [s.id for s in samples if not map_path(settings, s.id).is_file()]
    if missing:
        shown = ", ".join(f"{i}.png" for i in missing[:3]) + (", ..." if missing[3:] else "")
        raise NotRunnable(
            f"{len(missing)} of {len(samples)} saliency maps are missing in {settings.folder} ({shown});"
            " add them, or correct saliency.folder"
        )
