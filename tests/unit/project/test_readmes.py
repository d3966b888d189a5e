"""What the methods' READMEs say of settings and experiments is there."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import methods
from benchmark.config import plain
from benchmark.experiments.rows import find_experiments
from methods.cam.config import PRESETS as CAM
from methods.layers.weights.files import SHIPPED
from methods.registry import all_methods

ROOT = Path(methods.__file__).parent
READMES = [path for path in sorted(ROOT.glob("*/README.md")) if path.parent.name in all_methods()]
NAMES = [p.parent.name for p in READMES]


def settings_table(text: str) -> list[list[str]]:
    """Cells of the rows of the table under "Settings"."""
    _, _, section = text.partition("## Settings")
    section = section.partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in row] for row in rows]


def keys_of(cell: str) -> list[str]:
    """Full keys of a cell such as "`weights.contrast`, `area`" (of one part) or "`correction.high`, `.low`"."""
    first, *others = re.findall(r"`([\w.*]+)`", cell)
    part = first.rpartition(".")[0]
    return [first, *(f"{part}{k}" if k.startswith(".") else k for k in others)]


@pytest.mark.parametrize("readme", READMES, ids=NAMES)
def test_settings_in_a_readme_exist(readme: Path) -> None:
    config = OmegaConf.create(plain(all_methods()[readme.parent.name].presets["paper"]))
    text = readme.read_text()
    for cell, *_ in settings_table(text):
        keys = keys_of(cell)
        part = keys[0].rpartition(".")[0]
        for key in (k.removesuffix(".*") for k in keys):
            known = [k for k in (key, f"{part}.{key}") if has(config, k)]
            assert known, f"{readme}: no setting {key}"
    for method, key in re.findall(r"`method\.(\w+)\.([\w.]+)", text):
        if method == readme.parent.name:
            assert has(config, key.rstrip(".")), f"{readme}: no setting {key}"


def has(config: object, key: str) -> bool:
    *path, last = key.split(".")
    for name in path:
        if not OmegaConf.is_dict(config) or name not in config:
            return False
        config = config[name]
    return OmegaConf.is_dict(config) and last in config  # type: ignore[operator]


@pytest.mark.parametrize("readme", READMES, ids=NAMES)
def test_experiments_in_a_readme_exist(readme: Path) -> None:
    for name in re.findall(r"--experiment (\S+)", readme.read_text()):
        find_experiments(name)


def test_cams_table_has_its_presets_values() -> None:
    rows = {row[0].strip("`"): row[2:] for row in settings_table((ROOT / "cam" / "README.md").read_text())}
    presets = [CAM[scale] for scale in ("nano", "small", "paper")]
    numbers = [tuple(float(x) for x in cell.split(",")) for cell in rows["inference.scales"]]
    assert numbers == [p.inference.scales for p in presets]
    assert [float(cell) for cell in rows["background_threshold"]] == [p.background_threshold for p in presets]
    lengths = [
        tuple(int(n.replace(" ", "")) for n in re.findall(r"\d[\d ]*", cell)) for cell in rows["train"]
    ]
    assert lengths == [(p.train.iterations, p.train.batch_size, p.train.recipe.crop) for p in presets]


def test_functions_in_the_refiners_readme_exist() -> None:
    named = [
        name
        for line in (ROOT / "refiners" / "README.md").read_text().splitlines()
        if line.startswith("| ") and not line.startswith("| `")
        for name in re.findall(r"`([\w.]+\.\w+)`", line)
    ]
    assert len(named) > 15
    for name in named:
        module, _, function = name.rpartition(".")
        assert hasattr(importlib.import_module(f"methods.refiners.{module}"), function), name


def test_the_miniatures_scores_are_the_recorded_ones() -> None:
    section = (
        (ROOT.parent / "README.md").read_text().partition("## Miniature weights")[2].partition("\n## ")[0]
    )
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \| .* \| `(\w+)` \|$", section, re.MULTILINE)
    cards = {path.stem: json.loads(path.read_text()) for path in SHIPPED.glob("*.json")}
    assert {name: (float(score), digest) for name, score, digest in rows} == {
        name: (round(card["score"], 3), card["sha256"][:8]) for name, card in cards.items()
    }
    for name, card in cards.items():
        content = (SHIPPED / f"{name}.safetensors").read_bytes()
        assert hashlib.sha256(content).hexdigest() == card["sha256"]


@pytest.mark.parametrize("readme", READMES, ids=NAMES)
def test_a_readme_has_its_table_and_says_what_is_reported(readme: Path) -> None:
    sections = re.findall(r"^## (.*)$", readme.read_text(), re.MULTILINE)
    assert "From the paper to the code" in sections
    assert any(section.startswith("Reported") for section in sections)
    assert "Deviations" in sections or "the deviations in `deviations.yaml`" in readme.read_text()
