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
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets.base import Dataset
    from methods.base import Artifact, Method, Stage

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
WARM_UP = 5
"""Steps of a training before its time is taken: libraries choose their kernels in them."""
TRAINING_SHARE = 0.6
"""Of the time that is left, for the trainings that are left; the other stages take the rest."""
RESERVE = 15
"""Seconds before the end of a part's time from which on no stage is begun."""


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
            note(**_failure(error))
    return int(failed)


def _without_gpu() -> str:
    import torch

    return "" if torch.cuda.is_available() else "torch sees no CUDA device"


def _failure(error: Exception) -> dict[str, Any]:
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

    samples = _dataset(options).training_view().samples("train")
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
    from methods.base import Kind
    from methods.registry import all_methods, find_method

    chosen = (
        list(all_methods().values()) if options.methods == ("all",) else map(find_method, options.methods)
    )
    methods = [m for m in chosen if options.scale in m.presets]
    dataset = _dataset(options)
    plans: list[tuple[Method, Sequence[Stage]]] = []
    for method in methods:
        try:
            plans.append((method, _stages(method, dataset, options)))
        except Exception as error:
            note(method=method.name, **_failure(error))
    ends = time.monotonic() + options.seconds - RESERVE
    trainings = {_key(stage) for _, stages in plans for stage in stages if stage.yields == Kind.WEIGHTS}
    made: dict[str, str] = {}
    for method, stages in plans:
        artifacts: dict[str, Artifact] = {}
        for stage in stages:
            row: dict[str, Any] = {"method": method.name, "stage": stage.name}
            key = _key(stage)
            left = ends - time.monotonic()
            lacking = [name for name in stage.inputs.values() if name not in artifacts]
            needed = any(stage.name in later.inputs.values() for later in stages)
            if lacking:
                note(**row, status=LEFT_OUT, reason=f"needs {lacking[0]}")
            elif key in made and not needed:
                note(**row, status=LEFT_OUT, reason=f"measured as {made[key]}")
            elif left < 0:
                note(**row, status=LEFT_OUT, reason="no time was left")
            else:
                share = left * TRAINING_SHARE / max(1, len(trainings - set(made)))
                try:
                    artifacts[stage.name], found = _measured(
                        stage, method, artifacts, dataset, options, share
                    )
                    note(**row, status=DONE, **found)
                    made.setdefault(key, f"{method.name}/{stage.name}")
                except Exception as error:
                    note(**row, **_failure(error))


def _key(stage: Stage) -> str:
    """Equal for stages that do the same work, whichever method they are of."""
    return f"{stage.run} {stage.settings!r}"


def _stages(method: Method, dataset: Dataset, options: Options) -> Sequence[Stage]:
    """The method's stages with its preset, and random weights where there is no file."""
    from methods.base import Shared

    settings = method.preset(options.scale, "paper", dataset.name)
    saliency = getattr(settings, "saliency", None)
    if (
        getattr(saliency, "source", "") == "folder"
    ):  # of which there are none: noise of the images' size will do
        folder = _noise_maps(dataset, Path(options.folder) / "saliency")
        settings = dataclasses.replace(settings, saliency=dataclasses.replace(saliency, folder=str(folder)))
    return method.stages(settings, dataset.training_view(), Shared())


def _measured(
    stage: Stage,
    method: Method,
    made: Mapping[str, Artifact],
    dataset: Dataset,
    options: Options,
    seconds: float,
) -> tuple[Artifact, dict[str, Any]]:
    """Run a stage; a training ends after `seconds`. Returns its artifact and what it took."""
    from benchmark.config import RuntimeConfig
    from benchmark.execution.context import mask_dense_map
    from benchmark.execution.distributed import make_fabric
    from benchmark.execution.memory import PeakMemory, release_unused
    from benchmark.execution.training import seed_everything
    from benchmark.store import SCRATCH
    from methods.base import Artifact, Supervision

    release_unused()
    runtime = RuntimeConfig(device=options.device, checkpoint_every=10**9, cache_mb=0)
    output = Path(tempfile.mkdtemp(dir=options.folder))
    (output / SCRATCH).mkdir()
    masks = mask_dense_map(dataset) if Supervision.MASKS in method.supervision else None
    inputs = {role: made[name] for role, name in stage.inputs.items()}
    context = _context_type()(
        make_fabric(runtime), runtime, dataset.training_view(), inputs, output, 0, _Silent(), masks
    )
    context.most, context.seconds = options.iterations, seconds
    module, _, function = stage.run.partition(":")
    seed_everything(0)
    began = time.monotonic()
    with PeakMemory() as memory:
        getattr(importlib.import_module(module), function)(context, stage.settings)
    took = time.monotonic() - began
    found: dict[str, Any] = {
        "seconds": round(took, 2),
        "device_memory_mb": memory.device_mb and round(memory.device_mb),
        "host_memory_mb": round(memory.host_mb),
        "random_weights": context.random_weights or None,
    }
    if context.trainings:
        found["trainings"] = context.trainings
    else:
        images = sum(len(dataset.training_view().samples(split)) for split in stage.splits)
        found |= {"images": images, "images_per_second": round(images / took, 3)}
    return Artifact(output, "", stage.yields), found


