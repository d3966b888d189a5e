"""Palettes are held against class ids, and colours become ids by the command that remedies name."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.evaluation.mask_check import check_masks
from datasets.base import DataError
from datasets.files.class_ids import main
from datasets.files.images import read_labels
from datasets.files.palette import VOC_COLOURS, VOC_PALETTE, ids_by_colour
from tests.conftest import ROOT
from tests.helpers.folder_data import dataset, mask
from tests.helpers.trees import write_folder, write_image

IDS = np.array([[0, 0, 2, 2], [0, 7, 2, 255]], np.uint8)


def coloured(ids: np.ndarray) -> Image.Image:
    """RGB, by VOC's colours."""
    image = Image.fromarray(ids)
    image.putpalette(VOC_PALETTE)
    return image.convert("RGB")


def palette(image: Image.Image) -> list[tuple[int, ...]]:
    flat = image.getpalette() or []
    return [tuple(flat[k : k + 3]) for k in range(0, len(flat), 3)]


@pytest.mark.parametrize("ids", [IDS, np.array([[0, 7, 7]], np.uint8), np.array([[5, 5]], np.uint8)])
def test_an_adaptive_palette_is_read_by_its_colours(ids: np.ndarray) -> None:
    image = coloured(ids).convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
    found = ids_by_colour(np.asarray(image), palette(image), VOC_COLOURS, 20)  # type: ignore[arg-type]
    assert found is not None
    assert np.array_equal(found, ids)


@pytest.mark.parametrize("colours", [VOC_COLOURS, [(v, v, v) for v in range(256)], [(0, 0, 0), (255,) * 3]])
def test_usual_palettes_leave_values_alone(colours: list[tuple[int, int, int]]) -> None:
    pixels = np.array([[0, 1, 1]], np.uint8)
    assert ids_by_colour(pixels, colours, VOC_COLOURS, 20) is pixels


@pytest.mark.parametrize(
    "colours",
    [[(0, 0, 0), (9, 9, 200)], [(255,) * 3, (0,) * 3], [(0, 0, 0)], [VOC_COLOURS[0], VOC_COLOURS[21]]],
)
def test_colours_that_say_nothing_are_not_guessed(colours: list[tuple[int, int, int]]) -> None:
    assert ids_by_colour(np.array([[0, 1]], np.uint8), colours, VOC_COLOURS, 20) is None


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colours_are_told_from_ids_and_the_remedy_works(tmp_path: Path, mode: str) -> None:
    """Pasted into a shell, from a folder with a blank and a quote in its name."""
    folder = tmp_path / "it's mine"
    folder.mkdir()
    coloured(IDS).convert(mode).save(folder / "a.png")
    with pytest.raises(
        DataError, match=f"found mode {mode}; save class ids, not colours: python -m"
    ) as error:
        read_labels(folder / "a.png")
    command = str(error.value).partition("colours: python ")[2]
    subprocess.run(f"{shlex.quote(sys.executable)} {command}", shell=True, check=True, cwd=ROOT)
    assert np.array_equal(read_labels(tmp_path / "it's mine-ids" / "a.png"), IDS)


def test_colours_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(np.array([[[0, 0, 0], [250, 50, 83]]], np.uint8)).save(tmp_path / "in" / "a.png")
    arguments = [str(tmp_path / "in"), str(tmp_path / "out")]
    with pytest.raises(SystemExit):
        main(arguments)
    assert (
        "no id has the colour (250, 50, 83); give the colours of yours with --colours"
        in capsys.readouterr().err
    )
    (tmp_path / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\nrust:250,50,83::\n"
    )
    main([*arguments, "--colours", str(tmp_path / "labelmap.txt")])
    assert read_labels(tmp_path / "out" / "a.png").tolist() == [[0, 1]]


def test_sixteen_bits_keep_their_values(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(np.array([[0, 3, 255]], np.uint16)).save(tmp_path / "in" / "a.png")
    main([str(tmp_path / "in"), str(tmp_path / "out")])
    assert read_labels(tmp_path / "out" / "a.png").tolist() == [[0, 3, 255]]


def test_masks_whose_palettes_differ_are_refused(tmp_path: Path) -> None:
    rows = [
        f"{split}{k},{name},{split}"
        for split in ("train", "val")
        for k, name in enumerate(["dent", "rust"] * 2)
    ]
    root = write_folder(tmp_path, rows)
    for place in sorted((root / "masks").iterdir()):
        with Image.open(place) as image:
            shown = coloured(np.asarray(image))
        shown.convert("P", palette=Image.Palette.ADAPTIVE, colors=2).save(place)
    (problem, *_) = dataset(root).problems()
    assert "indexed masks have another palette than the rest" in problem.what
    assert problem.remedy.startswith("save class ids, not colours: python -m datasets.files.class_ids")
    with pytest.raises(DataError, match="indexed masks have another palette than the rest"):
        check_masks(dataset(root), "train")


def test_black_is_the_background_of_a_defects_mask(tmp_path: Path) -> None:
    """Wherever an adaptive palette has put it."""
    for folder in ("dent", "rust"):
        for k in range(4):
            write_image(tmp_path / folder / f"{k}.png", k, (4, 1))
            indexed = Image.fromarray(np.array([[0, 0, 0, 1]], np.uint8))
            indexed.putpalette([255, 255, 255, 0, 0, 0])
            (tmp_path / "masks" / folder).mkdir(parents=True, exist_ok=True)
            indexed.save(tmp_path / "masks" / folder / f"{k}.png")
    found = dataset(tmp_path)
    assert mask(found, "dent/0").tolist() == [[1, 1, 1, 0]]
    assert mask(found, "rust/0").tolist() == [[2, 2, 2, 0]]


def test_the_remedy_is_no_conversion_to_luminances(tmp_path: Path) -> None:
    """It would make luminances of colours."""
    root = write_folder(tmp_path, ["a,rust,train", "b,dent,val"])
    coloured(np.zeros((16, 24), np.uint8)).save(root / "masks" / "a.png")
    (problem, *_) = dataset(root).problems()
    assert re.search("mode RGB", problem.what)
    assert "greyscale" not in problem.remedy
    assert "class_ids" in problem.remedy
