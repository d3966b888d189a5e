"""SEAM against its reference: network, pixel correlation, losses with their gradients, inference."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import conv2d
from torch.testing import assert_close

from methods.layers.config import BackboneConfig
from methods.layers.networks.backbones import build_backbone
from methods.refiners.cam_maps import background_score
from methods.seam.losses import contrast_stretched, seam_losses, strongest
from methods.seam.network import SeamNetwork, aligned, correlated
from tests.conftest import golden


def _tensors(name: str) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(value) for key, value in golden(name).items()}


def _close(found: torch.Tensor, expected: torch.Tensor, relative: float = 1e-4) -> None:
    assert_close(found, expected, rtol=0, atol=relative * float(expected.abs().max()))


def _as_kernel(weight: torch.Tensor) -> torch.Tensor:
    return weight.reshape(*weight.shape[:2], 1, 1)


@pytest.fixture(scope="module")
def network() -> SeamNetwork:
    torch.manual_seed(0)
    backbone = build_backbone(BackboneConfig("resnet38d_nano", output_stride=4, freeze_bn=True))
    return SeamNetwork(backbone, classes=4)


def test_golden_head(network: SeamNetwork) -> None:
    g = _tensors("seam_head")
    layers = (network.classifier, *network.reduce, network.join)
    before = [layer.weight for layer in layers]
    names = ("fc8_weight", "f8_3_weight", "f8_4_weight", "f9_weight")
    try:
        for layer, name in zip(layers, names):
            layer.weight = torch.nn.Parameter(_as_kernel(g[name]))
        maps, refined = network.eval().from_levels(g["image"], [g["conv4"], g["conv5"]], g["conv6"])
    finally:
        for layer, weight in zip(layers, before):
            layer.weight = weight
    size = (g["image"].shape[-2], g["image"].shape[-1])
    _close(aligned(maps, size), g["cam"])
    _close(aligned(refined, size), g["cam_rv"])


def test_golden_pcm() -> None:
    g = _tensors("seam_pcm")
    features = conv2d(g["feature"], _as_kernel(g["f9_weight"]))
    _close(correlated(features, g["cam"]), g["refined"])


def test_golden_losses_and_gradients() -> None:
    g = _tensors("seam_losses")
    names = ("cam1", "cam_rv1", "cam2", "cam_rv2")
    maps = [g[name].requires_grad_() for name in names]
    terms = seam_losses((maps[0], maps[1]), (maps[2], maps[3]), g["label"], hard_share=0.2)
    _close(terms["classification"], (g["loss_cls1"] + g["loss_cls2"]) / 2)
    _close(terms["minima"], (g["loss_rvmin1"] + g["loss_rvmin2"]) / 2)
    _close(terms["equivariance"], g["loss_er"])
    _close(terms["cross"], g["loss_ecr1"] + g["loss_ecr2"])
    total = torch.stack(list(terms.values())).sum()
    _close(total, g["loss"])
    total.backward()
    for name, found in zip(names, maps):
        assert found.grad is not None
        _close(found.grad, g[f"grad_{name}"], 1e-3)


def test_golden_inference() -> None:
    g = _tensors("seam_inference")
    maps = contrast_stretched(g["views"].sum(0))
    _close(maps, g["normalised"])
    assert maps.min() < 0, "the set has a class that is positive everywhere"
    _close(background_score(maps, 4), g["background_alpha4"])
    _close(background_score(maps, 24), g["background_alpha24"], 1e-3)


def test_cross_regularisation_and_minima_train_pcm_alone(network: SeamNetwork) -> None:
    torch.manual_seed(1)
    images = torch.randn(2, 3, 40, 40)
    labels = torch.tensor([[1, 0, 0, 1], [0, 1, 0, 0]])
    views = [network.train()(aligned(images, (side, side))) for side in (40, 20)]
    terms = seam_losses(views[0], views[1], labels, hard_share=0.2)
    network.zero_grad(set_to_none=True)
    (terms["cross"] + terms["minima"]).backward(retain_graph=True)
    learnt = {name for name, p in network.named_parameters() if p.grad is not None}
    assert learnt == {"reduce.0.weight", "reduce.1.weight", "join.weight"}
    network.zero_grad(set_to_none=True)
    (terms["classification"] + terms["equivariance"]).backward()
    learnt = {name.partition(".")[0] for name, p in network.named_parameters() if p.grad is not None}
    assert learnt == {"backbone", "classifier"}


def test_a_classes_map_does_not_depend_on_another_view_of_the_batch(network: SeamNetwork) -> None:
    """Refined maps are shares of what the cells say: in [0, 1], background and classes side by side."""
    torch.manual_seed(2)
    images = torch.randn(3, 3, 33, 41)
    with torch.inference_mode():
        together = network.eval().maps(images, None)
        alone = torch.cat([network.maps(image[None], None) for image in images])
    assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert together.shape[1] == 4
    assert ((together >= 0) & (together <= 1)).all()


def test_the_strongest_class_of_a_pixel_is_kept_beside_the_background() -> None:
    maps = torch.tensor([0.3, 0.5, 0.2, 0.5])[None, :, None, None]
    assert_close(strongest(maps).flatten(), torch.tensor([0.3, 0.5, 0.0, 0.5]))
