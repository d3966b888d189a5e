"""Where the single-stage network is not ToCo's code: every difference is declared, and still is one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from datasets.loading.loader import ImageBatch
from methods import refiners
from methods.declared import deviations_of_parts
from methods.layers.cam import multi_scale_cam, normalise
from methods.layers.networks.vit import whole_patches
from methods.layers.optim import parameter_groups
from methods.registry import find_method
from methods.segmenters.stages import label_maps, segmentation_probabilities
from methods.toco.branch import Decoder
from tests.helpers.single_stage import METHODS, network

both = pytest.mark.parametrize("name", ["toco", "dskd_gc"])


def said(name: str, topic: str) -> tuple[str, str]:
    """What a method's deviation says of ToCo's code and of ours."""
    found = {deviation.topic: deviation for deviation in METHODS[name].deviations}
    return found[topic].code, found[topic].ours


@both
def test_images_are_resized_to_whole_patches_where_toco_cuts_or_squares_them(name: str) -> None:
    code, ours = said(name, "image sides that are no multiple of the patch")
    assert "448² in the validation during training; at test the image's own size" in code
    assert "nearest multiple" in ours
    assert whole_patches(torch.zeros(1, 3, 70, 90), (16, 16)).shape[-2:] == (64, 96)


@pytest.mark.parametrize(("preset", "threshold"), [("paper", 0.5), ("paper/coco2014", 0.45)])
def test_the_thresholded_cam_is_scored_as_in_toco_and_pars_labels_teach(
    preset: str, threshold: float
) -> None:
    code, _ = said("toco", "labels that are scored, and labels that teach")
    assert "scores the CAM above bkg_thre (.5; COCO .45)" in code
    config = METHODS["toco"].presets[preset]
    assert (config.refiner.name, config.background_threshold) == ("none", threshold)
    assert config.labels.refinement == "par"


class ByScale(nn.Module):
    """Logits of background and one class: (0, 1.5) for the image, (9, 8.5) for one of twice its size."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = torch.tensor([0.0, 1.5] if images.shape[-1] == 8 else [9.0, 8.5])
        return logits[None, :, None, None].expand(len(images), 2, *images.shape[-2:])


@both
def test_the_softmax_is_averaged_at_test_where_toco_takes_the_highest_logit(name: str) -> None:
    code, ours = said(name, "scales of the test, and of the CAM")
    assert "logits are added over mirror images and their maximum taken over scales" in code
    assert "mean of the softmax" in ours
    batch = ImageBatch(("a",), torch.zeros(1, 3, 8, 8), torch.ones(1, 1), (8, 8))
    labels = label_maps(
        segmentation_probabilities(ByScale(), batch.images, (1.0, 2.0), True), [Path("a.png")], None
    )
    assert labels.eq(1).all()  # the highest logit is the background's


@both
def test_the_cams_minimum_stays_where_toco_subtracts_it(name: str) -> None:
    code, ours = said(name, "scales of the test, and of the CAM")
    assert "less their minimum" in code
    assert "nothing is taken off" in ours
    maps = multi_scale_cam(lambda images: images[:, :1], torch.rand(1, 3, 6, 6) + 1, (1.0, 0.5), flip=True)
    assert normalise(maps).min() > 0.3


@both
def test_positions_learn_and_are_stretched_a_little_more_where_tocos_stay(name: str) -> None:
    code, ours = said(name, "position embedding")
    assert "stays as pretrained" in code
    assert "learns; stretched by (patches + .1) / patches" in ours
    vit = network(name)[0].teacher.encoder
    assert vit.patch_positions.requires_grad
    grid = vit.patch_positions.transpose(1, 2).unflatten(2, (6, 6))
    plain = nn.functional.interpolate(grid, (8, 8), mode="bicubic").flatten(2).transpose(1, 2)
    stretched = vit._positions(8, 8)
    assert not torch.allclose(stretched, plain)
    offset = nn.functional.interpolate(grid, scale_factor=8.1 / 6, mode="bicubic").flatten(2).transpose(1, 2)
    torch.testing.assert_close(stretched, offset)


@both
def test_matrices_alone_decay_where_all_of_tocos_do(name: str) -> None:
    code, ours = said(name, "weight decay")
    assert code == "ToCo's: of all parameters"
    assert "biases, normalisations, class token and positions do not decay" in ours
    teacher, settings = network(name)[0].teacher, network(name)[1]
    groups = parameter_groups(teacher, teacher.heads(), settings.train)
    decays = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    kept = {n for n, p in teacher.named_parameters() if p.requires_grad and id(p) not in decays}
    assert kept >= {"encoder.class_tokens", "encoder.class_positions", "encoder.patch_positions"}
    assert all(p.ndim > 1 for p in teacher.parameters() if id(p) in decays)
    assert kept > {n for n, p in teacher.named_parameters() if p.ndim == 1}


@both
def test_the_decoder_has_biases_where_tocos_has_none(name: str) -> None:
    code, ours = said(name, "biases of the decoder")
    assert "have none" in code
    assert ours == "they have"
    decoder = Decoder(768, 21, METHODS[name].presets["paper"].decoder)
    biases = [n for n, _ in decoder.named_parameters() if n.endswith("bias")]
    assert len(biases) == 3
    assert sum(decoder.get_parameter(n).numel() for n in biases) == 1045


@pytest.mark.parametrize(("name", "scale"), [("clims", "paper"), ("ca_cl", "paper")])
def test_batch_normalisation_does_not_decay_where_irnets_and_climss_does(name: str, scale: str) -> None:
    method = find_method(name)
    topic = next(d for d in method.deviations if d.topic == "weight decay")
    assert "batch normalisation included" in topic.code
    train = method.presets[scale].train
    groups = parameter_groups(nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)), [], train)
    decays = [group["weight_decay"] for group in groups for _ in group["params"]]
    assert sorted(decays) == [0.0, 0.0, 0.0, train.weight_decay]
    assert train.weight_decay > 0


def test_irnets_difference_in_decay_is_declared() -> None:
    topics = {d.topic: d for d in deviations_of_parts(Path(refiners.__file__).parent)["irn"]}
    assert "group normalisation included" in topics["IRNet: weight decay"].code
