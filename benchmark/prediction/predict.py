"""`predict`: segment unlabelled images with a trained network, or new ones of a folder as they come."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from benchmark.config import DEVICES, RuntimeConfig, choose
from benchmark.console import console, stage_progress
from benchmark.failures import ConfigError
from benchmark.folders import check_writable
from benchmark.prediction import images as sources
from benchmark.prediction.finished import state_of
from benchmark.prediction.images import Images, absolute, find_images, watched
from benchmark.prediction.networks import Predictor, load
from benchmark.prediction.outputs import LOCK, WORK, Outputs, Picture, written_paths
from benchmark.store import SCRATCH, disk_is_full
from datasets.base import Conversion, DataError, Sample, TrainingView
from datasets.files.listing import CONVERT, UNREAD, open_regular
from datasets.limits import first_fault
from methods.base import MethodError, function_of
from methods.layers.config import TilesConfig, with_tiles

if TYPE_CHECKING:
    import torch

COPIES = "copies"
"""In the work folder: images as they were read, and as the network is shown them, where they had to be converted."""
AT_ONCE = 32
"""Images that are checked and converted before they are segmented."""


@dataclass(frozen=True)
class Done:
    """What a call has done: seconds, those before the network was loaded, how many images had each verdict, and how many
    could not be used."""

    seconds: float
    loading: float
    verdicts: Counter[str]
    skipped: int


def predict_images(
    weights: Path,
    source: Path,
    output: Path,
    device: str,
    parts: Sequence[str],
    *,
    recursive: bool = False,
    min_area: int = 1,
    watch: bool = False,
    tile: int | None = None,
    overlap: int | None = None,
) -> Done:
    """Write what `parts` names (`outputs.PARTS`) of every image that `source` names, see `images.find_images`.

    Images go through what the network's training images went through (bits, longest side). Label and score maps have
    the images' own sizes; overlays are drawn on what the network was shown.

    weights: folder of a trained network, or of predictions made with it, see `networks.load`
    watch:   `source` is a folder whose pictures are segmented as they come, until KeyboardInterrupt; those that an
             earlier call with the same network has given a verdict are left out
    tile, overlap: in place of the network's own tiles (`methods.layers.config.TilesConfig`); None: as it has them
    Images that cannot be read or converted are named and skipped.
    """
    choose("device", device, DEVICES)
    predictor = load(weights)
    if tile is not None:
        predictor = _with_tiles(predictor, tile, overlap)
    if watch and not source.is_dir():
        raise ConfigError(f"--watch {source}: no such folder; create it, or give another")
    check_writable(output, "--output")
    found = None if watch else find_images(source, recursive, written_paths(output))
    network = {role: artifact.key for role, artifact in predictor.inputs.items()}
    network["stage"] = predictor.fingerprint
    with (
        scratch(output) as work,
        Outputs(output, work, predictor.classes, network, parts, min_area) as outputs,
    ):
        kept = outputs.begin(resuming=watch)
        if found is None:
            console.print(f"Images: new ones in {source}, until Ctrl-C", markup=False)
            done = {source / file: (one.size, one.changed) for file, one in kept.items()}
            if there := sum(state_of(path) == state for path, state in done.items()):
                console.print(f"note: {there} files have their verdict there already", markup=False)
            new = watched(source, recursive, written_paths(output), done, sources.pause)
            groups: Iterable[Images] = (Images(source, tuple(paths), str(source)) for paths in new)
        else:
            console.print(f"Images: {len(found.paths)} from {found.said}", markup=False)
            groups = [found]
        before = {source / file: one.name for file, one in kept.items()}
        reading = _Reading(predictor.conversion, work / COPIES, outputs, before, watch)
        began = time.perf_counter()
        pictures = reading.chunks(groups)
        total = None if found is None else len(found.paths)
        loaded: list[float] = []
        try:
            _segment_all(predictor, pictures, outputs, work, device, total, loaded)
        except KeyboardInterrupt:
            if not watch:
                raise
        seconds = time.perf_counter() - began
    if outputs.unscored:
        console.print(
            "note: the network's stage reports no probabilities, so there are no scores", markup=False
        )
    return Done(seconds, (loaded[0] if loaded else began) - began, outputs.verdicts, reading.skipped)


def _with_tiles(predictor: Predictor, side: int, overlap: int | None) -> Predictor:
    """Raises ConfigError where they leave nothing to keep, or the network's stage knows no tiles."""
    tiles = TilesConfig(side) if overlap is None else TilesConfig(side, overlap)
    if fault := first_fault(tiles):
        raise ConfigError(f"--tile {side} --overlap {tiles.overlap}: {fault.partition(': ')[2]}")
    settings = with_tiles(predictor.settings, tiles)
    if side and settings == with_tiles(settings, TilesConfig()):
        raise ConfigError(f"--tile {side}: {predictor.function} segments whole images; leave it out")
    return replace(predictor, settings=settings)


