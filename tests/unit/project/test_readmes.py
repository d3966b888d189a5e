"""What READMEs and documentation say of settings, experiments, commands, functions and links is there."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import methods
from benchmark.cli import app
from benchmark.experiments.rows import find_experiments
from methods.layers.weights.files import SHIPPED
from methods.registry import all_methods
from tests.conftest import ROOT

METHODS = Path(methods.__file__).parent
READMES = [path for path in sorted(METHODS.glob("*/README.md")) if path.parent.name in all_methods()]
NAMES = [p.parent.name for p in READMES]
DOCS = [p for p in sorted((ROOT / "docs").rglob("*.md")) if "generated" not in p.parts]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *READMES, *DOCS]
PAGE_NAMES = [str(p.relative_to(ROOT)) for p in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=PAGE_NAMES)
def test_settings_in_a_page_exist(page: Path) -> None:
    for method, key in re.findall(r"\bmethod\.(\w+)\.([\w.]+)", page.read_text()):
        if method in all_methods():
            preset = all_methods()[method].presets["paper"]
            assert has(preset, key.rstrip(".")), f"{page}: {method} has no setting {key}"


def has(settings: object, key: str) -> bool:
    """Whether dataclasses or mappings within each other have a setting."""
    for name in key.split("."):
        if isinstance(settings, Mapping) and name in settings:
            settings = settings[name]
        elif hasattr(settings, name):
            settings = getattr(settings, name)
        else:
            return False
    return True


@pytest.mark.parametrize("page", PAGES, ids=PAGE_NAMES)
def test_experiments_in_a_page_exist(page: Path) -> None:
    for name in re.findall(r"--experiment ([\w/,]+)", page.read_text()):
        find_experiments(name)


@pytest.mark.parametrize("page", PAGES, ids=PAGE_NAMES)
def test_commands_in_a_page_exist_with_their_options(page: Path) -> None:
    import typer

    group = typer.main.get_command(app)
    for line in commands(page.read_text()):
        name, *arguments = line.split()
        assert name in group.commands, f"{page}: no command {name}"  # type: ignore[attr-defined]
        known = {
            option
            for parameter in group.commands[name].params  # type: ignore[attr-defined]
            for option in (*parameter.opts, *parameter.secondary_opts)
        }
        used = {argument for argument in arguments if re.fullmatch(r"--[a-z-]+", argument)}
        assert used <= known | {"--help"}, f"{page}: {line}"


def commands(text: str) -> Iterator[str]:
    """What follows `python -m benchmark` in code blocks, without comments, continued lines joined."""
    for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if called := re.search(r"(?:-m benchmark|scripts/run\.sh) ([^#]+)", line):
                yield called[1]


@pytest.mark.parametrize("page", PAGES, ids=PAGE_NAMES)
def test_links_in_a_page_lead_to_files(page: Path) -> None:
    """Sphinx checks the site's own; these are of the repository as it is read there."""
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in link and "/generated/" not in f"/{link}":
            assert (page.parent / link).exists(), f"{page}: {link}"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


@pytest.mark.parametrize("readme", READMES, ids=NAMES)
def test_functions_that_compute_a_papers_equations_exist(readme: Path) -> None:
    """The last column of "From the paper to the code"; a name alone is in the module named before it."""
    section = readme.read_text().partition("## From the paper to the code")[2].partition("\n## ")[0]
    rows = [line.strip().strip("|").split("|")[-1] for line in section.splitlines() if line.startswith("| ")]
    assert len(rows) > 3
    for row in rows[2:]:
        module = ""
        for name in re.findall(r"`([\w.]+)`", row):
            if name.endswith((".py", ".yaml")):
                assert (readme.parent / name).is_file(), f"{readme}: {name}"
                continue
            near = [f"methods.{readme.parent.name}.{name}", name, f"{module}.{name}"]
            found = next((each for each in near if exists(each)), None)
            assert found is not None, f"{readme}: {name}"
            module = found.rpartition(".")[0]


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute that is reached from one."""
    path = name.split(".")
    for end in range(len(path), 0, -1):
        try:
            found = importlib.import_module(".".join(path[:end]))
        except (ImportError, ValueError):
            continue
        for attribute in path[end:]:
            if not hasattr(found, attribute):
                return False
            found = getattr(found, attribute)
        return True
    return False


def test_functions_in_the_refiners_readme_exist() -> None:
    named = [
        name
        for line in (METHODS / "refiners" / "README.md").read_text().splitlines()
        if line.startswith("| ") and not line.startswith("| `")
        for name in re.findall(r"`([\w.]+\.\w+)`", line)
    ]
    assert len(named) > 15
    for name in named:
        assert exists(f"methods.refiners.{name}"), name


def test_the_miniatures_scores_are_the_recorded_ones() -> None:
    text = (ROOT / "docs" / "methods" / "miniature-weights.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \| .* \| `(\w+)` \|$", text, re.MULTILINE)
    cards = {path.stem: json.loads(path.read_text()) for path in SHIPPED.glob("*.json")}
    assert {name: (float(score), digest) for name, score, digest in rows} == {
        name: (round(card["score"], 3), card["sha256"][:8]) for name, card in cards.items()
    }
    for name, card in cards.items():
        content = (SHIPPED / f"{name}.safetensors").read_bytes()
        assert hashlib.sha256(content).hexdigest() == card["sha256"]
