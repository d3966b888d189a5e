"""Configuration of a run: typed settings, composed with Hydra.

Groups: `dataset`, `scale`, `protocol`, and `method/<name>` for each chosen method. Their nodes are
dataclasses that live with what they configure (a method's in its own folder), so there is no second list of
options here.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import datasets
from datasets.base import DatasetConfig
from methods.base import MethodConfig, Shared
from methods.layers.config import SegmenterConfig
from methods.refiners import IRN, PSA
from methods.refiners.config import RefinerConfig
from methods.registry import find_method
from methods.segmenters import SEGMENTERS

SCALES = {
    "nano": "generated data, miniature networks with shipped weights; minutes on two CPU cores",
    "small": "real photographs, small pretrained backbones; at most 40 minutes a method on two CPU cores",
    "paper": "the papers' networks, sizes and schedules; needs GPUs",
}
DEFAULT_DATASET = {"nano": "shapes", "small": "voc2012", "paper": "voc2012"}
PROTOCOLS = {
    "paper": "each method as its authors ran it",
    "unified": "same refiner, same segmentation network and recipe for all",
}


DEVICES = ("auto", "cpu", "cuda")
NO_LOGGER = "none"
LOGGERS = (NO_LOGGER, "tensorboard", "wandb", "mlflow")
GROUPS = {"dataset": "--dataset", "scale": "--scale", "protocol": "--protocol", "method": "--methods"}
"""Groups whose option an option of the command line chooses."""


class ConfigError(Exception):
    """A setting is wrong; the message is one line."""


@dataclass
class ScaleConfig:
    """name: nano, small or paper; it selects every method's preset."""

    name: str = "nano"


@dataclass
class ProtocolConfig:
    """name: paper or unified. refiner and segmenter are the shared parts; None means the method's own."""

    name: str = "paper"
    refiner: RefinerConfig | None = None
    segmenter: SegmenterConfig | None = None


@dataclass
class EvaluationConfig:
    """held_out: fraction of train that the tuned threshold is chosen on, the rest is scored.

    sweep_max: highest background threshold of the sweep. panels: example images in the report, at most 8.
    """

    held_out: float = 0.2
    sweep_max: float = 0.59
    panels: int = 6


@dataclass
class RuntimeConfig:
    """Everything that does not change what is computed, except `precision` and `deterministic` (in the keys).

    store: folder of the artifacts; weights_root: folder with pretrained files (default: $WSSS_WEIGHTS)
    device: auto, cpu, cuda; devices: processes under torchrun; workers: decoding threads (0: one a core)
    checkpoint_every: iterations between checkpoints; shard: images a shard of per-image stages
    cache_mb: decoded images kept in memory, MiB
    logger: where losses and scores are shown as they come: none, tensorboard, wandb or mlflow; the last three are
    extras of the same names. log_dir: folder of its files
    """

    store: str = "results/runs/store"
    weights_root: str | None = None
    device: str = "auto"
    precision: str = "32-true"
    deterministic: bool = True
    workers: int = 0
    checkpoint_every: int = 100
    shard: int = 1000
    cache_mb: int = 512
    logger: str = NO_LOGGER
    log_dir: str = "results/runs/logs"


@dataclass
class RunConfig:
    """A resolved configuration."""

    dataset: DatasetConfig
    scale: ScaleConfig
    protocol: ProtocolConfig
    evaluation: EvaluationConfig
    runtime: RuntimeConfig
    method: dict[str, MethodConfig] = field(default_factory=dict)

    @property
    def shared(self) -> Shared:
        return Shared(self.protocol.refiner, self.protocol.segmenter)

    @property
    def name(self) -> str:
        """Of its folder and of its group in a logger."""
        return f"{self.dataset.name}-{self.scale.name}-{self.protocol.name}"

    def identity(self, method: str, seed: int) -> dict[str, Any]:
        """The columns of a record that say whose it is."""
        return {
            "dataset": self.dataset.name,
            "method": method,
            "scale": self.scale.name,
            "protocol": self.protocol.name,
            "refiner": self.protocol.refiner.name if self.protocol.refiner else "own",
            "segmenter": self.protocol.segmenter.head if self.protocol.segmenter else "own",
            "seed": seed,
        }


