"""LPCAM against its reference: positions, clustering, selection, maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from methods.layers.cam import resize
from methods.lpcam.config import PRESETS, LpcamStageConfig
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


@pytest.fixture
def stage() -> SimpleNamespace:
    """What finding prototypes takes of a stage: seven images of two sizes, which come in batches of one size."""
    draw = torch.Generator().manual_seed(3)
    sizes = [(24, 32), (32, 24)]
    images = {f"i{n}": torch.rand(3, *sizes[n % 2], generator=draw, dtype=torch.float64) for n in range(7)}

    def batches(samples: Sequence[Any], _: object, batch_size: int, tiled: bool) -> Iterator[SimpleNamespace]:
        assert not tiled
        waiting: dict[tuple[int, int], list[str]] = {size: [] for size in sizes}
        for n, sample in enumerate(samples):
            size = (images[sample.id].shape[1], images[sample.id].shape[2])
            waiting[size].append(sample.id)
            for ready, ids in waiting.items():  # a full batch at once, the rest at the end
                if len(ids) == batch_size or (ids and n == len(samples) - 1):
                    pictures = torch.stack([images[id_] for id_ in ids])
                    yield SimpleNamespace(ids=tuple(ids), size=ready, images=pictures, at_once=batch_size)
                    waiting[ready] = []

    cams = {
        id_: SimpleNamespace(maps=torch.rand(1, 6, 6, generator=draw).numpy(), classes=(0,)) for id_ in images
    }
    view = SimpleNamespace(classes=("one", "two"))
    samples = [SimpleNamespace(id=id_) for id_ in images]
    return SimpleNamespace(images=batches, view=view, device="cpu", seed=5, samples=samples, cams=cams)


@pytest.mark.parametrize("images_per_class", [0, 5])
def test_prototypes_do_not_depend_on_the_batch_size(stage: Any, images_per_class: int) -> None:
    preset = PRESETS["nano"]
    prototypes = replace(preset.prototypes, images_per_class=images_per_class, clusters=3)
    torch.manual_seed(4)
    network = LpcamNetwork.build(preset.backbone, 2).double().eval()
    one, another = (
        network._prototypes(
            stage,
            LpcamStageConfig(inference=replace(preset.inference, batch_size=size), **asdict(prototypes)),
            0,
            stage.samples,
            stage.cams,
        )
        for size in (1, 3)
    )
    assert one["foreground"].any()
    assert_close(one, another, rtol=1e-9, atol=1e-12)
