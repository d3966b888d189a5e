"""What `predict` writes of each image: label map, overlay, score maps, regions, verdict."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter, deque
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmark.prediction.regions import Region, Verdict, find_regions, stretched, verdict
from datasets.base import Sample
from results.csv_cells import harmless, original

if TYPE_CHECKING:
    import torch

LABELS, OVERLAYS, SCORES, REGIONS, VERDICTS = PARTS = ("labels", "overlays", "scores", "regions", "verdicts")
"""What can be written, and the folders or files that hold it."""
LEGEND, NETWORK, WORK = "classes.txt", "network.json", ".work"
"""In the output: names of class ids, which network it is of, and a folder that is there only while `predict` runs."""
Row = Sequence[Any]
"""Cells of a table."""
_TABLES = {
    VERDICTS: ("file", "verdict", "score"),
    REGIONS: ("file", "class", "left", "top", "width", "height", "area", "score", "centroid_x", "centroid_y"),
}
"""Tables by name, and their columns."""


@dataclass(frozen=True)
class Picture:
    """An image to be segmented.

    file: as tables name it; own, shown: the image as it is, and as the network sees it, under the results' name
    """

    file: str
    own: Sample
    shown: Sample


def written_paths(output: Path) -> list[Path]:
    """All that may be in an output."""
    return [output / name for name in (*PARTS, *(f"{table}.csv" for table in _TABLES), LEGEND, NETWORK, WORK)]


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
        self._min_area, self._open = min_area, ExitStack()
        self._state = {"network": network, "classes": list(classes), "min_area": min_area}
        self._waiting: dict[str, Picture] = {}
        self._order: deque[str] = deque()
        self._done: dict[str, dict[str, list[Row]]] = {}
        self._tables: dict[str, Any] = {}
        self.verdicts: Counter[str] = Counter()
        self.unscored = 0

    def __exit__(self, *raised: object) -> None:
        self._open.close()

    def __enter__(self) -> Outputs:
        return self

    def begin(self, resuming: bool) -> frozenset[str]:
        """Open the tables; the files whose verdicts are kept: of the same network, where an earlier call is resumed."""
        state, table = self._output / NETWORK, self._output / f"{VERDICTS}.csv"
        text = json.dumps(self._state, indent=1) + "\n"
        kept: frozenset[str] = frozenset()
        if resuming and state.is_file() and state.read_text() == text and table.is_file():
            with table.open(newline="", encoding="utf-8") as file:
                kept = frozenset(original(row["file"]) for row in csv.DictReader(file))
        state.write_text(text)
        legend = ["0 background", *(f"{i} {name}" for i, name in enumerate(self._classes, 1))]
        (self._output / LEGEND).write_text("\n".join(legend) + "\n")
        for name in (name for name in _TABLES if name in self._parts):
            path = self._output / f"{name}.csv"
            grows = bool(kept) and path.is_file()
            file = self._open.enter_context(path.open("a" if grows else "w", newline="", encoding="utf-8"))
            self._tables[name] = (csv.writer(file), file)
            if not grows:
                self._rows(name, [_TABLES[name]])
        return kept

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

        if (picture := self._waiting.pop(sample_id, None)) is None:
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
        self._done[sample_id] = rows
        self._write_tables()
        self.verdicts[found.name] += 1
        return found

    def _write_tables(self) -> None:
        """Rows of the images that are finished, in the order in which they came: batches have another."""
        while self._order and self._order[0] in self._done:
            for name, rows in self._done.pop(self._order.popleft()).items():
                if name in self._tables:
                    self._rows(name, rows)

    def _write_scores(self, sample_id: str, scores: NDArray[np.float32], size: tuple[int, int]) -> None:
        """A map of each class: 16 bits, 65535 is a probability of 1."""
        for value, (name, values) in enumerate(zip(self._classes, scores), 1):
            deep = (stretched(values, size).clip(0, 1) * 65535).round().astype(np.uint16)
            folder = re.sub(r"[^\w-]+", "-", f"{value}-{name}")
            Image.fromarray(deep).save(self._place(f"{SCORES}/{folder}", sample_id), compress_level=1)

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
        self._place(REGIONS, picture.own.id, ".json").write_text(text, encoding="utf-8")
        return [
            (picture.file, r.name, *r.box, r.area, _share(r.score), *(f"{each:.1f}" for each in r.centroid))
            for r in regions
        ]

    def _place(self, folder: str, sample_id: str, ending: str = ".png") -> Path:
        path = self._output / folder / f"{sample_id}{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _rows(self, table: str, rows: Sequence[Row]) -> None:
        """Written at once: whoever follows a table sees an image when it is finished."""
        writer, file = self._tables[table]
        writer.writerows([harmless(cell) for cell in row] for row in rows)
        file.flush()


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
