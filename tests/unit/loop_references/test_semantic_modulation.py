"""Semantic modulation and the CAM stages around it (Li et al., Journal of Software 2025, Eq. 1 to 6), in loops."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from methods.layers.cam import min_max
from methods.layers.networks.vit import MultiClassTokenViT
from methods.mctformer.cam import cam_stages
from methods.mctformer.config import AttentionConfig
from methods.mctformer.network import MctformerNetwork
from methods.semantic_modulation.modulation import modulate
from tests.unit.loop_references.shared import SEEDS, Grid, close

CLASSES, DEPTH, HEADS = 3, 5, 2
ROWS, COLUMNS = 2, 3
RATIO, STRENGTH = 0.3, 1.2


def modulate_loop(c2p: Grid, p2p: Grid, ratio: float, strength: float, include_self: bool = True) -> Grid:
    """Eq. 3, 4 for one image: c2p (C, N) unmodulated, p2p (N, N) with a row for each query patch."""
    patches = len(p2p)
    size = max(1, round(ratio * patches))
    out = [[0.0] * patches for _ in c2p]
    for i in range(patches):
        others = [j for j in range(patches) if include_self or j != i]
        related = sorted(others, key=lambda j: p2p[i][j], reverse=True)[:size]
        for c in range(len(c2p)):
            r = sum(c2p[c][j] for j in related) / len(related)
            out[c][i] = c2p[c][i] + strength * r
    return out


def refined_loop(maps: Grid, p2p: Grid, side: str) -> Grid:
    """Eq. 6: a patch gathers by its own row ("left", p2p @ CAM), or by its column ("right", CAM @ p2p)."""
    patches = len(p2p)
    out = []
    for single in maps:
        row = []
        for i in range(patches):
            shares = [p2p[i][j] if side == "left" else p2p[j][i] for j in range(patches)]
            row.append(sum(share * value for share, value in zip(shares, single)))
        out.append(row)
    return out


def summed_loop(grids: list[Grid]) -> Grid:
    return [[sum(g[y][x] for g in grids) for x in range(len(grids[0][0]))] for y in range(len(grids[0]))]


def attention_loop(qkv: np.ndarray) -> Grid:
    """Eq. 2 with its softmax, mean over heads: (T, 3 D) queries, keys and values -> (T, T)."""
    tokens, width = qkv.shape[0], qkv.shape[1] // 3
    per_head = width // HEADS
    out = [[0.0] * tokens for _ in range(tokens)]
    for head in range(HEADS):
        channels = range(head * per_head, (head + 1) * per_head)
        for t in range(tokens):
            exponentials = [
                math.exp(
                    sum(float(qkv[t, d]) * float(qkv[u, width + d]) for d in channels) / math.sqrt(per_head)
                )
                for u in range(tokens)
            ]
            for u in range(tokens):
                out[t][u] += exponentials[u] / sum(exponentials) / HEADS
    return out


def modulation_case(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """c2p (2, C, N) and p2p (2, N, N), rows not symmetric and as those of a softmax."""
    rng = np.random.default_rng(seed)
    patches = int(rng.integers(4, 14))
    c2p = rng.random((2, int(rng.integers(1, 5)), patches))
    p2p = np.exp(rng.normal(0, 2, (2, patches, patches)))
    return c2p, p2p / p2p.sum(2, keepdims=True)


@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize(
    ("ratio", "strength"), [(0.3, 1.2), (0.1, 0.6), (0.47, 1.8), (0.01, 1.0), (0.3, 0.0)]
)
@pytest.mark.parametrize("seed", SEEDS)
def test_modulate(seed: int, ratio: float, strength: float, include_self: bool) -> None:
    c2p, p2p = modulation_case(seed)
    result = modulate(torch.tensor(c2p), torch.tensor(p2p), ratio, strength, include_self)
    expected = [
        modulate_loop(a.tolist(), b.tolist(), ratio, strength, include_self) for a, b in zip(c2p, p2p)
    ]
    close(result, expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_modulate_by_all_patches(seed: int) -> None:
    """At a ratio of 1 the affinity says nothing: every patch receives its class's mean."""
    c2p, p2p = modulation_case(seed)
    result = modulate(torch.tensor(c2p), torch.tensor(p2p), 1.0, STRENGTH)
    expected = [[[v + STRENGTH * sum(row) / len(row) for v in row] for row in maps] for maps in c2p.tolist()]
    close(result, expected)


def tiny_network(seed: int) -> MctformerNetwork:
    """A network whose class tokens differ and whose attention is far from even."""
    torch.manual_seed(seed)
    trunk = VisionTransformer(
        img_size=(8 * ROWS, 8 * COLUMNS),
        patch_size=8,
        embed_dim=12,
        depth=DEPTH,
        num_heads=HEADS,
        mlp_ratio=1,
        num_classes=0,
        dynamic_img_size=True,
    )
    network = MctformerNetwork(MultiClassTokenViT(trunk, CLASSES)).eval().double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.4 * torch.randn(parameter.shape)
    return network


