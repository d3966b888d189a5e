"""Pictures of a run folder: images, true masks, and what artifacts hold of an image, named by what they show."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from shutil import copy2
from typing import Any

import numpy as np

from benchmark.planning.code_version import code_version
from benchmark.planning.plan import Plan, PlannedStage
from benchmark.store import Store, StoredArtifact, content_key
from datasets.base import DataError, Sample
from methods.artifacts import CamReader, label_map_path
from methods.base import Kind
from methods.pictures import Picture, pictures

FOLDER = "panels"

DRAWN = (Kind.CAM, Kind.PSEUDO_LABEL, Kind.PREDICTION)
"""Kinds of artifacts that have a picture."""
LONGEST = 240
"""Pixels of a picture's longest side; pages show it at half of that, so it is sharp on dense screens."""


def given(plan: Plan, sample: Sample, split: str, folder: Path) -> dict[str, Any]:
    """What is the same for all entries: image and truth. Raises DataError."""
    from datasets.files.images import read_labels
    from reports.panels import overlay

    mask = plan.dataset.mask_path(sample.id)
    image = _image(sample)
    name = content_key({"id": sample.id, "data": plan.dataset.fingerprint("images", split)})
    panel: dict[str, Any] = {
        "id": sample.id,
        "split": split,
        "labels": [plan.dataset.classes[c] for c in sample.labels],
        "image": _save(image, f"image-{name}", folder),
        "truth": None,
    }
    if mask is not None:
        truth = np.asarray(read_labels(mask))
        if truth.shape != image.shape[:2]:
            raise DataError(f"{mask}: the mask's size is not that of its image; export it at that size")
        panel["truth"] = _save(overlay(image, truth), f"truth-{name}", folder)
    return panel


def keep_pictures(plan: Plan, planned: PlannedStage, folder: Path) -> None:
    """Draw an artifact that is going to be discarded for the training images that every report shows."""
    stage = {"name": planned.stage.name, "key": planned.key, "kind": planned.stage.yields}
    if planned.stage.yields in DRAWN:
        drawn = Pictures(plan.store, [stage], folder)
        for sample in plan.dataset.training_view().examples()[: plan.config.evaluation.panels]:
            with suppress(DataError):  # an image that cannot be read is said where panels are drawn
                drawn.artifact(stage, sample)


class Pictures:
    """Draws what one run's artifacts hold of an image.

    stages: as in a run's runs (`results.schema`); folder: that the pictures are kept in and named from
    """

    def __init__(self, store: Store, stages: Sequence[dict[str, Any]], folder: Path) -> None:
        self._store, self._folder, self._code = store, folder, code_version("reports.panels")
        self._stages = stages
        self._shown = {Kind(stage["kind"]): stage for stage in self._stages if stage.get("shown")}
        self._readers: dict[Path, CamReader] = {}

    def draw(self, sample: Sample) -> dict[str, Any]:
        """Relative paths of the pictures; None where the artifact has nothing of the image.

        steps: [{"name", "picture"}] of what comes on the way, in the stages' order: artifacts that are scored under
               a name of their own, and the maps that stages leave (`methods.pictures`); of those of kinds also
               "legend": [{"name", "share"}], the share of the image's pixels
        """
        board = {
            kind.value: self.artifact(self._shown[kind], sample) if kind in self._shown else None
            for kind in DRAWN
        }
        steps = [step for stage in self._stages for step in self._steps(stage, sample)]
        return {**board, "steps": [step for step in steps if step["picture"]]}

    def _steps(self, stage: dict[str, Any], sample: Sample) -> Iterator[dict[str, Any]]:
        if stage["kind"] in DRAWN and stage.get("shown") is False:
            yield {"name": stage["name"], "picture": self.artifact(stage, sample)}
        if (artifact := self._artifact(stage)) is None:
            return
        for title, found in pictures(artifact.path, sample.id).items():
            draw = partial(_of_kinds, found.path, sample) if found.kinds else partial(_grey, found.path)
            step = {"name": title, "picture": self._picture(stage, sample, title, draw)}
            yield step | ({"legend": _legend(found)} if found.kinds else {})

    def artifact(self, stage: dict[str, Any], sample: Sample) -> str | None:
        """Of a stage ("name", "key", "kind") of one of the kinds `DRAWN`."""
        draw = self._cam if stage["kind"] == Kind.CAM else _label_map
        if (artifact := self._artifact(stage)) is None:
            return None
        return self._picture(stage, sample, stage["kind"], partial(draw, artifact.path, sample))

    def _artifact(self, stage: dict[str, Any]) -> StoredArtifact | None:
        """The artifact, or what is left of it where it was discarded."""
        where = stage["name"], stage["key"]
        return self._store.intact(*where) or self._store.discarded(*where)

    def _picture(
        self,
        stage: dict[str, Any],
        sample: Sample,
        what: str,
        draw: Callable[[], np.ndarray | None],
    ) -> str | None:
        from reports.panels import is_as_saved

        parts = {"artifact": stage["key"], "id": sample.id, "code": self._code}
        name = f"{what.replace(' ', '-')}-{content_key(parts)}"
        for path in (self._folder / FOLDER).glob(f"{name}-*.webp"):
            if is_as_saved(path):
                return str(path.relative_to(self._folder))
        if (left := self._store.discarded(stage["name"], stage["key"])) is not None:
            for path in (left.path / FOLDER).glob(f"{name}-*.webp"):
                (self._folder / FOLDER).mkdir(parents=True, exist_ok=True)
                return str(Path(copy2(path, self._folder / FOLDER)).relative_to(self._folder))
        picture = draw()
        return None if picture is None else _save(picture, name, self._folder)

    def _cam(self, artifact: Path, sample: Sample) -> np.ndarray | None:
        from reports.panels import cam_overlay

        if artifact not in self._readers:
            self._readers[artifact] = CamReader(artifact)
        cams = self._readers[artifact]
        if sample.id not in cams.ids:
            return None
        cam = cams[sample.id]
        return cam_overlay(_image(sample), cam.maps, cam.classes)


def _label_map(artifact: Path, sample: Sample) -> np.ndarray | None:
    from datasets.files.images import read_labels
    from reports.panels import overlay

    path = label_map_path(artifact, sample.id)
    return overlay(_image(sample), np.asarray(read_labels(path))) if path.exists() else None


def _grey(file: Path) -> np.ndarray:
    """(H, W, 3) uint8"""
    from datasets.files.images import read_map

    return read_map(file).numpy()[..., None].repeat(3, axis=2)


def _of_kinds(file: Path, sample: Sample) -> np.ndarray:
    """(H, W, 3) uint8"""
    from datasets.files.images import read_map
    from reports.panels import kinds_overlay

    return kinds_overlay(_image(sample), read_map(file).numpy())


def _legend(found: Picture) -> list[dict[str, Any]]:
    """Names of the kinds, but the first, which is shown clear, and their shares of the pixels."""
    from datasets.files.images import read_map

    kinds = read_map(found.path).numpy()
    return [
        {"name": name, "share": round(float((kinds == value).mean()), 4)}
        for value, name in enumerate(found.kinds)
        if value > 0
    ]


def _image(sample: Sample) -> np.ndarray:
    """(H, W, 3) uint8"""
    from datasets.files.images import read_image

    return read_image(sample.image).permute(1, 2, 0).numpy()


def _save(picture: np.ndarray, name: str, folder: Path) -> str:
    from reports.panels import named_by_content, save_panel

    path = folder / FOLDER / f"{name}.webp"
    save_panel(path, picture, LONGEST)
    return str(named_by_content(path).relative_to(folder))
