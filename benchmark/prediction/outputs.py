"""What `predict` writes of each image: label map, overlay, score maps, regions, verdict."""

from __future__ import annotations

import json
import re
from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmark.prediction.finished import Finished, Row, Table, put, read_finished
from benchmark.prediction.regions import Region, Verdict, find_regions, stretched, verdict
from datasets.base import Sample

if TYPE_CHECKING:
    import torch

LABELS, OVERLAYS, SCORES, REGIONS, VERDICTS = PARTS = ("labels", "overlays", "scores", "regions", "verdicts")
"""What can be written, and the folders or files that hold it."""
LEGEND, NETWORK, FINISHED, WORK = "classes.txt", "network.json", "finished.jsonl", ".work"
"""In the output: names of class ids, which network it is of, the images that are finished, and a folder that is there
only while `predict` runs."""
LOCK = ".lock"
"""Held by whoever writes there."""
_FILES = {LABELS: ".png", OVERLAYS: ".png", REGIONS: ".json"}
"""Parts of which each image has one file, and its ending."""
_TABLES = {
    VERDICTS: ("file", "verdict", "score"),
    REGIONS: ("file", "class", "left", "top", "width", "height", "area", "score", "centroid_x", "centroid_y"),
}
"""Tables by name, and their columns."""


@dataclass(frozen=True)
class Picture:
    """An image to be segmented.

    file: as tables name it; own, shown: the image as it is, and as the network sees it, under the results' name
    state: bytes of the image, and nanoseconds of its last change
    """

    file: str
    own: Sample
    shown: Sample
    state: tuple[int, int]


def written_paths(output: Path) -> list[Path]:
    """All that may be in an output."""
    files = (*(f"{table}.csv" for table in _TABLES), LEGEND, NETWORK, FINISHED, WORK, LOCK)
    return [output / name for name in (*PARTS, *files)]


