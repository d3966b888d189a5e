"""The refiner IRNet's stages: what they declare, the labels between them, and a tiny run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydensecrf.utils import unary_from_labels, unary_from_softmax
from safetensors.torch import load_file

from benchmark.config import compose, plain
from datasets.base import IGNORE, TrainingView
from methods.base import Kind, MethodError
from methods.layers.config import CrfConfig
from methods.refiners import IRN, refiner_stages
from methods.refiners.config import RefinerConfig
from methods.refiners.irn import stages
from methods.refiners.irn.config import IrnConfig
from tests.helpers.refining import CAM, check_label_maps, context, run_refiner

pytestmark = pytest.mark.usefixtures("seeded")

NANO = IRN["nano"]
REFINER = RefinerConfig("irn", irn=NANO)

# --- declaration ------------------------------------------------------------------------------------------


def test_irn_has_three_stages_and_the_last_yields_the_pseudo_labels():
    labels, network, walk = refiner_stages(REFINER, CAM)
    assert [s.yields for s in (labels, network, walk)] == [
        Kind.TRAINING_LABEL,
        Kind.WEIGHTS,
        Kind.PSEUDO_LABEL,
    ]
    assert (labels.inputs, network.inputs) == ({"cam": "cam"}, {"labels": "inter_pixel_label"})
    assert walk.inputs == {"cam": "cam", "inter_pixel": "inter_pixel"}
    assert network.pretrained == ("nano/resnet38d_nano",)
    assert (labels.seeded, network.seeded, walk.seeded) == (False, True, False)


def test_settings_of_the_walk_retrain_nothing():
    changed = replace(REFINER, irn=replace(NANO, exp_times=1, beta=2.0, radius=2, background_threshold=0.5))
    before, after = refiner_stages(REFINER, CAM), refiner_stages(changed, CAM)
    assert before[:2] == after[:2]
    assert before[2] != after[2]


def test_irn_needs_no_threshold_of_the_cam():
    *_, walk = refiner_stages(REFINER, replace(CAM, fixed_threshold=None))
    assert walk.settings.background_threshold == NANO.background_threshold


@pytest.mark.parametrize("scale", ["nano", "small", "paper"])
def test_every_method_can_be_refined_by_it_at_every_scale(scale):
    methods = ("cam", "eps", "mctformer", "semantic_modulation")
    config = compose(methods, scale=scale, overrides=[f"method.{m}.refiner.name=irn" for m in methods])
    for method in methods:
        assert plain(config.method[method].refiner.irn) == plain(IRN[scale])


def test_defaults_are_the_published_settings():
    published = IrnConfig()
    assert published.crf == CrfConfig(10, 3.0, 3.0, 50.0, 5.0, 10.0)
    assert (published.confident_foreground, published.confident_background) == (0.30, 0.05)
    assert (published.train.iterations, published.train.batch_size) == (990, 32)


# --- labels -----------------------------------------------------------------------------------------------


def test_foreground_is_taken_first_and_background_of_both():
    foreground = torch.tensor([0, 0, 2, 1], dtype=torch.uint8)
    background = torch.tensor([0, 1, 0, 1], dtype=torch.uint8)
    found = stages.foreground_before_background(foreground, background)
    assert found.tolist() == [0, IGNORE, 2, 1]
    assert found.dtype == torch.uint8


@pytest.mark.parametrize("classes", [1, 2, 4])
def test_probabilities_of_labels_start_the_crf_as_its_labels_do(classes):
    source = np.random.default_rng(classes)
    scores = torch.from_numpy(source.random((classes + 1, 24, 30)))
    probabilities = stages.label_probabilities(scores, 0.7)
    torch.testing.assert_close(probabilities.sum(0), torch.ones_like(probabilities[0]))
    labels = scores.argmax(0).numpy()
    expected = unary_from_labels(labels, classes + 1, gt_prob=0.7, zero_unsure=False)
    np.testing.assert_allclose(unary_from_softmax(probabilities.numpy()), expected, rtol=1e-6)


# --- stages -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Output folders of IRNet's stages."""
    training = replace(NANO.train, iterations=2, batch_size=2, recipe=replace(NANO.train.recipe, crop=40))
    return run_refiner(replace(REFINER, irn=replace(NANO, train=training)), tmp_path_factory.mktemp("irn"))


def test_label_maps_have_their_images_size_and_classes(run):
    check_label_maps(run["inter_pixel_label"], {IGNORE})
    check_label_maps(run["pseudo_label"])


def test_training_keeps_its_losses_and_the_mean_displacement(run):
    (history,) = run["inter_pixel"].glob("losses-*.json")
    assert {"affinity_background", "affinity_negative", "displacement_foreground"} <= set(
        json.loads(history.read_text())[-1]
    )
    assert (load_file(run["inter_pixel"] / "network.safetensors")["mean_displacement"] != 0).any()


def test_a_crop_without_pairs_is_refused(tmp_path):
    view = TrainingView("test", ("a",), {"train": ()})
    small = replace(NANO, train=replace(NANO.train, recipe=replace(NANO.train.recipe, crop=32)))
    with pytest.raises(MethodError, match=r"crop=32 has no pairs .*radius=5; choose 36 or more"):
        stages.train(context(view, {}, tmp_path), small.training())


def test_what_is_left_of_a_class_competes_with_the_image_s_maximum():
    walked = torch.tensor([[[[4.0, 0.8, 0.0]], [[0.0, 0.9, 1.2]]]])
    assert stages._winners(walked, 0.25).tolist() == [[[1, 0, 2]]]
    assert stages._winners(torch.zeros(1, 2, 1, 3), 0.25).tolist() == [[[0, 0, 0]]]


def test_neither_refiner_keeps_gradients_beyond_its_training():
    from methods.refiners.irn import stages as irn
    from methods.refiners.psa import stages as psa

    modes = []

    class StopError(Exception):
        pass

    def note(*arguments, **named):
        modes.append(torch.is_inference_mode_enabled())
        raise StopError

    class Probe:
        def __getattr__(self, name):
            note()

    for work in (
        lambda: irn.mean_displacement(Probe(), torch.nn.Identity(), 1),
        lambda: irn.pseudo_label(Probe(), Probe()),
        lambda: psa.pseudo_label(Probe(), Probe()),
    ):
        with pytest.raises(StopError):
            work()
    assert modes == [True] * 3
