"""Pictures of an experiment's rows on the page: what names them, and which files are shown."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reports.panels import class_colour, save_panel
from reports.sections import ablations
from reports.sections.examples import PICTURES, PIXELS
from reports.templating import environment
from results.experiments import (
    EXPERIMENTS_FOLDER,
    Experiment,
    RowPanels,
    write_experiment,
    write_row_panels,
)
from tests.helpers.synthetic_runs import HOSTILE

PICTURE = "panels/a.webp"


def run_folder(folder: Path, row: str, picture: str = PICTURE, count: int = 1, rows: int = 1) -> Path:
    """A run folder with one experiment whose rows have `count` images with one picture each."""
    experiments = folder / EXPERIMENTS_FOLDER
    table = pd.DataFrame({"row": [row], "column": ["mIoU"], "threshold rule": [""], "paper": [1.0], "mean": [2.0],
                          "deviation": [0.1], "seeds": [2], "reason": [""]})  # fmt: skip
    write_experiment(experiments, Experiment("it-one", "It", "here", table))
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    save_panel(experiments / PICTURE, noise, 300)
    shown = [
        {"label": f"{row}{n or ''}", "pictures": {"pseudo_label_x": picture, "cam": picture}}
        for n in range(rows)
    ]
    image = {"split": "train", "labels": [row], "image": PICTURE, "truth": None, "rows": shown}
    write_row_panels(
        experiments, "it-one", RowPanels([row], [{"id": f"{n}{row}"} | image for n in range(count)])
    )
    return folder


def page(folder: Path) -> str:
    return environment().get_template("sections/ablations.html").render(s=ablations.data([folder]))


def test_every_picture_says_what_it_is_of_and_names_stay_text(tmp_path: Path) -> None:
    made = page(run_folder(tmp_path, HOSTILE))
    assert "<script" not in made
    alternatives = [unescape(alt) for alt in re.findall(r' alt="([^"]*)"', made)]
    assert alternatives == [
        f"Image 0{HOSTILE}: {HOSTILE}",
        f"Pseudo-label: x of {HOSTILE} on 0{HOSTILE}",
        f"CAM of {HOSTILE} on 0{HOSTILE}",
    ]
    assert made.count(class_colour(1)) == 1
    assert made.count("no mask") == 1


@pytest.mark.parametrize("picture", ["../../secret.webp", "panels/none.webp"])
def test_what_is_not_a_picture_of_the_folder_is_not_shown(tmp_path: Path, picture: str) -> None:
    save_panel(tmp_path / "secret.webp", np.zeros((4, 4, 3), np.uint8))
    assert "<img" not in page(run_folder(tmp_path / "run", "row", picture))


def test_many_pictures_are_smaller_ones(tmp_path: Path) -> None:
    few = page(run_folder(tmp_path / "few", "row"))
    assert f'width="{PIXELS}"' in few
    count = PICTURES // 2
    many = page(run_folder(tmp_path / "many", "row", count=count // 10, rows=20))
    (width,) = set(re.findall(r'width="(\d+)"', many))
    assert int(width) == round(PIXELS * (PICTURES / (count // 10 * 20 * 2)) ** 0.5) < PIXELS


def test_an_experiment_without_pictures_has_its_table_alone(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, "row")
    (folder / EXPERIMENTS_FOLDER / "panels" / "it-one.json").unlink()
    made = page(folder)
    assert ">2.0 ± 0.1<" in made
    assert "gallery" not in made
