"""Data that change while a command runs: nothing is stored under keys that were made of others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmark.config import compose
from benchmark.planning.plan import make_plan
from datasets.base import DataError
from datasets.files.images import write_labels
from tests.helpers.toys import CommandLine, Toy, ToyConfig, fill


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two images to train on and one to predict, with masks."""
    root = tmp_path / "data"
    for n in range(3):
        write_image(root / "images" / f"{n}.png", 40 * n)
        write_mask(root / "masks" / f"{n}.png", 8)
    (root / "labels.csv").write_text("id,labels,split\n0,cat,train\n1,cat,train\n2,cat,val\n")
    return root


def write_image(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((16, 16, 3), value, np.uint8)).save(path)


def write_mask(path: Path, rows: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_labels(path, (np.arange(16)[:, None] < rows).astype(np.uint8).repeat(16, 1))


def fill_and_change(context: Any, settings: ToyConfig) -> None:
    """As `fill`; meanwhile the file that `settings.note` names becomes another image."""
    fill(context, settings)
    write_image(Path(settings.note), 200)


def test_an_image_that_is_another_one_in_the_end(command_line: CommandLine, third_party, data: Path) -> None:
    third_party(Toy("toy", f"{__name__}:fill_and_change"))
    command = (
        "toy",
        "--dataset",
        "folder",
        f"dataset.root={data}",
        f"method.toy.note={data / 'images/0.png'}",
    )
    done = command_line.run_on(*command)
    assert done.code == 1
    assert (
        "failed: toy seed 0: stage labels: images of train have changed since the command began; run"
        in done.out
    )
    assert not [*command_line.store.glob("artifacts/labels/*"), *command_line.store.glob("work/labels/*")]
    assert command_line.run_on(*command).code == 0  # as it says: they are now what they are going to be


def test_masks_that_are_others_in_the_end(command_line: CommandLine, third_party, data: Path) -> None:
    third_party(Toy("toy"))
    place = f"runtime.store={command_line.store}"
    plan = make_plan(compose(["toy"], "folder", "nano", "paper", [f"dataset.root={data}", place]), [0])
    plan.require_data("masks", ["train"])
    write_mask(data / "masks" / "0.png", 4)
    with pytest.raises(DataError, match=r"masks of train have changed since the command began; run it again"):
        plan.require_data("masks", ["train"])
    plan.require_data("images", ["train"])
    plan.require_data("masks", ["val"])  # no key is made of these


def remove_image(context: Any, settings: ToyConfig) -> None:
    """As `fill`; meanwhile the file that `settings.note` names goes."""
    fill(context, settings)
    Path(settings.note).unlink()


def test_work_is_kept_where_an_image_cannot_be_read_in_the_end(
    command_line: CommandLine, third_party, data: Path
) -> None:
    image = data / "images/0.png"
    third_party(Toy("toy", f"{__name__}:remove_image"))
    done = command_line.run_on(
        "toy", "--dataset", "folder", f"dataset.root={data}", f"method.toy.note={image}"
    )
    assert done.code == 1
    assert f"{image}: " in done.out
    assert [*command_line.store.glob("work/labels/**/*.png")]
