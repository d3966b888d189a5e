"""ToCo's losses: the reference's numbers, gradients, what is ignored; and the crops they compare."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck

from datasets.base import IGNORE
from methods.layers.local_crops import uncertain_crops
from methods.layers.token_losses import class_token_contrast, patch_token_contrast, token_labels
from methods.sam_fused import METHOD as SAM_FUSED
from methods.toco.losses import balanced_segmentation_loss, segmentation_loss
from methods.toco.network import ClassContrast
from methods.toco.parts import ClassContrastConfig
from tests.conftest import golden
from tests.helpers.single_stage import METHODS


def vectors(name: str) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(array) for key, array in golden(name).items()}


# --- the reference's numbers ------------------------------------------------------------------------------


def test_patch_contrast_is_the_references():
    vector = vectors("toco_ptc")
    loss = patch_token_contrast(vector["features"], vector["token_labels"])
    torch.testing.assert_close(loss, vector["loss"], rtol=1e-4, atol=0)


def test_class_contrast_is_the_references():
    vector = vectors("toco_ctc")
    loss = class_token_contrast(
        vector["local_tokens"], vector["global_tokens"], vector["positive"], float(vector["temperature"])
    )
    torch.testing.assert_close(loss, vector["loss"], rtol=1e-4, atol=0)


def test_heads_of_the_class_contrast_are_the_references():
    vector = vectors("toco_ctc_head")
    config = ClassContrastConfig(
        momentum=float(vector["momentum"]),
        temperature=float(vector["temperature"]),
        hidden=32,
        bottleneck=16,
        outputs=24,
    )
    assert vector["student:last_layer.weight_g"].eq(1).all()
    contrast = ClassContrast(16, config)
    for module, source in ((contrast.head, "student:"), (contrast.average, "teacher_before:")):
        module.load_state_dict(head_state(vector, source))
    tokens = vector["tokens"].requires_grad_()
    local, whole = contrast(tokens[:2].flatten(0, 1), tokens[2:].flatten(0, 1))
    torch.testing.assert_close(local.view(10, 3, 24), vector["student_outputs"], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(whole.view(2, 3, 24), vector["teacher_outputs"], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(dict(contrast.average.state_dict()), head_state(vector, "teacher_after:"))
    loss = class_token_contrast(local, whole, vector["positive"], config.temperature)
    torch.testing.assert_close(loss, vector["loss"], rtol=1e-4, atol=0)
    loss.backward()
    largest = float(vector["grad_tokens"].abs().max())
    torch.testing.assert_close(tokens.grad, vector["grad_tokens"], rtol=1e-3, atol=1e-3 * largest)


def head_state(vector: dict[str, torch.Tensor], source: str) -> dict[str, torch.Tensor]:
    """A head of ToCo's code by the names that ours has; the last layer's rows are of unit length in both."""
    names = {f"layers.{i}.{part}": f"mlp.{i}.{part}" for i in (0, 2, 4) for part in ("weight", "bias")}
    return {
        ours: vector[source + theirs] for ours, theirs in (names | {"last": "last_layer.weight_v"}).items()
    }


@pytest.mark.parametrize("name", ["toco", "dskd_gc"])
def test_lengths_of_projected_tokens_count_at_paper_scale(name):
    presets = METHODS[name].presets
    lengths = {key: config.class_contrast.unit_length for key, config in presets.items()}
    assert lengths == {"nano": True, "small": True, "paper": False, "paper/coco2014": False}


def test_eight_local_crops_beside_the_two_global_views_at_paper_scale():
    crops = vectors("toco_ctc_head")["tokens"].shape[0] - 2
    for preset in ("paper", "paper/coco2014"):
        contrast = METHODS["toco"].presets[preset].class_contrast
        assert (contrast.crops, contrast.size) == (crops, 96)
    for preset in ("paper", "paper/bluefilm"):
        contrast = SAM_FUSED.presets[preset].contrast
        assert (contrast.crops, contrast.size) == (crops, 96)


def test_projections_of_unit_length_where_set():
    torch.manual_seed(0)
    contrast = ClassContrast(8, ClassContrastConfig(hidden=6, bottleneck=4, outputs=16, unit_length=True))
    for found in contrast(torch.randn(2, 8), torch.randn(3, 8)):
        torch.testing.assert_close(found.norm(dim=-1), torch.ones(len(found)))


def test_balanced_segmentation_loss_is_the_references():
    vector = vectors("toco_seg_loss")
    loss = balanced_segmentation_loss(vector["logits"], vector["labels"])
    torch.testing.assert_close(loss, vector["loss"], rtol=1e-4, atol=0)


# --- gradients --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("absolute", [True, False])
def test_gradient_of_patch_contrast(absolute):
    torch.manual_seed(0)
    features = torch.randn(2, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 3, (2, 3, 3))
    labels[0, 0] = IGNORE
    assert gradcheck(lambda x: patch_token_contrast(x, labels, absolute), (features,))


def test_gradient_of_class_contrast():
    torch.manual_seed(0)
    local = torch.randn(10, 4, dtype=torch.float64, requires_grad=True)
    whole = torch.randn(4, 4, dtype=torch.float64)
    positive = torch.tensor([[1, 1, 0, 1, 0], [1, 1, 1, 1, 1]])
    assert gradcheck(lambda x: class_token_contrast(x, whole, positive), (local,))


@pytest.mark.parametrize("loss", [segmentation_loss, balanced_segmentation_loss])
def test_gradient_of_segmentation_losses(loss):
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 3, (2, 3, 4))
    labels[:, 1] = IGNORE
    assert gradcheck(lambda x: loss(x, labels), (logits,))


# --- what follows from the definitions --------------------------------------------------------------------


def test_token_labels_by_two_thresholds():
    cam = torch.tensor([[[[0.1, 0.5, 0.8]], [[0.2, 0.9, 0.3]]]])
    assert token_labels(cam, 0.25, 0.7).tolist() == [[[0, 2, 1]]]
    assert token_labels(cam, 0.25, 0.85).tolist() == [[[0, 2, IGNORE]]]


def test_patch_contrast_by_loops_as_printed():
    torch.manual_seed(0)
    features, labels = torch.randn(1, 4, 2, 3), torch.tensor([[[0, 1, 2], [1, IGNORE, 0]]])
    tokens, flat = features[0].flatten(1).T, labels.flatten().tolist()
    alike, unlike = [], []
    for i in range(6):
        for j in range(6):
            if i != j and IGNORE not in (flat[i], flat[j]):
                cosine = torch.cosine_similarity(tokens[i], tokens[j], 0)
                (alike if flat[i] == flat[j] else unlike).append(cosine)
    expected = 0.5 * (1 - sum(alike) / (len(alike) + 1)) + 0.5 * sum(unlike) / (len(unlike) + 1)
    torch.testing.assert_close(patch_token_contrast(features, labels, absolute=False), expected)


def test_ignored_tokens_have_no_gradient():
    features = torch.randn(1, 4, 2, 2, requires_grad=True)
    patch_token_contrast(features, torch.tensor([[[0, 1], [IGNORE, 1]]])).backward()
    assert features.grad is not None
    assert features.grad[0, :, 1, 0].abs().max() == 0
    assert features.grad[0, :, 0, 0].abs().max() > 0


def test_segmentation_losses_of_nothing_are_zero():
    logits = torch.randn(1, 3, 2, 2)
    nothing = torch.full((1, 2, 2), IGNORE)
    assert segmentation_loss(logits, nothing) == 0
    assert balanced_segmentation_loss(logits, nothing) == 0
    background = torch.zeros(1, 2, 2, dtype=torch.int64)
    torch.testing.assert_close(
        balanced_segmentation_loss(logits, background), 0.5 * segmentation_loss(logits, background)
    )


# --- crops ------------------------------------------------------------------------------------------------


def test_crops_are_parts_of_their_images_and_negative_without_objects():
    torch.manual_seed(0)
    images = torch.rand(2, 3, 24, 32)
    confidence = torch.zeros(2, 24, 32)
    confidence[1] = 0.5
    crops, positive = uncertain_crops(images, confidence, 3, 8, 0.25, 0.7)
    assert crops.shape == (6, 3, 8, 8)
    assert positive.tolist() == [[False] * 3, [True] * 3]
    for place, crop in enumerate(crops):  # crop by crop, so images alternate
        windows = images[place % 2].unfold(1, 8, 1).unfold(2, 8, 1)
        assert (windows == crop[:, None, None]).all((0, 3, 4)).any()


def test_crops_are_centred_on_what_is_no_certain_foreground():
    images = torch.zeros(1, 3, 24, 24)
    confidence = torch.ones(1, 24, 24)
    confidence[0, 10:14, 10:14] = 0.5
    images[0, :, 10:14, 10:14] = 1
    crops, positive = uncertain_crops(images, confidence, 16, 8, 0.25, 0.7)
    assert (crops[:, :, 4, 4] == 1).all()
    assert positive.all()


def test_where_all_is_certain_foreground_crops_lie_anywhere():
    crops, positive = uncertain_crops(torch.rand(1, 3, 16, 16), torch.ones(1, 16, 16), 4, 8, 0.25, 0.7)
    assert crops.shape == (4, 3, 8, 8)
    assert positive.all()
