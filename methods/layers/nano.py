"""What trainings of miniatures share at the nano scale. Light to import."""

from __future__ import annotations

from datasets.recipe import Recipe
from methods.layers.config import TrainConfig

NANO_RECIPE = Recipe(crop=80, scale=(0.9, 1.4), brightness=0.2, contrast=0.3, saturation=0.4, hue=0.5)
"""Of pictures up to 96 pixels long."""

NANO_VIT_TRAIN = TrainConfig(
    iterations=300,
    batch_size=16,
    optimiser="adamw",
    learning_rate=3e-3,
    weight_decay=0.05,
    head_multiplier=5.0,
    bias_multiplier=1.0,
    schedule="cosine",
    warmup=20,
    recipe=NANO_RECIPE,
)
"""Of the miniature transformer, which several methods train."""
