"""Semantic modulation of class-to-patch attention (Li et al., Journal of Software 2025, Sec. 2.2)."""

from __future__ import annotations

import torch


def modulate(
    class_to_patch: torch.Tensor,
    patch_to_patch: torch.Tensor,
    ratio: float,
    strength: float,
    include_self: bool = True,
    axis: str = "rows",
) -> torch.Tensor:
    """Add to each patch's attention the mean attention of its semantically related patches (Eq. 3, 4).

    class_to_patch: (B, C, N), not modulated
    patch_to_patch: (B, N, N), affinity of patch i (row) to patch j (column)
    ratio:          ρ in (0, 1]: U_i is the top round(ρN) patches by affinity to i, at least one
    strength:       α
    include_self:   whether U_i may contain i
    axis:           affinity to i is read in its row ("rows"), its column ("columns") or as their sum ("symmetric")
    Returns (B, C, N).
    """
    patches = patch_to_patch.shape[-1]
    related = max(1, min(round(ratio * patches), patches if include_self else patches - 1))
    received = patch_to_patch.transpose(-2, -1)
    ranking = patch_to_patch
    if axis != "rows":
        ranking = received if axis == "columns" else patch_to_patch + received
    if not include_self:
        itself = torch.eye(patches, dtype=torch.bool, device=patch_to_patch.device)
        ranking = ranking.masked_fill(itself, -torch.inf)
    members = ranking.topk(related, dim=-1, sorted=False).indices
    # Row i holds 1/S where j is in U_i, so that one product gives every mean of Eq. 3.
    mean_over_related = torch.zeros_like(patch_to_patch).scatter_(-1, members, 1 / related)
    factor = class_to_patch @ mean_over_related.transpose(-2, -1)  # Eq. 3: r(c, i)
    return torch.add(class_to_patch, factor, alpha=strength)  # Eq. 4
