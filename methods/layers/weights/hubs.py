"""Libraries that serve pretrained weights: what each has, and downloading it. They are imported only when asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datasets.limits import suggestion
from methods.base import MethodError
from methods.layers.weights.rembg import check_installed

if TYPE_CHECKING:
    from pathlib import Path

    import torch

HUBS = ("timm", "torchvision", "open_clip", "smp", "rembg")
TOKENIZERS = "open_clip/tokenizers"
"""In a folder of weights: what a hub serves beside them."""
TIMM_ENCODER = "tu-"
"""Prefix of the encoders that segmentation_models_pytorch takes from timm."""


def check_name(family: str, name: str) -> None:
    """MethodError, with where to look, if the library has no such model; downloads nothing."""
    if family == "timm":
        import timm

        if not timm.is_model(name):
            raise MethodError(f"timm has no model {name!r}; timm.list_models() names them")
    elif family == "torchvision":
        import torchvision

        if name not in torchvision.models.list_models():
            raise MethodError(
                f"torchvision has no model {name!r}; torchvision.models.list_models() names them"
            )
    elif family == "open_clip":
        import open_clip

        model, _, tag = name.partition(".")
        if (model, tag) not in open_clip.list_pretrained():
            raise MethodError(
                f"open_clip has no weights {tag!r} of a model {model!r}; write open_clip/<model>.<tag>, "
                "as open_clip.list_pretrained() names them"
            )
    elif family == "smp":
        _check_encoder(name)
    else:
        check_installed()


def _check_encoder(name: str) -> None:
    from segmentation_models_pytorch.encoders import get_encoder_names

    known = get_encoder_names()
    if name.startswith(TIMM_ENCODER):
        import timm

        if timm.is_model(name.removeprefix(TIMM_ENCODER)):
            return
        known = [f"{TIMM_ENCODER}{model}" for model in timm.list_models()]
    if name not in known:
        raise MethodError(
            f"segmentation_models_pytorch has no encoder {name!r}; {suggestion(name, known)}"
            f"segmentation_models_pytorch.encoders.get_encoder_names() names them, and {TIMM_ENCODER}<model> is timm's"
        )


def from_timm(name: str) -> dict[str, torch.Tensor]:
    import timm

    return timm.create_model(name, pretrained=True).state_dict()


def from_torchvision(name: str) -> dict[str, torch.Tensor]:
    import torchvision

    # Version 1 of the weights is what the papers of this field started from.
    weights = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]
    return dict(weights.get_state_dict(progress=False, check_hash=True))


def from_open_clip(name: str) -> dict[str, torch.Tensor]:
    import open_clip

    model, _, tag = name.partition(".")
    return open_clip.create_model(model, pretrained=tag).state_dict()  # type: ignore[no-any-return]


def from_smp(name: str) -> dict[str, torch.Tensor]:
    """An encoder of segmentation_models_pytorch, trained on ImageNet."""
    from segmentation_models_pytorch.encoders import get_encoder
    from segmentation_models_pytorch.encoders.timm_vit import TimmViTEncoder

    if not name.startswith(TIMM_ENCODER):
        return get_encoder(name, weights="imagenet").state_dict()  # type: ignore[no-any-return]
    try:
        return get_encoder(name, weights=True).state_dict()  # type: ignore[no-any-return]
    except ValueError:  # a transformer of one resolution, as DPT has it
        return TimmViTEncoder(name.removeprefix(TIMM_ENCODER), pretrained=True).state_dict()  # type: ignore[no-any-return]


def fetch_tokenizer(model: str, weights: Path | None) -> None:
    """Have the tokenizer of open_clip's model on this machine: some come from a hub, as weights do.

    weights: a folder of weights that is to hold it, None: where the library keeps it. Raises MethodError.
    """
    import open_clip

    folder = None if weights is None else weights / TOKENIZERS
    try:
        open_clip.get_tokenizer(model, cache_dir=folder and str(folder))
    except ImportError as error:
        raise MethodError(
            f"the tokenizer of {model} needs a package: pip install {error.name or 'transformers'}"
        ) from error
    except Exception as error:  # of open_clip, transformers and what they download with
        raise MethodError(
            f"open_clip could not fetch the tokenizer of {model} ({type(error).__name__}); run this where there is a "
            "network"
        ) from error
