"""Losses, refiners and CAM arithmetic give on a GPU what they give on the CPU, and leave it there."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from benchmark.testing.simulated_cuda import simulated_cuda
from methods.eps.losses import classification_loss, saliency_loss
from methods.layers.cam import multi_scale_cam, normalise, pseudo_labels
from methods.layers.par import pixel_adaptive_refinement
from methods.layers.token_losses import class_token_contrast, patch_token_contrast, token_labels
from methods.refiners.affinity_labels import affinity_labels
from methods.refiners.irn.network import inter_pixel_losses
from methods.refiners.irn.paths import path_affinities, path_offsets, walk_to_edges

Move = Callable[[torch.Tensor], torch.Tensor]


def random(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(len(shape)))


def eps_losses(at: Move) -> torch.Tensor:
    logits, labels = at(4 * random(2, 5, 8, 9) - 2).requires_grad_(), at(random(2, 4).round())
    losses = saliency_loss(logits, at(random(2, 1, 32, 36)), labels)[0] + classification_loss(logits, labels)
    return torch.cat([losses.reshape(1), torch.autograd.grad(losses, logits)[0].flatten()])


def token_contrast(at: Move) -> torch.Tensor:
    labels = token_labels(at(random(2, 3, 6, 6)), 0.3, 0.7)
    patches = patch_token_contrast(at(random(2, 8, 6, 6) - 0.5), labels)
    crops = nn.functional.normalize(at(random(6, 8)), dim=1)
    views = nn.functional.normalize(at(random(4, 8) - 0.3), dim=1)
    return patches + class_token_contrast(crops, views, at(random(2, 3).round()))


def inter_pixel(at: Move) -> torch.Tensor:
    labels = at((random(2, 20, 24) * 3).long())
    terms = inter_pixel_losses(at(random(2, 1, 20, 24)), at(random(2, 2, 20, 24)), labels, 1, 5)
    pairs = affinity_labels(labels, path_offsets(5))
    return torch.stack([*terms.values(), *(pair.float().mean() for pair in pairs)])


def multi_scale(at: Move) -> torch.Tensor:
    weights = at(random(4, 3, 3, 3) - 0.5)
    maps = multi_scale_cam(
        lambda images: nn.functional.conv2d(images, weights, stride=2, padding=1).relu(),
        at(random(2, 3, 30, 40)),
        (0.5, 1.0, 1.5),
        True,
    )
    return normalise(maps)


def labels_of_cams(at: Move) -> torch.Tensor:
    return pseudo_labels(at(random(3, 8, 9)), (0, 4, 7), (30, 40), 0.6)


KERNELS: dict[str, Callable[[Move], torch.Tensor]] = {
    "EPS's losses and their gradient": eps_losses,
    "token contrast": token_contrast,
    "inter-pixel losses": inter_pixel,
    "paths": lambda at: path_affinities(at(random(2, 1, 20, 24)), 5),
    "walk to edges": lambda at: walk_to_edges(at(random(2, 3, 12, 14)), at(random(2, 1, 12, 14)), 4, 8.0, 4),
    "pixel-adaptive refinement": lambda at: pixel_adaptive_refinement(
        at(random(2, 3, 30, 40)), at(random(2, 3, 15, 20))
    ),
    "multi-scale CAM": multi_scale,
    "pseudo-labels": labels_of_cams,
}


@pytest.fixture(params=["simulated", pytest.param("real", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    """The simulated device finds misplaced tensors everywhere; the real one has kernels and rounding of its own."""
    if request.param == "real":
        allowed = torch.backends.cudnn.allow_tf32
        torch.backends.cudnn.allow_tf32 = False
        yield torch.device("cuda")
        torch.backends.cudnn.allow_tf32 = allowed
    else:
        with simulated_cuda() as device:
            yield device


@pytest.mark.parametrize("kernel", list(KERNELS))
def test_kernels(kernel: str, device: torch.device) -> None:
    expected = KERNELS[kernel](lambda tensor: tensor)
    found = KERNELS[kernel](lambda tensor: tensor.to(device))
    assert found.device.type == "cuda"
    torch.testing.assert_close(found.detach().cpu(), expected.detach(), rtol=1e-3, atol=1e-5)
