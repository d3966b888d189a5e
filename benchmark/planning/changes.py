"""How a run's settings differ from the defaults of its data set, scale and protocol: part of what tells runs apart."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from benchmark.config import (
    OWN,
    EvaluationConfig,
    ProtocolConfig,
    RunConfig,
    RuntimeConfig,
    plain,
    protocol_defaults,
)
from benchmark.provenance import world_size
from datasets import dataset_class
from methods.layers.config import SMP
from methods.registry import find_method
from methods.segmenters.networks import NETWORKS, network_name
from results.changes import data_changes
from results.schema import CHANGES_SEPARATOR, EXTERNAL

EVALUATION = ("held_out", "sweep_max", "boundary_tolerance")
RUNTIME = ("precision", "deterministic", "max_iterations")
"""Those settings of `evaluation` and `runtime` that decide numbers; they are in the keys as well."""


def run_identity(config: RunConfig, method: str, seed: int) -> dict[str, Any]:
    """The columns of a record that say whose it is."""
    of_method, scale, dataset = _is_run(config, method), config.scale.name, config.dataset.name
    # a reference or external row is the same whatever the grid
    protocol = config.protocol if of_method else protocol_defaults(config.protocol.name, scale, dataset)
    refiner, segmenter = (OWN, OWN) if method.startswith(EXTERNAL) else parts(protocol, scale)
    return {
        "dataset": config.dataset.name,
        "method": method,
        "scale": scale,
        "protocol": protocol.name,
        "refiner": refiner,
        "segmenter": segmenter,
        "seed": seed,
        "changes": run_changes(config, method) if of_method else reference_changes(config),
    }


def data_of(config: RunConfig, method: str) -> str:
    """`results.changes.data_changes` of a run's records."""
    return data_changes(run_identity(config, method, 0)["changes"], config.dataset.name)


def _is_run(config: RunConfig, method: str) -> bool:
    """Whether a method of the registry made the row; its settings are then compared with its presets."""
    return method in config.method and not method.startswith(EXTERNAL)


def parts(protocol: ProtocolConfig, scale: str) -> tuple[str, str]:
    """Names of the refiner and the segmentation network that a protocol gives all methods, `OWN` for none."""
    refiner = protocol.refiner.name if protocol.refiner else OWN
    return refiner, network_name(protocol.segmenter, scale) if protocol.segmenter else OWN


def run_changes(config: RunConfig, method: str) -> str:
    """``key=value`` of every setting that decides a run's numbers and is not the default, separated by "; ".

    The method's own keys come first and without ``method.<name>.``. Where generated data are kept is left out.
    """
    scale, protocol, dataset = config.scale.name, config.protocol, config.dataset.name
    preset = find_method(method).preset(scale, protocol.name, dataset)
    own = differences(_decisive(config.method[method]), _decisive(preset))
    refiner, segmenter = parts(protocol, scale)
    named = segmenter in NETWORKS[scale] or segmenter.startswith(SMP)
    usual = protocol_defaults(protocol.name, scale, dataset, refiner, segmenter if named else OWN)
    shared = differences(_decisive(protocol), _decisive(usual), "protocol.")
    runtime = differences(_some(config.runtime, RUNTIME), _some(RuntimeConfig(), RUNTIME), "runtime.")
    processes = [f"processes={world_size()}"] if world_size() > 1 else []
    return CHANGES_SEPARATOR.join([*own, *shared, *_of_scores(config), *runtime, *processes])


def reference_changes(config: RunConfig) -> str:
    """As `run_changes`, for rows that no method made: what concerns the data and the scoring."""
    return CHANGES_SEPARATOR.join(_of_scores(config))


def differences(values: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str = "") -> list[str]:
    """``key=value`` of the leaves of `values` (plain data) that `defaults` lacks or has otherwise."""
    before = dict(_leaves(defaults, prefix))
    return [
        f"{key}={value if isinstance(value, str) else json.dumps(value)}"
        for key, value in _leaves(values, prefix)
        if key not in before or before[key] != value
    ]


def _of_scores(config: RunConfig) -> list[str]:
    data, kind = config.dataset, dataset_class(config.dataset.name)
    values, defaults = plain(data), plain(kind.config(name=data.name))
    if kind.generated:
        del values["root"]
    evaluation = _some(config.evaluation, EVALUATION)
    return [
        *differences(values, defaults, "dataset."),
        *differences(evaluation, _some(EvaluationConfig(), EVALUATION), "evaluation."),
    ]


_decisive = partial(plain, rounding=False)


def _some(settings: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in names}


def _leaves(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
