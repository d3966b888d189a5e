"""Trained weights as `check` keeps them: one file a stage, a quarter of their size, so that they can be committed.

Matrices and kernels are kept as 8-bit integers with one scale a row (output channel): what is recorded are the numbers
that these weights give, so the rounding is no loss. Vectors (biases, normalisation) are kept as they are.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

SCALE = ":scale"
FOLDER_SIGN = "|"
"""Between a file's name and a tensor's in it."""


def pack(artifact: Path, file: Path) -> None:
    """Write the weights and details of a finished training stage as one file."""
    from safetensors.torch import load_file, save_file

    tensors: dict[str, torch.Tensor] = {}
    for source in sorted(artifact.glob("*.safetensors")):
        for name, tensor in load_file(source).items():
            tensors |= _packed(f"{source.name}{FOLDER_SIGN}{name}", tensor)
    details = {
        path.name: json.dumps(json.loads(path.read_text(encoding="utf-8")))
        for path in sorted(artifact.glob("*.json"))
        if path.name != "manifest.json" and not path.name.startswith("losses-")
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, file, metadata=details)


def unpack(file: Path, folder: Path) -> None:
    """Write a stage's files as its training would have."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(file, framework="pt") as packed:
        names = list(packed.keys())
        files: dict[str, dict[str, torch.Tensor]] = {}
        for name in names:
            if name.endswith(SCALE):
                continue
            source, _, inner = name.partition(FOLDER_SIGN)
            tensor = packed.get_tensor(name)
            if name + SCALE in names:
                scale = packed.get_tensor(name + SCALE)
                tensor = tensor.to(scale.dtype) * scale.reshape(-1, *[1] * (tensor.ndim - 1))
            files.setdefault(source, {})[inner] = tensor
        details = packed.metadata() or {}
    for source, tensors in files.items():
        save_file(tensors, folder / source)
    for name, text in details.items():
        if name.endswith(".json"):
            (folder / name).write_text(text, encoding="utf-8")


def _packed(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    if not tensor.is_floating_point() or tensor.ndim < 2 or not tensor.numel():
        return {name: tensor}
    rows = tensor.flatten(1)
    scale = rows.abs().amax(1).clamp_min(torch.finfo(tensor.dtype).tiny) / 127
    return {name: (rows / scale[:, None]).round().to(torch.int8).reshape(tensor.shape), name + SCALE: scale}
