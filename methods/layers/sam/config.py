"""Settings of SAM, the promptable segmentation network. Light to import (no torch)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from datasets.base import TrainingView
from datasets.limits import OneOf
from methods.base import MethodError, NotRunnable

NANO = "sam_nano"
REGISTRY = "segment_anything:sam_model_registry"
REGISTERED = ("default", "vit_h", "vit_l", "vit_b")
"""What that has, which takes seconds to import."""
_ENCODER = "image_encoder.patch_embed.proj.weight"
_WIDTHS = {"vit_b": 768, "vit_l": 1024, "vit_h": 1280}
"""Channels of the encoders, which tell the files apart."""
PRECISIONS = ("float32", "float16", "bfloat16")


@dataclass(frozen=True)
class SamConfig:
    """A frozen SAM.

    name:     a key of the registry (segment_anything's: vit_b, vit_l, vit_h), or sam_nano (the miniature)
    weights:  reference understood by `methods.layers.weights.files`: ``sam/sam_vit_b_01ec64`` (of that name in the
              weights folder), ``nano/sam``, a path, or ``none`` (random initialisation)
    registry: "package:attribute", name -> function that builds a model of segment_anything's structure; others of
              its kind have one too (``mobile_sam:sam_model_registry``, whose name is vit_t)
    precision: of the image encoder on a GPU: float32, float16 or bfloat16; on a CPU, and of the decoder, float32
    """

    name: str = "vit_b"
    weights: str = "sam/sam_vit_b_01ec64"
    registry: str = REGISTRY
    precision: Annotated[str, OneOf(PRECISIONS)] = "bfloat16"

    @property
    def fillers(self) -> bool:
        """Whether it learned from prompts that points which are none fill up to one length: the miniature did."""
        return self.name == NANO

    def require_weights(self, path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """MethodError for the weights of another size of SAM; shapes: by name, of the file's tensors."""
        width = shapes.get(_ENCODER, (0,))[0]
        found = next((name for name, size in _WIDTHS.items() if size == width), None)
        own = "vit_h" if self.name == "default" else self.name
        if self.registry != REGISTRY or own not in _WIDTHS or found == own:
            return
        what = f"the weights of {found}" if found else "no weights of segment_anything's SAM"
        remedy = (
            f"set its name to {found}, or give the file of {self.name}" if found else "give the file of a SAM"
        )
        raise MethodError(f"weights {path} are {what}, and sam.name is {self.name}; {remedy}")


def masks_seen(config: SamConfig) -> str:
    """What these weights learned masks from, "" for nothing."""
    if config.weights == "none":
        return ""
    return "the miniatures' pictures" if config.name == NANO else "SA-1B"


def require_covered(key: str, config: SamConfig, view: TrainingView) -> None:
    """The miniature has seen generated pictures alone: NotRunnable for photographs.

    key: of the setting, such as "method.sam_fused.sam". MethodError for a SAM that cannot be had, as far as that is
    known without importing its package.
    """
    if config.name == NANO and not view.generated:
        raise NotRunnable(
            f"the miniature SAM knows generated pictures only, not {view.name}'s; needs a SAM that does: "
            f"set {key}.name=vit_b {key}.weights=FILE, the path of sam_vit_b_01ec64.pth"
        )
    if config.name == NANO:
        return
    package = config.registry.partition(":")[0].partition(".")[0]
    if not package.isidentifier() or find_spec(package) is None:
        raise MethodError(
            f"{key}.registry={config.registry}: there is no package {package!r}; install it, or write package:attribute"
        )
    if config.registry == REGISTRY and config.name not in REGISTERED:
        raise MethodError(
            f"{key}.name={config.name}: segment_anything has {', '.join(REGISTERED)}; {NANO} is the miniature"
        )
