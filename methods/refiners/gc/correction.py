"""Gaussian correction of pseudo-labels (Bai et al., Journal of Image and Graphics 30(12), 2025, Sec. 1.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from datasets.base import IGNORE
from methods.layers.gaussian_mixture import fit_two_gaussians, lower_posterior
from methods.refiners.gc.config import CorrectionConfig

CHANGES = ("unchanged", "to background", "to ignored", "to another class")


def changes(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """What became of each label: indices of `CHANGES`, uint8 of the labels' shape."""
    kinds = torch.full(after.shape, 3, dtype=torch.uint8, device=after.device)
    kinds[after == IGNORE], kinds[after == 0], kinds[after == before] = 2, 1, 0
    return kinds


def gaussian_correction(
    labels: torch.Tensor,
    cams: torch.Tensor,
    features: torch.Tensor,
    settings: CorrectionConfig,
    valid: torch.Tensor | None = None,
) -> torch.Tensor:
    """Corrected labels (B, H, W): 0 background, class + 1, 255 ignored. An image without a mixture keeps its own.

    labels:   (B, H, W) integers
    cams:     (B, K, H, W) in [0, 1], zero where a class is absent
    features: (B, D, h, w); see `neighbour_similarities`
    valid:    (B, H, W) bool, which pixels belong to the image; None: all
    """
    noise = noise_probability(cams, settings, valid)
    return correct_by_neighbours(labels, noise, features, settings, valid)


def noise_probability(
    cams: torch.Tensor, settings: CorrectionConfig, valid: torch.Tensor | None = None
) -> torch.Tensor:
    """G_n (B, H, W): posterior of the mixture's lower component (Eq. 17); 0 for pixels outside the mixture.

    cams: (B, K, H, W) in [0, 1]
    `settings.posterior` says whether confidences above the upper component's mean are as noisy as that mean.
    """
    confidence, winner = (t.flatten(1) for t in cams.max(1))
    member = confidence > settings.min_confidence
    if valid is not None:
        member = member & valid.flatten(1)
    if settings.scope == "class":
        pairs = [(member & (winner == k)) for k in range(cams.shape[1])]
        groups = torch.stack(pairs, 1)  # (B, K, N)
        image, group = groups.any(2).nonzero(as_tuple=True)
        rows, masks = confidence[image], groups[image, group]
    else:
        image = torch.arange(len(cams), device=cams.device)
        rows, masks = confidence, member
    mixture = fit_two_gaussians(rows, masks, None, settings.max_iterations, settings.tolerance)
    if settings.posterior == "capped":
        rows = rows.minimum(mixture.means[:, 1:])
    posterior = torch.where(masks, lower_posterior(rows, mixture), 0)
    noise = torch.zeros_like(confidence).index_add_(0, image, posterior)  # a pixel is in one mixture
    return noise.view(cams.shape[0], *cams.shape[-2:])


def correct_by_neighbours(
    labels: torch.Tensor,
    noise: torch.Tensor,
    features: torch.Tensor,
    settings: CorrectionConfig,
    valid: torch.Tensor | None = None,
) -> torch.Tensor:
    """Eq. 19 and 21: relabel R_h, the noise, and R_u, the uncertain.

    labels, noise: (B, H, W); features: (B, D, h, w); valid: (B, H, W) bool, see `gaussian_correction`. A pixel with
    an unlike neighbour becomes background; of the others, those of R_h are ignored and those of R_u take the label
    of their most similar neighbour, or keep their own where no neighbour lies inside the image.
    """
    height, width = labels.shape[-2:]
    step = tuple(max(1, round(n / f)) for n, f in zip((height, width), features.shape[-2:]))
    similarity = neighbour_similarities(features)
    if similarity.shape[-2:] != labels.shape[-2:]:
        similarity = F.interpolate(similarity, (height, width), mode="bilinear", align_corners=False)
    rows = torch.arange(height, device=labels.device)
    columns = torch.arange(width, device=labels.device)
    up, down, left, right = rows - step[0], rows + step[0], columns - step[1], columns + step[1]

    def of_neighbours(maps: torch.Tensor) -> torch.Tensor:
        """(B, H, W) -> (B, 4, H, W); beyond the border, of the border itself."""
        return torch.stack(
            [
                maps[:, up.clamp_min(0)],
                maps[:, down.clamp_max(height - 1)],
                maps[:, :, left.clamp_min(0)],
                maps[:, :, right.clamp_max(width - 1)],
            ],
            1,
        )

    inside = torch.stack(
        [
            (up >= 0)[:, None].expand(height, width),
            (down < height)[:, None].expand(height, width),
            (left >= 0).expand(height, width),
            (right < width).expand(height, width),
        ]
    )[None]
    if valid is not None:
        inside = inside & of_neighbours(valid)
    unlike = ((similarity < settings.similarity) & inside).any(1)
    nearest = similarity.masked_fill(~inside, -torch.inf).argmax(1, keepdim=True)
    most_similar = torch.where(inside.any(1), of_neighbours(labels).gather(1, nearest)[:, 0], labels)
    is_noise = noise > settings.high
    is_uncertain = (noise > settings.low) & (noise < settings.high)
    background, ignored = torch.zeros_like(labels), torch.full_like(labels, IGNORE)
    labels = torch.where(is_uncertain, torch.where(unlike, background, most_similar), labels)
    return torch.where(is_noise, torch.where(unlike, background, ignored), labels)


def neighbour_similarities(features: torch.Tensor) -> torch.Tensor:
    """Cosine of each cell with those above, below, left and right of it (Eq. 18, 20): (B, D, h, w) -> (B, 4, h, w).

    Where features are coarser than the labels, neighbours are one cell apart: two pixels inside one cell have the
    same feature. At the border, the similarity with the opposite neighbour stands in for the missing one.
    """
    unit = F.normalize(features, dim=1)
    vertical = (unit[:, :, 1:] * unit[:, :, :-1]).sum(1)  # (B, h - 1, w)
    horizontal = (unit[..., 1:] * unit[..., :-1]).sum(1)  # (B, h, w - 1)
    if vertical.shape[1] == 0:  # a single row or column has no such neighbours
        vertical = torch.ones_like(unit[:, 0, :1])
    if horizontal.shape[2] == 0:
        horizontal = torch.ones_like(unit[:, 0, :, :1])
    height, width = features.shape[-2:]
    rows = torch.arange(height, device=features.device)
    columns = torch.arange(width, device=features.device)
    last_row, last_column = vertical.shape[1] - 1, horizontal.shape[2] - 1
    return torch.stack(
        [
            vertical[:, (rows - 1).clamp_min(0)],
            vertical[:, rows.clamp_max(last_row)],
            horizontal[:, :, (columns - 1).clamp_min(0)],
            horizontal[:, :, columns.clamp_max(last_column)],
        ],
        1,
    )
