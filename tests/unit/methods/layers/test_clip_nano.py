"""The miniature CLIP: its captioned world, its texts, its loss and score, what of it is shipped."""

from __future__ import annotations

import ast
import hashlib
import subprocess
import sys
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from open_clip import ClipLoss
from safetensors.torch import save_file
from torch.nn.functional import normalize
from torch.testing import assert_close

from datasets.pretraining import caption_grounds, caption_objects
from datasets.pretraining import captions as pretraining_captions
from datasets.pretraining.captions import (
    BACKGROUNDS,
    NOUNS,
    OBJECTS,
    STYLES,
    WORDS,
    CaptionedPictures,
    captioned_pictures,
)
from datasets.shapes.scene import NAMES
from methods.base import MethodError
from methods.layers.clip.nano import (
    CONTEXT_LENGTH,
    build_clip_nano,
    clip_nano_tokenizer,
    from_shipped_state,
    restore_clip_nano,
    vocabulary,
)
from methods.layers.weights.files import SHIPPED
from methods.miniatures import clip as clip_pretraining
from methods.miniatures.clip import (
    ENSEMBLE,
    SEEN_SHARE,
    TEMPLATES,
    Captions,
    ClipPretraining,
    View,
    caption_target,
    contrastive_loss,
    draw_captions,
    encode_pictures,
    noun_embeddings,
    paraphrase_loss,
    pretraining_loss,
    random_view,
    whole_view,
    zero_shot,
)
from methods.miniatures.training import shipped_card
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def pictures() -> CaptionedPictures:
    return captioned_pictures(seed=0, start=0, count=48)


@pytest.fixture(scope="module")
def batch(pictures: CaptionedPictures) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    images = torch.from_numpy(pictures.images).float() / 255
    return images, torch.from_numpy(pictures.styles), torch.from_numpy(pictures.nouns)


@pytest.fixture(scope="module")
def network() -> ClipPretraining:
    torch.manual_seed(0)
    return ClipPretraining().eval()


# ---------------------------------------------------------------- the world


def test_pictures_depend_on_seed_and_position_only(pictures: CaptionedPictures) -> None:
    assert pictures.images.shape == (48, 3, 72, 72)
    assert pictures.images.dtype == pictures.nouns.dtype == np.uint8
    assert pictures.nouns.max() < len(NOUNS)
    assert set(pictures.styles) == set(range(len(STYLES)))
    part = captioned_pictures(seed=0, start=5, count=3)
    np.testing.assert_array_equal(part.images, pictures.images[5:8])
    np.testing.assert_array_equal(part.nouns, pictures.nouns[5:8])
    assert not np.array_equal(captioned_pictures(1, 5, 3).images, part.images)


def test_every_noun_can_be_seen() -> None:
    many = captioned_pictures(seed=3, start=0, count=200, size=32)
    seen = np.unique(many.nouns)
    assert len(seen) == len(NOUNS)


def test_nothing_of_the_benchmark_is_in_it() -> None:
    for module in (caption_grounds, caption_objects, pretraining_captions):
        tree = ast.parse(Path(str(module.__file__)).read_text())
        imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not any(name.startswith("datasets.shapes.dataset") for name in imported)


def test_words_name_one_noun_each_and_cover_the_benchmark() -> None:
    words = [word for noun in NOUNS for word in WORDS[noun]]
    assert len(words) == len(set(words))
    assert vocabulary() == set(words)
    assert {*NAMES, "rails", "water", "grass", "sky"} <= vocabulary()
    assert set(NAMES) <= set(OBJECTS)
    assert {"rails", "water"} <= set(BACKGROUNDS)


def test_the_vocabulary_is_known_without_torch() -> None:
    code = "import sys, methods.layers.clip.nano as c; c.vocabulary(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# ---------------------------------------------------------------- views and captions


