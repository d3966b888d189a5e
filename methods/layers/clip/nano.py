"""The miniature CLIPs of the nano scale: open_clip's model, tiny, with CLIP's own tokenizer.

The image tower of `clip_nano` is open_clip's ModifiedResNet (CLIP's RN50, narrow): from scratch, on a few thousand
pictures, a convolutional network learns within minutes what a vision transformer does not. It is the teacher of
`clip_vit_nano`'s, a vision transformer with the same text tower, for methods that need tokens of patches; a picture's
embedding is the mean of theirs. Only the token embeddings that pretraining met are shipped; those of the other 49 000
tokens mean nothing to the models and are made again from a seed. Light to import (no torch): planning asks for
`vocabulary`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets.pretraining.captions import NOUNS, WORDS
from methods.layers.clip.config import NANO, NANO_VIT

if TYPE_CHECKING:
    import torch
    from open_clip import CLIP, SimpleTokenizer

EMBED_DIM = 64
IMAGE_SIZE = 64
CONTEXT_LENGTH = 16
"""Tokens of a text, the two ends included; the tokenizer cuts longer ones."""
_VISION: Mapping[str, Mapping[str, Any]] = {
    NANO: {"layers": (1, 1, 1, 1), "width": 12, "head_width": 64, "image_size": IMAGE_SIZE},
    NANO_VIT: {
        "layers": 6,
        "width": 96,
        "head_width": 24,
        "patch_size": 8,
        "mlp_ratio": 2.0,
        "image_size": IMAGE_SIZE,
        "pool_type": "avg",
    },
}
_TEXT = {"context_length": CONTEXT_LENGTH, "width": 64, "heads": 2, "layers": 2}
_TOKENS, _TOKEN_ROWS = "token_embedding.weight", "token_rows"
_SEED = 0


def build_clip_nano(name: str = NANO, seed: int = _SEED) -> CLIP:
    """The untrained model in training mode; equal seeds give equal token embeddings.

    name: which of the two
    Pictures (B, 3, 64, 64) in 0..1, normalised by `model.visual.image_mean` and `image_std`, and tokens (B, 16)
    become embeddings (B, 64) by `encode_image` and `encode_text`.
    """
    import torch
    from open_clip import CLIP, OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
    from open_clip.model import CLIPTextCfg, CLIPVisionCfg, set_model_preprocess_cfg

    from methods.layers.networks.vit import nano_stem

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CLIP(EMBED_DIM, CLIPVisionCfg(**_VISION[name]), CLIPTextCfg(**_TEXT))
        if name == NANO_VIT:
            model.visual.conv1 = nano_stem()
    # From a generator of their own: what open_clip draws before must not change rows that are not shipped.
    own = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        model.token_embedding.weight.normal_(std=0.02, generator=own)
    set_model_preprocess_cfg(
        model, {"size": IMAGE_SIZE, "mean": OPENAI_DATASET_MEAN, "std": OPENAI_DATASET_STD}
    )
    return model


def restore_clip_nano(path: str | Path, name: str = NANO) -> CLIP:
    """The pretrained model, frozen and in evaluation mode, from what `shipped_state` wrote.

    Raises MethodError where the file is not one of this model.
    """
    from methods.layers.weights.files import load_state

    return from_shipped_state(load_state(Path(path)), name, source=path)


def shipped_state(model: CLIP, rows: torch.Tensor) -> dict[str, torch.Tensor]:
    """What is kept of a model: its weights in half precision, and which tokens its embeddings belong to.

    model: one whose token embedding holds those of `rows` (R,), ascending token ids, alone
    """
    state = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    return {**state, _TOKEN_ROWS: rows}


def from_shipped_state(
    state: Mapping[str, torch.Tensor], name: str = NANO, *, source: str | Path = "memory"
) -> CLIP:
    """The model of `shipped_state`, frozen and in evaluation mode. Raises MethodError if it does not fit."""
    from methods.base import MethodError
    from methods.layers.weights.files import load_into

    model = build_clip_nano(name)
    state = dict(state)
    rows, kept = state.pop(_TOKEN_ROWS, None), state.get(_TOKENS)
    if rows is None or kept is None or kept.shape != (len(rows), _TEXT["width"]):
        raise MethodError(
            f"weights {source} hold no token rows, so they are no miniature CLIP's; "
            f"make them by `wsss pretrain clip`"
        )
    tokens = model.token_embedding.weight.detach().clone()
    tokens[rows] = kept.float()
    load_into(model, {**state, _TOKENS: tokens}, source=source)
    return model.eval().requires_grad_(False)


@cache
def clip_nano_tokenizer() -> SimpleTokenizer:
    """CLIP's tokenizer at this model's context length: texts -> token ids (B, 16); its file ships with open_clip."""
    from open_clip import SimpleTokenizer

    return SimpleTokenizer(context_length=CONTEXT_LENGTH)


def vocabulary() -> frozenset[str]:
    """Every word that pretraining's captions used for something to be seen; others mean nothing to the model."""
    return frozenset(word for noun in NOUNS for word in WORDS[noun])
