"""Stages that pass large images in tiles write what they write of whole images; and what is said where they cannot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from benchmark.config import RuntimeConfig
from benchmark.execution.fitting import Fit
from benchmark.failures import ConfigError
from benchmark.prediction.networks import Predictor
from benchmark.prediction.predict import _with_tiles
from datasets.base import Conversion, Sample, TrainingView
from datasets.files.images import read_labels
from datasets.recipe import IMAGENET
from methods.artifacts import CamReader, label_map_path, read_image_scores
from methods.base import MethodError, NotRunnable, Shared, part
from methods.layers.cam_inference import write_multi_scale_cams
from methods.layers.config import CamInferenceConfig, CrfConfig, ScoresConfig, SegmenterConfig, TilesConfig
from methods.layers.image_scores import write_classifications
from methods.layers.tiles import GRID
from methods.mctformer.config import AttendedCamConfig
from methods.mctformer.network import MctformerNetwork
from methods.registry import find_method
from methods.segmenters.stages import write_label_maps
from tests.helpers.refining import context
from tests.helpers.trees import write_image

TILES = TilesConfig(96, 32)


class Convolutions(nn.Sequential):
    """Of stride 4; a cell sees 17 pixels to either side."""

    normalisation = IMAGENET

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(
            nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 3, 7, 1, 3)
        )


@pytest.fixture
def view(tmp_path: Path) -> TrainingView:
    samples = []
    for name, size in (("a", (203, 130)), ("b", (203, 130)), ("c", (60, 50))):  # width, height
        write_image(tmp_path / f"{name}.png", ord(name), size)
        samples.append(Sample(name, tmp_path / f"{name}.png", (0, 2)))
    return TrainingView("drawn", ("cat", "dog", "cow"), {"train": tuple(samples), "val": tuple(samples)})


def test_cams_of_tiles_are_those_of_whole_images(tmp_path: Path, view: TrainingView) -> None:
    network = Convolutions().eval()
    found = []
    for name, tiles in (("whole", TilesConfig()), ("tiled", TILES)):
        settings = CamInferenceConfig((1.0, 1.5), True, 2, tiles)
        write_multi_scale_cams(
            context(view, {}, tmp_path / name), lambda x: network(x).relu(), IMAGENET, settings
        )
        found.append(dict(CamReader(tmp_path / name)))
    whole, tiled = found
    assert list(whole) == list(tiled)
    for sample_id, cam in whole.items():
        assert tiled[sample_id].size == cam.size
        np.testing.assert_allclose(
            tiled[sample_id].maps.astype(float), cam.maps.astype(float), atol=1e-3, rtol=0
        )


def test_label_maps_of_tiles_are_those_of_whole_images(tmp_path: Path, view: TrainingView) -> None:
    network = Convolutions().eval()
    for name, tiles in (("whole", TilesConfig()), ("tiled", TILES)):
        run = context(view, {}, tmp_path / name)
        write_label_maps(run, network, IMAGENET, 2, (1.0, 0.75), True, None, tiles)
    for sample in view.samples("val"):
        whole, tiled = (
            read_labels(label_map_path(tmp_path / name, sample.id)) for name in ("whole", "tiled")
        )
        assert (whole == tiled).float().mean() > 0.999  # at ties the last bit decides


def test_scores_of_tiles_are_their_maximum(tmp_path: Path, view: TrainingView) -> None:
    shapes = []

    def brightest(images: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(images.shape))
        return images.amax((2, 3))

    for name, tiles in (("whole", TilesConfig()), ("tiled", TILES)):
        settings = ScoresConfig(2, tiles=tiles)
        write_classifications(context(view, {}, tmp_path / name), brightest, IMAGENET, settings, GRID)
    whole, tiled = (read_image_scores(tmp_path / name) for name in ("whole", "tiled"))
    for sample_id, scores in whole.items():
        np.testing.assert_array_equal(tiled[sample_id], scores)
    assert shapes[:2] == [(2, 3, 130, 203), (1, 3, 50, 60)]
    assert max(max(shape[2:]) for shape in shapes[2:]) <= 96


def test_tiles_that_do_not_fit_the_memory_are_halved(capsys: pytest.CaptureFixture[str]) -> None:
    fit = Fit(RuntimeConfig(), "cam")
    fit.gives(4, tiled=True)
    fit.divide(MemoryError())
    assert capsys.readouterr().out == "cam: 4 tiles at once do not fit the memory; going on with 2\n"
    assert fit.images_at_once(8) == 2
    fit.gives(1, tiled=True)
    with pytest.raises(MethodError, match="out of memory with one tile at a time: smaller tiles, fewer"):
        fit.divide(MemoryError())


@pytest.mark.parametrize("name", ["seam", "clip_es", "weclip"])
@pytest.mark.parametrize("shared", [True, False])
def test_networks_that_look_at_the_whole_image_say_so(name: str, shared: bool) -> None:
    method = find_method(name)
    config = method.presets["nano"]
    inference = replace(config.inference, tiles=TILES)  # type: ignore[attr-defined]
    view = TrainingView("shapes", ("cat",), {"train": (), "val": ()})
    key = "protocol" if shared else f"method.{name}"
    given = Shared(inference=inference if shared else None)
    if not shared:
        config = replace(config, inference=inference)  # type: ignore[call-arg]
    with pytest.raises(NotRunnable, match=rf"{key}\.inference\.tiles\.side=96: .* set {key}.*tiles\.side=0"):
        method.stages(config, view, given)


def test_attention_of_tiles_of_several_sizes_is_comparable() -> None:
    config = find_method("mctformer").presets["nano"]
    settings: Any = part(AttendedCamConfig, config)
    one = replace(settings.inference, scales=(1.0,))
    assert not MctformerNetwork.per_patch(replace(settings, inference=one))
    assert MctformerNetwork.per_patch(replace(settings, inference=replace(one, tiles=TILES)))


def _predictor(settings: object) -> Predictor:
    return Predictor("package.stages:predict", settings, {}, ("cat",), Conversion(0, 8), 0)


def test_predict_takes_other_tiles_than_the_run_had() -> None:
    predictor = _predictor(SegmenterConfig(test_tiles=TILES))
    assert _with_tiles(predictor, 512, 64).settings == SegmenterConfig(test_tiles=TilesConfig(512, 64))
    assert _with_tiles(predictor, 0, None).settings == SegmenterConfig()


def test_predict_refuses_tiles_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match=r"--tile 96 --overlap 64: 96 must be more than twice"):
        _with_tiles(_predictor(SegmenterConfig()), 96, 64)
    with pytest.raises(ConfigError, match=r"--tile 1024: package.stages:predict segments whole images"):
        _with_tiles(_predictor(CrfConfig()), 1024, None)