def plain(value: Any) -> Any:
    """Dataclasses, tuples and enums as JSON-ready data."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v) for v in value]
    return value


def compose(
    methods: Sequence[str],
    dataset: str | None = None,
    scale: str = "nano",
    protocol: str = "paper",
    overrides: Sequence[str] = (),
) -> RunConfig:
    """Compose the run's configuration; `overrides` are Hydra's (`method.NAME.train.iterations=100`).

    Raises ConfigError with one line that names the key and, for a misspelt one, the closest that exists.
    """
    scale = choose("scale", scale, SCALES)
    protocol = choose("protocol", protocol, PROTOCOLS)
    dataset = choose("data set", dataset or DEFAULT_DATASET[scale], datasets.names())
    nodes: dict[str, Any] = {
        "dataset": datasets.dataset_class(dataset).config(name=dataset),
        "scale": ScaleConfig(scale),
        "protocol": _protocol(protocol, scale),
        "evaluation": EvaluationConfig(),
        "runtime": RuntimeConfig(),
    }
    for name in methods:
        presets = find_method(name).presets
        if scale not in presets:
            raise ConfigError(f"method {name} has no settings at scale {scale}; it has {', '.join(presets)}")
        nodes[f"method.{name}"] = presets[scale]
    composed = _hydra_compose(nodes, list(overrides))
    config = RunConfig(
        **{k: composed[k] for k in ("dataset", "scale", "protocol", "evaluation", "runtime")},
        method={name: composed[f"method.{name}"] for name in methods},
    )
    _check_ranges(config)
    return config


def _check_ranges(config: RunConfig) -> None:
    runtime, evaluation = config.runtime, config.evaluation
    choose("device", runtime.device, DEVICES)
    choose("runtime.logger", runtime.logger, LOGGERS)
    for key, value, least in (
        ("runtime.checkpoint_every", runtime.checkpoint_every, 1),
        ("runtime.shard", runtime.shard, 1),
        ("runtime.workers", runtime.workers, 0),
        ("runtime.cache_mb", runtime.cache_mb, 0),
        ("evaluation.panels", evaluation.panels, 0),
    ):
        if value < least:
            raise ConfigError(f"{key}={value}: must be at least {least}")
    for key, fraction in (
        ("evaluation.held_out", evaluation.held_out),
        ("evaluation.sweep_max", evaluation.sweep_max),
    ):
        if not 0 < fraction < 1:
            raise ConfigError(f"{key}={fraction}: must lie between 0 and 1")


def _protocol(name: str, scale: str) -> ProtocolConfig:
    if name == "unified":
        return ProtocolConfig(name, RefinerConfig("crf", psa=PSA[scale], irn=IRN[scale]), SEGMENTERS[scale])
    return ProtocolConfig(name)


def _hydra_compose(nodes: Mapping[str, Any], overrides: list[str]) -> dict[str, Any]:
    from hydra import compose as hydra_compose
    from hydra import initialize
    from hydra.core.config_store import ConfigStore
    from hydra.errors import HydraException, OverrideParseException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    store = ConfigStore.instance()
    defaults: list[Any] = []
    for key, node in nodes.items():
        group, option = key.replace(".", "/"), "chosen"
        opened = writable(OmegaConf.structured(node))
        for override in overrides:
            if override.startswith(f"{key}."):
                _fill_optional(opened, override.removeprefix(f"{key}."))
        store.store(group=group, name=option, node=opened, package=key)
        defaults.append({group: option})
    store.store(name="benchmark_run", node={"defaults": [*defaults, "_self_"]})
    with initialize(version_base=None, config_path=None):
        base = hydra_compose("benchmark_run")
        for override in overrides:
            _check_key(override, base)
        try:
            config = hydra_compose("benchmark_run", overrides=overrides)
            return {key: OmegaConf.to_object(OmegaConf.select(config, key)) for key in nodes}
        except (HydraException, OmegaConfBaseException) as error:
            reason = str(error.__cause__ or error).strip().splitlines()[0]
            for override in overrides:  # name the one at fault
                try:
                    hydra_compose("benchmark_run", overrides=[override])
                except (HydraException, OmegaConfBaseException):
                    key, _, value = override.partition("=")
                    quoted = isinstance(error, OverrideParseException)
                    remedy = f"; put quotes around the value: '{key}=\"{value}\"'" if quoted else ""
                    raise ConfigError(f"setting {override!r} is not valid: {reason}{remedy}") from None
            raise ConfigError(reason) from None


def writable(node: Any) -> Any:
    """Frozen dataclasses make read-only nodes; overrides need them open."""
    from omegaconf import DictConfig, OmegaConf

    OmegaConf.set_readonly(node, None)
    for key in node:
        if isinstance(node, DictConfig) and not OmegaConf.is_missing(node, key):
            child = node._get_node(key)
            if isinstance(child, DictConfig) and not child._is_none():
                writable(child)
    return node


def _fill_optional(node: Any, override: str) -> None:
    """Optional parts are None until a setting of theirs is given; then they start from their defaults.

    override: key from `node` on, and value
    """
    from omegaconf import DictConfig, OmegaConf

    key, _, value = override.partition("=")
    path = key.split(".")
    for depth, name in enumerate(path):
        child = node._get_node(name, validate_access=False)
        if not isinstance(child, DictConfig):
            return
        if child._is_none():
            if depth == len(path) - 1 and value == "null":
                return
            node[name] = writable(OmegaConf.structured(child._metadata.ref_type))
        node = node._get_node(name)


def _check_key(override: str, config: Any) -> None:
    from omegaconf import OmegaConf

    match = re.match(r"^[~+]*([\w./-]+)(@[\w.]+)?=", override)
    if not match:
        raise ConfigError(f"{override!r} is no setting; write key=value, e.g. dataset.root=PATH")
    key, value = match.group(1), override[match.end() :]
    group = key.removesuffix(".name")
    if group in GROUPS:
        raise ConfigError(f"setting {key!r} is not set this way; choose the {group} with {GROUPS[group]}")
    known = _flat_keys(OmegaConf.to_container(config))
    if key in known:
        parts = OmegaConf.select(config, key)
        if OmegaConf.is_dict(parts) and not value.startswith("{") and value != "null":
            raise ConfigError(
                f"setting {key!r} has parts; set one of {', '.join(f'{key}.{p}' for p in parts)}"
            )
        return
    if key.startswith("method.") and key.split(".")[1] not in {
        k.split(".")[1] for k in known if k.startswith("method.")
    }:
        raise ConfigError(
            f"setting {key!r}: method {key.split('.')[1]!r} is not part of this run (see --methods)"
        )
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else f"; settings begin with {', '.join(config)}"
    raise ConfigError(f"there is no setting {key!r}{hint}")


def _flat_keys(tree: Any, prefix: str = "") -> list[str]:
    keys = []
    for key, value in tree.items():
        full = f"{prefix}{key}"
        keys.append(full)
        if isinstance(value, dict):
            keys += _flat_keys(value, f"{full}.")
    return keys


def choose(what: str, value: str, options: Mapping[str, str] | Sequence[str]) -> str:
    """`value` if it is one of the options; ConfigError that names them, and the closest, if not."""
    if value in options:
        return value
    close = difflib.get_close_matches(value, list(options), n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise ConfigError(f"unknown {what} {value!r}; {hint}there are {', '.join(options)}")
