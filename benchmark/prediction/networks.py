"""Finding a trained network again: the stage that segmented the validation images with it can segment others.

What a stage needs to run once more is in the manifest of its artifact, so that any method's will do. A manifest only
says which stage it was: nothing is imported or called but stages of registered methods.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmark.config import DEFAULT_DATASET, PROTOCOLS, protocol_defaults, settled, typed
from benchmark.console import console
from benchmark.failures import ConfigError
from benchmark.store import Store, StoredArtifact, read_manifest
from datasets.base import Conversion, DataError, TrainingView
from datasets.limits import first_fault
from methods.base import Artifact, Kind, MethodError, Shared, Stage
from methods.registry import all_methods

if TYPE_CHECKING:
    from benchmark.execution.runner import RunResult

AGAIN = "run the command that made it again"
_KEY = re.compile(r"[0-9a-f]{24}")


@dataclass(frozen=True)
class Predictor:
    """A stage that has segmented images, ready to segment others.

    function: "package.module:function", as `Stage.run`; settings: typed, as it was given
    inputs:   role -> artifact, the trained network among them
    classes:  names of the object classes it tells apart
    conversion: what the images it was trained on went through
    profile:  "package.module:function" that says what it passes images through, as `Stage.profile`
    """

    function: str
    settings: Any
    inputs: dict[str, Artifact]
    classes: tuple[str, ...]
    conversion: Conversion
    seed: int
    profile: str | None = None

    @property
    def fingerprint(self) -> str:
        """Of what it does with its inputs: one network may have been tested in several ways."""
        text = repr((self.function, self.settings, self.conversion, self.seed))
        return hashlib.sha256(text.encode()).hexdigest()[:24]


def trained_networks(result: RunResult) -> Iterator[Path]:
    """Folders of the networks that a run's finished predictions were made with."""
    for planned in result.run.stages:
        if planned.stage.yields == Kind.PREDICTION and planned.stage.name in result.artifacts:
            for upstream in planned.inputs.values():
                if upstream.stage.yields == Kind.WEIGHTS:
                    yield result.artifacts[upstream.stage.name].path


def announce(results: Sequence[RunResult], run_dir: Path) -> None:
    """Print where the trained networks lie, and how to segment images with one."""
    found = [(r.run, path) for r in results for path in trained_networks(r)]
    for run, path in found:
        console.print(f"network of {run.title.replace(' · ', ' ')}: {path}", markup=False)
    if found:
        first, path = found[0]
        same = [run for run, _ in found if (run.method, run.seed) == (first.method, first.seed)]
        chosen = f"--run {shlex.quote(str(run_dir))} --method {first.method.name} --seed {first.seed}"
        console.print(
            "To segment your images: wsss predict "
            f"{chosen if len(same) == 1 else f'--weights {shlex.quote(str(path))}'} --images DIR",
            markup=False,
        )


def chosen(run_dir: Path | None, method: str | None, seed: int | None, weights: Path | None) -> Path:
    """Folder of the network that a command's options name, for `load`. Raises ConfigError where they do not fit."""
    if (run_dir is None) == (weights is None):
        raise ConfigError("give either --run FOLDER (and --method, --seed) or --weights FOLDER")
    if run_dir is not None:
        return of_run(run_dir, method, seed, Kind.PREDICTION)
    assert weights is not None
    if method is not None or seed is not None:
        raise ConfigError("--method and --seed choose a network of a run; give --run instead of --weights")
    return weights


_SAID = {
    Kind.PREDICTION: ("segmented", "network", "networks", "--weights"),
    Kind.PSEUDO_LABEL: ("made pseudo-labels", "pseudo-label", "pseudo-labels", "--labels"),
}
"""What has been done, what there is one or several of, and the option that names a folder of it."""


