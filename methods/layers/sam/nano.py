"""The miniature SAM of the nano scale: segment_anything's classes at tiny width.

Its image encoder is the miniature transformer (`methods.layers.networks.vit`) in segment_anything's class: as wide and
deep, with the same patch embedding of three convolutions, so that it starts from the pretrained one, as SAM's starts
from one pretrained by MAE; from scratch it learns next to nothing within minutes. Its decoder has one mask token:
SAM's three further ones answer clicks that may mean a part or the whole, of which the pretraining world has none.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import nn

from methods.base import MethodError
from methods.layers.networks.vit import NANO, nano_stem
from methods.layers.weights.files import load_into, load_state

FRAME = 128
"""Side of the square that every picture is placed in, pixels (SAM's: 1024)."""
_CHANNELS = 64


def build_sam_nano() -> Sam:
    """The untrained model, in training mode."""
    patch, width = NANO["patch_size"], NANO["embed_dim"]
    grid = FRAME // patch
    encoder = ImageEncoderViT(
        img_size=FRAME,
        patch_size=patch,
        embed_dim=width,
        depth=NANO["depth"],
        num_heads=NANO["num_heads"],
        mlp_ratio=NANO["mlp_ratio"],
        out_chans=_CHANNELS,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        window_size=grid // 2,
        global_attn_indexes=(NANO["depth"] // 2 - 1, NANO["depth"] - 1),
    )
    encoder.patch_embed.proj = nano_stem()
    return Sam(
        encoder,
        PromptEncoder(_CHANNELS, (grid, grid), (FRAME, FRAME), mask_in_chans=4),
        MaskDecoder(
            transformer_dim=_CHANNELS,
            transformer=TwoWayTransformer(2, _CHANNELS, num_heads=4, mlp_dim=2 * _CHANNELS),
            num_multimask_outputs=0,
            iou_head_depth=2,
            iou_head_hidden_dim=_CHANNELS,
        ),
    )


def start_from_vit(model: Sam, path: Path) -> None:
    """Copy the pretrained miniature transformer of a weight file into the image encoder of `model`.

    Its position embedding is stretched over the larger frame. Raises MethodError where the file is not one of it.
    """
    state = load_state(path)
    if "pos_embed" not in state:
        raise MethodError(f"weights {path} have no position embedding; give those of vit_nano")
    positions = state.pop("pos_embed")[:, 1:]  # without the class token's
    side = round(positions.shape[1] ** 0.5)
    grid = positions.transpose(1, 2).unflatten(2, (side, side))
    encoder = model.image_encoder
    size = FRAME // NANO["patch_size"]
    state["pos_embed"] = F.interpolate(grid, (size, size), mode="bicubic").permute(0, 2, 3, 1)
    renamed = {k.replace("mlp.fc", "mlp.lin"): v for k, v in state.items()}
    load_into(
        encoder, renamed, allow_missing=["neck.*"], allow_unexpected=["cls_token", "norm.*"], source=path
    )


def restore_sam_nano(path: str | Path) -> Sam:
    """The pretrained model. Raises MethodError where the file is not one of this model."""
    model = build_sam_nano()
    load_into(model, load_state(Path(path)), source=path)
    return model


def shipped_state(model: Sam) -> dict[str, torch.Tensor]:
    """What is kept of a model: its weights in half precision."""
    return {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
