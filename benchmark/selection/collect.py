"""Evidence of every artifact of a run folder, by image, class and threshold; kept as Parquet beside the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmark.selection.candidates import SPLITS, Candidate, Found
from benchmark.selection.evidence import entropy, image_evidence, region_evidence
from benchmark.selection.jury import judge
from benchmark.selection.maps import SIDE, cam_labels, cam_maps, consensus, picture, stored_labels, votes
from benchmark.store import content_key
from datasets.base import DataError, Sample
from datasets.files.guard import masks_closed
from methods.artifacts import CamReader
from methods.base import Kind
from results.io import replace_file
from results.selection import FOLDER

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from benchmark.console import Progress

THRESHOLDS = tuple(round(0.05 * k, 2) for k in range(1, 12))
"""Background thresholds that are chosen among: the range of the evaluator's sweep, whose curves are flatter than this."""
VERSION = 1
"""Of the columns; raise it when one changes its meaning."""

Judge = Callable[..., list[np.ndarray]]


def evidence_file(found: Found, images: int) -> Path:
    """Where the evidence of these artifacts is kept; another name for whatever would change it."""
    key = content_key(
        {
            "version": VERSION,
            "thresholds": THRESHOLDS,
            "side": SIDE,
            "images": images,
            "artifacts": sorted([each.key, each.entry] for each in found.candidates),
            "jurors": [path.name for path in found.jurors],
            "data": [found.data.fingerprint("images", split) for split in sorted(_splits(found))],
        }
    )
    return found.folder / FOLDER / f"evidence-{key}.parquet"


def read_or_collect(
    found: Found, images: int, device: str, progress: Callable[[str], Progress]
) -> pd.DataFrame:
    """The evidence of a run folder, read where it is kept, else collected and kept. Masks stay closed."""
    import pandas as pd

    path = evidence_file(found, images)
    if path.is_file():
        try:
            return pd.read_parquet(path, page_checksum_verification=True)
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: damaged; remove it and run the same command again") from error
    table = collect(found, images, device, progress)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, lambda file: table.to_parquet(file, index=False, write_page_checksum=True))
    return table


def collect(
    found: Found,
    images: int,
    device: str = "auto",
    progress: Callable[[str], Progress] | None = None,
    judges: Judge = judge,
) -> pd.DataFrame:
    """Evidence of every candidate: a row for each image, class of its labels (-1: the background) and threshold.

    images: of a split, evenly spaced over its list, those without labels left out; 0: all
    Columns: split, method, entry, kind, seed, key, image, class, threshold (NaN of label maps), those of
    `region_evidence` and `image_evidence`, entropy (of CAMs), and the jury's kept and lost (`judge`).
    Masks stay closed meanwhile. Raises DataError for files that are missing or damaged.
    """
    import pandas as pd

    data = found.data
    with masks_closed(data.mask_directories(), data.mask_files()):
        parts = [
            _of_split(found, split, images, device, progress, judges) for split in sorted(_splits(found))
        ]
    table = pd.concat(parts, ignore_index=True)
    if table.empty:
        raise DataError(
            f"{found.folder}: no image that its maps are of has labels; there is nothing to choose by"
        )
    return table


def _splits(found: Found) -> set[str]:
    return {SPLITS[each.kind] for each in found.candidates}


