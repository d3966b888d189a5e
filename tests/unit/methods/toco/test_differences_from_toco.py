"""Where the single-stage network is not ToCo's code: every difference is declared, and still is one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from datasets.loading.loader import ImageBatch
from methods.layers.cam import multi_scale_cam, normalise
from methods.layers.networks.vit import whole_patches
from methods.segmenters.stages import label_maps
from tests.helpers.single_stage import METHODS

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
    labels = label_maps(ByScale(), batch, (1.0, 2.0), True, [Path("a.png")], None)
    assert labels.eq(1).all()  # the highest logit is the background's


@both
def test_the_cams_minimum_stays_where_toco_subtracts_it(name: str) -> None:
    code, ours = said(name, "scales of the test, and of the CAM")
    assert "less their minimum" in code
    assert "nothing is taken off" in ours
    maps = multi_scale_cam(lambda images: images[:, :1], torch.rand(1, 3, 6, 6) + 1, (1.0, 0.5), flip=True)
    assert normalise(maps).min() > 0.3
