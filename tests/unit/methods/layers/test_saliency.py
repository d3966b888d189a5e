"""Saliency maps: a folder's, rembg's, and the miniature detector's."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.utils.flop_counter import FlopCounterMode

from datasets.base import Sample, TrainingView
from datasets.limits import first_fault
from datasets.loading.loader import ImageBatch, image_batches
from datasets.recipe import Normalisation
from methods.base import MethodError, NotRunnable
from methods.layers.saliency.config import SaliencyConfig, resolve
from methods.layers.saliency.nano import SaliencyNet, pretraining_loss
from methods.layers.saliency.stage import detect, saliency_dense_map
from methods.layers.weights import rembg as rembg_models
from tests.helpers.trees import write_image, write_mask


class Context:
    """The part of `StageContext` that `detect` uses."""

    device = torch.device("cpu")

    def __init__(self, samples: Sequence[Sample], output: Path, weights: Path | None = None) -> None:
        self.view = TrainingView("test", ("thing",), {"train": tuple(samples)})
        self.output, self._weights = output, weights
        self.advanced = 0

    def weights_path(self, reference: str) -> Path | None:
        return self._weights

    def shards(self, samples: Sequence[Sample]) -> Iterator[tuple[str, Sequence[Sample]]]:
        for start in range(0, len(samples), 2):
            yield f"shard-{start}", samples[start : start + 2]

    def images(
        self, samples: Sequence[Sample], normalisation: Normalisation, batch: int
    ) -> Iterator[ImageBatch]:
        return image_batches(samples, 1, normalisation, batch, self.device, workers=1)

    def advance(self, images: int) -> None:
        self.advanced += images


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    made = []
    for i, name in enumerate(["a", "sub/b", "c"]):
        path = tmp_path / "images" / f"{name}.png"
        write_image(path, i, size=(40, 32) if i < 2 else (24, 24))
        made.append(Sample(name, path, (0,)))
    return made


@pytest.fixture
def maps(tmp_path: Path, samples: list[Sample]) -> Path:
    for sample in samples:
        with Image.open(sample.image) as image:
            write_mask(tmp_path / "maps" / f"{sample.id}.png", [0, 255], image.size)
    return tmp_path / "maps"


def test_folder_maps_are_read_where_they_are(tmp_path: Path, samples: list[Sample], maps: Path) -> None:
    settings = SaliencyConfig(source="folder", folder=str(maps))
    context = Context(samples, tmp_path / "out")
    detect(context, settings)
    assert context.advanced == 3
    assert not list((tmp_path / "out").rglob("*.png"))
    dense_map = saliency_dense_map(settings, tmp_path / "out")
    assert dense_map.kind == "continuous"
    assert dense_map.path_of("sub/b") == maps / "sub" / "b.png"


def test_missing_maps_are_counted_and_named(tmp_path: Path, samples: list[Sample], maps: Path) -> None:
    (maps / "a.png").unlink()
    settings = SaliencyConfig(source="folder", folder=str(maps))
    context = Context(samples, tmp_path / "out")
    for act in (lambda: detect(context, settings), lambda: resolve(settings, context.view)):
        with pytest.raises(NotRunnable, match=r"1 of 3 saliency maps are missing in .*maps \(a\.png\); add"):
            act()
    with pytest.raises(NotRunnable, match=r"set saliency\.folder=PATH"):
        resolve(SaliencyConfig(source="folder"), context.view)


def test_maps_of_another_size_are_refused_or_resized(
    tmp_path: Path, samples: list[Sample], maps: Path
) -> None:
    write_mask(maps / "a.png", [0, 255], (20, 16))
    settings = SaliencyConfig(source="folder", folder=str(maps))
    context = Context(samples, tmp_path / "out")
    with pytest.raises(MethodError, match=r"a\.png: saliency map of 20x16 for an image of 40x32"):
        detect(context, settings)
    settings = replace(settings, resize=True)
    detect(context, settings)
    dense_map = saliency_dense_map(settings, tmp_path / "out")
    assert Image.open(dense_map.path_of("a")).size == (40, 32)
    assert dense_map.path_of("c") == maps / "c.png"


def test_other_maps_in_the_folder_are_other_settings(
    tmp_path: Path, samples: list[Sample], maps: Path
) -> None:
    view = Context(samples, tmp_path / "out").view
    settings = SaliencyConfig(source="folder", folder=str(maps))
    before = resolve(settings, view)
    assert before.content
    write_mask(maps / "c.png", [255], (24, 24))
    assert resolve(settings, view).content != before.content
    nano = SaliencyConfig()
    assert resolve(nano, view) == nano


def test_unknown_source() -> None:
    settings = SaliencyConfig(source="pfan")
    assert first_fault(settings, "saliency") == "saliency.source=pfan: there are folder, rembg, nano"


@pytest.mark.parametrize(
    ("settings", "references"),
    [
        (SaliencyConfig(), ("nano/saliency",)),
        (SaliencyConfig(weights="/x/net.safetensors"), ("/x/net.safetensors",)),
        (SaliencyConfig(source="rembg"), ("rembg/u2netp",)),
        (SaliencyConfig(source="folder", weights="x"), ()),
    ],
)
def test_references_of_weights(settings: SaliencyConfig, references: tuple[str, ...]) -> None:
    assert settings.pretrained == references


def test_nano_detector_writes_maps_of_the_images_size(tmp_path: Path, samples: list[Sample]) -> None:
    torch.manual_seed(0)
    network = SaliencyNet()
    save_file(network.state_dict(), tmp_path / "saliency.safetensors")
    context = Context(samples, tmp_path / "out", tmp_path / "saliency.safetensors")
    detect(context, SaliencyConfig(source="nano"))
    dense_map = saliency_dense_map(SaliencyConfig(source="nano"), tmp_path / "out")
    for sample in samples:
        with Image.open(dense_map.path_of(sample.id)) as made, Image.open(sample.image) as image:
            assert made.mode == "L"
            assert made.size == image.size


def test_nano_network_is_small_and_takes_any_size() -> None:
    network = SaliencyNet().eval()
    assert 100_000 < sum(p.numel() for p in network.parameters()) < 200_000
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.zeros(1, 3, 96, 96))
    assert counter.get_total_flops() / 2 <= 60e6
    for height, width in ((1, 1), (17, 45), (96, 96)):
        assert network(torch.zeros(2, 3, height, width)).shape == (2, 1, height, width)


def test_nano_network_learns_a_bright_square() -> None:
    torch.manual_seed(0)
    images = torch.randn(8, 3, 32, 32) * 0.3
    masks = torch.zeros(8, 32, 32)
    for i in range(8):
        masks[i, i : i + 14, 4 + i : 18 + i] = 1
    images += masks[:, None] * 1.5
    network = SaliencyNet()
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(40):
        optimiser.zero_grad()
        loss = pretraining_loss(network, images, masks)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.4 * losses[0]
    with torch.inference_mode():
        found = network.eval()(images).squeeze(1) > 0
    iou = (found & masks.bool()).sum() / (found | masks.bool()).sum()
    assert iou > 0.8


def test_pretraining_loss_of_perfect_and_empty_masks() -> None:
    class Fixed(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images[:, :1]

    masks = torch.zeros(2, 1, 8, 8)
    masks[0, :, :4] = 1
    images = (masks * 2 - 1).expand(-1, 3, -1, -1) * 50
    assert pretraining_loss(Fixed(), images, masks).item() == pytest.approx(0, abs=1e-6)
    assert pretraining_loss(Fixed(), -images, masks).item() > 50


def test_without_rembg_the_extra_is_named(
    tmp_path: Path, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rembg_models.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MethodError, match=r"pip install 'rembg\[cpu\]'"):
        detect(Context(samples, tmp_path), SaliencyConfig(source="rembg"))


needs_rembg = pytest.mark.skipif(
    importlib.util.find_spec("rembg") is None, reason="extra saliency not installed"
)


@needs_rembg
def test_a_file_that_is_no_network_is_one_line(tmp_path: Path, samples: list[Sample]) -> None:
    (tmp_path / "u2netp.onnx").write_bytes(b"no network")
    context = Context(samples, tmp_path, tmp_path / "u2netp.onnx")
    with pytest.raises(MethodError, match=r"u2netp\.onnx: rembg cannot load it") as error:
        detect(context, SaliencyConfig(source="rembg"))
    assert "\n" not in str(error.value)
    with pytest.raises(MethodError, match=r"rename it to u2net\.onnx"):
        detect(context, SaliencyConfig(source="rembg", model="u2net"))


@needs_rembg
@pytest.mark.shared
def test_rembg_finds_what_the_masks_show(tmp_path: Path, shared: Path) -> None:
    voc = shared / "data" / "VOCdevkit" / "VOC2012"
    ids = ("2007_000033", "2007_000129", "2007_000738")
    samples = [Sample(i, voc / "JPEGImages" / f"{i}.jpg", (0,)) for i in ids]
    context = Context(samples, tmp_path, shared / "weights" / "u2netp.onnx")
    settings = SaliencyConfig(source="rembg")
    detect(context, settings)
    assert context.advanced == 3
    for sample in samples:
        with Image.open(saliency_dense_map(settings, tmp_path).path_of(sample.id)) as made:
            assert made.mode == "L"
            found = np.array(made) > 127
        truth = np.array(Image.open(voc / "SegmentationClass" / f"{sample.id}.png"))
        assert found.shape == truth.shape
        foreground, scored = (truth > 0) & (truth < 255), truth < 255
        iou = (found & foreground).sum() / ((found | foreground) & scored).sum()
        assert iou > 0.4, sample.id


@pytest.mark.parametrize(("value", "times"), [(1, 255), (100, 2), (38, 6)])
def test_maps_that_stay_far_below_white_are_refused(
    tmp_path: Path, samples: list[Sample], maps: Path, value: int, times: int
) -> None:
    """Of 0 and 1, percentages, the first colour of VOC's palette."""
    for path in maps.rglob("*.png"):
        with Image.open(path) as image:
            scaled = image.point(lambda v: value * (v > 0))
        scaled.save(path)
    settings, view = (
        SaliencyConfig(source="folder", folder=str(maps)),
        Context(samples, tmp_path / "out").view,
    )
    with pytest.raises(MethodError, match=rf"the maximum of 3 of them is {value} of 255, .* times {times}\)"):
        resolve(settings, view)
