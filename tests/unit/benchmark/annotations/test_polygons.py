"""Label maps as polygons: the same pixels come back through the reader of annotations, in every form."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from scipy import ndimage

from benchmark.annotations.convert import write_polygons
from benchmark.annotations.polygons import outlines, simplified
from benchmark.failures import ConfigError
from datasets.base import IGNORE, DataError
from tests.helpers.folder_data import dataset, labels, mask
from tests.helpers.synthetic_runs import METHODS, synthetic_run
from tests.helpers.toys import CommandLine
from tests.helpers.trees import write_image

CLASSES = ("scratch", "dent")


def blobs(seed: int, size: tuple[int, int] = (120, 160)) -> np.ndarray:
    """Regions of both classes, with holes, islands in them, and corners that touch."""
    random = np.random.default_rng(seed)
    return ndimage.gaussian_filter(random.normal(size=(3, *size)), (0, 5, 5)).argmax(0).astype(np.uint8)


def filled(pixels: np.ndarray, tolerance: float) -> np.ndarray:
    """The label map drawn of its outlines, larger ones first."""
    drawn = np.zeros_like(pixels)
    for each in sorted(outlines(pixels, tolerance), key=lambda each: -each.area):
        runs = coco_mask.frPyObjects([each.ring.reshape(-1).tolist()], *pixels.shape)
        drawn[coco_mask.decode(coco_mask.merge(runs)).astype(bool)] = each.value
    return drawn


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Smallest IoU of a value of either."""
    return min(((a == v) & (b == v)).sum() / ((a == v) | (b == v)).sum() for v in np.union1d(a, b))


def test_without_a_tolerance_no_pixel_changes() -> None:
    """Also of noise, in which most pixels touch others by corners."""
    noise = np.random.default_rng(0).integers(0, 3, (40, 50)).astype(np.uint8)
    noise[:3, :3] = IGNORE
    for pixels in (blobs(0), noise, np.ones((4, 5), np.uint8)):
        assert np.array_equal(filled(pixels, 0), pixels)


def test_a_hole_and_what_is_in_it() -> None:
    pixels = np.zeros((20, 20), np.uint8)
    pixels[2:18, 2:18] = 1
    pixels[4:10, 4:10] = pixels[12:15, 12:15] = 0
    pixels[6:8, 6:8] = 2
    found = list(outlines(pixels, 0))
    assert [(each.value, each.area) for each in found] == [(1, 256 - 36 - 9), (2, 4)]
    assert np.array_equal(filled(pixels, 1), pixels)


def test_a_tolerance_is_kept() -> None:
    """No corner of the exact outline is farther from the simplified one; most corners are gone."""
    pixels = blobs(1)
    exact, fewer = list(outlines(pixels, 0)), list(outlines(pixels, 1.5))
    assert sum(len(each.ring) for each in fewer) < sum(len(each.ring) for each in exact) / 3
    for before, after in zip(exact, fewer, strict=True):
        start, end = after.ring, np.roll(after.ring, -1, 0)
        along = end - start
        length = np.maximum((along**2).sum(1), 1e-9)
        place = ((before.ring[:, None] - start) * along).sum(2) / length
        nearest = start + place.clip(0, 1)[..., None] * along
        away = np.linalg.norm(before.ring[:, None] - nearest, axis=2).min(1)
        assert away.max() <= 1.5 + 1e-9


@pytest.mark.parametrize("side", [1, 2, 3, 5])
def test_small_regions_stay_as_they_are(side: int) -> None:
    pixels = np.zeros((20, 30), np.uint8)
    pixels[5 : 5 + side, 7 : 7 + 2 * side] = 1
    assert np.array_equal(filled(pixels, 3), pixels)


def test_a_straight_line_keeps_three_corners() -> None:
    ring = np.array([[0, 0], [50, 0], [50, 1], [0, 1]], float)
    assert np.array_equal(simplified(ring, 100), ring)


def predictions(folder: Path) -> dict[str, np.ndarray]:
    """Images and, as `predict` leaves them, label maps and a legend; the maps by name."""
    found = {}
    for seed, name in enumerate(("a", "deeper/b")):
        pixels = blobs(seed)
        pixels[:9, :9] = IGNORE
        write_image(folder / "images" / f"{name}.png", seed, pixels.shape[::-1])
        path = folder / "predictions" / "labels" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        found[name] = pixels
    legend = ["0 background", *(f"{i} {name}" for i, name in enumerate(CLASSES, 1))]
    (folder / "predictions" / "classes.txt").write_text("\n".join(legend) + "\n")
    return found


