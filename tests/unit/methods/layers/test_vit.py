"""Multi-class-token transformers: the reference network's values, timm's variants, what is handed out."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch.nn import functional
from torch.testing import assert_close

from methods.base import MethodError
from methods.layers.config import VitConfig
from methods.layers.networks.vit import Attention, MultiClassTokenViT, build_trunk, whole_patches
from methods.layers.weights.files import load_into
from methods.mctformer.cam import cam_stages
from methods.mctformer.config import AttentionConfig
from methods.mctformer.network import MctformerNetwork
from methods.miniatures.training import MINIATURES
from methods.miniatures.vit import pretraining_loss
from methods.registry import all_methods
from tests.conftest import golden

TINY = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 3, "num_heads": 2, "num_classes": 0}


def tiny(classes: int = 3, **options: object) -> MultiClassTokenViT:
    torch.manual_seed(0)
    trunk = VisionTransformer(**{**TINY, "dynamic_img_size": True, **options})
    return MultiClassTokenViT(trunk, classes).eval()


def reference() -> tuple[MctformerNetwork, dict]:
    """The golden vector's network. Its C class tokens and their positions differ, unlike copies."""
    data = golden("mctformer_v2")
    config = json.loads(str(data["config"]))
    trunk = VisionTransformer(
        img_size=config["img_size"],
        patch_size=config["patch_size"],
        embed_dim=config["embed_dim"],
        depth=config["depth"],
        num_heads=config["num_heads"],
        mlp_ratio=config["mlp_ratio"],
        num_classes=0,
        dynamic_img_size=True,
    )
    classes = config["num_classes"]
    network = MctformerNetwork(MultiClassTokenViT(trunk, classes)).eval()
    weights = {
        k.removeprefix("weight:"): torch.from_numpy(v) for k, v in data.items() if k.startswith("weight:")
    }
    positions = weights.pop("pos_embed")
    state = {f"head.{k}": weights.pop(f"head.{k}") for k in ("weight", "bias")}
    state |= {
        "vit.class_tokens": weights.pop("cls_token"),
        "vit.class_positions": positions[:, :classes],
        "vit.patch_positions": positions[:, classes:],
    }
    state |= {f"vit.trunk.{k}": v for k, v in weights.items() if not k.startswith("norm.")}
    load_into(network, state, source="golden")
    return network, data


@torch.inference_mode()
def test_golden_logits() -> None:
    network, data = reference()
    images = torch.from_numpy(data["image"])
    whole, square = network(images), network(images[..., :64])
    assert_close(whole.class_scores.numpy(), data["logits"], rtol=1e-4, atol=1e-6)
    assert_close(square.class_scores.numpy(), data["class_logits_64"], rtol=1e-4, atol=1e-6)
    assert_close(square.patch_cam.mean((2, 3)).numpy(), data["patch_logits_64"], rtol=1e-4, atol=1e-6)


@torch.inference_mode()
def test_golden_cams_and_attention() -> None:
    network, data = reference()
    images = torch.from_numpy(data["image"])
    cams = cam_stages(network, images, AttentionConfig(class_to_patch_layers=3))
    assert_close(cams.modulated.numpy(), data["fused_cam"], rtol=1e-4, atol=1e-7)
    assert_close(cams.final.numpy(), data["final_cam"], rtol=1e-4, atol=1e-7)
    attention = []
    network(images, range(4), lambda layer, maps: attention.append(maps.patch_to_patch()))
    assert_close(torch.stack(attention).numpy(), data["patch_attention"], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("deit_small_patch16_224", {}),
        ("vit_small_patch14_dinov2", {}),  # layer scale, 37 x 37 positions
        ("vit_small_patch14_reg4_dinov2", {}),  # registers, positions of patches only
        ("deit3_small_patch16_224", {}),  # layer scale, positions of patches only
    ],
)
def test_timm_models_of_tiny_depth(name: str, options: dict) -> None:
    torch.manual_seed(0)
    size = {"depth": 2, "embed_dim": 24, "num_heads": 3, "num_classes": 0, "dynamic_img_size": True}
    trunk = timm.create_model(name, **size, **options)
    class_token = trunk.cls_token.detach()[0, 0]
    position = 0 if trunk.no_embed_class else trunk.pos_embed.detach()[0, 0]
    vit = MultiClassTokenViT(trunk, 5).eval()
    patch = vit.patch_size[0]
    handed = {}
    with torch.inference_mode():
        tokens = vit(
            torch.randn(2, 3, 3 * patch, 4 * patch),
            [1],
            lambda layer, maps: handed.update({layer: (maps.class_to_patch(), maps.patch_to_patch())}),
        )
        first = vit._prefix(2)
    assert tokens.classes.shape == (2, 5, 24)
    assert tokens.patches.shape == (2, 24, 3, 4)
    assert {k: [tuple(t.shape) for t in v] for k, v in handed.items()} == {1: [(2, 5, 12), (2, 12, 12)]}
    for c in range(5):
        assert_close(first[1, c], class_token + position)


