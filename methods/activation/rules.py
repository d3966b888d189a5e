"""Four rules by which activations A (B, K, h, w) of a layer become the map of a class, of any network."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from methods.layers.cam import min_max, resize


def grad_cam(activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Grad-CAM (Selvaraju et al., Eq. 1 and 2) (B, h, w), times the number of cells.

    gradients: of the class's score by the activations, of their shape. Those of a mean over all cells are the smaller the
               more cells there are; times their number, maps of several scales of an image have one measure.
    """
    return (gradients.sum((2, 3), keepdim=True) * activations).sum(1).relu()


def grad_cam_plus_plus(activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Grad-CAM++ (Chattopadhay et al., Eq. 19) (B, h, w), of exp(score), by which the whole map is not multiplied."""
    divisor = 2 * gradients**2 + activations.sum((2, 3), keepdim=True) * gradients**3
    alpha = gradients**2 / torch.where(divisor == 0, 1, divisor)
    weights = (alpha * gradients.relu()).sum((2, 3), keepdim=True)
    return (weights * activations).sum(1).relu()


def layer_cam(activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """LayerCAM (Jiang et al., Sec. III) (B, h, w), times the number of cells, see `grad_cam`."""
    return (gradients.relu() * activations).sum(1).relu() * activations[0, 0].numel()


BY_GRADIENT: Mapping[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "gradcam": grad_cam,
    "gradcam++": grad_cam_plus_plus,
    "layercam": layer_cam,
}


@torch.no_grad()
def score_cam(
    images: torch.Tensor,
    activations: torch.Tensor,
    scores: Callable[[torch.Tensor], torch.Tensor],
    channels: int = 0,
    masked_batch: int = 64,
) -> torch.Tensor:
    """Score-CAM (Wang et al., Algorithm 1), of all classes at once: (B, C, h, w).

    A channel's weight is the softmax over channels of the score of the image that it masks. The score of the baseline,
    which the paper subtracts from all, cancels in it.
    images: (B, 3, H, W), normalised; scores: images -> logits (B, C)
    channels: how many are tried, those of the largest variance; 0: all
    masked_batch: masked images at once
    """
    if 0 < channels < activations.shape[1]:
        kept = activations.flatten(2).var(2).topk(channels).indices
        activations = activations.take_along_dim(kept[:, :, None, None], 1)
    count = activations.shape[1]
    single = activations.flatten(0, 1)[:, None]
    logits = [
        scores(images[part // count] * min_max(resize(single[part], (images.shape[-2], images.shape[-1]))))
        for part in torch.arange(len(single), device=images.device).split(masked_batch)
    ]
    weights = torch.cat(logits).unflatten(0, (-1, count)).softmax(1)
    return torch.einsum("bkc,bkhw->bchw", weights, activations).relu()