@pytest.mark.parametrize(
    ("to", "place", "file"),
    [
        ("coco", "", "instances.json"),
        ("labelme", "images", "images/deeper/b.json"),
        ("cvat", "", "annotations.xml"),
    ],
)
@pytest.mark.parametrize(("tolerance", "least"), [(0, 1), (1, 0.93)])
def test_there_and_back(
    tmp_path: Path, command_line: CommandLine, to: str, place: str, file: str, tolerance: float, least: float
) -> None:
    made, root = predictions(tmp_path / "made"), tmp_path / "root"
    root.mkdir()
    (tmp_path / "made" / "images").rename(root / "images")
    done = command_line(
        "polygons", "--labels", str(tmp_path / "made" / "predictions"), "--images", str(root / "images"),
        "--to", to, "--output", str(root / place), "--tolerance", str(tolerance),
    )  # fmt: skip
    assert done.code == 0, done.err
    assert (root / file).is_file()
    found = dataset(root)
    assert sorted(found.classes) == sorted(CLASSES)
    order = np.arange(256, dtype=np.uint8)
    order[1:3] = [found.classes.index(name) + 1 for name in CLASSES]
    for name, pixels in made.items():
        assert sorted(labels(found)[f"images/{name}"]) == sorted(CLASSES)
        assert overlap(mask(found, f"images/{name}"), order[pixels]) >= least


def test_images_that_were_reduced_get_outlines_of_their_own_size(tmp_path: Path) -> None:
    made = predictions(tmp_path)
    for name, pixels in made.items():
        write_image(tmp_path / "images" / f"{name}.png", 1, (2 * pixels.shape[1], 2 * pixels.shape[0]))
    count = write_polygons(tmp_path / "predictions", tmp_path / "images", "coco", tmp_path / "out", 0)
    content = json.loads((tmp_path / "out" / "instances.json").read_text())
    assert count == (2, len(content["annotations"]), 1)
    of_a = [each for each in content["annotations"] if each["image_id"] == 1]
    assert sum(each["area"] for each in of_a) == 4 * np.count_nonzero(made["a"])
    assert content["images"][0]["width"] == 320
    assert max(each["bbox"][0] + each["bbox"][2] for each in of_a) > 160


@pytest.mark.parametrize(
    ("to", "file"),
    [("coco", "instances.json"), ("labelme", "deeper/b.json"), ("cvat", "annotations.xml")],
)
def test_corrections_are_not_overwritten(tmp_path: Path, to: str, file: str) -> None:
    predictions(tmp_path)
    corrected = tmp_path / "out" / file
    corrected.parent.mkdir(parents=True)
    corrected.write_text("by hand")
    with pytest.raises(ConfigError, match=rf"1 files are there already \(\S+{file}\) .* another --output"):
        write_polygons(tmp_path / "predictions", tmp_path / "images", to, tmp_path / "out", 1)
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [corrected]
    assert corrected.read_text() == "by hand"


def two_of_a_name(folder: Path) -> Path:
    """Label maps as `predict --watch` names them: of a.png, and of a.jpg that came later; returns their folder."""
    for name, size, value in (("a.png", (8, 6), 1), ("a.jpg", (12, 10), 2)):
        write_image(folder / "images" / name, value, size)
        path = folder / "maps" / ("a.png" if value == 1 else "a.jpg.png")
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full(size[::-1], value, np.uint8)).save(path)
    (folder / "classes.txt").write_text("0 background\n1 scratch\n2 dent\n")
    return folder / "maps"


def test_each_of_two_images_of_a_name_gets_its_own_outlines(tmp_path: Path) -> None:
    maps = two_of_a_name(tmp_path)
    write_polygons(maps, tmp_path / "images", "coco", tmp_path / "out", 0)
    content = json.loads((tmp_path / "out" / "instances.json").read_text())
    names = {each["id"]: each["file_name"] for each in content["images"]}
    areas = {names[each["image_id"]]: (each["category_id"], each["area"]) for each in content["annotations"]}
    assert areas == {"a.png": (1, 48), "a.jpg": (2, 120)}
    with pytest.raises(
        ConfigError, match=r"a\.png and a\.jpg would share a\.json|a\.jpg and a\.png would share"
    ):
        write_polygons(maps, tmp_path / "images", "labelme", tmp_path / "new", 0)
    (maps / "a.jpg.png").unlink()
    with pytest.raises(DataError, match=r"a\.png may be of a\.jpg, a\.png; call it a\.jpg\.png if"):
        write_polygons(maps, tmp_path / "images", "coco", tmp_path / "new", 0)