Layers = list[tuple[Grid, Grid]]
"""c2p (C, N) and p2p (N, N) of each layer."""


def observed(network: MctformerNetwork, image: torch.Tensor) -> tuple[Grid, Layers]:
    """The patch CAM (C, N) before any activation, and the attention recomputed from queries and keys."""
    projections: list[np.ndarray] = []
    handles = [
        module.register_forward_hook(lambda module, inputs, output: projections.append(output[0].numpy()))
        for name, module in network.named_modules()
        if name.endswith("attn.qkv") and isinstance(module, nn.Linear)
    ]
    cam = network(image[None]).patch_cam[0].flatten(1).tolist()
    for handle in handles:
        handle.remove()
    attention = [attention_loop(qkv) for qkv in projections]
    return cam, [
        ([row[CLASSES:] for row in a[:CLASSES]], [row[CLASSES:] for row in a[CLASSES:]]) for a in attention
    ]


def stages_loop(cam: Grid, layers: Layers, settings: AttentionConfig, ranking: str | None) -> dict[str, Grid]:
    """Eq. 1 to 6. ranking: which patch-to-patch attention ranks the patches; None: no modulation."""
    p2p_layers = layers[-(settings.patch_to_patch_layers or len(layers)) :]
    c2p_layers = layers[-(settings.class_to_patch_layers or len(layers)) :]
    p2p = summed_loop([pair[1] for pair in p2p_layers])
    if ranking == "each_layer":
        c2p = summed_loop([modulate_loop(*pair, RATIO, STRENGTH) for pair in c2p_layers])
    else:
        c2p = summed_loop([pair[0] for pair in c2p_layers])
    if ranking == "summed":
        c2p = modulate_loop(c2p, p2p, RATIO, STRENGTH)
    original = [[max(v, 0.0) for v in row] for row in cam] if settings.rectify else cam
    modulated = [[a * b for a, b in zip(*rows)] for rows in zip(original, c2p)]
    return {
        "original": original,
        "affinity": refined_loop(original, p2p, settings.patch_to_patch_side),
        "modulated": modulated,
        "final": refined_loop(modulated, p2p, settings.patch_to_patch_side),
    }


@pytest.mark.parametrize("ranking", [None, "summed", "each_layer"])
@pytest.mark.parametrize(
    "settings",
    [
        AttentionConfig(),
        AttentionConfig(patch_to_patch_side="right"),
        AttentionConfig(class_to_patch_layers=None, patch_to_patch_layers=2),
        AttentionConfig(rectify=False),
    ],
    ids=["mctformer", "as_printed", "other_layers", "not_rectified"],
)
@torch.inference_mode()
def test_cam_stages(settings: AttentionConfig, ranking: str | None) -> None:
    network = tiny_network(0)
    images = torch.randn(2, 3, 8 * ROWS, 8 * COLUMNS, dtype=torch.float64)
    change = partial(modulate, ratio=RATIO, strength=STRENGTH)
    result = cam_stages(
        network,
        images,
        settings,
        modulate=change if ranking == "summed" else None,
        modulate_layer=change if ranking == "each_layer" else None,
    )
    for n, image in enumerate(images):
        expected = stages_loop(*observed(network, image), settings, ranking)
        for name, maps in expected.items():
            assert getattr(result, name).shape == (2, CLASSES, ROWS, COLUMNS)
            close(getattr(result, name)[n].flatten(1), maps)


@torch.inference_mode()
def test_the_case_tells_the_settings_apart() -> None:
    """The sides, the rankings and the layers each change the final CAM by much more than the tolerance."""
    network = tiny_network(0)
    cam, layers = observed(network, torch.randn(3, 8 * ROWS, 8 * COLUMNS, dtype=torch.float64))
    assert min(v for row in cam for v in row) < 0 < max(v for row in cam for v in row)
    others = [
        AttentionConfig(patch_to_patch_side="right"),
        AttentionConfig(class_to_patch_layers=None),
        AttentionConfig(patch_to_patch_layers=2),
        AttentionConfig(rectify=False),
    ]
    cases = [(AttentionConfig(), ranking) for ranking in (None, "summed", "each_layer")]
    cases += [(settings, None) for settings in others]
    finals = [np.array(stages_loop(cam, layers, *case)["final"]) for case in cases]
    for i, one in enumerate(finals):
        assert all(np.abs(one - two).max() > 1e-3 for two in finals[:i])


@pytest.mark.parametrize("seed", SEEDS)
def test_min_max(seed: int) -> None:
    """Per map; a constant map becomes 0."""
    maps = np.random.default_rng(seed).normal(0, 5, (2, 3, 3, 4))
    maps[1, 2] = 0.7 * seed
    expected = np.zeros_like(maps)
    for n, c in np.ndindex(2, 3):
        values = [float(v) for v in maps[n, c].flat]
        low, high = min(values), max(values)
        for y, x in np.ndindex(3, 4):
            expected[n, c, y, x] = (float(maps[n, c, y, x]) - low) / (high - low) if high > low else 0.0
    close(min_max(torch.tensor(maps)), expected)
