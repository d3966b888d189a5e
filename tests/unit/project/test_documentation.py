"""The documentation's generated pages and its example. That the site builds without a warning is a part of the tests."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from methods.layers.presets import NANO_BACKBONE
from methods.registry import all_methods
from methods.setting_rows import setting_rows
from methods.sources import paper_sources
from tests.conftest import ROOT


@pytest.fixture
def method_pages(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "_ext"))
    return importlib.import_module("method_pages")


@pytest.mark.parametrize("name", all_methods())
def test_a_methods_page_has_what_it_declares(method_pages: ModuleType, name: str) -> None:
    method = all_methods()[name]
    page = method_pages.method_page(method)
    lines = page.splitlines()
    for heading in (
        "From the paper to the code",
        "Stages",
        "Settings",
        "Sources of the values",
        "Deviations",
    ):
        assert lines.count(f"## {heading}") == 1, heading
    assert "## More" not in page
    for deviation in method.deviations:
        assert method_pages.text(deviation.topic) in page
    for row in setting_rows(method):
        for value, source in paper_sources(row).items():
            shown = value.replace("`", "'")
            line = next(
                each for each in lines if each.startswith(f"| `{row.key}` | `{shown}`") and source.by in each
            )
            assert method_pages.text(source.text) in line
    for experiment in method.experiments:
        assert f"### `{name}/{experiment.name}`" in page
    measured = list(ROOT.glob(f"results/measured/*/tables/{name}-*.csv"))
    assert page.count("**Measured") == len(measured)
    assert ("## Reported numbers" in lines) == bool(method.reported_as)


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("timm/<name>, [0, 1)", r"timm/\<name\>, \[0, 1)"),
        ("a `b|c_d` e_f", r"a `b\|c_d` e\_f"),
        ("``x`` and |cos|", r"`x` and \|cos\|"),
        ("a ` alone", r"a \` alone"),
    ],
)
def test_text_is_escaped_but_code_is_not(method_pages: ModuleType, said: str, written: str) -> None:
    assert method_pages.text(said) == written


def test_the_sites_page_of_the_field_is_where_its_text_links(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "_ext"))
    field_page = importlib.import_module("field_page")
    (tmp_path / "results").mkdir()
    site = SimpleNamespace(outdir=str(tmp_path), builder=SimpleNamespace(format="html"))
    field_page.write_page(site, None)
    text = (ROOT / "docs" / "results" / "field.md").read_text()
    (linked,) = re.findall(r'href="([^"]+)"', text)
    assert "SEAM" in (tmp_path / "results" / linked).read_text()


def test_lists_of_arguments_become_definitions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "_ext"))
    docstrings = importlib.import_module("docstrings")
    lines = [
        "Score it.",
        "",
        "first, second: what they",
        "        are",
        "third: one: more",
        "Raises: nothing",
    ]
    docstrings.process(None, "function", "name", None, None, lines)
    assert lines == [
        *("Score it.", "", "", "``first, second``", "   what they", "   are"),
        *("", "``third``", "   one: more", "", "``Raises``", "   nothing"),
    ]


def test_the_example_of_a_method_runs_and_is_listed(command_line, third_party, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "develop"))
    third_party(importlib.import_module("centre_prior").METHOD)
    assert (
        "method.centre_prior.bump.width  float, above 0"
        in command_line("list", "--settings", "centre_prior").out
    )
    done = command_line.run("centre_prior", "--until", "cam")
    assert done.code == 0, done.err
    assert "Centre prior" in done.out
    sys.modules.pop("centre_prior")


def test_the_example_of_maps_with_gradients_is_grad_cam_plus_plus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of mean and linear layer the gradient of a score is w / hw everywhere, so that Eq. 19 is a formula of w."""
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "develop"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = importlib.import_module("grad_cam_pp").GradCamPlusPlus.build(NANO_BACKBONE, 3).eval()
        images = torch.rand(2, 3, 24, 32)
    with torch.inference_mode():
        images = images.clone()  # of that mode, as those of a run
        maps, features = network.maps(images, None), network.backbone(images)
        gradients = network.classifier.weight[None, :, :, 0, 0] / features[0, 0].numel()  # (1, C, K)
        alpha = 1 / (2 + features.sum((2, 3))[:, None] * gradients)
        weights = alpha * gradients.relu() * features[0, 0].numel()
        expected = torch.einsum("bck,bkhw->bchw", weights, features).relu()
    assert expected.std() > 0
    torch.testing.assert_close(maps, expected, rtol=1e-3, atol=1e-6)
