"""The recorded side of `check`: a JSON file with numbers, and beside it a folder with the weights they were made with."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import results
from benchmark.config import RunConfig, plain
from benchmark.failures import ConfigError
from benchmark.planning.changes import differences
from datasets.base import Dataset
from datasets.files.sealed import read_sealed, sealed

SCHEMA = 1
BASELINES = Path(results.__file__).parent / "baselines"

Values = dict[str, float | None]
"""Numbers by name ("cam/oracle/train/iou/boat"); None: not a number (a class that does not occur)."""


@dataclass(frozen=True)
class Run:
    """Numbers of one method, measured once.

    hardware: as `provenance.hardware_name` says it
    instructions: that torch uses of the processor ("AVX2"), which an environment variable may limit; "" on a GPU
    deterministic: whether torch was held to algorithms that give the same numbers every time
    """

    seed: int
    threads: int
    torch: str
    hardware: str
    values: Values
    instructions: str = ""
    deterministic: bool = True

    @property
    def identity(self) -> tuple[int, int, str, str, str, bool]:
        return self.seed, self.threads, self.torch, self.hardware, self.instructions, self.deterministic


@dataclass
class Baseline:
    """What a method is compared with; `settings`: the method's, as plain data, when the runs were made."""

    settings: dict[str, Any]
    runs: list[Run]

    def add(self, run: Run) -> None:
        """In place of the run of the same seed and conditions, if there is one."""
        self.runs = [r for r in self.runs if r.identity != run.identity] + [run]


@dataclass
class Reference:
    """A reference file.

    configuration: plain data of what all methods share: data set, scale, protocol, evaluation
    data:      fingerprints of the data, "images/train" and so on
    weights:   "method/stage" -> file in `folder`; stages of equal settings share one
    baselines: device kind and tier, `section(...)` -> method -> what it is compared with
    former_weights: files in `folder` that the reference on disk lists
    """

    path: Path
    configuration: dict[str, Any] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)
    weights: dict[str, str] = field(default_factory=dict)
    baselines: dict[str, dict[str, Baseline]] = field(default_factory=dict)
    former_weights: frozenset[str] = frozenset()

    @property
    def folder(self) -> Path:
        return self.path.with_suffix("")

    def weights_file(self, method: str, stage: str) -> Path | None:
        """The recorded weights of a stage, None where there are none."""
        name = self.weights.get(f"{method}/{stage}")
        return self.folder / name if name is not None else None

    def faults(self, config: RunConfig, dataset: Dataset) -> str:
        """How data or settings that all methods share differ from the recorded ones; "" if they do not."""
        found = differences(shared_settings(config), self.configuration)
        if found:
            recorded = differences(self.configuration, shared_settings(config))
            return f"recorded with {', '.join(recorded) or 'other settings'}; here {', '.join(found)}"
        changed = self.other_content(dataset)
        return f"recorded with another content of {', '.join(changed)}" if changed else ""

    def other_content(self, dataset: Dataset) -> list[str]:
        """Parts of the data that are not those that were recorded with: "images/train" and so on."""
        return [name for name, content in fingerprints(dataset).items() if self.data.get(name) != content]

    def other_values(self, config: RunConfig) -> list[str]:
        """``key=value`` of recorded settings that are there still and have another value now; new ones are none."""
        pairs = [("", shared_settings(config), self.configuration)]
        for recorded in self.baselines.values():
            pairs += [
                (f"method.{name}.", plain(config.method[name]), baseline.settings)
                for name, baseline in recorded.items()
                if name in config.method
            ]
        found: dict[str, None] = {}
        for prefix, now, before in pairs:
            keys = {change.partition("=")[0] for change in differences(now, before, prefix)}
            changes = differences(before, now, prefix)
            found |= dict.fromkeys(change for change in changes if change.partition("=")[0] in keys)
        return list(found)

    def others(self, methods: Collection[str], sections: Collection[str]) -> list[str]:
        """What is recorded of other methods or in other sections, one entry a section: "cuda/tier 1 of a, b"."""
        found = []
        for name, recorded in self.baselines.items():
            left = [m for m in recorded if name not in sections or m not in methods]
            found += [f"{name} of {', '.join(left)}"] if left else []
        return found

    def save(self) -> None:
        """Write the file, and remove weights that it listed before and nothing refers to any more; no other files."""
        content = {"schema": SCHEMA} | {
            k: v for k, v in dataclasses.asdict(self).items() if k not in ("path", "former_weights")
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(json.dumps(sealed(content), indent=1, sort_keys=True, allow_nan=False) + "\n")
        temporary.replace(self.path)
        unused = self.former_weights.difference(self.weights.values())
        self.former_weights = frozenset(self.weights.values())  # before anything else can be interrupted
        for name in unused:
            (self.folder / name).unlink(missing_ok=True)

    def drop_unsaved_weights(self) -> None:
        """Remove weights that were added since the file was read or saved: nothing on disk lists them."""
        for name in set(self.weights.values()) - self.former_weights:
            (self.folder / name).unlink(missing_ok=True)


def section(device: str, tier: int) -> str:
    """Name of the numbers of one kind of device and one tier."""
    return f"{device}/tier {tier}"


def tier_of(name: str) -> int:
    """The tier in a name that `section` gave."""
    return int(name.rpartition(" ")[2])


def default_path(config: RunConfig) -> Path:
    return BASELINES / f"{config.name}.json"


def load(path: Path) -> Reference | None:
    """None where there is no file. Raises ConfigError where it is none of ours."""
    try:
        content = read_sealed(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"--reference {path}: cannot be read ({error}); restore it (git checkout) or remove it"
        ) from None
    try:
        if content["schema"] != SCHEMA:
            raise ConfigError(
                f"--reference {path}: of another version; remove the file and make it anew with check --update --train"
            )
        baselines = {
            name: {
                method: Baseline(each["settings"], [Run(**run) for run in each["runs"]])
                for method, each in methods.items()
            }
            for name, methods in content["baselines"].items()
        }
        weights = content["weights"]
        if outside := [name for name in weights.values() if Path(name).name != name]:
            raise ConfigError(f"--reference {path}: lists {outside[0]!r}, which leads out of its folder")
        former = frozenset(weights.values())
        return Reference(path, content["configuration"], content["data"], weights, baselines, former)
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"--reference {path}: is no reference of check ({error!r}); give another") from None


def shared_settings(config: RunConfig) -> dict[str, Any]:
    """Settings that all methods share and that decide numbers, as plain data."""
    dataset = {name: value for name, value in plain(config.dataset).items() if not name.endswith("root")}
    no_number = ("panels", "inspection")  # what is shown, and whether more is scored
    evaluation = {name: value for name, value in plain(config.evaluation).items() if name not in no_number}
    return {
        "dataset": dataset,
        "scale": config.scale.name,
        "protocol": plain(config.protocol),
        "evaluation": evaluation,
        "runtime": {"precision": config.runtime.precision, "deterministic": config.runtime.deterministic},
    }


def fingerprints(dataset: Dataset) -> dict[str, str]:
    return {
        f"{part}/{split}": dataset.fingerprint(part, split)  # type: ignore[arg-type]
        for part in ("images", "masks")
        for split in ("train", "val")
    }


def as_recorded(values: Mapping[str, float]) -> Values:
    """To six decimals: below that, machines differ."""
    return {name: None if value != value else round(value, 6) for name, value in values.items()}