def test_views_begin_with_one_noun_and_end_with_scenes(batch) -> None:
    images, _, nouns = batch
    torch.manual_seed(0)
    easy, hard = random_view(images, nouns, 0.0), random_view(images, nouns, 1.0)
    assert ((easy.shares > SEEN_SHARE).sum(1) == 1).all()
    assert (hard.shares > SEEN_SHARE).sum(1).float().mean() > 1.4
    for view in (easy, hard, whole_view(images, nouns)):
        assert view.images.shape == (48, 3, 64, 64)
        assert view.images.min() >= 0.0
        assert view.images.max() <= 1.0
        assert view.shares.sum(1).max() <= 1.0 + 1e-5
    assert_close(whole_view(images, nouns).shares.sum(1), torch.ones(48))


def test_captions_name_what_is_there(batch, network: ClipPretraining) -> None:
    images, styles, nouns = batch
    view = whole_view(images, nouns)
    captions = draw_captions(Random(0), view.shares, styles)
    assert captions.tokens.shape == (96, CONTEXT_LENGTH)
    assert_close(captions.nouns[:48], captions.nouns[48:])
    assert (view.shares[captions.nouns[:48] > 0] >= SEEN_SHARE).all()
    assert set(captions.nouns.sum(1).tolist()) == {1.0, 2.0}
    assert torch.isin(captions.tokens, network.rows).all()
    assert (network.rows.diff() > 0).all()
    text = clip_nano_tokenizer().decode(captions.tokens[0][captions.tokens[0] > 0].tolist())
    named = [NOUNS[i] for i in captions.nouns[0].nonzero()[:, 0].tolist()]
    assert all(any(word in text for word in WORDS[noun]) for noun in named)


def test_no_true_caption_is_a_negative() -> None:
    shares = torch.zeros(3, len(NOUNS))
    shares[0, 0], shares[1, 0], shares[1, 1], shares[2, 2] = 0.5, 0.2, 0.3, 0.6
    named = torch.zeros(3, len(NOUNS))
    named[0, 0], named[1, [0, 1]], named[2, 2] = 1.0, 1.0, 1.0
    photo, origami, none = 0, 4, -1
    captions = Captions(
        torch.zeros(6, 1), named.repeat(2, 1), torch.tensor([photo, photo, none, origami, none, photo])
    )
    target = caption_target(shares, torch.tensor([photo, photo, origami]), captions)
    expected = [
        [1.0, 0.0, 0.0, 1.0, 0.0, 0.0],
        [1.0, 1.0, 0.0, 0.3, 1.0, 0.0],
        [0.0, 0.0, 1.0, 0.0, 0.0, 1.0],
    ]
    assert_close(target, torch.tensor(expected))


def test_prompts_are_in_the_captions() -> None:
    spoken = {text for text, _ in TEMPLATES}
    assert {
        "a photo of {}.",
        "an image of {}.",
        "a picture of {}.",
        "a snapshot of {}.",
        "a clean origami {}.",
    } <= spoken
    assert set(ENSEMBLE) <= spoken


# ---------------------------------------------------------------- loss and score


def test_the_loss_is_clips_where_captions_are_unique() -> None:
    generator = torch.Generator().manual_seed(0)
    images, texts = (normalize(torch.randn(6, 8, generator=generator), dim=1) for _ in range(2))
    scale = torch.tensor(10.0)
    assert_close(contrastive_loss(scale * images @ texts.T, torch.eye(6)), ClipLoss()(images, texts, scale))


def test_paraphrases_cost_least_where_nouns_decide() -> None:
    nouns = torch.eye(4).repeat(2, 1)
    apart, alike = torch.eye(4).repeat(2, 1), torch.ones(8, 4) / 2
    scale = torch.tensor(20.0)
    assert paraphrase_loss(scale, apart, nouns) < 0.01
    assert_close(paraphrase_loss(scale, alike, nouns), torch.tensor(4.0).log())


