"""Losses of DSKD-GC (Bai et al., Journal of Image and Graphics 30(12), 2025), besides those it shares with ToCo."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from datasets.base import IGNORE


def classification_loss(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """L_cls, Eq. 8: binary cross-entropy, averaged over classes and images. scores, labels: (B, C)."""
    return F.binary_cross_entropy_with_logits(scores, labels)


def similarity_loss(
    teacher: torch.Tensor, student: torch.Tensor, inside: torch.Tensor, axis: str = "channels"
) -> torch.Tensor:
    """L_sim, Eq. 7: negative mean cosine of both networks' patch tokens, in [-1, 1].

    teacher, student: (B, D, h, w), of one orientation; inside: (B, h, w) bool, the tokens that count
    axis: "channels": the cosine of each channel's map, as printed; "tokens": of each token's vector
    """
    if axis == "tokens":
        return -(F.cosine_similarity(teacher, student, dim=1) * inside).sum() / inside.sum().clamp_min(1)
    teacher, student = ((tokens * inside[:, None]).flatten(2) for tokens in (teacher, student))
    return -F.cosine_similarity(teacher, student, dim=2).mean()


def region_of_interest(cam: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """ROI, Eq. 9: (B, h, w) bool, where the highest CAM of (B, C, h, w) lies between the thresholds."""
    confidence = cam.amax(1)
    return (confidence > low) & (confidence < high)


def uncertain_distillation_loss(
    student: torch.Tensor,
    teacher: torch.Tensor,
    region: torch.Tensor,
    temperatures: tuple[float, float] = (1.0, 1.0),
) -> torch.Tensor:
    """L_PUNC, Eq. 10: cross-entropy of the teacher's projected tokens against the student's, inside the region.

    student, teacher: (B, K, h, w) projections; region: (B, h, w) bool; temperatures: teacher's, student's
    0 where the region is empty. Only the teacher is to have a gradient: hand over the student's detached.
    """
    target = (student / temperatures[1]).softmax(1)
    cross_entropy = -(target * (teacher / temperatures[0]).log_softmax(1)).sum(1)
    return (cross_entropy * region).sum() / region.sum().clamp_min(1)


def segmentation_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """L_seg, Eq. 22: cross-entropy averaged over labelled pixels; 0 where there are none.

    logits: (B, C + 1, H, W), background first; labels: (B, H, W), 255 ignored
    """
    total = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")
    return total / (labels != IGNORE).sum().clamp_min(1)


def balanced_segmentation_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """ToCo's: the mean over background pixels and the mean over object pixels, half each; arguments as above."""
    background = torch.where(labels == 0, labels, IGNORE)
    objects = torch.where(labels == 0, IGNORE, labels)
    return 0.5 * (segmentation_loss(logits, background) + segmentation_loss(logits, objects))
