"""What only a GPU can show, part by part, each in a process and with a time limit of its own; one JSON comes out.

tests:    the tests that need a GPU
check:    the recorded numbers of the regression check; where none are recorded for CUDA, they are recorded, beside
          the JSON
loader:   augmented images a second
methods:  every stage of every method at paper scale on a few images: the trainings' time a step, peak device memory,
          share of the time that they wait for data, and whether their losses fall; images a second of the other stages

Weights that are not here are replaced by random ones, which changes neither times nor memory. What is left out, and
why, is said in the JSON and on the terminal. Exit status 1 if a part failed or was cut short, else 0.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SECONDS = {"tests": 60, "check": 60, "loader": 40, "methods": 300}
"""Limits of the parts. With what starting and ending them takes, the whole stays below eight minutes."""
FORMAT = 1
PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "lightning_fabric",
    "open_clip_torch",
    "segment-anything",
)
DONE, FAILED, CUT, LEFT_OUT = "done", "failed", "cut", "left out"


@dataclasses.dataclass(frozen=True)
class Options:
    """device: cuda or cpu; scale: of the methods' settings; iterations: most steps of a training, which also ends
    when its share of the part's time is up; images: to train on; voc: a VOCdevkit in place of drawn pictures"""

    device: str
    scale: str
    methods: tuple[str, ...]
    iterations: int
    images: int
    voc: str | None
    folder: str
    seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("scripts/gpu_check.sh", description=__doc__.partition("\n\n")[0])
    place = Path(os.environ.get("OUT", "results/runs")) / "gpu_check.json"
    parser.add_argument("--output", type=Path, default=place, help=f"the JSON; {place} by default")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--parts", default=",".join(SECONDS), help=f"of {','.join(SECONDS)}")
    parser.add_argument("--methods", default="all", help="names, separated by commas")
    parser.add_argument("--scale", default="paper", help="of the methods' settings")
    parser.add_argument("--iterations", type=int, default=300, help="most steps of a training")
    parser.add_argument("--images", type=int, default=32, help="to train on")
    parser.add_argument("--voc", help="VOCdevkit to take images from; by default they are drawn")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    parts = given.parts.split(",")
    if unknown := [part for part in parts if part not in SECONDS]:
        parser.error(f"--parts: no part {unknown[0]!r}; there are {', '.join(SECONDS)}")
    if given.part:
        return _do(given)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    found = {"format": FORMAT, "environment": _environment(), "parts": {}}
    with tempfile.TemporaryDirectory() as work:
        for part in parts:
            found["parts"][part] = result = _run(part, given, Path(work))
            temporary = given.output.with_suffix(".tmp")
            temporary.write_text(json.dumps(found, indent=1))
            temporary.replace(given.output)
            _show(part, result)
    print(f"Written: {given.output}")
    return int(any(result["status"] in (FAILED, CUT) for result in found["parts"].values()))


def _environment() -> dict[str, Any]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {"python": sys.version.partition(" ")[0], "packages": versions, "cores": os.cpu_count()}


def _run(part: str, given: argparse.Namespace, work: Path) -> dict[str, Any]:
    """A part in a process of its own, whose rows are kept when its time is up or it dies."""
    rows = work / f"{part}.jsonl"
    names = ("device", "methods", "scale", "iterations", "images", "output")
    command = [sys.executable, "-m", "scripts.gpu_check", "--part", part, "--work", str(work)]
    command += [f"--{name}={getattr(given, name)}" for name in names]
    command += [f"--voc={given.voc}"] if given.voc else []
    print(f"== {part}", flush=True)
    began = time.monotonic()
    try:
        code = subprocess.run(command, cwd=ROOT, timeout=SECONDS[part], check=False).returncode
        status = DONE if code == 0 else FAILED
    except subprocess.TimeoutExpired:
        status = CUT
    found = [json.loads(line) for line in rows.read_text().splitlines()] if rows.exists() else []
    if status == DONE and found and all(row.get("status") == LEFT_OUT for row in found):
        status = LEFT_OUT
    return {
        "status": status,
        "seconds": round(time.monotonic() - began, 1),
        "limit": SECONDS[part],
        "rows": found,
    }


def _show(part: str, result: Mapping[str, Any]) -> None:
    for row in result["rows"]:
        print("  " + ", ".join(f"{key} {value}" for key, value in row.items() if value not in (None, "")))
    print(f"{part}: {result['status']}, {result['seconds']:.0f} s (limit {result['limit']} s)", flush=True)


# ---------------------------------------------------------------- in a part's process


