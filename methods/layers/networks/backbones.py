"""Feature extractors by name: ResNet-38d, DeepLab's VGG16 and ResNets, and any timm network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from datasets.recipe import IMAGENET, Normalisation
from methods.base import MethodError
from methods.layers.config import BACKBONES, BackboneConfig
from methods.layers.networks import caffe_resnet
from methods.layers.networks.depthwise import faster_on_cpu
from methods.layers.networks.memory import InParts
from methods.layers.networks.resnet38d import Bottleneck, ResBlock, ResNet38d
from methods.layers.weights import mxnet as mxnet_params
from methods.layers.weights.files import load_into, load_state

if TYPE_CHECKING:
    from torchvision.models import ResNet

NANO: dict[str, Sequence[Any]] = {
    "widths": (16, 32, 32, 32, 32, 64, 64),
    "depths": (1, 1, 1, 1),
    "strides": (2, 2, 1, 1),
    "dropout": (0.0, 0.0),
}
"""ResNet-38d's miniature. Output stride 4: its pictures are a quarter as large, and so are their cells."""
NANO_HEAD_DIVISOR = 16

_BATCH_NORM = nn.modules.batchnorm._BatchNorm


class Backbone(InParts):
    """A trunk with what its users need to know about it.

    forward: (B, 3, H, W) -> (B, channels, ceil(H / output_stride), ceil(W / output_stride)); timm networks
             that cut the image into patches (ConvNeXt) round down instead, resnet101_caffe may add a cell
    trunk:         the network itself; its state dictionary has the names of the weight files
    channels:      channels of the last feature map
    normalisation: of the images it was trained on
    head_divisor:  16 for miniatures, whose heads are narrower by it; else 1
    stages:        parameters by depth, first to last; the first `frozen_stages` are not trained
    freeze_bn:     keep running statistics, scales and shifts of every batch normalisation as they are
    fixed_statistics: keep their running statistics alone
    """

    def __init__(
        self,
        trunk: nn.Module,
        *,
        channels: int,
        output_stride: int,
        normalisation: Normalisation,
        stages: Sequence[Iterable[nn.Parameter]],
        head_divisor: int = 1,
        frozen_stages: int = 0,
        freeze_bn: bool = False,
        fixed_statistics: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= frozen_stages <= len(stages):
            raise MethodError(
                f"frozen_stages={frozen_stages}: {type(trunk).__name__} has {len(stages)} stages"
            )
        self.trunk = trunk
        self.channels = channels
        self.output_stride = output_stride
        self.normalisation = normalisation
        self.head_divisor = head_divisor
        self.fixed_statistics = fixed_statistics
        for stage in stages[:frozen_stages]:
            for parameter in stage:
                parameter.requires_grad_(False)
        if freeze_bn:
            for module in self._batch_norms():
                module.requires_grad_(False)
        self.train()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.in_parts(self._features, images)

    def _features(self, images: torch.Tensor) -> torch.Tensor:
        return self.trunk(images)  # type: ignore[no-any-return]

    def blocks(self) -> list[nn.Module]:
        """Residual blocks; none in VGG16."""
        if isinstance(self.trunk, ResNet38d):
            return [m for m in self.trunk.children() if isinstance(m, (ResBlock, Bottleneck))]
        children = dict(self.trunk.named_children())
        stages = [children[name] for name in ("layer1", "layer2", "layer3", "layer4") if name in children]
        stages += children["blocks"].children() if "blocks" in children else ()  # timm's EfficientNets
        return [block for stage in stages for block in stage.children()]

    def train(self, mode: bool = True) -> Backbone:
        """As nn.Module's, but batch normalisations that are frozen or fixed keep using their running statistics."""
        super().train(mode)
        for module in self._batch_norms():
            frozen = module.weight is not None and not module.weight.requires_grad
            if frozen or self.fixed_statistics:
                module.eval()
        return self

    def _batch_norms(self) -> list[nn.Module]:
        return [m for m in self.trunk.modules() if isinstance(m, _BATCH_NORM)]


def build_backbone(config: BackboneConfig, weights_path: Path | None = None) -> Backbone:
    """Backbone of a configuration, with the weights of `weights_path` (None: random initialisation).

    Raises MethodError for an unknown name, an output stride the network lacks, or weights that do not fit.
    """
    freeze = {name: getattr(config, name) for name in ("frozen_stages", "freeze_bn", "fixed_statistics")}
    name, stride = config.name, config.output_stride
    renamed: Callable[[Mapping[str, torch.Tensor]], Mapping[str, torch.Tensor]] = dict
    if name in ("resnet38d", "resnet38d_nano"):
        backbone, heads = _resnet38d(name, stride, freeze), ["fc8.*", *mxnet_params.HEADS]
        renamed = mxnet_params.trunk_names
    elif name == "vgg16":
        backbone, heads = _vgg16(stride, freeze), ["classifier.*"]
    elif name in ("resnet50", "resnet50_undilated", "resnet101"):
        backbone, heads = _torchvision_resnet(name, stride, freeze), ["fc.*"]
    elif name == "resnet101_caffe":
        backbone, heads = _caffe_resnet(stride, freeze), caffe_resnet.HEADS
        renamed = caffe_resnet.torchvision_names
    elif name.startswith("timm/"):
        backbone, head = _timm(name.removeprefix("timm/"), stride, freeze)
        heads = [head]
    else:
        raise MethodError(f"unknown backbone {name!r}; choose {', '.join(BACKBONES)} or timm/<model>")
    if weights_path is not None:
        load_into(
            backbone.trunk, renamed(load_state(weights_path)), allow_unexpected=heads, source=weights_path
        )
    return backbone


def _resnet38d(name: str, stride: int, freeze: dict[str, Any]) -> Backbone:
    trunk = ResNet38d(**NANO) if name == "resnet38d_nano" else ResNet38d()
    _require_stride(name, stride, (trunk.output_stride,))
    return Backbone(
        trunk,
        channels=trunk.channels,
        output_stride=stride,
        normalisation=IMAGENET,
        stages=[[p for module in stage for p in module.parameters()] for stage in trunk.stages()],
        head_divisor=NANO_HEAD_DIVISOR if name == "resnet38d_nano" else 1,
        **freeze,
    )


class _VGG16(nn.Module):
    """VGG16's convolutions as DeepLab uses them: overlapping pooling, none of it striding after conv3,
    conv5 dilated by 2 (Chen et al., arXiv:1606.00915). Named as torchvision's, whose weights it loads."""

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models.vgg import cfgs, make_layers

        self.features = make_layers(cfgs["D"])  # without its classifier, nine tenths of the parameters
        for module in self.features:
            if isinstance(module, nn.Conv2d):  # as torchvision starts them
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        pools = [i for i, m in enumerate(self.features) if isinstance(m, nn.MaxPool2d)]
        for order, i in enumerate(pools):
            self.features[i] = nn.MaxPool2d(3, stride=2 if order < 3 else 1, padding=1)
        for module in self.features[pools[3] + 1 :]:
            if isinstance(module, nn.Conv2d):
                module.dilation = module.padding = (2, 2)
        bounds = [0, *(i + 1 for i in pools)]
        self.stages = [list(self.features[a:b].parameters()) for a, b in pairwise(bounds)]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.features(images)  # type: ignore[no-any-return]


def _vgg16(stride: int, freeze: dict[str, Any]) -> Backbone:
    _require_stride("vgg16", stride, (8,))
    trunk = _VGG16()
    return Backbone(
        trunk, channels=512, output_stride=stride, normalisation=IMAGENET, stages=trunk.stages, **freeze
    )


class _ResNetTrunk(nn.Sequential):
    """A torchvision ResNet without pooling and classifier, under the same names."""

    def __init__(self, resnet: ResNet) -> None:
        super().__init__()
        self.stages = [
            [*resnet.conv1.parameters(), *resnet.bn1.parameters()],
            *(list(m.parameters()) for m in (resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4)),
        ]
        for name, module in resnet.named_children():
            if name not in ("avgpool", "fc"):
                self.add_module(name, module)


def _torchvision_resnet(name: str, stride: int, freeze: dict[str, Any]) -> Backbone:
    from torchvision.models import get_model

    undilated = name == "resnet50_undilated"
    _require_stride(name, stride, (16,) if undilated else (8, 16, 32))
    resnet: Any = get_model(
        name.removesuffix("_undilated"),
        weights=None,
        replace_stride_with_dilation=(False, stride == 8, stride <= 16),
    )
    if undilated:
        for block in resnet.layer4:
            block.conv2.dilation = block.conv2.padding = (1, 1)
    trunk = _ResNetTrunk(resnet)
    return Backbone(
        trunk,
        channels=2048,
        output_stride=stride,
        normalisation=IMAGENET,
        stages=trunk.stages,
        **freeze,
    )


def _caffe_resnet(stride: int, freeze: dict[str, Any]) -> Backbone:
    _require_stride("resnet101_caffe", stride, (8,))
    trunk = _ResNetTrunk(caffe_resnet.caffe_resnet101())
    return Backbone(
        trunk,
        channels=2048,
        output_stride=stride,
        normalisation=caffe_resnet.NORMALISATION,
        stages=trunk.stages,
        **freeze,
    )


class _TimmBackbone(Backbone):
    """A timm classifier up to what it pools: for EfficientNets after the last 1x1 convolution."""

    def _features(self, images: torch.Tensor) -> torch.Tensor:
        return self.trunk.forward_features(images)  # type: ignore[no-any-return,operator]


def _timm(model_name: str, stride: int, freeze: dict[str, Any]) -> tuple[Backbone, str]:
    """The backbone, and the pattern of its classifier's names in weight files."""
    import timm
    from timm.models import group_parameters

    if not timm.is_model(model_name):
        raise MethodError(f"timm has no model {model_name!r}; timm.list_models() names them")
    try:
        trunk: Any = timm.create_model(model_name, num_classes=0, output_stride=stride)
    except (TypeError, ValueError, AssertionError, NotImplementedError) as error:
        raise MethodError(
            f"timm/{model_name} cannot be built with output_stride={stride}; "
            f"choose another stride or a convolutional network such as timm/tf_efficientnet_lite0"
        ) from error
    faster_on_cpu(trunk)
    settings = trunk.pretrained_cfg
    groups = group_parameters(trunk, trunk.group_matcher(coarse=True))
    backbone = _TimmBackbone(
        trunk,
        channels=trunk.num_features,
        output_stride=stride,
        normalisation=Normalisation(tuple(settings["mean"]), tuple(settings["std"])),
        stages=[[trunk.get_parameter(n) for n in names] for _, names in sorted(groups.items())],
        **freeze,
    )
    return backbone, f"{settings['classifier']}.*"


def _require_stride(name: str, stride: int, available: tuple[int, ...]) -> None:
    if stride not in available:
        choices = ", ".join(map(str, available))
        raise MethodError(f"backbone {name} has no output_stride {stride}; choose {choices}")
