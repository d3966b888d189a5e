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
from typing import Annotated, Any

import datasets
from datasets.base import DatasetConfig
from datasets.limits import Count, Inside, Natural, OneOf, Within, first_fault, suggestion
from methods.base import UNIFIED, MethodConfig, Shared, preset_key
from methods.layers.config import CamInferenceConfig, SegmenterConfig
from methods.refiners import IRN, PSA
from methods.refiners.config import REFINERS, RefinerConfig
from methods.registry import find_method
from methods.segmenters import SEGMENTERS
from methods.segmenters.networks import NETWORKS
from methods.unified import INFERENCE

SCALES = {
    "nano": "generated data, miniature networks with shipped weights; minutes on two CPU cores",
    "small": "real photographs, small pretrained backbones; at most 40 minutes a method on two CPU cores",
    "paper": "the papers' networks, sizes and schedules; needs GPUs",
}
DEFAULT_DATASET = {"nano": "shapes", "small": "voc2012", "paper": "voc2012"}
PROTOCOLS = {
    "paper": "each method as its authors ran it",
    UNIFIED: "same initialisation, CAM scales, refiner, segmentation network, recipe and test for all",
}
OWN = "own"
"""The refiner or segmentation network that the protocol, or the method itself, has."""


DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
"""Of trainings, as Lightning Fabric names them; inference is in float32."""
NO_LOGGER = "none"
LOGGERS = (NO_LOGGER, "tensorboard", "wandb", "mlflow")
GROUPS = {"dataset": "--dataset", "scale": "--scale", "protocol": "--protocol", "method": "--methods"}
"""Groups whose option an option of the command line chooses."""


class ConfigError(Exception):
    """A setting is wrong; the message is one line."""


@dataclass
class ScaleConfig:
    """name: nano, small or paper; with the data set, it selects every method's preset."""

    name: str = "nano"


@dataclass
class ProtocolConfig:
    """name: paper or unified. The others are shared parts; None means the method's own.

    inference: scales and mirror images of the CAMs
    """

    name: str = "paper"
    refiner: RefinerConfig | None = None
    segmenter: SegmenterConfig | None = None
    inference: CamInferenceConfig | None = None


@dataclass
class EvaluationConfig:
    """held_out: fraction of train that the tuned threshold is chosen on, the rest is scored.

    sweep_max: highest background threshold of the sweep. panels: example images in the report, at most 8.
    boundary_tolerance: how far boundaries may be apart that match, as a fraction of the image's diagonal (SBD's).
    """

    held_out: Inside = 0.2
    sweep_max: Inside = 0.59
    boundary_tolerance: Inside = 0.0075
    panels: Annotated[int, Within(0, 8)] = 6


@dataclass
class RuntimeConfig:
    """Everything that does not change what is computed, except `precision` and `deterministic` (in the keys).

    store: folder of the artifacts; weights_root: folder with pretrained files (default: $WSSS_WEIGHTS)
    device: auto, cpu, cuda; workers: decoding threads (0: one a core)
    checkpoint_every: iterations between checkpoints; shard: images a shard of per-image stages, which is what a kill
    loses of them and what a file of CAMs holds (COCO: 642 files); batches do not reach across, hence a power of 2
    cache_mb: decoded images kept in memory, MiB
    processes: worker processes that make artifacts side by side on a CPU, the cores shared among them (0: one for
    each cell of the plan, at most one a core). It decides the threads of each, and with them the last bits of numbers
    logger: where losses and scores are shown as they come: none, tensorboard, wandb or mlflow; the last three are
    extras of the same names. log_dir: folder of its files
    """

    store: str = "results/runs/store"
    weights_root: str | None = None
    device: Annotated[str, OneOf(DEVICES)] = "auto"
    precision: Annotated[str, OneOf(PRECISIONS)] = "32-true"
    deterministic: bool = True
    workers: Natural = 0
    processes: Natural = 0
    checkpoint_every: Count = 100
    shard: Count = 128
    cache_mb: Natural = 512
    logger: Annotated[str, OneOf(LOGGERS)] = NO_LOGGER
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
        return Shared(self.protocol.refiner, self.protocol.segmenter, self.protocol.inference)

    @property
    def name(self) -> str:
        return run_name(self.dataset.name, self.scale.name, self.protocol.name)


def run_name(dataset: str, scale: str, protocol: str) -> str:
    """What a run's folder and its group in a logger are called."""
    return f"{dataset}-{scale}-{protocol}"


def plain(value: Any) -> Any:
    """Dataclasses, tuples and enums as JSON-ready data."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v) for v in value]
    return value


def typed(kind: type, values: Mapping[str, Any]) -> Any:
    """A dataclass of `kind` from the plain data that `plain` made of one."""
    from omegaconf import OmegaConf

    node = writable(OmegaConf.structured(kind))
    _open_parts(node, values)
    return OmegaConf.to_object(OmegaConf.merge(node, values))


def _open_parts(node: Any, values: Mapping[str, Any]) -> None:
    """Parts that `values` fill and that have no default, or None, begin from their type's defaults, writable."""
    from omegaconf import DictConfig, OmegaConf

    for key, value in values.items():
        child = node._get_node(key, validate_access=False)
        if isinstance(value, Mapping) and isinstance(child, DictConfig):
            if child._is_none() or child._is_missing():
                node[key] = writable(OmegaConf.structured(child._metadata.ref_type))
            _open_parts(node._get_node(key), value)