def _do(given: argparse.Namespace) -> int:
    """A part; every finding is a line of its file at once."""
    failed = False
    work = Path(given.work)
    names = tuple(given.methods.split(","))
    options = Options(
        given.device,
        given.scale,
        names,
        given.iterations,
        given.images,
        given.voc,
        given.work,
        SECONDS[given.part],
    )
    with (work / f"{given.part}.jsonl").open("a", buffering=1) as file:

        def note(**row: Any) -> None:
            nonlocal failed
            failed |= row.get("status") == FAILED
            file.write(json.dumps(row) + "\n")

        if given.device == "cuda" and (missing := _without_gpu()):
            note(status=LEFT_OUT, reason=missing)
            return 0
        try:
            PARTS[given.part](options, note, given.output)
        except Exception as error:
            note(**failure(error))
    return int(failed)


def _without_gpu() -> str:
    import torch

    return "" if torch.cuda.is_available() else "torch sees no CUDA device"


def failure(error: Exception) -> dict[str, Any]:
    """A missing package is no fault of what needs it."""
    from methods.base import MethodError

    if isinstance(error, ModuleNotFoundError):
        return {"status": LEFT_OUT, "reason": f"needs {error.name}, which is not installed"}
    if isinstance(error, MethodError):
        return {"status": LEFT_OUT, "reason": " ".join(str(error).split())}
    traceback.print_exception(error)
    return {"status": FAILED, "reason": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}


Note = Callable[..., None]


def _tests(options: Options, note: Note, output: Path) -> None:
    marked = [str(p) for p in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in p.read_text()]
    report = Path(options.folder) / "tests.xml"
    code = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-m",
            "gpu",
            "-q",
            "-p",
            "no:cacheprovider",
            f"--junitxml={report}",
            *marked,
        ],
        cwd=ROOT,
        check=False,
    ).returncode
    from xml.etree import ElementTree

    if not report.exists():
        note(status=FAILED, reason=f"pytest ended with {code}")
        return
    for case in ElementTree.parse(report).iter("testcase"):
        outcomes = {child.tag: child.get("message", "") for child in case}
        status = (
            FAILED if {"failure", "error"} & set(outcomes) else LEFT_OUT if "skipped" in outcomes else DONE
        )
        reason = " ".join(next(iter(outcomes.values()), "").split())[:200]
        note(test=case.get("name"), status=status, seconds=float(case.get("time", 0)), reason=reason)


def _check(options: Options, note: Note, output: Path) -> None:
    from benchmark.check.reference import default_path, load
    from benchmark.config import compose
    from methods.registry import all_methods

    for package in ("hydra", "pydensecrf"):
        importlib.import_module(package)
    names = list(all_methods()) if options.methods == ("all",) else list(options.methods)
    source = default_path(compose(names))
    reference = load(source)
    recorded = reference is not None and f"{options.device}/tier 1" in reference.baselines
    command = [sys.executable, "-m", "benchmark", "check", "--device", options.device, "--tier", "1"]
    command += ["--methods", ",".join(options.methods)]
    if not recorded:
        target = output.resolve().with_name(f"gpu_check-{source.name}")
        shutil.copy(source, target)
        shutil.copytree(source.with_suffix(""), target.with_suffix(""), dirs_exist_ok=True)
        command += ["--update", "--reference", str(target)]
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    if not recorded:
        shutil.rmtree(target.with_suffix(""))  # the weights, which are those of the recorded numbers
    what = (
        "compared with the recorded numbers"
        if recorded
        else f"no numbers of {options.device}: recorded {target}"
    )
    note(check=what, status=FAILED if code else DONE)


def _loader(options: Options, note: Note, output: Path) -> None:
    from datasets.files.cores import usable_cores
    from datasets.loading.loader import IMAGENET, Recipe, TrainLoader
    from scripts.gpu_pictures import open_pictures

    samples = (
        open_pictures(options.voc, Path(options.folder), options.images).training_view().samples("train")
    )
    crop = 448 if options.scale == "paper" else 64
    recipe = Recipe(crop, resize_long=(crop, 768), brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1)
    size, warm_up = 8, 2
    for kept, cache in (("decoded each time", 0), ("kept in memory", 2**30)):
        loader = TrainLoader(samples, 20, recipe, IMAGENET, size, 0, options.device, cache_bytes=cache)
        ends = time.monotonic() + options.seconds / 6
        batches = loader.batches(0, 10**6)
        for _ in range(warm_up):
            next(batches)
        count, began = 0, time.monotonic()
        for batch in batches:
            batch.images[0, 0, 0, 0].item()  # waits for the device
            count += 1
            if time.monotonic() > ends:
                break
        batches.close()  # type: ignore[attr-defined]
        rate = count * size / (time.monotonic() - began)
        note(images=kept, crop=recipe.crop, workers=min(usable_cores(), 8), images_per_second=round(rate, 1))


def _methods(options: Options, note: Note, output: Path) -> None:
    from scripts.gpu_methods import measure_methods

    measure_methods(options, note, output)


PARTS: dict[str, Callable[[Options, Note, Path], None]] = {
    "tests": _tests,
    "check": _check,
    "loader": _loader,
    "methods": _methods,
}

if __name__ == "__main__":
    sys.exit(main())
