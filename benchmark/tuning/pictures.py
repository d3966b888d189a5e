"""Which pictures settings are chosen on: others than those that are scored, or a part of train that is held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.failures import ConfigError
from datasets import open_dataset
from datasets.files.fingerprints import file_digests

if TYPE_CHECKING:
    from datasets.base import Dataset, DatasetConfig

HELD_OUT = "held-out"


@dataclass(frozen=True)
class Pictures:
    """Where trials are scored: a split of `dataset`, of it only `ids` where some are held out; `said`: in words."""

    dataset: Dataset
    ids: frozenset[str] | None
    said: str


def pictures(
    on: Sequence[str], tried: DatasetConfig, scored: DatasetConfig, held_out: float, split: str = "train"
) -> Pictures:
    """The pictures that the option `--on` names.

    tried:    the data set with the settings of `on` applied
    scored:   that of the leaderboard
    held_out: fraction of train that is held out, `evaluation.held_out`
    split:    that is chosen on; "val" only of another data set than the leaderboard's
    Raises ConfigError where a picture of the leaderboard's would be chosen on, or there are no masks to choose by.
    """
    from benchmark.evaluation.evaluator import held_out_ids

    dataset = open_dataset(tried)
    dataset.prepare()
    masked = [i for i in dataset.ids(split) if dataset.mask_path(i) is not None]
    if len(masked) < 2:
        raise ConfigError(
            f"{dataset.name}: settings are chosen by masks of {split}, and it has {len(masked)}"
        )
    if list(on) == [HELD_OUT] and split != "train":
        raise ConfigError(
            f"--on {HELD_OUT}: segmentations are made on val, all of which is scored on the leaderboard; give other "
            "pictures, such as --on dataset.seed=1"
        )
    if list(on) == [HELD_OUT]:
        ids = held_out_ids(masked, held_out)
        share = f"{len(ids)} of the {len(masked)} pictures of train with masks"
        return Pictures(dataset, ids, f"{share}, held out by the hash of their names")
    own = open_dataset(scored)
    own.prepare()
    shared = _files(dataset, (split,)) & _files(own, ("train", "val"))
    if shared:
        raise ConfigError(
            f"--on {' '.join(on)}: {len(shared)} of its pictures are scored on the leaderboard; give others (of a "
            f"generated data set another dataset.seed), or --on {HELD_OUT}"
        )
    return Pictures(dataset, None, f"{len(masked)} pictures of {split} with {', '.join(on)}")


def check_option(on: Sequence[str]) -> None:
    """ConfigError unless `--on` says pictures."""
    if HELD_OUT in on and len(on) > 1:
        raise ConfigError(f"--on {HELD_OUT} is of the data set as it is; give no other --on")
    if wrong := [
        each for each in on if each != HELD_OUT and not (each.startswith("dataset.") and "=" in each)
    ]:
        raise ConfigError(f"--on {wrong[0]}: write dataset.KEY=VALUE, such as dataset.seed=1, or {HELD_OUT}")


def _files(dataset: Dataset, splits: Sequence[str]) -> set[str]:
    """Hashes of the pictures of splits."""
    paths = [Path(sample.image) for split in splits for sample in dataset.samples(split)]
    return set(file_digests(paths))