def test_training_reaches_every_parameter(batch) -> None:
    torch.manual_seed(0)
    fresh = ClipPretraining().train()
    for norm in fresh.modules():  # a residual branch that starts at zero hides what lies before it
        if isinstance(norm, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(norm.weight)
    loss = pretraining_loss(fresh, *(each[:12] for each in batch), 0.0)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in fresh.parameters())
    assert all(p.grad.abs().sum() > 0 for p in (fresh.model.visual.conv1.weight, fresh.model.text_projection))


def test_other_nouns_of_a_picture_do_not_compete(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = torch.zeros(2, len(NOUNS))
    scores[0, :3] = torch.tensor([0.5, 0.9, 0.4])
    scores[1, :3] = torch.tensor([0.1, 0.2, 0.3])
    monkeypatch.setattr(clip_pretraining, "encode_pictures", lambda model, images: scores)
    monkeypatch.setattr(clip_pretraining, "noun_embeddings", lambda model: torch.eye(len(NOUNS)))
    shares = torch.zeros(2, len(NOUNS))
    shares[:, :2] = 0.5
    hits, named = zero_shot(None, View(torch.empty(0), shares))  # type: ignore[arg-type]
    assert named[:, :2].all()
    assert named.sum() == 4
    assert hits[0].nonzero()[:, 0].tolist() == [0, 1]
    assert not hits[1].any()


# ---------------------------------------------------------------- what is shipped


def test_what_is_shipped_restores_the_model(network: ClipPretraining, tmp_path: Path) -> None:
    path = tmp_path / "clip.safetensors"
    save_file({k: v.contiguous() for k, v in network.shipped().items()}, path)
    assert path.stat().st_size < 2_000_000
    model = restore_clip_nano(path)
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    texts = clip_nano_tokenizer()(["a photo of a train.", "a snapshot of rails and water."])
    with torch.inference_mode():
        assert_close(
            normalize(model.encode_text(texts), dim=-1), network.encode_text(texts), atol=5e-3, rtol=0.0
        )
        images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        assert_close(
            encode_pictures(model, images), encode_pictures(network.model, images), atol=5e-3, rtol=0.0
        )
        assert_close(noun_embeddings(model).norm(dim=1), torch.ones(len(NOUNS)))


def test_tokens_that_are_not_shipped_come_from_the_seed(network: ClipPretraining) -> None:
    model = from_shipped_state(network.shipped())
    other = torch.ones(model.vocab_size, dtype=torch.bool)
    other[network.rows] = False
    fresh = build_clip_nano().token_embedding.weight
    assert_close(model.token_embedding.weight[other], fresh[other], atol=0.0, rtol=0.0)
    assert not torch.equal(build_clip_nano(seed=1).token_embedding.weight, fresh)


def test_pictures_receive_gradients(network: ClipPretraining) -> None:
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    encode_pictures(from_shipped_state(network.shipped()), images)[0, 0].backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


def test_foreign_weights_are_refused_in_one_line(network: ClipPretraining, tmp_path: Path) -> None:
    state = network.shipped()
    del state["token_rows"]
    with pytest.raises(MethodError, match="no token rows"):
        from_shipped_state(state)
    path = tmp_path / "other.safetensors"
    save_file({"token_rows": torch.arange(2), "token_embedding.weight": torch.zeros(2, 64)}, path)
    with pytest.raises(MethodError, match="do not fit CLIP"):
        restore_clip_nano(path)


def test_the_shipped_model_is_the_recorded_one() -> None:
    path, card = SHIPPED / "clip.safetensors", shipped_card("clip")
    assert card is not None
    assert hashlib.sha256(path.read_bytes()).hexdigest() == card["sha256"]
    world = captioned_pictures(seed=99, start=0, count=64)
    view = whole_view(torch.from_numpy(world.images).float() / 255, torch.from_numpy(world.nouns))
    with torch.inference_mode():
        hits, named = zero_shot(restore_clip_nano(path), view)
    assert abs(float(hits.sum() / named.sum()) - card["score"]) < 0.15
