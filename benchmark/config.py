"""Configuration of a run: typed settings, and overrides of them in Hydra's grammar (`benchmark.composing`).

Groups: `dataset`, `scale`, `protocol`, and `method/<name>` for each chosen method. Their nodes are
dataclasses that live with what they configure (a method's in its own folder), so there is no second list of
options here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import datasets
from benchmark.failures import ConfigError
from datasets.base import DatasetConfig
from datasets.files.places import expanded, resolved
from datasets.limits import (
    AUTO,
    Count,
    CountOr,
    Inside,
    Natural,
    OneOf,
    Within,
    field_hints,
    first_fault,
    off_fields,
    rounding_fields,
    suggestion,
)
from methods.base import UNIFIED, MethodConfig, Shared, preset_key
from methods.layers.config import SMP, CamInferenceConfig, SegmenterConfig
from methods.refiners import IRN, PSA
from methods.refiners.config import REFINERS, RefinerConfig
from methods.registry import find_method
from methods.segmenters import SEGMENTERS
from methods.segmenters.networks import NETWORKS, SMP_NAME, smp_network
from methods.unified import INFERENCE
from results.changes import USERS_OWN

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
INSPECTION = ("auto", "always", "never")
"""When verdicts on images and single defects are scored."""
SMOKE = ("dataset.subset=16", "runtime.max_iterations=10")
"""Settings of a trial that only shows whether a method runs: 16 images in each split, 10 steps in each training."""
NO_LOGGER = "none"
LOGGERS = (NO_LOGGER, "tensorboard", "wandb", "mlflow")


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
    boundary_tolerance: how far apart two boundaries may be and still match, as a fraction of the image's diagonal
    (BSDS500's).
    inspection: whether verdicts on images and single defects are scored: auto, where the data have good parts or are
    of a single class; always; never
    """

    held_out: Inside = 0.2
    sweep_max: Inside = 0.59
    boundary_tolerance: Inside = 0.0075
    panels: Annotated[int, Within(0, 8)] = 6
    inspection: Annotated[str, OneOf(INSPECTION)] = INSPECTION[0]


@dataclass
class RuntimeConfig:
    """Everything that does not change what is computed, except `precision`, `deterministic` and `max_iterations`, which
    are in the keys.

    store: folder of the artifacts; weights_root: folder with pretrained files (default: $WSSS_WEIGHTS)
    device: auto, cpu, cuda; workers: decoding threads (0: one a core)
    accumulate: parts in which a training's batch passes the backbone, so that the activations of one part at a time
    take memory; auto: as few as fit. Losses and gradients are of the whole batch, whose backbone runs twice forward.
    Batch normalisation in training takes the statistics of a part, which is said and noted on the leaderboard
    checkpoint_activations: keep no activations inside residual and transformer blocks in training, and compute them
    again when gradients are taken: less memory for about a third more time
    checkpoint_every: iterations between checkpoints
    shard: images in each part of a stage that works by image. A kill loses at most one part, and each file of CAMs
    holds one (COCO: 642 files). No batch spans two parts, so a power of 2 fills the batches
    cache_mb: decoded images kept in memory, MiB
    processes: worker processes that make artifacts side by side on a CPU and share its cores (0: one for each run
    of the plan, but no more than cores, than 2 GB of memory for each allow, or than eight). The number of threads
    of each follows from it, and so do the last digits of results. With a scheduler: how many stages the cores of a
    worker's machine are divided among (0: as many as that worker makes at once, its `--nthreads`)
    scheduler: a running Dask scheduler whose workers make the artifacts, in place of this machine: its address, or the
    file that `dask scheduler --scheduler-file` writes
    max_iterations: steps after which every training stops, whatever its settings say (0: none); for trials, whose
    rows on the leaderboard say so
    logger: where losses and scores are shown as they come: none, tensorboard, wandb or mlflow; the last three are
    extras of the same names. log_dir: folder of its files
    """

    store: str = "results/runs/store"
    weights_root: str | None = None
    device: Annotated[str, OneOf(DEVICES)] = "auto"
    precision: Annotated[str, OneOf(PRECISIONS)] = "32-true"
    deterministic: bool = True
    max_iterations: Natural = 0
    accumulate: Annotated[str, CountOr(AUTO)] = "1"
    checkpoint_activations: bool = False
    workers: Annotated[int, Within(0, 1024)] = 0
    processes: Annotated[int, Within(0, 1024)] = 0
    scheduler: str | None = None
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
        return run_name(self.dataset, self.scale.name, self.protocol.name)


def run_name(dataset: DatasetConfig, scale: str, protocol: str) -> str:
    """What a run's folder and its group in a logger are called: by the data set, a user's own by its folder."""
    name = dataset.name
    if name == USERS_OWN and dataset.root:
        own = resolved(expanded(dataset.root)).name
        name = "".join(c if c.isalnum() or c in "._-" else "-" for c in own) or name
    return f"{name}-{scale}-{protocol}"


