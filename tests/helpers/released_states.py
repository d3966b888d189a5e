"""What the checkpoints of the papers' code hold: names and shapes of every tensor, without values.

They are the released files', written down from the code that saves them and not from ours.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

State = dict[str, torch.Tensor]
CLASSES = 20


def tensors(**shapes: tuple[int, ...]) -> State:
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def convolution(name: str, outputs: int, inputs: int, side: int = 1, bias: bool = False) -> State:
    found = {f"{name}.weight": (outputs, inputs, side, side)}
    return tensors(**found, **({f"{name}.bias": (outputs,)} if bias else {}))


def linear(name: str, outputs: int, inputs: int) -> State:
    return tensors(**{f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)})


def scale(name: str, channels: int) -> State:
    """Of layer and group normalisation."""
    return tensors(**{f"{name}.weight": (channels,), f"{name}.bias": (channels,)})


def batch_norm(name: str, channels: int) -> State:
    statistics = {f"{name}.running_mean": (channels,), f"{name}.running_var": (channels,)}
    return {**scale(name, channels), **tensors(**statistics, **{f"{name}.num_batches_tracked": ()})}


def resnet38d() -> State:
    state = convolution("conv1a", 64, 3, 3)
    inputs = 64
    for stage, middle, outputs, depth in (
        (2, 128, 128, 3),
        (3, 256, 256, 3),
        (4, 512, 512, 6),
        (5, 512, 1024, 3),
    ):
        for n in range(depth):
            block = f"b{stage}_{n}" if n else f"b{stage}"
            state |= batch_norm(f"{block}.bn_branch2a", inputs) | batch_norm(f"{block}.bn_branch2b1", middle)
            state |= convolution(f"{block}.conv_branch2a", middle, inputs, 3)
            state |= convolution(f"{block}.conv_branch2b1", outputs, middle, 3)
            if n == 0:
                state |= convolution(f"{block}.conv_branch1", outputs, inputs)
            inputs = outputs
    for block, inputs, outputs in (("b6", 1024, 2048), ("b7", 2048, 4096)):
        quarter, half = outputs // 4, outputs // 2
        state |= batch_norm(f"{block}.bn_branch2a", inputs) | convolution(
            f"{block}.conv_branch2a", quarter, inputs
        )
        state |= batch_norm(f"{block}.bn_branch2b1", quarter)
        state |= convolution(f"{block}.conv_branch2b1", half, quarter, 3)
        state |= batch_norm(f"{block}.bn_branch2b2", half) | convolution(
            f"{block}.conv_branch2b2", outputs, half
        )
        state |= convolution(f"{block}.conv_branch1", outputs, inputs)
    return state | batch_norm("bn7", 4096)


def resnet50() -> State:
    """Layers of torchvision's names, without a classifier."""
    state = convolution("conv1", 64, 3, 7) | batch_norm("bn1", 64)
    inputs = 64
    for stage, (width, depth) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), 1):
        for n in range(depth):
            block = f"layer{stage}.{n}"
            state |= convolution(f"{block}.conv1", width, inputs) | batch_norm(f"{block}.bn1", width)
            state |= convolution(f"{block}.conv2", width, width, 3) | batch_norm(f"{block}.bn2", width)
            state |= convolution(f"{block}.conv3", 4 * width, width) | batch_norm(f"{block}.bn3", 4 * width)
            if n == 0:
                state |= convolution(f"{block}.downsample.0", 4 * width, inputs)
                state |= batch_norm(f"{block}.downsample.1", 4 * width)
            inputs = 4 * width
    return state


def twice(parts: Mapping[str, tuple[str, ...]]) -> State:
    """ResNet-50 as IRNet's code saves it: under `resnet50` and, by parts, under `stageN` and `backbone.N`.

    parts: stage -> the resnet's attributes that its Sequential lists
    """
    trunk = resnet50()
    state = {f"resnet50.{key}": value for key, value in trunk.items()}
    for number, (stage, names) in enumerate(parts.items()):
        for position, name in enumerate(names):
            for key, value in trunk.items():
                if key.startswith(f"{name}."):
                    rest = key.removeprefix(name)
                    state[f"{stage}.{position}{rest}"] = value
                    state[f"backbone.{number}.{position}{rest}"] = value
    return state


def irn_classifier() -> State:
    first = ("conv1", "bn1", "relu", "maxpool", "layer1")
    state = twice({"stage1": first, "stage2": ("layer2",), "stage3": ("layer3",), "stage4": ("layer4",)})
    state |= convolution("classifier", CLASSES, 2048)
    return state | convolution("newly_added.0", CLASSES, 2048)


