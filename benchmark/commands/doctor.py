"""`doctor`: environment, GPU, data and weights; every problem with its remedy."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock

import datasets
from benchmark.config import DEFAULT_DATASET, compose
from benchmark.console import console, size
from benchmark.failures import ConfigError
from benchmark.folders import check_writable
from datasets.base import DataError, DatasetConfig
from datasets.files.hash_list import changed_files, write_hashes
from datasets.files.places import expanded
from methods.base import MethodError

REQUIRED = {
    "torch": "torch",
    "torchvision": "torchvision",
    "timm": "timm",
    "open_clip": "open_clip_torch",
    "segment_anything": "segment-anything",
    "lightning_fabric": "lightning-fabric",
    "pydensecrf.densecrf": "pydensecrf2",
}
"""Modules, and the packages that pip installs them with."""
OPTIONAL = {"rembg": "pip install 'rembg[cpu]' to detect saliency with U²-Net"}
MINIMUM_TORCH = (2, 11)
HELD = 3
TAKE = f"""
import sys
from filelock import FileLock, Timeout
try:
    FileLock(sys.argv[1]).acquire(timeout=0)
except Timeout:
    sys.exit({HELD})
"""
"""Exits with `HELD` where another process holds the lock."""


def examine(dataset: str | None, overrides: list[str], hashes: bool = False) -> bool:
    """Print all findings; True when nothing is broken. `overrides` of data need `dataset`: they are of one data set.

    hashes: write the list of its files' hashes, see `datasets.files.hash_list`
    """
    if hashes and dataset is None:
        raise ConfigError(f"--hash: say of which data set, with --dataset {'|'.join(datasets.names())}")
    of_run = [override for override in overrides if override.startswith("runtime.")]
    of_data = [override for override in overrides if override not in of_run]
    if of_data and dataset is None:
        raise ConfigError(f"{of_data[0]}: say of which data set, with --dataset {'|'.join(datasets.names())}")
    configs = {
        name: compose([], name, overrides=of_data).dataset
        for name in ([dataset] if dataset else datasets.names())
    }
    sections = {
        "Environment": _environment(),
        "Devices": _devices(),
        "Store": _store(Path(compose([], overrides=of_run).runtime.store)),
        "Weights": _weights(),
        **{f"Data set {name}": _data(name, config, hashes) for name, config in configs.items()},
    }
    broken = 0
    for title, findings in sections.items():
        console.print(f"\n[bold]{title}[/bold]")
        for state, text in findings:
            mark = {"ok": "[green]ok[/green]  ", "note": "[yellow]note[/yellow]", "bad": "[red]BAD[/red] "}[
                state
            ]
            broken += state == "bad"
            console.print(f"  {mark} ", end="")
            console.print(text, markup=False)
    console.print(f"\n{'Nothing is broken.' if not broken else f'{broken} problems; see BAD above.'}")
    return not broken


def _environment() -> Iterator[tuple[str, str]]:
    yield ("ok" if sys.version_info >= (3, 11) else "bad"), f"Python {sys.version.split()[0]} (3.11 or newer)"
    for module, package in REQUIRED.items():
        try:
            importlib.import_module(module)
        except Exception as error:
            yield "bad", f"import {module} fails: {error}; pip install --force-reinstall {package}"
        else:
            yield "ok", f"import {module}"
    import torch

    release = tuple(int(x) for x in torch.__version__.split("+")[0].split(".")[:2])
    if release < MINIMUM_TORCH:
        yield "bad", f"torch {torch.__version__} is older than 2.11: pip install -U torch torchvision"
    for module, remedy in OPTIONAL.items():
        found = importlib.util.find_spec(module) is not None
        yield ("ok", f"optional {module}") if found else ("note", f"no {module}: {remedy}")
    yield from _shadowing()
    yield "note", f"{shutil.disk_usage('.').free / 1e9:.0f} GB free in {Path.cwd()}"


def _shadowing() -> Iterator[tuple[str, str]]:
    try:
        installed = version("datasets")
    except PackageNotFoundError:
        yield "ok", "the package `datasets` shadows no installed package"
    else:
        yield (
            "note",
            f"the package `datasets` shadows Hugging Face's datasets {installed} in this process; nothing in the "
            "benchmark uses it. Other programs import theirs, unless they run in the root of a checkout",
        )


def _devices() -> Iterator[tuple[str, str]]:
    import psutil
    import torch

    memory = psutil.virtual_memory().total
    yield (
        "ok",
        f"{os.cpu_count()} CPU cores, {size(memory)} memory, torch uses {torch.get_num_threads()} threads",
    )
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            yield "ok", f"GPU {index}: {properties.name}, {size(properties.total_memory)}"
    else:
        yield "note", "no CUDA device: nano and small run on the CPU; paper needs a GPU"


def _store(root: Path) -> Iterator[tuple[str, str]]:
    """Whether locks hold where the store is, or will be: runs that share it rely on them."""
    place = next(folder for folder in (root, *root.absolute().parents) if folder.is_dir())
    where = f"{root} (file system {_file_system(place)})"
    try:
        with TemporaryDirectory(dir=place, prefix=".lock-probe-") as folder:
            file = Path(folder) / "probe.lock"
            with FileLock(file):
                other = subprocess.run(
                    [sys.executable, "-c", TAKE, str(file)], capture_output=True, text=True
                )
    except (OSError, NotImplementedError) as error:
        yield "bad", f"{where}: no lock can be taken: {error}; choose a runtime.store where it can"
        return
    if other.returncode == HELD:
        yield "ok", f"{where}: a lock of one process keeps another out"
    elif other.returncode == 0:
        yield (
            "bad",
            f"{where}: locks do not hold between processes; give each run a runtime.store of its own, or mount the file "
            "system with locks (Lustre: the option flock)",
        )
    else:
        yield "bad", f"{where}: a second process cannot try a lock: {other.stderr.strip().splitlines()[-1:]}"


def _file_system(folder: Path) -> str:
    import psutil

    mounts = [m for m in psutil.disk_partitions(all=True) if folder.resolve().is_relative_to(m.mountpoint)]
    return max(mounts, key=lambda m: len(m.mountpoint)).fstype if mounts else "unknown"


def _weights() -> Iterator[tuple[str, str]]:
    from methods.layers.weights.files import HUBS, file_to_provide, locate
    from methods.registry import all_methods

    root = os.environ.get("WSSS_WEIGHTS")
    yield "note", f"WSSS_WEIGHTS = {root or '(not set: weights are fetched by their libraries)'}"
    for scale in ("nano", "small", "paper"):
        references: set[str] = set()
        needed: dict[str, None] = {}
        for name, method in all_methods().items():
            for key in method.presets:
                if key.partition("/")[0] == scale:
                    try:
                        references |= _references(name, key)
                    except MethodError as error:
                        needed[f"{scale}: {name}: {error}"] = None
        for reference in sorted(references - {"none"}):
            path = locate(reference, root)
            if path is not None and (fault := _fault(path)):
                yield "bad", f"{scale}: {fault}"
            elif path is not None:
                yield "ok", f"{scale}: {reference} at {path}"
            elif reference.startswith("nano/"):  # the installation is not whole
                yield (
                    "bad",
                    f"{scale}: {reference} is missing; restore methods/pretrained with git checkout, or install again",
                )
            else:
                file = f"put {file_to_provide(reference)} into $WSSS_WEIGHTS"
                fetched = reference.partition("/")[0] in HUBS
                remedy = f"it is fetched when needed, or {file}" if fetched else file
                yield "note", f"{scale}: {reference} is not on this machine; {remedy}"
        yield from (("note", need) for need in needed)


def _fault(path: Path) -> str | None:
    """What is wrong with a weight file, as far as its header says."""
    from methods.layers.weights.contents import read_shapes

    try:
        read_shapes(path)
    except MethodError as error:
        return str(error)
    return None


def _references(name: str, key: str) -> set[str]:
    """Pretrained weights of a method's preset. Raises MethodError where it needs more than its preset says."""
    from datasets.base import TrainingView
    from methods.base import Shared
    from methods.registry import find_method

    method = find_method(name)
    scale, _, dataset = key.partition("/")
    view = TrainingView(
        dataset or DEFAULT_DATASET[scale], (), {"train": (), "val": ()}, generated=scale == "nano"
    )
    return {r for stage in method.stages(method.presets[key], view, Shared()) for r in stage.pretrained}


def _data(name: str, config: DatasetConfig, hashes: bool) -> Iterator[tuple[str, str]]:
    implementation = datasets.dataset_class(name)
    if config.root is None and not implementation.generated:
        yield "note", f"not configured: {implementation.needs}; give dataset.root=PATH"
        return
    try:
        dataset = datasets.open_dataset(config)
        dataset.prepare()
        for note in dataset.notes():
            yield "ok", note
        for problem in dataset.problems():
            yield "bad" if problem.broken else "note", f"{problem.what}; {problem.remedy}"
        if config.root is not None:
            root = expanded(config.root)
            if hashes:
                check_writable(root, "dataset.root")
                path, count = write_hashes(dataset, root)
                yield "ok", f"SHA-256 of {count} files in {path}"
            for line in changed_files(dataset, root):
                yield "note", line
    except (ConfigError, DataError) as error:
        yield "bad", str(error)
