"""Which setting was meant: usual names of other projects, then names that are spelled alike."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

_SYNONYMS: Mapping[str, str] = {
    "learning_rate": "lr base_lr init_lr lr0 learningrate alpha",
    "batch_size": "bs batch batchsize train_batch_size samples_per_gpu batch_size_per_gpu",
    "iterations": "epochs epoch max_epochs n_epochs num_epochs total_epochs"
    " iters max_iters max_iter num_iters steps max_steps total_iters",
    "weight_decay": "wd weightdecay l2 l2_reg decay",
    "optimiser": "optimizer optim opt",
    "schedule": "scheduler lr_scheduler lr_schedule lr_policy policy",
    "warmup": "warmup_iters warmup_steps warmup_epochs",
    "crop": "crop_size cropsize input_size img_size image_size imgsize imgsz patch_size resolution",
    "flip": "hflip horizontal_flip flip_prob random_flip",
    "brightness": "color_jitter colour_jitter jitter",
    "weights": "pretrained pretrained_weights init checkpoint ckpt load_from init_cfg backbone_weights",
    "name": "arch architecture model network encoder",
    "scales": "cam_scales test_scales msc multi_scale",
    "classes": "num_classes n_classes nclass num_class nb_classes class_names",
    "root": "data_root data_dir data_path dataset_path path datadir dataroot voc12_root voc_root",
    "val_fraction": "val_split val_ratio test_size valid_fraction split_ratio",
    "longest_side": "max_size max_side resize",
    "workers": "num_workers n_workers n_jobs workers_per_gpu threads",
    "device": "gpu gpus gpu_id gpu_ids cuda accelerator",
    "precision": "amp fp16 half mixed_precision bf16",
    "accumulate": "gradient_accumulation_steps accumulate_grad_batches accum_iter iter_size",
    "checkpoint_activations": "gradient_checkpointing grad_checkpointing with_cp use_checkpoint",
    "checkpoint_every": "save_interval save_every checkpoint_interval",
}
SYNONYMS = {other: name for name, others in _SYNONYMS.items() for other in others.split()}
"""Last part of a key as other projects call it -> as it is called here."""
OPTIONS = {
    "seed": "--seeds",
    "seeds": "--seeds",
    "random_seed": "--seeds",
    "output": "--output",
    "output_dir": "--output",
    "out_dir": "--output",
    "work_dir": "--output",
    "save_dir": "--output",
    "log_dir": "runtime.log_dir",
    "dataset": "--dataset",
    "until": "--until",
    "refiner": "--refiners",
    "segmenter": "--segmenters",
}
"""What an option of the command line sets."""


def closest_setting(key: str, known: Sequence[str]) -> str | None:
    """The setting that a key, of which there is none, was likely meant to be; None where nothing is close.

    known: all settings there are. Among several of a synonym's name that which shares most of the key's parts.
    """
    *place, leaf = key.lower().replace("-", "_").split(".")
    here = [k for k in known if k.rpartition(".")[0] == ".".join(place)]
    name = SYNONYMS.get(leaf)
    if name is not None:
        fits = [k for k in known if k.rpartition(".")[2] == name]
        if fits:
            return max(fits, key=lambda k: _nearness(place, k.split(".")[:-1]))
    alike = difflib.get_close_matches(leaf, [k.rpartition(".")[2] for k in here], n=1, cutoff=0.6)
    if alike:
        return ".".join([*place, alike[0]])
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return close[0] if close and _alike(leaf, close[0].rpartition(".")[2]) else None


def option_for(key: str) -> str | None:
    """The command line's option that sets what a key was meant to, or None."""
    return OPTIONS.get(key.rpartition(".")[2].lower().replace("-", "_"))


def _nearness(place: Sequence[str], other: Sequence[str]) -> tuple[int, int]:
    """Parts shared from the beginning, and how few others there are."""
    shared = 0
    while shared < min(len(place), len(other)) and place[shared] == other[shared]:
        shared += 1
    return shared, -len(other)


def _alike(leaf: str, other: str) -> bool:
    """Whether names are spelled alike, beyond the place that they are in."""
    return difflib.SequenceMatcher(None, leaf, other).ratio() >= 0.5
