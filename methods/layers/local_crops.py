"""Local crops of an image's uncertain regions, for contrast with the whole (ToCo, Ru et al., CVPR 2023, Sec. 3.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def uncertain_crops(
    images: torch.Tensor,
    confidence: torch.Tensor,
    count: int,
    size: int,
    low: float,
    high: float,
    negative_below: float = 0.2,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Crops around random pixels that are no certain foreground, and which of them hold some of the objects.

    images:     (B, 3, H, W); confidence: (B, H, W) in [0, 1], highest over the present classes
    size:       side of the crops, even, smaller than the images
    low, high:  a pixel counts 0 up to `low`, 2 from `high` on, 1 between; a crop whose mean count is at most
                `negative_below` is negative
    Returns crops (count * B, 3, size, size), crop by crop, and positive (B, count) bool. Where fewer pixels than
    `count` are no certain foreground, the rest of the crops lie anywhere.
    """
    batch, _, height, width = images.shape
    region = (confidence > low).float() + (confidence >= high).float()
    rows, columns = height - size, width - size
    margin = size // 2
    candidate = region[:, margin : margin + rows, margin : margin + columns] <= 1
    order = torch.rand(batch, rows * columns, device=images.device) + candidate.flatten(1).float()
    corner = order.topk(count, dim=1).indices  # (B, count): of the crop whose centre it is
    # By columns, then by rows: half of `size` times less work than by squares.
    means = F.avg_pool2d(F.avg_pool2d(region[:, None], (size, 1), stride=1), (1, size), stride=1)
    means = means[:, 0, :rows, :columns].flatten(1)
    positive = means.gather(1, corner) > negative_below

    steps = torch.arange(size, device=images.device)
    y = (corner // columns)[:, :, None, None] + steps[:, None]
    x = (corner % columns)[:, :, None, None] + steps
    image = torch.arange(batch, device=images.device)[:, None, None, None]
    crops = images.permute(0, 2, 3, 1)[image, y, x]  # (B, count, size, size, 3)
    return crops.transpose(0, 1).flatten(0, 1).permute(0, 3, 1, 2).contiguous(), positive
