"""SAM-fused pseudo-labels: the network of P1 and its class token contrast."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from methods.base import MethodError
from methods.layers.config import VitConfig
from methods.layers.networks.vit import build_vit
from methods.sam_fused.config import ContrastConfig
from methods.sam_fused.network import SamFusedNetwork, training_losses


def network(contrast: ContrastConfig | None = None):
    torch.manual_seed(0)
    return SamFusedNetwork(build_vit(VitConfig("vit_nano"), 3), contrast)


CONTRAST = ContrastConfig(crops=3, size=16, outputs=24)


def test_contrast_learns_its_projection_and_averages_the_other() -> None:
    model = network(CONTRAST)
    assert model.contrast is not None
    images, labels = (
        torch.randn(4, 3, 48, 48),
        torch.tensor([[1, 0, 0], [0, 1, 1], [0, 0, 0], [0, 0, 1]]).float(),
    )
    with torch.no_grad():
        model.contrast.projection.weight.mul_(2)
    before = model.contrast.average.weight.clone()
    output, contrasted = model(images, labels)
    terms = training_losses(output, contrasted, labels, CONTRAST)
    assert set(terms) == {"class_tokens", "patches", "auxiliary", "class_contrast"}
    assert_close(model.contrast.average.weight, 0.9 * before + 0.1 * model.contrast.projection.weight)
    terms["class_contrast"].backward(retain_graph=True)
    assert model.contrast.average.weight.grad is None
    assert model.contrast.projection.weight.grad is not None
    assert model.vit.class_tokens.grad is not None
    assert contrasted is not None
    assert contrasted.positive.shape == (3, 4)
    assert contrasted.local.shape == (12, 24)
    assert contrasted.whole.shape == (6, 24)
    assert_close(contrasted.local.norm(dim=1), torch.ones(12))
    sum(terms[k] for k in ("class_tokens", "patches", "auxiliary")).backward()
    silent = {name for name, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert silent == set()


@pytest.mark.parametrize("token", ["present", "all"])
def test_the_contrasted_token_is_the_mean_of_the_present_classes(token: str) -> None:
    model = network(replace(CONTRAST, token=token)).eval()
    images, labels = torch.randn(2, 3, 48, 48), torch.tensor([[1, 0, 1], [0, 1, 0]]).float()
    classes = model.vit(images).classes
    _, contrasted = model(images, labels)
    assert model.contrast is not None
    assert contrasted is not None
    wanted = classes.mean(1)
    if token == "present":
        wanted = torch.stack([(classes[0, 0] + classes[0, 2]) / 2, classes[1, 1]])
    assert_close(contrasted.local[:2], model.contrast.local(wanted), atol=1e-5, rtol=1e-4)


def test_a_batch_without_any_class_has_no_contrast() -> None:
    model = network(CONTRAST)
    labels = torch.zeros(2, 3)
    output, contrasted = model(torch.randn(2, 3, 48, 48), labels)
    terms = training_losses(output, contrasted, labels, CONTRAST)
    assert terms["class_contrast"].item() == 0
    sum(terms.values()).backward()


def test_without_contrast_the_network_is_mctformers() -> None:
    model = network()
    output, contrasted = model(torch.randn(1, 3, 48, 48), torch.ones(1, 3))
    assert contrasted is None
    assert set(training_losses(output, None, torch.ones(1, 3), None)) == {"class_tokens", "patches"}
    assert model.maps(torch.randn(1, 3, 37, 50)).shape[:2] == (1, 3)
    assert model.maps(torch.randn(1, 3, 37, 50)).min() >= 0


def test_crops_that_do_not_divide_into_patches_are_refused() -> None:
    with pytest.raises(MethodError, match="no multiple of the patch"):
        network(replace(CONTRAST, size=20))
    with pytest.raises(MethodError, match="choose 1"):
        network(replace(CONTRAST, auxiliary_layer=7))