def compose(
    methods: Sequence[str],
    dataset: str | None = None,
    scale: str = "nano",
    protocol: str = "paper",
    overrides: Sequence[str] = (),
    *,
    refiner: str = OWN,
    segmenter: str = OWN,
) -> RunConfig:
    """Compose the run's configuration; `overrides` are Hydra's (`method.NAME.train.iterations=100`).

    refiner, segmenter: in place of the protocol's, see `protocol_defaults`
    Raises ConfigError with one line that names the key and, for a misspelt one, the closest that exists.
    """
    scale = choose("scale", scale, SCALES)
    protocol = choose("protocol", protocol, PROTOCOLS)
    dataset = choose("data set", dataset or DEFAULT_DATASET[scale], datasets.names())
    nodes: dict[str, Any] = {
        "dataset": datasets.dataset_class(dataset).config(name=dataset),
        "scale": ScaleConfig(scale),
        "protocol": protocol_defaults(protocol, scale, dataset, refiner, segmenter),
        "evaluation": EvaluationConfig(),
        "runtime": RuntimeConfig(),
    }
    for name in methods:
        method = find_method(name)
        if scale not in method.presets:
            known = ", ".join(s for s in SCALES if s in method.presets)
            raise ConfigError(f"method {name} has no settings at scale {scale}; it has {known}")
        nodes[f"method.{name}"] = method.preset(scale, protocol, dataset)
    composed = _hydra_compose(nodes, list(overrides))
    config = RunConfig(
        **{k: composed[k] for k in ("dataset", "scale", "protocol", "evaluation", "runtime")},
        method={name: composed[f"method.{name}"] for name in methods},
    )
    if fault := first_fault(config):
        raise ConfigError(fault)
    return config


def protocol_defaults(
    name: str, scale: str, dataset: str, refiner: str = OWN, segmenter: str = OWN
) -> ProtocolConfig:
    """A protocol's settings before any override; those of a data set come before the scale's (`preset_key`).

    refiner, segmenter: names of those that take the place of the protocol's, or `OWN`. Raises ConfigError.
    """
    unified = name == UNIFIED
    refiner = choose("refiner", refiner, [OWN, *REFINERS])
    segmenter = choose(f"segmentation network of scale {scale}", segmenter, [OWN, *NETWORKS[scale]])
    if refiner == OWN and unified:
        refiner = "crf"

    def of(presets: Mapping[str, Any]) -> Any:
        return presets[preset_key(presets, scale, dataset)]

    return ProtocolConfig(
        name,
        None if refiner == OWN else RefinerConfig(refiner, psa=of(PSA), irn=of(IRN)),
        of(NETWORKS)[segmenter] if segmenter != OWN else of(SEGMENTERS) if unified else None,
        INFERENCE[scale] if unified else None,
    )


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
        overrides = [_commas_read(override, base) for override in overrides]
        try:
            config = hydra_compose("benchmark_run", overrides=overrides)
            return {key: _frozen(OmegaConf.to_object(OmegaConf.select(config, key))) for key in nodes}
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


def _frozen(value: Any) -> Any:
    """OmegaConf makes a list of every tuple; a composed setting equals its preset, tuples included."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {f.name: _frozen(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return dataclasses.replace(value, **parts)
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


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
    methods = list(dict.fromkeys(k.split(".")[1] for k in known if k.startswith("method.")))
    if key.startswith("method.") and (name := key.split(".")[1]) not in methods:
        near = difflib.get_close_matches(name, methods, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(
            f"setting {key!r}: method {name!r} is not part of this run; {hint}it has {', '.join(methods)}"
        )
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else f"; settings begin with {', '.join(config)}"
    raise ConfigError(f"there is no setting {key!r}{hint}")


def _commas_read(override: str, config: Any) -> str:
    """The override with values separated by commas made one list, or one string where the setting is one.

    To Hydra, commas ask for several runs, and a list is no string. ConfigError where there can be one value only.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException
    from omegaconf import OmegaConf

    key, _, text = override.partition("=")
    try:
        parsed = OverridesParser.create().parse_override(override)
    except HydraException:
        return override  # composition says what is wrong with it
    several = parsed.is_sweep_override()
    value = parsed.value()
    if not several and not isinstance(value, list):
        return override
    present = OmegaConf.select(config, key)
    if OmegaConf.is_list(present):
        return f"{key}=[{text}]" if several else override
    if not isinstance(present, str | None):  # what is None by default is text: a path
        raise ConfigError(f"setting {override!r} is not valid: it takes one value, not several")
    joined = ",".join(map(str, value)) if isinstance(value, list) else text
    escaped = joined.replace('"', '\\"')
    return f'{key}="{escaped}"'


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
    hint = suggestion(value, list(options))
    raise ConfigError(f"unknown {what} {value!r}; {hint}there are {', '.join(options)}")
