"""Settings of paper scale that differ from what a family of methods shares, as the authors' code and logs print them."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from datasets.base import TrainingView
from datasets.loading.loader import Batch
from methods.base import Shared
from methods.cam.config import CamTrainingConfig
from methods.cam.network import PlainCam
from methods.layers.config import BackboneConfig, CrfConfig, SegmenterConfig, TrainConfig
from methods.layers.networks.backbones import build_backbone
from methods.layers.networks.deeplab import build_segmenter
from methods.refiners import PSA
from methods.registry import all_methods
from methods.segmenters.stages import segmentation_losses, with_background_around

VIEW = TrainingView("toy", ("a", "b"), {"train": (), "val": ()})


@pytest.mark.parametrize(
    ("preset", "crop", "resize_long"), [("paper", 448, (256, 512)), ("paper/coco2014", 321, (256, 448))]
)
def test_eps_and_its_baseline_resize_as_their_logs_print(preset, crop, resize_long) -> None:  # type: ignore[no-untyped-def]
    """`resize_size` and `crop_size` of log_voc12_eps.log and log_voc12_cls.log; on COCO of the scripts and logs."""
    for name in ("eps", "cam"):
        recipe = all_methods()[name].presets[preset].train.recipe
        assert (recipe.crop, recipe.resize_long) == (crop, resize_long)


def test_the_baselines_classifier_drops_half_of_the_channels_and_epss_none() -> None:
    """dropout7 of EPS's resnet38_cls; resnet38_eps has none, nor have our smaller scales."""
    found = {
        (name, scale): all_methods()[name].stages(all_methods()[name].presets[scale], VIEW, Shared())
        for name in ("cam", "eps")
        for scale in ("nano", "small", "paper", "paper/coco2014")
        if (name, scale) != ("eps", "small")  # its detector is not installed everywhere
    }
    rates = {
        key: stage.settings.dropout
        for key, stages in found.items()
        for stage in stages
        if stage.name == "classify"
    }
    assert {key for key, rate in rates.items() if rate} == {("cam", "paper"), ("cam", "paper/coco2014")}
    assert rates["cam", "paper"] == rates["cam", "paper/coco2014"] == 0.5


def test_dropout_takes_whole_channels_in_training_alone() -> None:
    torch.manual_seed(0)
    backbone = BackboneConfig("resnet38d_nano", output_stride=4)
    settings = CamTrainingConfig(backbone, TrainConfig(), dropout=0.5)
    network = PlainCam.build_for_training(settings, 2, None)
    features = torch.ones(4, network.backbone.channels, 3, 3)
    dropped = network.dropout(features).flatten(2)
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(dropped.amin(-1), dropped.amax(-1))
    assert 0.3 < (dropped[..., 0] == 0).sum() / dropped[..., 0].numel() < 0.7
    images = torch.rand(1, 3, 16, 16)
    before = torch.get_rng_state()
    network.eval()
    assert torch.equal(network(images), network.classifier(network.backbone(images)))
    without = PlainCam.build_for_training(CamTrainingConfig(backbone, TrainConfig()), 2, None)
    torch.set_rng_state(before)
    without.dropout(features)
    assert torch.equal(torch.get_rng_state(), before), "without it no random number is drawn"