def spread(samples: Sequence[Sample], images: int) -> list[Sample]:
    """So many samples with labels, evenly spaced over the list; 0: all that have labels."""
    labelled = [sample for sample in samples if sample.labels]
    if not images or len(labelled) <= images:
        return labelled
    return [labelled[n * len(labelled) // images] for n in range(images)]


def _judges(samples: Sequence[Sample]) -> bool:
    """Whether a class is on some of the images and missing on others, as the jury's scale needs (`jury.judge`)."""
    return len({frozenset(sample.labels) for sample in samples}) > 1


@dataclass(frozen=True)
class _Judged:
    """Foregrounds of an image's candidates, (N, h, w), packed to bits."""

    bits: np.ndarray
    shape: tuple[int, ...]

    def masks(self) -> np.ndarray:
        return np.unpackbits(self.bits, count=int(np.prod(self.shape))).reshape(self.shape).astype(bool)


def _of_split(
    found: Found,
    split: str,
    images: int,
    device: str,
    progress: Callable[[str], Progress] | None,
    judges: Judge,
) -> pd.DataFrame:
    import pandas as pd

    samples = spread(found.data.samples(split), images)
    candidates = [each for each in found.candidates if SPLITS[each.kind] == split]
    readers = {each.key: CamReader(each.path) for each in candidates if each.kind == Kind.CAM}
    for each in candidates:
        if each.key in readers and (lacking := {s.id for s in samples}.difference(readers[each.key].ids)):
            raise DataError(
                f"{each.path}: has no CAM of {min(lacking)}; its data are not those of {found.folder}, or it is damaged: "
                "run the command that made it again"
            )
    jurors = found.jurors if _judges(samples) else ()
    shown = progress(f"evidence of {split}") if progress else None
    if shown:
        shown.start(len(samples) * (1 + len(jurors)), "img")
    advance = shown.advance if shown else lambda count: None
    tables, judged = [], []
    try:
        for sample in samples:
            rows, foregrounds = _of_image(sample, candidates, readers)
            tables.append(rows)
            judged.append(_Judged(np.packbits(foregrounds), foregrounds.shape))
            advance(1)
        if jurors:
            verdicts = judges(
                jurors, samples, lambda n: judged[n].masks(), len(found.data.classes), device, advance
            )
            for rows, verdict in zip(tables, verdicts):
                _add_verdict(rows, verdict)
    finally:
        if shown:
            shown.stop()
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _of_image(
    sample: Sample, candidates: Sequence[Candidate], readers: dict[str, CamReader]
) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows by candidate, then threshold, then class; and the foregrounds of all their N label maps, (N, h, w) bool."""
    import pandas as pd

    pixels, classes = picture(sample.image), len(sample.labels)
    size = (pixels.shape[0], pixels.shape[1])
    labels, given, certain = [], [], []
    for each in candidates:
        if each.kind == Kind.CAM:
            maps = cam_maps(readers[each.key][sample.id], sample.labels, size)
            labels.append(cam_labels(maps, THRESHOLDS))
            given.append(maps)
            certain.append(entropy(maps))
        else:
            labels.append(stored_labels(each.path, sample, size)[None])
            given.append(votes(labels[-1][0], classes))
            certain.append(np.nan)
    parts = []
    for n, (each, stack) in enumerate(zip(candidates, labels)):
        reference = consensus(others) if (others := list(_others(candidates, given, n))) else None
        columns = region_evidence(stack, reference, classes)
        columns |= {
            name: np.concatenate(
                [np.full((len(stack), 1), np.nan, np.float32), np.repeat(values[:, None], classes, 1)], 1
            )
            for name, values in image_evidence(stack, pixels, classes).items()
        }
        of_threshold = THRESHOLDS if each.kind == Kind.CAM else (np.nan,)
        parts.append(
            pd.DataFrame(
                {
                    "split": SPLITS[each.kind],
                    "method": each.method,
                    "entry": each.entry,
                    "kind": each.kind.value,
                    "seed": each.seed,
                    "key": each.key,
                    "image": sample.id,
                    "class": np.tile([-1, *sample.labels], len(stack)),
                    "threshold": np.repeat(of_threshold, classes + 1),
                    **{name: values.reshape(-1) for name, values in columns.items()},
                    "entropy": np.float32(certain[n]),
                    "kept": np.float32(np.nan),
                    "lost": np.float32(np.nan),
                }
            )
        )
    return pd.concat(parts, ignore_index=True), np.concatenate(labels) > 0


def _others(candidates: Sequence[Candidate], given: Sequence[np.ndarray], n: int) -> Iterator[np.ndarray]:
    """Votes of the other methods, one each: its own would let a method confirm itself."""
    own = candidates[n].method
    methods = dict.fromkeys(each.method for each in candidates if each.method != own)
    for method in methods:
        yield np.mean([vote for each, vote in zip(candidates, given) if each.method == method], 0)


def _add_verdict(rows: pd.DataFrame, verdict: np.ndarray) -> None:
    """Write (N, 2, K) into the rows of the K classes; N label maps one after the other, the background first."""
    whole = np.full((len(verdict), 2, verdict.shape[2] + 1), np.nan, np.float32)
    whole[:, :, 1:] = verdict
    rows["kept"], rows["lost"] = whole[:, 0].reshape(-1), whole[:, 1].reshape(-1)