def of_run(
    run_dir: Path, method: str | None, seed: int | None, kind: Literal[Kind.PREDICTION, Kind.PSEUDO_LABEL]
) -> Path:
    """Folder of the last artifact of that kind of one run of a run folder: predictions, or pseudo-labels.

    Raises ConfigError that says which there are.
    """
    from results.io import read_run
    from results.schema import EXTERNAL

    done, one, several, by_folder = _SAID[kind]
    found = [
        (run, next(s for s in reversed(run["stages"]) if _is_of(s, kind)))
        for run in read_run(run_dir).runs
        if not run["method"].startswith(EXTERNAL)  # files, no network
        and any(_is_of(s, kind) for s in run["stages"])
    ]
    if not found:
        raise ConfigError(f"--run {run_dir}: no method has {done} there; its runs failed or stopped before")
    for option, key, wanted in (("--method", "method", method), ("--seed", "seed", seed)):
        there = list(dict.fromkeys(run[key] for run, _ in found))
        named = ", ".join(map(str, there))
        if wanted is not None and wanted not in there:
            raise ConfigError(f"{option} {wanted}: {run_dir} has no {one} of it; there: {named}")
        if wanted is None and len(there) != 1:
            raise ConfigError(f"--run {run_dir}: choose a {one} with {option}; there: {named}")
        found = [(run, stage) for run, stage in found if wanted is None or run[key] == wanted]
    paths = [run_dir / stage["path"] for _, stage in found]
    if len(found) > 1:  # other settings, data or scales
        named = "; ".join(
            f"{path} ({run['dataset']}, {run['scale']}, {run['protocol']}, refiner {run['refiner']}, "
            f"segmenter {run['segmenter']}, {run['changes'] or 'all default'})"
            for (run, _), path in zip(found, paths)
        )
        raise ConfigError(f"--run {run_dir}: several {several} fit; choose one with {by_folder}: {named}")
    if not paths[0].is_dir():
        raise ConfigError(f"--run {run_dir}: {paths[0]} is not in the store any more; {AGAIN}")
    return paths[0]


def _is_of(stage: Mapping[str, Any], kind: Kind) -> bool:
    """Whether a stage of a run folder is of a kind, and says where it lies."""
    return stage.get("kind") == kind and "path" in stage


def load(folder: Path) -> Predictor:
    """The predictor of a finished artifact: predictions, or the network that predictions were made with."""
    artifact, store = _finished(folder)
    if artifact.manifest.get("kind") != Kind.PREDICTION:
        artifact = _made_with(store, artifact)
    return _predictor(artifact, store)


def load_classifier(folder: Path) -> Predictor:
    """The stage that made an IMAGE_SCORES artifact, ready to score other images. Raises ConfigError."""
    return _predictor(*_finished(folder), Kind.IMAGE_SCORES)


def _finished(folder: Path) -> tuple[StoredArtifact, Store]:
    folder = Path(os.path.realpath(folder))  # `resolve` raises for links in a circle
    store = Store(folder.parents[2] if len(folder.parents) > 2 else folder)
    damaged = (folder / "manifest.json").exists()
    artifact = store.intact(folder.parent.name, folder.name)
    if artifact is None:
        if damaged:
            raise ConfigError(f"--weights {folder}: damaged; {AGAIN}")
        raise ConfigError(
            f"--weights {folder}: no finished artifact there; give the folder of a trained network, "
            "e.g. results/runs/store/artifacts/segment/<key>, or use --run"
        )
    return artifact, store


def _predictor(artifact: StoredArtifact, store: Store, yields: Kind = Kind.PREDICTION) -> Predictor:
    """The stage that made an artifact; yields: its kind. Raises ConfigError, DataError where its inputs are gone."""
    manifest = artifact.manifest
    if manifest.get("inputs") == {}:
        raise ConfigError(
            f"--weights {artifact.path}: these predictions came as files; there is no network to segment with"
        )
    try:
        classes = _texts(manifest["classes"])
        stage = _registered(manifest["run"], classes, yields)
        settings = _settings(manifest, stage)
        conversion = Conversion(**manifest["conversion"])
        if not all(type(v) is int for v in vars(conversion).values()):
            raise ValueError("its conversion of images is not of whole numbers")
        seed = manifest["seed"] or 0
        if type(seed) is not int:
            raise ValueError(f"its seed is {seed!r}")
        inputs = {role: _artifact(store, key, classes, yields) for role, key in manifest["inputs"].items()}
    except DataError:
        raise
    except Exception as error:  # OmegaConf's are many
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(
            f"{artifact.path}: made by another version of the benchmark or of a plug-in ({reason}); "
            "remove this folder, then run its command again"
        ) from error
    return Predictor(stage.run, settings, inputs, classes, conversion, seed, stage.profile)


