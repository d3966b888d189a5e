"""Settings that were likely meant: other projects' names first, then what is spelled alike."""

from __future__ import annotations

import pytest

from benchmark.composing import _flat_keys
from benchmark.config import compose, plain
from benchmark.failures import ConfigError
from benchmark.suggestions import SYNONYMS, closest_setting


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("method.cam.train.lr", "method.cam.train.learning_rate"),
        ("method.cam.train.bs", "method.cam.train.batch_size"),
        ("method.cam.train.epochs", "method.cam.train.iterations"),
        ("method.cam.train.wd", "method.cam.train.weight_decay"),
        ("method.cam.train.crop_size", "method.cam.train.recipe.crop"),
        ("method.cam.lr", "method.cam.train.learning_rate"),
        ("method.cam.segmenter.train.max_iters", "method.cam.segmenter.train.iterations"),
        ("method.cam.train.optimizer", "method.cam.train.optimiser"),
        ("method.cam.train.scheduler", "method.cam.train.schedule"),
        ("method.cam.backbone.pretrained", "method.cam.backbone.weights"),
        ("method.cam.train.Learning-Rate", "method.cam.train.learning_rate"),
        ("method.cam.num_classes", "dataset.classes"),
        ("data_root", "dataset.root"),
        ("dataset.path", "dataset.root"),
        ("runtime.num_workers", "runtime.workers"),
        ("method.cam.train.iteratoins", "method.cam.train.iterations"),
        ("dataset.rooot", "dataset.root"),
    ],
)
def test_what_was_meant(key: str, meant: str) -> None:
    with pytest.raises(ConfigError, match="did you mean") as error:
        compose(["cam"], "folder", "nano", overrides=[f"{key}=1"])
    assert f"did you mean {meant!r}?" in str(error.value)


@pytest.mark.parametrize(("key", "option"), [("seed", "--seeds"), ("runtime.output_dir", "--output")])
def test_what_an_option_sets(key: str, option: str) -> None:
    with pytest.raises(ConfigError, match=f"there is no setting '{key}'; set it with {option}"):
        compose(["cam"], "folder", "nano", overrides=[f"{key}=1"])


def test_nothing_close_is_no_suggestion() -> None:
    assert (
        closest_setting("method.cam.train.zzz", ["method.cam.train.floor", "method.cam.train.power"]) is None
    )


def test_synonyms_lead_to_settings_there_are() -> None:
    """Of the folder and of a method with a classifier and a segmentation network."""
    known = {key.rpartition(".")[2] for key in _flat_keys(plain(compose(["cam"], "folder", "nano")))}
    assert set(SYNONYMS.values()) <= known
    assert not set(SYNONYMS) & set(SYNONYMS.values()), "a name is no synonym of another"