@pytest.mark.parametrize("name", ["mctformer", "semantic_modulation"])
def test_mctformer_trains_psas_network_for_five_epochs_at_a_tenth_of_psas_rate(name: str) -> None:
    """`max_epoches` and `lr` of MCTformer's psa/train_aff.py; train_aug has 10 582 images, the batch 8."""
    presets = all_methods()[name].presets
    for preset, images in (("paper", 10582), ("paper/coco2014", 82081)):
        train = presets[preset].refiner.psa.train
        assert (train.iterations, train.batch_size, train.learning_rate) == (5 * (images // 8), 8, 0.01)
        assert presets[preset].refiner.psa.crf == PSA["paper"].crf, (
            "psa/tool/imutils.py, which engine.py imports"
        )
    own = PSA["paper"].train
    assert (own.iterations, own.learning_rate) == (8 * (10582 // 8), 0.1), "PSA's own are as they were"
    assert presets["nano"].refiner.psa.crf == CrfConfig(5, 4.0, 3.0, 20.0 * 83 / 80, 5.0, 3.0)
    assert presets["small"].refiner.psa.crf == CrfConfig(10, 4.0, 3.0, 83.0, 5.0, 3.0)
    assert presets["nano"].refiner.psa.train == PSA["nano"].train
    assert presets["small"].refiner.psa.train == PSA["small"].train


@pytest.mark.parametrize("preset", ["paper", "paper/coco2014"])
def test_epss_crf_is_that_of_its_readme_with_a_power_as_background(preset: str) -> None:
    """bi_w = 4, bi_xy_std = 67, bi_rgb_std = 3, pos_w = 3, pos_xy_std = 1; (1 - max)^alpha is infer.py's."""
    refiner = all_methods()["eps"].presets[preset].refiner
    crf = refiner.crf
    assert (crf.bilateral_compat, crf.bilateral_sxy, crf.bilateral_srgb) == (4.0, 67.0, 3.0)
    assert (crf.gaussian_compat, crf.gaussian_sxy) == (3.0, 1.0)
    assert refiner.crf_background_power == 7.0
    assert all_methods()["eps"].presets["nano"].refiner.crf_background_power is None


@pytest.mark.parametrize("name", ["mctformer", "semantic_modulation"])
def test_mctformers_segmentation_freezes_the_stem_alone_and_takes_padding_as_background(name: str) -> None:
    """seg/network/resnet38d.py and seg/tool/exutils.py; .39 is bg_thr of psa/infer_aff.py."""
    presets = all_methods()[name].presets
    for preset in ("paper", "paper/coco2014"):
        segmenter = presets[preset].segmenter
        assert (segmenter.backbone.frozen_stages, segmenter.padding_is_background) == (1, True)
        assert presets[preset].background_threshold == 0.39
        with torch.device("meta"):
            trunk = build_backbone(segmenter.backbone).trunk
        frozen = {
            n.split(".")[0] for n, p in trunk.named_parameters() if not p.requires_grad and "bn" not in n
        }
        assert frozen == {"conv1a"}
        assert all(not p.requires_grad for n, p in trunk.named_parameters() if "bn" in n)
    for scale in ("nano", "small"):
        assert presets[scale].background_threshold == {"nano": 0.45, "small": 0.4}[scale]
        assert not presets[scale].segmenter.padding_is_background


def test_resnet38ds_head_starts_xavier_uniform() -> None:
    torch.manual_seed(0)
    backbone = BackboneConfig("resnet38d_nano", output_stride=4)
    head = build_segmenter(SegmenterConfig(backbone, "largefov_resnet38d"), 3).head
    for layer in (head[0], head[2]):
        bound = (6 / (9 * (layer.in_channels + layer.out_channels))) ** 0.5
        assert 0.98 * bound < layer.weight.abs().max().item() <= bound
        assert layer.bias.any(), "PyTorch's own"


def test_padding_counts_as_background_where_it_is_set() -> None:
    """An image of one pixel of class 1, with a padded pixel beside it: its label is 255, or background."""
    logits = torch.tensor([[[[0.0, 2.0]], [[1.0, 0.0]]]])
    valid = torch.tensor([[[[True, False]]]])
    batch = Batch(
        ("a",), torch.zeros(1, 3, 1, 2), torch.ones(1, 1), {"labels": torch.tensor([[[1, 255]]])}, valid
    )
    log = logits.log_softmax(1)
    network = lambda images: logits  # noqa: E731
    assert_close(segmentation_losses(network, batch)["segmentation"], -log[0, 1, 0, 0])
    filled = with_background_around(segmentation_losses)(network, batch)["segmentation"]
    assert_close(filled, -(log[0, 1, 0, 0] + log[0, 0, 0, 1]) / 2)