@pytest.mark.parametrize("to", ["coco", "labelme", "cvat"])
@pytest.mark.parametrize("name", [b"a\xff", b"a\x01"])
def test_a_name_that_no_file_can_hold(tmp_path: Path, to: str, name: bytes) -> None:
    maps = two_of_a_name(tmp_path)
    for path in (maps / "a.png", tmp_path / "images" / "a.png"):
        try:
            path.rename(path.with_name(f"{os.fsdecode(name)}.png"))
        except OSError:
            pytest.skip("the file system has no such names")
    with pytest.raises(DataError, match=r"the name 'a\\\S+\.png' is not UTF-8 or has control characters"):
        write_polygons(maps, tmp_path / "images", to, tmp_path / "out", 1)
    assert not (tmp_path / "out").exists()


def test_classes_that_cannot_be_read(tmp_path: Path) -> None:
    predictions(tmp_path)
    file, pipe = tmp_path / "latin.txt", tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, text, words in (
        (file, "fl\xe4che\nrest\n", "latin.txt: is not UTF-8; save it as such"),
        (file, "a\x01\nrest\n", r"the class name 'a\\x01' has characters"),
        (pipe, "", "pipe: cannot be read .* give a file with a class name a line"),
    ):
        if text:
            path.write_bytes(text.encode("latin-1"))
        with pytest.raises(ConfigError, match=words):
            write_polygons(
                tmp_path / "predictions", tmp_path / "images", "coco", tmp_path / "out", 1, classes=path
            )


@pytest.mark.parametrize("said", [5, "abc", [1], [None], {"a": 1}, []])
def test_a_manifest_of_odd_classes_says_nothing(tmp_path: Path, said: object) -> None:
    write_image(tmp_path / "images" / "a.png", 0)
    (tmp_path / "artifact" / "labels").mkdir(parents=True)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "artifact" / "labels" / "a.png")
    manifest = {"files": {}, "key": "k", "classes": said}
    (tmp_path / "artifact" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ConfigError, match="nothing says what its class ids mean; give --classes FILE"):
        write_polygons(tmp_path / "artifact", tmp_path / "images", "coco", tmp_path / "out", 1.0)


def test_a_run_folder_whose_stages_do_not_say_what_they_are(
    command_line: CommandLine, tmp_path: Path
) -> None:
    run = synthetic_run(tmp_path / "run", seeds=1, methods=METHODS[:1], images=0)
    document = json.loads((run / "cells.json").read_text())
    del document["sha256"]
    for stage in document["cells"][0]["stages"]:
        del stage["kind"]
    (run / "cells.json").write_text(json.dumps(document))
    done = command_line("polygons", "--run", str(run), "--images", str(tmp_path), "--output", str(tmp_path))
    assert done.code == 2
    assert "no method has made pseudo-labels there" in done.err
    assert done.err.count("\n") == 1


def test_what_is_wrong_is_one_line(tmp_path: Path) -> None:
    predictions(tmp_path)
    made, images, output = tmp_path / "predictions", tmp_path / "images", tmp_path / "out"
    few = tmp_path / "few.txt"
    few.write_text("scratch\n")
    with pytest.raises(DataError, match=r"class id 2 is not in 0\.\.1 and not 255; correct --classes"):
        write_polygons(made, images, "coco", output, 1, classes=few)
    (made / "classes.txt").unlink()
    with pytest.raises(ConfigError, match="nothing says what its class ids mean; give --classes FILE"):
        write_polygons(made, images, "coco", output, 1)
    (images / "a.png").unlink()
    with pytest.raises(DataError, match=r"1 of 2 label maps have no image of their name there \(a\)"):
        write_polygons(made, images, "coco", output, 1, classes=few)
    with pytest.raises(ConfigError, match="no label maps there"):
        write_polygons(tmp_path / "few", images, "coco", output, 1)
