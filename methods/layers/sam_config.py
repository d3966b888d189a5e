"""Settings of SAM, the promptable segmentation network. Light to import (no torch)."""

from __future__ import annotations

from dataclasses import dataclass

NANO = "sam_nano"
REGISTRY = "segment_anything:sam_model_registry"


@dataclass(frozen=True)
class SamConfig:
    """A frozen SAM.

    name:     a key of the registry (segment_anything's: vit_b, vit_l, vit_h), or sam_nano (the miniature)
    weights:  reference understood by `methods.layers.weights`: ``sam/sam_vit_b_01ec64`` (of that name in the
              weights folder), ``nano/sam``, a path, or ``none`` (random initialisation)
    registry: "package:attribute", name -> function that builds a model of segment_anything's structure; others of
              its kind have one too (``mobile_sam:sam_model_registry``, whose name is vit_t)
    precision: of the networks on a GPU: float32, float16 or bfloat16; on a CPU always float32
    """

    name: str = "vit_b"
    weights: str = "sam/sam_vit_b_01ec64"
    registry: str = REGISTRY
    precision: str = "bfloat16"