def test_one_class_token_is_the_network_itself() -> None:
    torch.manual_seed(0)
    trunk = VisionTransformer(**TINY, dynamic_img_size=True, init_values=0.3, reg_tokens=2).eval()
    torch.nn.init.normal_(trunk.reg_token)
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        expected = trunk.forward_features(images)
        tokens = MultiClassTokenViT(trunk, 1, final_norm=True).eval()(images)
    assert_close(tokens.classes, expected[:, :1])
    assert_close(tokens.patches.flatten(2).transpose(1, 2), expected[:, 3:])


@torch.inference_mode()
def test_observing_changes_no_output_and_asks_only_the_layers_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    vit, images = tiny(), torch.randn(1, 3, 24, 40)
    fused = []
    attend = functional.scaled_dot_product_attention
    monkeypatch.setattr(
        functional, "scaled_dot_product_attention", lambda *a, **k: fused.append(1) or attend(*a, **k)
    )
    plain = vit(images)
    assert len(fused) == 3
    fused.clear()
    seen: list[int] = []
    observed = vit(images, [0, 2], lambda layer, maps: seen.append(layer))
    assert (len(fused), seen) == (1, [0, 2])
    for ours, expected in zip(observed, plain, strict=True):
        assert_close(ours, expected)
    vit(images)
    assert len(fused) == 4


def test_attention_parts_are_head_means_of_their_block() -> None:
    weights = torch.rand(2, 3, 9, 9).softmax(-1)  # 2 classes, 1 register, 6 patches
    maps = Attention(weights, classes=2, patches=6)
    assert_close(maps.class_to_patch(), weights.mean(1)[:, :2, 3:])
    assert_close(maps.patch_to_patch(), weights.mean(1)[:, 3:, 3:])


def test_gradients_reach_tokens_and_positions() -> None:
    vit = tiny()
    tokens = vit(torch.randn(1, 3, 40, 24))
    (tokens.classes.square().sum() + tokens.patches.square().sum()).backward()
    for name in ("class_tokens", "class_positions", "patch_positions"):
        assert vit.get_parameter(name).grad.abs().sum() > 0
    assert {n for n in vit.no_weight_decay() if "reg" not in n} <= dict(vit.named_parameters()).keys()


def test_sides_must_divide_into_patches() -> None:
    with pytest.raises(MethodError, match="30x40 do not divide into patches"):
        tiny()(torch.zeros(1, 3, 30, 40))
    assert whole_patches(torch.zeros(1, 3, 30, 41), (8, 8)).shape == (1, 3, 32, 40)
    assert whole_patches(torch.zeros(1, 3, 3, 8), (8, 8)).shape == (1, 3, 8, 8)
    images = torch.rand(1, 3, 16, 8)
    assert whole_patches(images, (8, 8)) is images


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("deit_small", "choose vit_nano or timm/<model>"),
        ("timm/no_such_model", "timm has no model 'no_such_model'"),
        ("timm/resnet18", "timm/resnet18 is no plain vision transformer"),
        ("timm/swin_tiny_patch4_window7_224", "is no plain vision transformer"),
    ],
)
def test_other_networks_are_refused(name: str, message: str) -> None:
    with pytest.raises(MethodError, match=message):
        build_trunk(VitConfig(name))


def test_networks_without_a_class_token_are_refused() -> None:
    trunk = VisionTransformer(**TINY, class_token=False, global_pool="avg")
    with pytest.raises(MethodError, match="lacks a class token"):
        MultiClassTokenViT(trunk, 2)


def test_the_miniature_is_small() -> None:
    trunk, normalisation = build_trunk(VitConfig("vit_nano"))
    assert sum(p.numel() for p in trunk.parameters()) < 600_000
    assert normalisation.mean[0] == pytest.approx(0.485)


@pytest.mark.parametrize("name", ["toco", "dskd_gc", "sam_fused"])
def test_paper_scale_normalises_as_toco_does_whatever_the_weights_file_says(name: str) -> None:
    presets = all_methods()[name].presets
    for key in (key for key in presets if key.startswith("paper")):
        trunk, normalisation = build_trunk(presets[key].vit)
        assert trunk.pretrained_cfg["mean"] == (0.5, 0.5, 0.5)
        assert (normalisation.mean, normalisation.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert all(presets[key].vit.normalisation == "pretrained" for key in ("nano", "small"))
    _, own = build_trunk(replace(presets["paper"].vit, normalisation="pretrained"))
    assert (own.mean, own.std) == ((0.5,) * 3, (0.5,) * 3)


def test_the_miniature_is_taught_and_its_teacher_is_not():
    network = MINIATURES["vit_nano"].build().train()
    before = {name: value.clone() for name, value in network.teacher.state_dict().items()}
    images, labels = torch.randn(2, 3, 48, 48), torch.tensor([3, 7])
    loss = pretraining_loss(network, images, labels)
    loss.backward()
    assert all(torch.equal(before[n], v) for n, v in network.teacher.state_dict().items())
    assert all(p.grad is None for p in network.teacher.parameters())
    assert all(p.grad is not None for p in network.trunk.parameters())
