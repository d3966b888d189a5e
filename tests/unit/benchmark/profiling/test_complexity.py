"""Counts of operations and parameters: by hand on small networks, and against published figures within 1 %.

Everything lies on the meta device. Two conventions are counted. *layers*: linear and convolution layers alone.
*products*: with those of attention. For convolutional networks they agree. Which of the two a publication used is
written beside its figure; the paper's table of semantic modulation uses both, see `PAPERS`.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import nn

from benchmark.config import compose
from benchmark.profiling.complexity import Complexity, complexity, forward_pass_complexity
from methods.layers.clip.config import ClipConfig
from methods.layers.clip.model import load_clip
from methods.layers.config import BackboneConfig, VitConfig
from methods.layers.networks.backbones import build_backbone
from methods.layers.networks.deeplab import build_segmenter
from methods.layers.networks.resnet38d import ResNet38d
from methods.layers.sam.config import SamConfig
from methods.mctformer.cam import cam_stages
from methods.mctformer.config import PRESETS, AttentionConfig
from methods.mctformer.network import MctformerNetwork
from methods.sam_fused import config as sam_fused
from methods.sam_fused import profile as sam_fused_profile
from methods.sam_fused.network import SamFusedNetwork
from methods.semantic_modulation.config import ModulationConfig
from methods.semantic_modulation.network import modulated_cams
from tests.conftest import ROOT, golden_path

VOC = 20
"""Object classes."""


def count(network: nn.Module, side: int = 224) -> Complexity:
    image = torch.empty(1, 3, side, side, device="meta")
    return complexity(network.eval(), lambda: network(image))


def within_one_percent(value: float) -> Any:
    return pytest.approx(value, rel=0.01)


def test_convolution_and_linear_layers() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.Flatten(), nn.Linear(8 * 6 * 5, 10))
    for device in ("cpu", "meta"):
        network.to(device)
        counted = complexity(network, lambda device=device: network(torch.zeros(1, 3, 6, 5, device=device)))
        assert counted.layer_macs == counted.macs == 6 * 5 * 9 * 3 * 8 + 8 * 6 * 5 * 10
        assert counted.parameters == 9 * 3 * 8 + 8 * 6 * 5 * 10 + 10


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_products_of_fused_attention(device: str) -> None:
    network = nn.MultiheadAttention(8, 2, batch_first=True, device=device).eval()
    tokens = torch.zeros(1, 7, 8, device=device)
    counted = complexity(network, lambda: network(tokens, tokens, tokens, need_weights=False))
    assert counted.layer_macs == 4 * 7 * 8 * 8
    assert counted.macs == counted.layer_macs + 2 * 7 * 7 * 8
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_gradients_for_what_a_layer_is_given(device: str) -> None:
    """As Grad-CAM asks for: the pass backward through the layer is among the other products."""
    layer = nn.Conv2d(8, 3, 1, bias=False, device=device)

    def gradient() -> torch.Tensor:
        with torch.enable_grad():
            features = torch.zeros(1, 8, 6, 5, device=device, requires_grad=True)
            return torch.autograd.grad(layer(features).sum(), features)[0]

    counted = complexity(layer, gradient)
    assert counted.layer_macs == 6 * 5 * 8 * 3
    assert counted.macs == 2 * counted.layer_macs


# --- plain backbones --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet50", "resnet101", "vgg16", "vit_b_16", "vit_b_32"])
def test_torchvisions_own_figures(name: str) -> None:
    """What torchvision publishes with its weights, at 224; it counts products."""
    from torchvision.models import get_model, get_model_weights

    published = get_model_weights(name)["IMAGENET1K_V1"].meta
    with torch.device("meta"):
        counted = count(get_model(name))
    assert counted.macs / 1e9 == pytest.approx(published["_ops"], abs=0.0006)  # its three decimals
    assert counted.parameters == published["num_params"]


TIMM = {
    # name: (parameters in M, MACs in G with products, MACs in G of layers alone); None: not published so.
    # Touvron et al., ICML 2021, Tab. 5: DeiT-S 22 M, 4.6 G; timm's table of models: 22.05, 4.61.
    "deit_small_patch16_224": (22.05, 4.61, None),
    # Touvron et al.: 86 M, 17.6 G (fvcore's count, which has the products); timm's model card: 16.9 without.
    "vit_base_patch16_224": (86.57, 17.58, 16.9),
    "resnet50": (25.56, 4.11, 4.11),
}


@pytest.mark.parametrize("name", list(TIMM))
def test_timms_figures(name: str) -> None:
    import timm

    parameters, products, layers = TIMM[name]
    with torch.device("meta"):
        counted = count(timm.create_model(name))
    assert counted.parameters / 1e6 == within_one_percent(parameters)
    assert counted.macs / 1e9 == within_one_percent(products)
    if layers is not None:
        assert counted.layer_macs / 1e9 == within_one_percent(layers)


# --- SAM-fused, and the table in its README ---------------------------------------------------------------


def test_the_table_of_sam_fused() -> None:
    """What `profile` counts of the parts is what the README says, and their sum its last row."""
    readme = (ROOT / "methods" / "sam_fused" / "README.md").read_text()
    config = sam_fused.SamFusedConfig()
    fusion = sam_fused.FusionStageConfig(config.fusion, config.background_threshold, config.mask_threshold)
    masks = sam_fused.MaskStageConfig(
        SamConfig("vit_b", "none"), config.prompts, config.views, config.mask_batch_size
    )
    with torch.device("meta"):
        trained = sam_fused.ContrastedTrainingConfig(config.vit, config.train, config.contrast)
        training = SamFusedNetwork.build_for_training(trained, 4, None)
        p1 = SamFusedNetwork.build(config.vit, 4).eval()
        counts = [complexity(p1, lambda: p1.maps(torch.empty(1, 3, 448, 448)))]
        forward_passes = sam_fused_profile.masks(masks, {}, 4, (448, 448))
        forward_passes += sam_fused_profile.pseudo_label(fusion, {}, 4, (448, 448))
        counts += [forward_pass_complexity(forward_pass) for forward_pass in forward_passes]
        (sam, encoder) = (forward_passes[0].module, forward_passes[0].module.image_encoder)
    vit, view, prompt, views, fused = counts
    in_encoder = sum(p.numel() for p in encoder.parameters())
    in_sam = sum(p.numel() for p in sam.parameters())
    assert (views.layer_macs, views.macs) == (
        8 * (view.layer_macs + prompt.layer_macs),
        8 * (view.macs + prompt.macs),
    )

    def giga(macs: int) -> str:
        return f"{macs / 1e9:.1f} G"

    def thousands(number: float) -> str:
        return f"{number:,.0f}".replace(",", " ")

    heads = sum(p.numel() for p in training.parameters()) / 1e6
    layers, products = (sum(getattr(c, n) for c in (vit, views, fused)) / 1e9 for n in ("layer_macs", "macs"))
    both = (vit.parameters + in_sam + fused.parameters) / 1e6
    rows = (
        f"| P1, ViT-B/16 | {vit.parameters / 1e6:.2f} M ({heads:.2f} M with CTC's heads, in training) "
        f"| {giga(vit.layer_macs)} ({giga(vit.macs)}) |",
        f"| SAM ViT-B, encoder at 1024², one view | {in_encoder / 1e6:.2f} M "
        f"| {giga(view.layer_macs)} ({giga(view.macs)}) |",
        f"| SAM ViT-B, decoder, one prompt | {(in_sam - in_encoder) / 1e6:.2f} M "
        f"| {giga(prompt.layer_macs)} ({giga(prompt.macs)}) |",
        f"| fusion | {fused.parameters / 1e6:.2f} M | {giga(fused.layer_macs)} |".replace(" 0.", " ."),
        f"| all, 8 views, one class | {both:.1f} M | {thousands(layers)} G ({thousands(products)} G) |",
    )
    for row in rows:
        assert row in readme


@pytest.mark.parametrize(
    ("name", "size", "depth", "row"),
    [
        ("vit_small_patch16_224", 1024, 12, "| 23.2 M | 88.2 G (242.9 G) |"),
        ("vit_base_patch16_224", 448, 8, "| 57.9 M | 44.9 G (52.5 G) |"),
        ("vit_base_patch16_224", 1024, 8, "| 60.4 M | 234.4 G (440.7 G) |"),
    ],
)
def test_networks_near_the_figures_of_sam_fuseds_paper(name: str, size: int, depth: int, row: str) -> None:
    import timm

    with torch.device("meta"):
        counted = count(timm.create_model(name, num_classes=0, img_size=size, depth=depth), size)
    layers, products = counted.layer_macs / 1e9, counted.macs / 1e9
    assert row == f"| {counted.parameters / 1e6:.1f} M | {layers:.1f} G ({products:.1f} G) |"
    assert row in (ROOT / "methods" / "sam_fused" / "README.md").read_text()


# --- the project's networks -------------------------------------------------------------------------------


def plain_backbone(name: str, stride: int) -> nn.Module:
    with torch.device("meta"):
        return build_backbone(BackboneConfig(name, "none", stride))


@pytest.mark.parametrize("name", ["resnet50", "resnet101"])
def test_resnets_at_stride_32_are_torchvisions_without_classifier(name: str) -> None:
    from torchvision.models import get_model_weights

    published = get_model_weights(name)["IMAGENET1K_V1"].meta
    counted = count(plain_backbone(name, 32))
    classifier = 2048 * 1000
    assert counted.parameters == published["num_params"] - classifier - 1000
    assert counted.layer_macs / 1e9 == pytest.approx(published["_ops"] - classifier / 1e9, abs=0.0006)


def test_dilated_resnet101_and_deeplab_v2() -> None:
    """torchvision publishes its FCN on the same trunk at stride 8 and 520 pixels; its two heads are taken off.

    ASPP is four 3x3 convolutions of the trunk's 2048 channels. DeepLab V2 so has 44.0 M parameters on VOC.
    """
    from torchvision.models import get_model_weights

    published = get_model_weights("fcn_resnet101").DEFAULT.meta
    cells = 65 * 65
    convolutions = 9 * (2048 * 512 + 1024 * 256) + (512 + 256) * 21  # of the head and of the auxiliary one
    trunk = count(plain_backbone("resnet101", 8), 520)
    assert trunk.layer_macs / 1e9 == within_one_percent(published["_ops"] - convolutions * cells / 1e9)
    others = 2 * (512 + 256) + 2 * 21  # normalisations, biases
    assert trunk.parameters == published["num_params"] - convolutions - others

    with torch.device("meta"):
        deeplab = count(build_segmenter(compose(["cam"], scale="paper").method["cam"].segmenter, VOC), 520)  # type: ignore[attr-defined]
    aspp = 4 * 9 * 2048 * (VOC + 1)
    assert deeplab.layer_macs == trunk.layer_macs + aspp * cells
    assert deeplab.parameters == trunk.parameters + aspp + 4 * (VOC + 1)
    assert round(deeplab.parameters / 1e6, 1) == 44.0


def test_resnet38d() -> None:
    """No publication gives its operations; its parameters are those of the published weight file.

    The operations are checked by the other way of counting: every convolution's weights times its output's cells.
    """
    with torch.device("meta"):
        network = ResNet38d()
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    file = json.loads(golden_path("resnet38d_keys.json").read_text())
    sizes = [torch.Size(s).numel() for k, s in file.items() if not k.endswith(statistics) and "fc8" not in k]
    counted = count(network, 448)
    assert counted.parameters == sum(sizes)
    stride = {"conv1a": 1, "b2": 2, "b3": 4, "b4": 8}
    macs = 0
    for name, parameter in network.named_parameters():
        if parameter.ndim == 4:
            macs += parameter.numel() * (448 // stride.get(name.split(".")[0].split("_")[0], 8)) ** 2
    assert counted.layer_macs == macs


# --- what the papers print --------------------------------------------------------------------------------

PAPERS = """Li et al., Journal of Software 2025, Tab. 1, prints for MCTformer and its own method 4.7 G and 21.7 M,
for CLIP-ES 17.6 G and 149.6 M. The first is layers alone (4.66 G; with products 5.09, 8 % more), the second is
with products (17.56 G; layers alone 16.85, 4 % less): the table mixes the two conventions."""


@pytest.fixture(scope="module")
def deit_small() -> MctformerNetwork:
    config = PRESETS["paper"].vit
    with torch.device("meta"):
        return MctformerNetwork.build(VitConfig(config.name, "none"), VOC).eval()


@pytest.mark.parametrize("entry", ["training", "mctformer", "semantic_modulation"])
def test_mctformer_and_semantic_modulation(deit_small: MctformerNetwork, entry: str) -> None:
    """Refinement and modulation add products only, and few of them."""
    images = torch.empty(1, 3, 224, 224, device="meta")
    runs: dict[str, Any] = {
        "training": lambda: deit_small(images),
        "mctformer": lambda: cam_stages(deit_small, images, AttentionConfig()),
        "semantic_modulation": lambda: modulated_cams(
            deit_small, images, AttentionConfig(), ModulationConfig()
        ),
    }
    counted = complexity(deit_small, runs[entry])
    assert counted.layer_macs / 1e9 == within_one_percent(4.7), PAPERS
    assert counted.parameters / 1e6 == within_one_percent(21.7), PAPERS
    assert round(counted.layer_macs / 1e9, 2) == 4.66
    assert round(counted.macs / 1e9, 2) == 5.09


def test_clip_es() -> None:
    with torch.device("meta"):
        clip = load_clip(ClipConfig("ViT-B-16-quickgelu", "none"))
        counted = complexity(clip.model, lambda: clip.encode_normalised(torch.zeros(1, 3, 224, 224)))
    assert counted.macs / 1e9 == within_one_percent(17.6), PAPERS
    assert counted.parameters / 1e6 == within_one_percent(149.6), PAPERS
    assert round(counted.layer_macs / 1e9, 2) == 16.85


def test_multi_scale_inference_is_the_sum_of_its_scales() -> None:
    """Scales .5, 1, 1.5, 2 with mirror images: 2 (.25 + 1 + 2.25 + 4) = 15 passes of one image, at whole cells."""
    from benchmark.profiling.complexity import forward_pass_complexity
    from methods.cam.network import PlainCam

    config: Any = compose(["cam"], scale="paper").method["cam"]
    stages = {stage.name: stage for stage in _stages(config)}
    inputs = {"weights": stages["classify"].settings}
    with torch.device("meta"):
        (forward_pass,) = PlainCam.profile_cam(stages["cam"].settings, inputs, VOC, (256, 256))
        assert forward_pass.module is not None
        assert (
            forward_pass_complexity(forward_pass).layer_macs
            == 15 * count(forward_pass.module, 256).layer_macs
        )


def _stages(config: Any) -> Any:
    from datasets.base import TrainingView
    from datasets.voc.reader import CLASSES
    from methods.base import Shared
    from methods.cam import METHOD

    return METHOD.stages(config, TrainingView("voc2012", CLASSES, {"train": ()}), Shared())
