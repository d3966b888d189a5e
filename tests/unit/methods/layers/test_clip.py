"""The frozen CLIP: unit norms, gradients to images only, empty batches, what is wrong with weights."""

from __future__ import annotations

from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch.testing import assert_close

from datasets.recipe import IMAGENET, Normalisation
from methods.base import MethodError
from methods.layers.clip.config import NANO, ClipConfig
from methods.layers.clip.covered import require_covered
from methods.layers.clip.model import ClipModel, load_clip, normalisation
from methods.layers.clip.nano import build_clip_nano, clip_nano_tokenizer
from methods.layers.clip.words import Texts
from methods.layers.weights import files as weights

OPENAI = Normalisation(open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)


@pytest.fixture(scope="module")
def clip() -> ClipModel:
    return load_clip(ClipConfig(NANO, "none"))


def test_features_have_unit_norm_and_images_receive_gradients(clip: ClipModel) -> None:
    images = torch.rand(2, 3, 50, 70, requires_grad=True)
    features = clip.encode_normalised(clip.normalise(clip.resize(images)))
    assert_close(features.norm(dim=1), torch.ones(2))
    features[:, 0].sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in clip.parameters())


def test_texts_have_unit_norm_however_many(clip: ClipModel) -> None:
    texts = [f"a photo of {i}." for i in range(3)]
    features = clip.encode_texts(texts)
    assert_close(features.norm(dim=1), torch.ones(3))
    assert_close(clip.encode_texts(texts * 100)[-3:], features)
    assert not features.requires_grad


def test_stays_in_evaluation_mode(clip: ClipModel) -> None:
    assert not clip.train().training
    assert not any(module.training for module in clip.modules())


def test_empty_batches_keep_their_graph(clip: ClipModel) -> None:
    images = torch.zeros(0, 3, *clip.image_size, requires_grad=True)
    features = clip.encode_normalised(images)
    assert features.shape[0] == 0
    features.sum().backward()
    assert images.grad is not None


def test_normalisation_is_a_setting(clip: ClipModel) -> None:
    image = torch.rand(1, 3, *clip.image_size)
    assert clip.resize(image) is image
    mean, std = (torch.tensor(v)[:, None, None] for v in OPENAI)
    assert_close(clip.normalise(image), (image - mean) / std)
    other = load_clip(ClipConfig(NANO, "none", normalise="imagenet"))
    assert_close(other.mean.flatten(), torch.tensor(IMAGENET.mean))


def small_model() -> dict:
    """A vision transformer of open_clip's, tiny."""
    text = {"context_length": 20, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1}
    vision = {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16}
    return {"embed_dim": 8, "vision_cfg": vision, "text_cfg": text}


def test_any_open_clip_model_and_its_own_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny", small_model())
    torch.manual_seed(0)
    state = open_clip.create_model("tiny").state_dict()
    save_file(state, tmp_path / "tiny.safetensors")
    file = tmp_path / "tiny.safetensors"
    loaded = load_clip(ClipConfig("tiny", str(file), "openai"), file)
    assert loaded.image_size == (32, 32)
    assert all(torch.equal(value, state[key]) for key, value in loaded.model.state_dict().items())
    assert loaded.encode_normalised(torch.rand(2, 3, 32, 32)).shape == (2, 8)
    assert loaded.encode_texts(["a", "b", "c"]).shape == (3, 8)
    del state["visual.proj"]
    save_file(state, tmp_path / "wrong.safetensors")
    with pytest.raises(MethodError, match=r"wrong\.safetensors do not fit CLIP .*visual\.proj"):
        load_clip(ClipConfig("tiny", "x", "openai"), tmp_path / "wrong.safetensors")


@pytest.mark.parametrize(
    ("name", "weights_of", "mean"),
    [
        ("ViT-B-16-SigLIP", "siglip.safetensors", (0.5, 0.5, 0.5)),
        ("MobileCLIP-S1", "mobile.pt", (0.0, 0.0, 0.0)),
        ("ViT-B-32-quickgelu", "ViT-B-32.pt", OPENAI.mean),
        ("ViT-L-14", "open_clip/ViT-L-14.dfn2b", OPENAI.mean),
        ("ViT-L-14", "open_clip/ViT-L-14.laion2b_s32b_b82k", (0.5, 0.5, 0.5)),
    ],
)
def test_statistics_are_those_of_the_weights_or_of_all_of_the_model(
    name: str, weights_of: str, mean: tuple[float, ...]
) -> None:
    assert normalisation(ClipConfig(name, weights_of)).mean == pytest.approx(mean)


@pytest.mark.parametrize(
    ("name", "why"),
    [("ViT-L-14", "they differ between its weights"), ("tiny", "it lists no weights of it")],
)
def test_unknown_statistics_have_to_be_said(name: str, why: str) -> None:
    with pytest.raises(
        MethodError, match=rf"clip\.weights=mine\.pt: .* \({why}\); set clip\.normalise to"
    ) as error:
        normalisation(ClipConfig(name, "mine.pt"))
    assert "\n" not in str(error.value)
    with pytest.raises(MethodError, match=r"set clip\.normalise to"):  # when planning, not after hours
        require_covered("method.ca_cl.clip", ClipConfig(name, "mine.pt"), Texts((), (), (), ()))
    assert normalisation(ClipConfig(name, "mine.pt", "openai")) == OPENAI
    assert normalisation(ClipConfig(name, "mine.pt", "inception")).mean == (0.5, 0.5, 0.5)


def test_unknown_models_and_tags() -> None:
    with pytest.raises(MethodError, match="open_clip has no model 'ViT-X'"):
        load_clip(ClipConfig("ViT-X", "none"))
    with pytest.raises(MethodError, match="open_clip has no weights 'opnai' of a model 'ViT-B-32'"):
        weights.fetch("open_clip/ViT-B-32.opnai")


def test_the_default_weights_are_known_to_open_clip_and_have_its_activation() -> None:
    model, _, tag = ClipConfig().weights.removeprefix("open_clip/").partition(".")
    assert model == ClipConfig().name
    known = open_clip.get_pretrained_cfg(model, tag)
    config = open_clip.get_model_config(model)
    assert known["quick_gelu"] is config["quick_gelu"] is True
    weights.check_served(ClipConfig().weights)


def test_the_miniature_uses_its_own_tokenizer() -> None:
    model = ClipModel(build_clip_nano(), clip_nano_tokenizer(), OPENAI)
    assert_close(
        model.encode_texts(["a train"]), load_clip(ClipConfig(NANO, "none")).encode_texts(["a train"])
    )
