"""LPCAM against its reference: positions, clustering, selection, maps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.testing import assert_close

from methods.layers.cam import resize
from methods.lpcam.network import LpcamNetwork
from methods.lpcam.prototypes import (
    cluster,
    confidence,
    inside_and_outside,
    mean_direction,
    prototype_maps,
)
from tests.conftest import golden


def _tensors(name: str) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(value) for key, value in golden(name).items()}


def test_golden_clustering() -> None:
    g = _tensors("lpcam_clustering")
    inside, outside = inside_and_outside(g["features"], g["cams"], float(g["tau"]))
    assert_close(inside, g["foreground"])
    assert_close(outside, g["background"])
    centres, members = cluster(inside, g["start"], float(g["tolerance"]))
    assert_close(centres, g["centres"], rtol=1e-4, atol=1e-5)
    assert torch.equal(members, g["assignments"])
    centres, _ = cluster(outside, g["start_background"], float(g["tolerance"]))
    assert_close(centres, g["centres_background"], rtol=1e-4, atol=1e-5)


def test_golden_selection() -> None:
    g = _tensors("lpcam_selection")
    for label in range(len(g["class_weights"])):
        sure = confidence(g["centres"][label], g["class_weights"], label)
        assert torch.equal(sure > g["mu_f"], g["class_prototypes"][label].bool())
        unsure = confidence(g["contexts"][label], g["class_weights"], label)
        kept = (unsure < g["mu_b"]) & (unsure > g["mu_b_low"])
        assert torch.equal(kept, g["context_prototypes"][label].bool())


def test_golden_map() -> None:
    g = _tensors("lpcam_map")
    everything = [
        torch.ones(len(g[name]), dtype=torch.bool) for name in ("prototypes_a", "contexts_a", "prototypes_b")
    ]
    a, context, b = (
        mean_direction(g[name], kept)
        for name, kept in zip(("prototypes_a", "contexts_a", "prototypes_b"), everything)
    )
    foreground, contexts = torch.stack([a, b]), torch.stack([context, torch.zeros_like(b)])
    views = [g[f"features_scale{k}"] for k in range(4)]
    features = [(straight + mirrored.flip(-1))[None] for straight, mirrored in views]
    maps = [prototype_maps(each, foreground, contexts) for each in features]
    height, width = g["image_size"].tolist()
    strided = sum(resize(m, (-(-height // 4), -(-width // 4))) for m in maps)
    assert_close(LpcamNetwork.to_unit(strided)[0], g["strided"], rtol=1e-4, atol=1e-4)
    padded = (-(-height // 16) * 16, -(-width // 16) * 16)
    full = sum(resize(m, padded) for m in maps)[..., :height, :width]
    assert_close(LpcamNetwork.to_unit(full)[0], g["full"], rtol=1e-4, atol=1e-4)


def test_a_centre_without_members_stays() -> None:
    features = F.normalize(torch.tensor([[1.0, 0.1], [1.0, 0.2], [0.9, 0.0]]), dim=1)
    start = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    centres, members = cluster(features, start, 0.0)
    assert members.tolist() == [0, 0, 0]
    assert_close(centres[1], start[1])
    assert_close(centres[0], features.mean(0))


def test_nothing_kept_gives_an_empty_map() -> None:
    nothing = mean_direction(torch.randn(3, 4), torch.zeros(3, dtype=torch.bool))
    maps = prototype_maps(torch.rand(1, 4, 2, 2), nothing[None], nothing[None])
    assert not LpcamNetwork.to_unit(maps).any()