def _settings(manifest: Mapping[str, Any], stage: Stage, parts: bool = False) -> Any:
    """What a manifest says of its stage's settings, typed. Raises ValueError and OmegaConf's errors.

    parts: also those of parts whose type the stage leaves open, as a training does that of its network
    """
    kind = type(stage.settings)
    if manifest["settings_type"] != f"{kind.__module__}:{kind.__qualname__}":
        raise ValueError(f"its settings are {manifest['settings_type']}")
    settings = typed(stage.settings if parts else kind, manifest["settings"])
    if fault := first_fault(settings):
        raise ValueError(fault)
    return settings


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError("its classes are not a list of names")
    return tuple(value)


def _registered(run: str, classes: tuple[str, ...], yields: Kind) -> Stage:
    """The stage of that function, of whichever registered method has it. Raises ValueError."""
    view = TrainingView("predict", classes, {"train": (), "val": ()})
    for method in all_methods().values():
        for scale, _, dataset in (key.partition("/") for key in method.presets):
            for protocol in PROTOCOLS:
                parts = protocol_defaults(protocol, scale, dataset or DEFAULT_DATASET[scale])
                shared = Shared(parts.refiner, parts.segmenter, parts.inference)
                config = settled(method.preset(scale, protocol, dataset))
                with suppress(MethodError):  # not for such data
                    for stage in method.stages(config, view, settled(shared)):
                        if stage.yields == yields and stage.run == run:
                            return stage
    does = "segments with" if yields == Kind.PREDICTION else "has a stage"
    raise ValueError(f"no method that is installed {does} {run!r}")


def _made_with(store: Store, network: StoredArtifact) -> StoredArtifact:
    """The predictions made with a network."""
    key = network.manifest["key"]
    found = [
        StoredArtifact(path.parent, manifest)
        for path in store.artifacts("*")
        if (manifest := _manifest(path)).get("kind") == Kind.PREDICTION and key in manifest["inputs"].values()
    ]
    if len(found) == 1:
        return found[0]
    if found:
        named = ", ".join(str(artifact.path) for artifact in found)
        raise ConfigError(
            f"--weights {network.path}: predictions were made with it in several ways; give one of {named}"
        )
    raise ConfigError(
        f"--weights {network.path}: no stage has segmented with it; give a trained segmentation network "
        "whose run came to its end, or use --run"
    )


def _manifest(path: Path) -> dict[str, Any]:
    """Empty where it is damaged: it is not the one that is looked for."""
    try:
        return read_manifest(path)
    except (OSError, ValueError):
        return {}


def _artifact(store: Store, key: Any, classes: tuple[str, ...], yields: Kind) -> Artifact:
    """An input of a stage that yields a kind. A classifier's comes with its settings; predictions need none of it."""
    paths = list(store.artifacts(key)) if isinstance(key, str) and _KEY.fullmatch(key) else []
    artifact = store.intact(paths[0].parent.parent.name, key) if paths else None
    if artifact is None:
        raise DataError(f"{store.root}: artifact {key} is not in the store any more, or damaged; {AGAIN}")
    manifest, kind = artifact.manifest, Kind(artifact.manifest["kind"])
    if yields == Kind.PREDICTION:
        return Artifact(artifact.path, key, kind)
    settings = _settings(manifest, _registered(manifest["run"], classes, kind), parts=True)
    return Artifact(artifact.path, key, kind, settings)
