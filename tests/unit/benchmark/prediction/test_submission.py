"""`predict --test`: the archive for VOC's evaluation server, and what is found wrong with one."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.prediction.outputs import LOCK
from benchmark.prediction.submission import check_archive, write_archive
from datasets.base import DataError, Sample
from datasets.files.images import VOC_PALETTE, write_labels
from tests.helpers.painter import Painter
from tests.helpers.toys import CommandLine
from tests.helpers.trees import SIZE, write_image, write_voc

IDS = ("2008_000001", "2008_000002")
FOLDER = "results/VOC2012/Segmentation/comp6_test_cls"


@pytest.fixture
def devkit(tmp_path: Path) -> Path:
    lists = {
        "train": {"2007_000001": ["cat"], "2007_000002": ["dog"]},
        "val": {"2007_000011": ["cat"]},
        "test": dict.fromkeys(IDS, ("cow",)),
    }
    folder = write_voc(tmp_path / "VOCdevkit", lists)
    for sample_id in IDS:  # the organisers keep them
        (folder / "Annotations" / f"{sample_id}.xml").unlink()
        (folder / "SegmentationClass" / f"{sample_id}.png").unlink()
    return folder.parent


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    for seed, sample_id in enumerate(IDS):
        write_image(tmp_path / "images" / f"{sample_id}.jpg", seed)
    return [Sample(i, tmp_path / "images" / f"{i}.jpg", ()) for i in IDS]


@pytest.fixture
def maps(tmp_path: Path) -> dict[str, Path]:
    """Label maps with every class id."""
    labels = np.resize(np.arange(21, dtype=np.uint8), SIZE[::-1])
    for sample_id in IDS:
        write_labels(tmp_path / "maps" / f"{sample_id}.png", labels)
    return {i: tmp_path / "maps" / f"{i}.png" for i in IDS}


def test_the_test_set_is_segmented_packed_and_checked(
    command_line: CommandLine, third_party, devkit: Path, tmp_path: Path
) -> None:
    third_party(Painter("painter"))
    data = ("--dataset", "voc2012", f"dataset.root={devkit}")
    assert command_line.run_on("painter", *data, "method.painter.colour=20").code == 0
    arguments = ("predict", "--run", command_line.output, "--device", "cpu", "--test", devkit)
    refused = command_line(*arguments, "--output", tmp_path / "out")
    assert refused.code == 2
    assert "2 test images found, 1456 expected" in refused.err
    assert "--partial" in refused.err
    done = command_line(*arguments, "--partial", "--competition", "comp5", "--output", tmp_path / "out")
    assert done.code == 0, done.err
    (archive,) = (path for path in (tmp_path / "out").iterdir() if path.name != LOCK)
    assert f"2 images, checked: {archive}" in done.out
    with tarfile.open(archive) as tar:
        assert tar.getnames() == [f"{FOLDER.replace('comp6', 'comp5')}/{i}.png" for i in IDS]
        for member in tar:
            with Image.open(io.BytesIO(tar.extractfile(member).read())) as image:
                assert (image.mode, image.size) == ("P", SIZE)
                assert bytes(image.getpalette()) == VOC_PALETTE
                assert np.all(np.array(image) == 20)


def test_a_network_of_other_classes_is_refused(
    command_line: CommandLine, third_party, devkit: Path, tmp_path: Path
) -> None:
    third_party(Painter("painter"))
    command_line.run("painter")
    arguments = ("--run", command_line.output, "--test", devkit, "--output", tmp_path / "out")
    done = command_line("predict", *arguments, "--partial")
    assert done.code == 2
    assert "--test needs a network of VOC's 20 classes" in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "give one of --images FOLDER, --watch FOLDER and --test VOCDEVKIT"),
        (
            ("--images", ".", "--test", "."),
            "give one of --images FOLDER, --watch FOLDER and --test VOCDEVKIT",
        ),
    ],
)
def test_what_is_to_be_segmented_is_said_once(
    command_line: CommandLine, arguments: tuple[str, ...], words: str
) -> None:
    done = command_line("predict", "--weights", "x", *arguments)
    assert (done.code, done.err) == (2, f"error: {words}\n")


def test_a_sound_archive_passes(samples: list[Sample], maps: dict[str, Path], tmp_path: Path) -> None:
    write_archive(tmp_path / "a.tar.gz", maps, "comp6")
    check_archive(tmp_path / "a.tar.gz", samples, "comp6")


def with_labels(labels: np.ndarray, palette: bytes | None = VOC_PALETTE) -> Callable[[dict[str, Path]], None]:
    return lambda maps: write_labels(maps[IDS[1]], labels, palette)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda maps: maps.pop(IDS[0]), f"1 of 2 images are missing, {FOLDER}/{IDS[0]}.png first"),
        (lambda maps: maps.update({"x": maps[IDS[0]]}), f"{FOLDER}/x.png is twice there or no test image"),
        (with_labels(np.full(SIZE[::-1], 21, np.uint8)), f"{IDS[1]}.png holds id 21, but ids are 0..20"),
        (with_labels(np.full(SIZE[::-1], 255, np.uint8)), f"{IDS[1]}.png holds id 255, but ids are 0..20"),
        (with_labels(np.zeros((3, 5), np.uint8)), f"{IDS[1]}.png is 5x3, its image 24x16"),
    ],
)
def test_what_the_server_would_not_take(
    samples: list[Sample],
    maps: dict[str, Path],
    tmp_path: Path,
    spoil: Callable[[dict[str, Path]], None],
    words: str,
) -> None:
    spoil(maps)
    write_archive(tmp_path / "a.tar.gz", maps, "comp6")
    with pytest.raises(DataError) as error:
        check_archive(tmp_path / "a.tar.gz", samples, "comp6")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_other_folders_grey_maps_and_damage(
    samples: list[Sample], maps: dict[str, Path], tmp_path: Path
) -> None:
    archive = tmp_path / "a.tar.gz"
    write_archive(archive, maps, "comp5")
    with pytest.raises(DataError, match=r"comp5_test_cls/2008_000001\.png is twice there or no test image"):
        check_archive(archive, samples, "comp6")
    write_labels(maps[IDS[0]], np.zeros(SIZE[::-1], np.uint8), None)
    with tarfile.open(archive, "w:gz") as tar:
        for sample_id, path in maps.items():
            tar.add(path, f"{FOLDER}/{sample_id}.png")
    with pytest.raises(DataError, match="is of mode L, not a PNG indexed with VOC's palette"):
        check_archive(archive, samples, "comp6")
    archive.write_bytes(archive.read_bytes()[:200])
    with pytest.raises(DataError, match="cannot be read"):
        check_archive(archive, samples, "comp6")