@contextmanager
def scratch(output: Path) -> Iterator[Path]:
    """A folder in the output that is there only meanwhile. Raises ConfigError while another call writes there."""
    lock = FileLock(output / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(
            f"--output {output}: another `predict` writes there; give another folder, or wait for its end"
        ) from None
    work = output / WORK
    try:
        shutil.rmtree(work, ignore_errors=True)  # of a call that was killed
        work.mkdir(parents=True)
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
        lock.release()


class _Reading:
    """Checks and converts images a few at a time, as the network comes to them. `skipped` counts the others."""

    def __init__(
        self, how: Conversion, copies: Path, outputs: Outputs, before: Mapping[Path, str], watching: bool
    ) -> None:
        """copies: folder for images as they are read, and those that have to be converted
        before: image -> what its results are called, of those that are there
        watching: whether images may be moved away at any time
        """
        self._how, self._copies, self._outputs, self._watching = how, copies, outputs, watching
        self._given = dict(before)
        self._owners = {name: path for path, name in before.items()}
        self._read = 0
        self.skipped = 0

    def chunks(self, groups: Iterable[Images]) -> Iterator[list[Sample]]:
        """Samples as the network is shown them, of images that can be used; results are expected of these."""
        for group in groups:
            names = self._names(group)
            for first in range(0, len(group.paths), AT_ONCE):
                chosen = group.paths[first : first + AT_ONCE]
                if pictures := [p for path in chosen if (p := self._picture(path, group, names[path]))]:
                    self._outputs.expect(pictures)
                    yield [picture.shown for picture in pictures]
                    shutil.rmtree(self._copies, ignore_errors=True)

    def _picture(self, path: Path, group: Images, name: str) -> Picture | None:
        """None for one that cannot be used, which is named."""
        from datasets.files.images import image_size, read_image
        from datasets.folder.copies import convert

        self._read += 1
        own = self._copies / f"{self._read}{path.suffix}"
        try:
            if path.suffix.lower() in UNREAD:
                raise DataError(f"{path} {CONVERT}")
            image_size(path)
            state = _copy(path, own)
            read_image(own)
            shown = convert([own], self._how, self._copies).copies.get(own, own)
        except (DataError, MemoryError) as error:
            if self._watching and not os.path.lexists(path):
                console.print(f"note: {path}: moved away before it was read", markup=False)
                return None
            said = str(error).replace(str(own), str(path)) or f"{path}: does not fit the memory"
            console.print(f"skipped: {said}", style="yellow", markup=False)
            self.skipped += 1
            return None
        sample = Sample(name, own, ())
        return Picture(_relative(path, group).as_posix(), sample, replace(sample, image=shown), state)

    def _names(self, group: Images) -> dict[Path, str]:
        """What results are called: paths below the base, with their endings where a.jpg and a.png are both there. An
        image keeps its name."""
        relative = {path: _relative(path, group) for path in group.paths}
        counts = Counter(name.with_suffix("") for name in relative.values())
        counts.update(relative.values())
        for path, name in relative.items():
            bare = name.with_suffix("").as_posix()
            alone = counts[name.with_suffix("")] == 1 and self._owners.setdefault(bare, path) == path
            given = self._given.setdefault(path, bare if alone else name.as_posix())
            self._owners.setdefault(given, path)
        return self._given


def _copy(path: Path, to: Path) -> tuple[int, int]:
    """What an image holds now, whatever becomes of it while it is segmented; its size and time, as `state_of`."""
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open_regular(path) as file:
            found, content = os.fstat(file.fileno()), file.read()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    to.write_bytes(content)
    return found.st_size, found.st_mtime_ns


def _relative(path: Path, group: Images) -> Path:
    return absolute(path).relative_to(absolute(group.base))


def _segment_all(
    predictor: Predictor,
    chunks: Iterator[list[Sample]],
    outputs: Outputs,
    work: Path,
    device: str,
    total: int | None,
    loaded: list[float],
) -> None:
    """total: number of images; None where they come without end, and each is said; loaded: gets the times of `started`"""

    def started() -> None:
        loaded.append(time.perf_counter())

    def finished(sample_id: str, probabilities: torch.Tensor | None) -> None:
        found = outputs.finish(sample_id, probabilities)
        if found is not None and total is None:
            score = "" if found.score is None else f" ({found.score:.2f})"
            console.print(f"{sample_id}: {found.name}{score}", markup=False)

    for chunk in chunks:  # a stage that asks for shards takes all the others, too
        segment(predictor, chunk, work, device, chunks, finished, started, total)


def segment(
    predictor: Predictor,
    samples: Sequence[Sample],
    work: Path,
    device: str,
    further: Iterable[Sequence[Sample]] = (),
    finished: Callable[[str, torch.Tensor | None], None] = lambda sample_id, probabilities: None,
    started: Callable[[], None] = lambda: None,
    total: int | None = None,
) -> None:
    """Run the stage as a run does, on a view whose validation images are the samples.

    further:  samples that follow; a stage that takes its images in shards goes on with them, its network loaded
    finished: called with each image's name when its label map is in `work`, and the probabilities that are reported
    started:  called when the stage, its network loaded, asks for the first shard
    total:    number of all images, for the progress that is shown
    """
    from benchmark.execution.context import RunContext
    from benchmark.execution.distributed import make_fabric
    from benchmark.execution.fitting import Fit
    from benchmark.execution.memory import release_unused
    from benchmark.failures import one_line, out_of_memory

    at: list[Sequence[Sample]] = [samples]
    done: set[str] = set()  # of the shard it is at
    count = 0

    def finish(sample_id: str, scores: torch.Tensor | None) -> None:
        nonlocal count
        finished(sample_id, scores)
        count += sample_id not in done
        done.add(sample_id)

    class Context(RunContext):
        """Its shards have no end before the images have. After an attempt that failed, they go on where it was."""

        def shards(self, samples: Sequence[Sample]) -> Iterator[tuple[str, Sequence[Sample]]]:
            started()
            if total is not None:
                progress.start(total, "img", done=count)
            for number, shard in enumerate(chain(list(at), further)):
                if shard is not at[0]:
                    at[0] = shard
                    done.clear()
                if left := [sample for sample in shard if sample.id not in done]:
                    yield f"shard-{number:05d}", left
                for sample in shard:
                    finish(sample.id, None)

        def report_scores(self, sample_id: str, scores: torch.Tensor) -> None:
            finish(sample_id, scores)

    (work / SCRATCH).mkdir(exist_ok=True)
    runtime = RuntimeConfig(device=device)
    progress = stage_progress("predict")
    fit = Fit(runtime, "predict")
    context = Context(
        fabric=make_fabric(runtime),
        runtime=runtime,
        view=TrainingView("predict", predictor.classes, {"train": (), "val": tuple(samples)}),
        inputs=predictor.inputs,
        output=work,
        seed=predictor.seed,
        progress=progress,
        masks=None,
        fit=fit,
    )
    run = function_of(predictor.function)
    try:
        while True:
            try:
                run(context, predictor.settings)
                break
            except Exception as error:
                if not out_of_memory(error):
                    raise
                fit.divide(error)
            release_unused()
    except (DataError, MethodError, OSError):
        raise
    except Exception as error:  # of safetensors and torch, which share no base
        if disk_is_full(error):
            raise
        places = ", ".join(str(artifact.path) for artifact in predictor.inputs.values())
        if out_of_memory(error):
            raise MethodError(one_line(error, work)) from error
        raise ConfigError(
            f"{places}: segmenting with it fails: {one_line(error, work)}; "
            "if its files are damaged, remove that folder and run its command again"
        ) from error
    finally:
        progress.stop()
    for sample in samples:
        finished(sample.id, None)