def plain(value: Any, *, rounding: bool = True) -> Any:
    """Dataclasses, tuples and enums as JSON-ready data, without what is `datasets.limits.OffByDefault` and off.

    rounding: also what is marked as `datasets.limits.Rounding`
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        left_out = off_fields(value) | (frozenset() if rounding else rounding_fields(type(value)))
        names = [field.name for field in dataclasses.fields(value) if field.name not in left_out]
        return {name: plain(getattr(value, name), rounding=rounding) for name in names}
    if isinstance(value, Mapping):
        return {str(k): plain(v, rounding=rounding) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v, rounding=rounding) for v in value]
    return value


def key_of(config: RunConfig, part: Any) -> str | None:
    """Key of the first place where methods' or the protocol's settings hold a part: "method.NAME.train", or None."""

    def places(value: Any, key: str) -> Iterator[str]:
        if type(value) is type(part) and value == part:
            yield key
        elif isinstance(value, Mapping):
            for name, item in value.items():
                yield from places(item, f"{key}.{name}")
        elif dataclasses.is_dataclass(value):
            for field in dataclasses.fields(value):
                yield from places(getattr(value, field.name), f"{key}.{field.name}")

    return next((key for name in ("method", "protocol") for key in places(getattr(config, name), name)), None)


def typed(kind: Any, values: Mapping[str, Any]) -> Any:
    """A dataclass of `kind`, a type or an instance, from the plain data that `plain` made of one."""
    from omegaconf import OmegaConf

    from benchmark.composing import open_parts, writable

    node = writable(OmegaConf.structured(kind))
    open_parts(node, values)
    return OmegaConf.to_object(OmegaConf.merge(node, values))


def settled(value: Any, declared: Any = None) -> Any:
    """A value in its declared type, since keys of stages are made from it: 1 given for a float becomes 1.0.

    Sequences become tuples; OmegaConf makes lists of them. declared: needed for what is no dataclass
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        hints = field_hints(type(value))
        return dataclasses.replace(value, **{n: settled(getattr(value, n), h) for n, h in hints.items()})
    origin, parts = get_origin(declared), get_args(declared)
    if origin is Annotated:
        return settled(value, parts[0])
    if origin in (Union, UnionType):
        kinds = [part for part in parts if part is not type(None)]
        return settled(value, kinds[0]) if len(kinds) == 1 else value
    if isinstance(value, (list, tuple)):
        alike = len(parts) != len(value) or Ellipsis in parts
        return tuple(map(settled, value, [*parts, None][:1] * len(value) if alike else parts))
    if isinstance(value, dict):
        return {key: settled(item, parts[1] if parts else None) for key, item in value.items()}
    return float(value) if declared is float and type(value) is int else value


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
    if overrides:
        from benchmark.composing import overridden

        nodes = overridden(nodes, overrides)
    composed = {key: settled(node) for key, node in nodes.items()}
    config = RunConfig(
        **{k: composed[k] for k in ("dataset", "scale", "protocol", "evaluation", "runtime")},
        method={name: composed[f"method.{name}"] for name in methods},
    )
    if fault := first_fault(config):
        raise ConfigError(fault)
    folders = {"dataset.root": config.dataset.root} | {
        f"runtime.{name}": getattr(config.runtime, name) for name in ("store", "weights_root", "log_dir")
    }
    if empty := [name for name, folder in folders.items() if folder is not None and not folder.strip()]:
        raise ConfigError(f"{empty[0]} is empty; name a folder")  # else it would be the working folder
    return config


def protocol_defaults(
    name: str, scale: str, dataset: str, refiner: str = OWN, segmenter: str = OWN
) -> ProtocolConfig:
    """A protocol's settings before any override; those of a data set come before the scale's (`preset_key`).

    refiner, segmenter: names of those that take the place of the protocol's, or `OWN`. Raises ConfigError.
    """
    unified = name == UNIFIED
    refiner = choose("refiner", refiner, [OWN, *REFINERS])
    if not segmenter.startswith(SMP):
        segmenter = choose(
            f"segmentation network of scale {scale}", segmenter, [OWN, *NETWORKS[scale], SMP_NAME]
        )
    if refiner == OWN and unified:
        refiner = "crf"

    def of(presets: Mapping[str, Any]) -> Any:
        return presets[preset_key(presets, scale, dataset)]

    network: SegmenterConfig | None = of(SEGMENTERS) if unified else None
    if segmenter != OWN:
        named = segmenter.startswith(SMP)
        network = smp_network(segmenter, of(SEGMENTERS)) if named else of(NETWORKS)[segmenter]
    return ProtocolConfig(
        name,
        None if refiner == OWN else RefinerConfig(refiner, psa=of(PSA), irn=of(IRN)),
        network,
        INFERENCE[scale] if unified else None,
    )


def choose(what: str, value: str, options: Mapping[str, str] | Sequence[str]) -> str:
    """`value` if it is one of the options; ConfigError that names them, and the closest, if not."""
    if value in options:
        return value
    hint = suggestion(value, list(options))
    raise ConfigError(f"unknown {what} {value!r}; {hint}there are {', '.join(options)}")