class Outputs:
    """Writes results as images are finished; its tables are open while it is entered.

    min_area: pixels below which a region counts for nothing
    verdicts: how many images were given each one; unscored: those whose stage has reported no probabilities
    """

    def __init__(
        self,
        output: Path,
        work: Path,
        classes: Sequence[str],
        network: dict[str, Any],
        parts: Collection[str],
        min_area: int,
    ) -> None:
        """work: folder in which label maps appear; network: what tells it from others"""
        self._output, self._work, self._classes, self._parts = output, work, classes, parts
        self._min_area = min_area
        self._state = {"network": network, "classes": list(classes), "min_area": min_area}
        self._waiting: dict[str, Picture] = {}
        self._order: deque[str] = deque()
        self._done: dict[str, tuple[Finished, Mapping[str, Sequence[Row]]]] = {}
        self._tables = {
            name: Table(output / f"{name}.csv", columns) for name, columns in _TABLES.items() if name in parts
        }
        self._written: set[str] = set()
        self.verdicts: Counter[str] = Counter()
        self.unscored = 0

    def __exit__(self, *raised: object) -> None:
        for table in self._tables.values():
            table.close()

    def __enter__(self) -> Outputs:
        return self

    def begin(self, resuming: bool) -> dict[str, Finished]:
        """Open the tables; what is kept, by file: all that is wanted of an image with the same network, where an earlier
        call is resumed. An image itself may have changed since."""
        state, finished = self._output / NETWORK, self._output / FINISHED
        content = (json.dumps(self._state, indent=1) + "\n").encode()
        kept: dict[str, Finished] = {}
        if resuming and state.is_file() and state.read_bytes() == content:
            rows = {name: table.files() for name, table in self._tables.items()}
            if None not in rows.values():
                listed = rows.get(VERDICTS)  # a row each; of regions there may be none
                kept = {
                    file: one
                    for file, one in read_finished(finished).items()
                    if (listed is None or file in listed) and self._is_whole(one)
                }
        legend = ["0 background", *(f"{i} {name}" for i, name in enumerate(self._classes, 1))]
        for table in self._tables.values():
            table.open(kept.__contains__)
        for path, text in (
            (state, content.decode()),
            (self._output / LEGEND, "\n".join(legend) + "\n"),
            (finished, "".join(one.line() for one in kept.values())),
        ):
            put(path, text)
        self._written = set(kept)
        return kept

    def _is_whole(self, one: Finished) -> bool:
        """Whether all that is wanted of an image is there."""
        files = [f"{part}/{one.name}{ending}" for part, ending in _FILES.items() if part in self._parts]
        if SCORES in self._parts and one.scored:
            files += [f"{folder}/{one.name}.png" for folder in self._score_folders()]
        return set(self._parts) <= set(one.parts) and all((self._output / file).is_file() for file in files)

    def _score_folders(self) -> list[str]:
        """Of each class."""
        named = (re.sub(r"[^\w-]+", "-", f"{value}-{name}") for value, name in enumerate(self._classes, 1))
        return [f"{SCORES}/{folder}" for folder in named]

    def expect(self, pictures: Sequence[Picture]) -> None:
        """These are being segmented."""
        self._waiting |= {picture.own.id: picture for picture in pictures}
        self._order += [picture.own.id for picture in pictures]

    def finish(self, sample_id: str, probabilities: torch.Tensor | None) -> Verdict | None:
        """Write what is asked for of an image whose label map has been made; None where that has been done.

        probabilities: (C + 1, H, W), background first, at the size that the network was shown
        """
        from datasets.files.images import image_size, read_image, read_labels, write_labels
        from methods.artifacts import label_map_path
        from reports.panels import overlay, save_panel

        if (picture := self._waiting.get(sample_id)) is None:
            return None
        made = label_map_path(self._work, sample_id)
        labels = np.asarray(read_labels(made))
        if OVERLAYS in self._parts:
            image = read_image(picture.shown.image).permute(1, 2, 0).numpy()
            save_panel(self._place(OVERLAYS, sample_id), overlay(image, labels))
        if labels.shape != (size := image_size(picture.own.image)):
            labels = np.asarray(Image.fromarray(labels).resize(size[::-1], Image.Resampling.NEAREST))
            write_labels(made, labels)
        scores = None if probabilities is None else probabilities[1:].float().cpu().numpy()
        self.unscored += scores is None
        regions = find_regions(labels, scores, self._classes, self._min_area)
        found = verdict(regions, scores)
        if LABELS in self._parts:
            made.replace(self._place(LABELS, sample_id))
        else:
            made.unlink()
        if SCORES in self._parts and scores is not None:
            self._write_scores(sample_id, scores, size)
        rows: dict[str, list[Row]] = {VERDICTS: [(picture.file, found.name, _share(found.score))]}
        if REGIONS in self._parts:
            rows[REGIONS] = self._write_regions(picture, size, regions, found)
        del self._waiting[sample_id]  # not before: what fails for want of memory is tried again
        size_and_time, parts = picture.state, tuple(sorted(self._parts))
        self._done[sample_id] = (
            Finished(picture.file, sample_id, *size_and_time, parts, scores is not None),
            rows,
        )
        self._write_tables()
        self.verdicts[found.name] += 1
        return found

    def _write_tables(self) -> None:
        """Rows of the images that are finished, in the order in which they came: batches have another. Those that an
        image had are replaced."""
        while self._order and self._order[0] in self._done:
            one, rows = self._done.pop(self._order.popleft())
            for name, table in self._tables.items():
                if one.file in self._written:
                    table.open(lambda file, again=one.file: file != again)  # type: ignore[misc]
                table.add(rows[name])
            self._written.add(one.file)
            with (self._output / FINISHED).open("a", encoding="utf-8") as file:
                file.write(one.line())

    def _write_scores(self, sample_id: str, scores: NDArray[np.float32], size: tuple[int, int]) -> None:
        """A map of each class: 16 bits, 65535 is a probability of 1."""
        for folder, values in zip(self._score_folders(), scores):
            deep = (stretched(values, size).clip(0, 1) * 65535).round().astype(np.uint16)
            Image.fromarray(deep).save(self._place(folder, sample_id), compress_level=1)

    def _write_regions(
        self, picture: Picture, size: tuple[int, int], regions: Sequence[Region], found: Verdict
    ) -> list[Row]:
        """Its JSON; returns the rows of the table."""
        said = {"file": picture.file, "width": size[1], "height": size[0], "verdict": found.name}
        listed = [
            {
                "class": region.name,
                "box": region.box,
                "area": region.area,
                "score": _rounded(region.score),
                "centroid": [round(each, 1) for each in region.centroid],
            }
            for region in regions
        ]
        lines = ",".join(f"\n  {json.dumps(each, ensure_ascii=False)}" for each in listed)
        head = json.dumps({**said, "score": _rounded(found.score)}, ensure_ascii=False)
        text = f'{head[:-1]},\n "regions": [{lines}]}}\n'
        self._place(REGIONS, picture.own.id, ".json").write_text(
            text, encoding="utf-8", errors="surrogateescape"
        )
        return [
            (picture.file, r.name, *r.box, r.area, _share(r.score), *(f"{each:.1f}" for each in r.centroid))
            for r in regions
        ]

    def _place(self, folder: str, sample_id: str, ending: str = ".png") -> Path:
        path = self._output / folder / f"{sample_id}{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