def _context_type() -> Any:
    """A context whose trainings end early and are measured. A function, as torch takes seconds to import."""
    import torch

    from benchmark.execution.context import RunContext
    from methods.base import MethodError
    from methods.layers.weights.files import locate

    class Context(RunContext):
        most: int
        seconds: float

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.trainings: list[dict[str, Any]] = []
            self.random_weights: list[str] = []

        def weights_path(self, reference: str) -> Path | None:
            try:
                found = locate(reference)
            except MethodError:
                found = None
            if found is None and reference != "none":
                self.random_weights.append(reference)
            return found

        def train(
            self,
            network: Any,
            optimizer: Any,
            losses: Any,
            batches: Callable[[int, int], Iterator[Any]],
            iterations: int,
            learning_rate: Callable[[int], float],
        ) -> None:
            totals: list[torch.Tensor] = []
            times: list[float] = []
            waited = 0.0

            def measured(network: Any, batch: Any) -> Mapping[str, torch.Tensor]:
                terms: Mapping[str, torch.Tensor] = losses(network, batch)
                totals.append(torch.stack([value.detach() for value in terms.values()]).sum())
                return terms

            def until_time_is_up(start: int, stop: int) -> Iterator[Any]:
                nonlocal waited
                ends = time.monotonic() + self.seconds
                source = batches(start, stop)
                for _ in range(start, stop):
                    if len(times) == WARM_UP:
                        waited = 0.0
                    asked = time.monotonic()
                    batch = next(source)
                    waited += time.monotonic() - asked
                    yield batch
                    if self.device.type == "cuda":
                        torch.cuda.synchronize(self.device)
                    times.append(time.monotonic())
                    if time.monotonic() > ends:
                        break
                source.close()  # type: ignore[attr-defined]

            steps = min(iterations, self.most)
            super().train(network, optimizer, measured, until_time_is_up, steps, learning_rate)
            history = torch.stack(totals).tolist()
            tenth = max(1, len(history) // 10)
            first, last = (sum(part) / len(part) for part in (history[:tenth], history[-tenth:]))
            row: dict[str, Any] = {
                "steps": len(history),
                "loss_first": first,
                "loss_last": last,
                "falls": last < first,
            }
            if len(times) > WARM_UP:
                took = times[-1] - times[WARM_UP - 1]
                row["step_seconds"] = round(took / (len(times) - WARM_UP), 5)
                row["wait_share"] = round(min(1.0, waited / took), 4)
            self.trainings.append(row)

    return Context


class _Silent:
    def start(self, total: int, unit: str, done: int = 0) -> None: ...
    def advance(self, count: int) -> None: ...
    def note(self, text: str) -> None: ...
    def stop(self) -> None: ...


# ---------------------------------------------------------------- images


def _dataset(options: Options) -> Dataset:
    """VOC, or pictures that are drawn in its layout and at its size; as many as asked for."""
    from datasets import open_dataset
    from datasets.voc.reader import VocConfig

    root = Path(options.voc) if options.voc else _drawn(Path(options.folder) / "VOCdevkit", options.images)
    dataset = open_dataset(VocConfig(root=str(root), train="train", subset=options.images))
    dataset.prepare()
    return dataset


def _drawn(devkit: Path, count: int) -> Path:
    """The pictures of `shapes`, enlarged to 500x375 with some noise, with classes of VOC."""
    import numpy as np
    from PIL import Image

    from datasets.files.images import write_labels
    from datasets.shapes.dataset import draw
    from datasets.shapes.scene import NAMES
    from datasets.voc.reader import CLASSES

    if devkit.exists():
        return devkit
    folder = devkit / "VOC2012"
    other = iter(name for name in CLASSES if name not in NAMES)
    classes = [CLASSES.index(name if name in CLASSES else next(other)) for name in NAMES]
    values = np.array([0, *(i + 1 for i in classes), *[255] * (255 - len(classes))], np.uint8)
    for part in ("JPEGImages", "Annotations", "ImageSets/Segmentation"):
        (folder / part).mkdir(parents=True)
    noise = np.random.default_rng(0)
    for split in ("train", "val"):
        ids = [f"{split}_{index:04d}" for index in range(count if split == "train" else max(2, count // 8))]
        (folder / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("\n".join(ids) + "\n")
        for index, name in enumerate(ids):
            picture = draw(0, split, index)
            image = np.asarray(
                Image.fromarray(picture.image).resize((500, 375), Image.Resampling.BICUBIC), np.int16
            )
            image = np.clip(image + noise.integers(-12, 13, image.shape), 0, 255).astype(np.uint8)
            Image.fromarray(image).save(folder / "JPEGImages" / f"{name}.jpg", quality=92)
            mask = Image.fromarray(values[picture.mask]).resize((500, 375), Image.Resampling.NEAREST)
            write_labels(folder / "SegmentationClass" / f"{name}.png", np.asarray(mask))
            objects = "".join(f"<object><name>{CLASSES[classes[i]]}</name></object>" for i in picture.labels)
            (folder / "Annotations" / f"{name}.xml").write_text(f"<annotation>{objects}</annotation>")
    return devkit


def _noise_maps(dataset: Dataset, folder: Path) -> Path:
    import numpy as np
    from PIL import Image

    from datasets.files.images import image_size

    noise = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    for sample in dataset.training_view().samples("train"):
        height, width = image_size(sample.image)
        coarse = Image.fromarray(noise.integers(0, 256, (6, 8), dtype=np.uint8))
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(folder / f"{sample.id}.png")
    return folder


PARTS: dict[str, Callable[[Options, Note, Path], None]] = {
    "tests": _tests,
    "check": _check,
    "loader": _loader,
    "methods": _methods,
}

if __name__ == "__main__":
    sys.exit(main())
