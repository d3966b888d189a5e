"""Losses of DuPL (Wu et al., CVPR 2024), besides those it shares with ToCo."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from datasets.base import IGNORE
from methods.layers.upsampling import enlarged
from methods.toco.losses import segmentation_loss

LEAST_DISTANCE = 1e-4
"""Of 1 - cosine under the logarithm: two equal networks have none."""


def discrepancy_loss(first: torch.Tensor, second: torch.Tensor, form: str = "linear") -> torch.Tensor:
    """How alike both students' patch tokens (B, D, h, w) are, once with a gradient for either: 4 where they are equal.

    The cosine is of each channel's map, over the positions.
    form: "linear": 1 + cosine (code); "logarithm": -log(1 - cosine) (paper)
    """
    pairs = (first.detach(), second), (first, second.detach())
    terms = []
    for one, other in pairs:
        cosine = F.cosine_similarity(one.flatten(2), other.flatten(2), dim=2, eps=1e-6).mean()
        terms.append(1 + cosine if form == "linear" else -(1 - cosine).clamp_min(LEAST_DISTANCE).log())
    return terms[0] + terms[1]


def consistency_loss(
    strong: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor, confidence: float
) -> torch.Tensor:
    """Cross-entropy of a strongly changed view against the student's own sure predictions on pixels without a label.

    strong: (B, C + 1, h, w), logits of the mirrored view; logits: (B, C + 1, H, W) of the image, without gradient
    labels: (B, H, W), that the student was taught by; where they are 255 and the prediction's probability is above
            `confidence` a pixel counts. 0 where none does
    """
    likely, winner = logits.detach().softmax(1).max(1)
    target = torch.where((labels == IGNORE) & (likely > confidence), winner, IGNORE)
    return segmentation_loss(enlarged(strong.flip(-1), labels.shape[-2:]), target)