def irn_network() -> State:
    deeper = {f"stage{n}": (f"layer{n - 1}",) for n in range(2, 6)}
    state = twice({"stage1": ("conv1", "bn1", "relu", "maxpool"), **deeper})
    edge: State = {}
    for n, channels in enumerate((64, 256, 512, 1024, 2048), 1):
        edge |= convolution(f"fc_edge{n}.0", 32, channels) | scale(f"fc_edge{n}.1", 32)
    edge |= convolution("fc_edge6", 1, 160, bias=True)
    branch: State = {}
    widths = ((64, 64), (256, 128), (512, 256), (1024, 256), (2048, 256), (768, 256), (448, 256))
    for n, (inputs, outputs) in enumerate(widths, 1):
        branch |= convolution(f"fc_dp{n}.0", outputs, inputs) | scale(f"fc_dp{n}.1", outputs)
    branch |= convolution("fc_dp7.3", 2, 256) | tensors(**{"fc_dp7.4.running_mean": (2,)})
    state |= edge | branch | tensors(**{"mean_shift.running_mean": (2,), "disp_target": (1, 2, 152, 1)})
    state |= {f"path_indices{n}": torch.empty(4, 4, 4, device="meta") for n in range(8)}
    for list_name, prefix, layers in (("edge_layers", "fc_edge", edge), ("dp_layers", "fc_dp", branch)):
        for key, value in layers.items():
            number, _, rest = key.removeprefix(prefix).partition(".")
            state[f"{list_name}.{int(number) - 1}.{rest}"] = value
    return state


def transformer(width: int, tokens: int) -> State:
    state = tensors(cls_token=(1, tokens, width), pos_embed=(1, tokens + 196, width))
    state |= convolution("patch_embed.proj", width, 3, 16, bias=True)
    for n in range(12):
        block = f"blocks.{n}"
        state |= scale(f"{block}.norm1", width) | scale(f"{block}.norm2", width)
        state |= linear(f"{block}.attn.qkv", 3 * width, width) | linear(f"{block}.attn.proj", width, width)
        state |= linear(f"{block}.mlp.fc1", 4 * width, width) | linear(f"{block}.mlp.fc2", width, 4 * width)
    return state | scale("norm", width)


def mctformer() -> State:
    return transformer(384, CLASSES) | convolution("head", CLASSES, 384, 3, bias=True)


def toco() -> State:
    encoder = transformer(768, 1) | linear("head", 1000, 768)
    state = {f"encoder.{key}": value for key, value in encoder.items()}
    for head in ("proj_head", "proj_head_t"):
        state |= linear(f"{head}.mlp.0", 2048, 768) | linear(f"{head}.mlp.2", 2048, 2048)
        state |= linear(f"{head}.mlp.4", 256, 2048)
        state |= tensors(
            **{f"{head}.last_layer.weight_g": (1024, 1), f"{head}.last_layer.weight_v": (1024, 256)}
        )
    state |= convolution("decoder.conv6", 512, 768, 3) | convolution("decoder.conv7", 512, 512, 3)
    state |= convolution("decoder.conv8", CLASSES + 1, 512)
    return state | convolution("classifier", CLASSES, 768) | convolution("aux_classifier", CLASSES, 768)


def deeplab(prefix: str, shortcut: str, aspp: str) -> State:
    """ResNet-101 with ASPP of deeplab-pytorch, whose names have changed over time."""
    state = convolution("layer1.conv1.conv", 64, 3, 7) | batch_norm("layer1.conv1.bn", 64)
    inputs = 64
    for stage, (width, depth) in enumerate(((64, 3), (128, 4), (256, 23), (512, 3)), 2):
        for n in range(1, depth + 1):
            block = f"layer{stage}.block{n}"
            layers = [
                ("reduce", width, inputs, 1),
                ("conv3x3", width, width, 3),
                ("increase", 4 * width, width, 1),
            ]
            if n == 1:
                layers.append((shortcut, 4 * width, inputs, 1))
            for layer, outputs, of, side in layers:
                state |= convolution(f"{block}.{layer}.conv", outputs, of, side)
                state |= batch_norm(f"{block}.{layer}.bn", outputs)
            inputs = 4 * width
    for n in range(4):
        state |= convolution(f"{aspp}.c{n}", CLASSES + 1, 2048, 3, bias=True)
    return {f"{prefix}{key}": value for key, value in state.items()}


def mctformer_segmentation() -> State:
    state = resnet38d() | convolution("fc8_seg_conv1", 512, 4096, 3, bias=True)
    return state | convolution("fc8_seg_conv2", CLASSES + 1, 512, 3, bias=True)
