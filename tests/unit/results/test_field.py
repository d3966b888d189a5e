"""What the field reports: files are read and held to their form; pairs, conflicts, BibTeX and tables follow."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from datasets.base import DataError
from reports.field.latex import latex_table
from reports.field.page import field_chart, page
from reports.field.terminal import figures, other_conditions
from results.field import (
    FOLDER,
    Conditions,
    Number,
    bibtex,
    citation_key,
    conflicts,
    load_field,
    pairs,
    read_field,
    rows,
)
from results.reported import load_reported
from tests.helpers.toys import CommandLine

TEMPLATE = yaml.safe_load((FOLDER / "_template.yaml").read_text())


def number(**changes: Any) -> dict[str, Any]:
    return TEMPLATE["results"][0]["numbers"][0] | changes


def result(*numbers: dict[str, Any], variant: str = "", **conditions: str) -> dict[str, Any]:
    part = {"conditions": conditions, "numbers": list(numbers or [number()])}
    return part | ({"variant": variant} if variant else {})


def write(folder: Path, key: str = "seam", **changes: Any) -> Path:
    path = folder / f"{key}.yaml"
    path.write_text(yaml.safe_dump(TEMPLATE | changes))
    return folder


def test_the_template_is_a_right_file(tmp_path):
    (method,) = load_field(write(tmp_path))
    assert (method.key, method.name, method.best("voc_val")) == ("seam", "SEAM", 64.5)
    assert method.results[0].conditions.segmenter_backbone == "ResNet-38d"


def test_files_of_the_repository_are_right():
    methods, faults = read_field()
    assert not faults
    assert methods


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"year": 1999}, "year 1999"),
        ({"authors": "Yude Wang"}, "author 'Yude Wang'"),
        ({"supervision": "S"}, "supervision 'S'"),
        ({"supervision": "I+X"}, "supervision 'I+X'"),
        ({"stages": "two"}, "stages 'two'"),
        ({"training_free": "no"}, "training_free 'no'"),
        ({"code": "github.com/x"}, "code 'github.com/x'"),
        ({"title": 3}, "title should be text"),
        ({"results": []}, "results should be a list"),
        ({"surprise": 1}, "unknown key 'surprise'"),
        ({"results": [result(number(score="val"))]}, "score 'val'"),
        ({"results": [result(number(value=0.645))]}, "value 0.645"),
        ({"results": [result(number(value="64.5"))]}, "value '64.5'"),
        ({"results": [result(number(source="a friend"))]}, "source 'a friend'"),
        ({"results": [result(number(source="second-hand"))]}, "of is missing"),
        ({"results": [result(number(readings=0))]}, "readings 0"),
        ({"results": [result(number(read="yesterday"))]}, "read 'yesterday'"),
        ({"results": [result(number(), number())]}, "the same score twice"),
        ({"results": [result(test_crf="perhaps")]}, "test_crf 'perhaps'"),
        ({"results": [result(crf="yes")]}, "unknown key 'crf'"),
        ({"results": [result() | {"supervision": "I+X"}]}, "result 1: supervision 'I+X'"),
        ({"results": [result(), result()]}, "two results under equal conditions"),
    ],
)
def test_a_wrong_file_is_named_with_its_fault(tmp_path, changes, said):
    with pytest.raises(DataError, match=re.escape(said)) as caught:
        load_field(write(tmp_path, **changes))
    assert str(caught.value).startswith("seam.yaml")


def test_a_missing_key_and_what_is_no_yaml_are_faults_and_others_are_read(tmp_path):
    write(tmp_path)
    (tmp_path / "a.yaml").write_text("name: [")
    (tmp_path / "b.yaml").write_text("name: B")
    methods, faults = read_field(tmp_path)
    assert [m.key for m in methods] == ["seam"]
    assert "a.yaml: not YAML" in faults[0]
    assert "b.yaml: title is missing" in faults[1]


def test_a_name_given_twice_is_a_fault(tmp_path):
    write(tmp_path)
    write(tmp_path, "again", title="Another", name="seam")
    assert read_field(tmp_path)[1] == ["seam.yaml: name 'SEAM' is that of again.yaml too"]


def test_pairs_differ_in_one_known_condition_alone(tmp_path):
    common = {"segmenter": "DeepLab V2", "segmenter_backbone": "ResNet-101"}
    coco, imagenet = ({"segmenter_initialisation": name} for name in ("COCO masks", "ImageNet-1k"))
    write(
        tmp_path,
        results=[
            result(number(value=67.2), **common, **coco),
            result(number(value=64.5), **common, **imagenet),
            result(number(value=60.0), **common),  # unknown: no pair
            result(number(value=66.0), **common | {"segmenter": "DeepLab V1"}, **coco),
            result(number(value=61.0, source="second-hand", of="EPS"), **common, **imagenet, test_crf="no"),
        ],
    )
    found = {(p.condition, p.before, p.after): round(p.difference, 6) for p in pairs(load_field(tmp_path))}
    assert found == {
        ("segmenter_initialisation", "COCO masks", "ImageNet-1k"): -2.7,
        ("segmenter", "DeepLab V1", "DeepLab V2"): 1.2,
    }


def test_numbers_that_the_papers_tables_print_otherwise_are_conflicts(tmp_path):
    printed = next(
        n
        for n in load_reported()
        if n.method == "SEAM"
        and (n.dataset, n.split, n.stage) == ("voc2012", "val", "segmentation")
        and not n.variant
    )
    of_seam = {n.printed for n in load_reported() if n.method == "SEAM" and n.stage == "segmentation"}
    (method,) = load_field(write(tmp_path, results=[result(number(value=printed.printed))]))
    assert printed.printed not in {c.reported for c in conflicts([method], load_reported())}
    (method,) = load_field(write(tmp_path, results=[result(number(value=11.0))]))
    assert {c.reported for c in conflicts([method], load_reported())} <= of_seam
    assert printed.printed in {c.reported for c in conflicts([method], load_reported())}


def test_bibtex_has_every_part_and_escapes(tmp_path):
    (method,) = load_field(write(tmp_path, title="Images & Labels: 100 % Weak"))
    entry = bibtex(method)
    assert entry.startswith(f"@inproceedings{{{citation_key(method)},\n")
    assert "title = {{Images \\& Labels: 100 \\% Weak}}" in entry
    assert entry.count("{") == entry.count("}")
    preprint = load_field(write(tmp_path, venue="arXiv", arxiv="2004.04581"))[0]
    assert "@misc{" in bibtex(preprint)
    assert "arXiv:2004.04581" in bibtex(preprint)


def test_numbers_that_disagree_are_both_shown_and_equal_ones_once():
    def one(value: float, source: str) -> Number:
        return Number("voc_val", value, source, "Tab. 1", TEMPLATE["results"][0]["numbers"][0]["read"], 1)

    assert figures([one(64.5, "own paper"), one(64.5, "second-hand")]) == "64.5"
    assert figures([one(64.5, "own paper"), one(64.2, "second-hand")]) == "64.5 / 64.2²"
    assert figures([]) == "–"


def test_the_latex_table_groups_by_supervision_and_notes_second_hand_numbers(tmp_path):
    write(tmp_path, results=[result(number(source="second-hand", of="EPS", where="Tab. 6"))])
    write(tmp_path, "other", name="Ten_%", title="Other", supervision="I+S", stages="single")
    text = latex_table(load_field(tmp_path))
    assert text.index("I: image labels") < text.index("I+S: image labels, saliency")
    assert "64.5$^{1}$" in text
    assert r"$^{1}$\,as printed by EPS" in text
    assert r"Ten\_\%$^{s}$~\cite{other2020}" in text


def test_a_variant_with_its_own_supervision_stands_under_it(tmp_path):
    variant = result(number(value=70.2), variant="with saliency", **{"segmenter": "DeepLab V2"})
    (method,) = load_field(write(tmp_path, results=[result(), variant | {"supervision": "I+S"}]))
    assert [r.supervision for r in method.results] == ["I", "I+S"]
    assert [row["supervision"] for row in rows([method])] == ["I", "I+S"]
    text = latex_table([method])
    assert text.index("I+S: image labels, saliency") < text.index("SEAM (with saliency)") < text.index("70.2")
    _, legend = field_chart([method], "voc_val")
    assert [item["label"] for item in legend] == ["I", "I+S"]


def test_the_page_escapes_names_and_has_every_line(tmp_path):
    text = page(load_field(write(tmp_path, name="<script>x</script>")))
    assert "&lt;script&gt;x" in text
    assert "<script>x" not in text
    assert text.count("data-supervision=") == 1


def test_conditions_beside_a_runs():
    own = Conditions(segmenter="DeepLab V2", segmenter_backbone="timm/resnet101", test_crf="no")
    reported = Conditions(segmenter="DeepLab V1", segmenter_backbone="ResNet-101")
    assert other_conditions(own, reported) == ["segmenter DeepLab V1", "test crf unknown"]


def test_the_command_filters_writes_and_checks(command_line: CommandLine, tmp_path):
    assert "SEAM" in command_line("field", "--supervision", "I").out
    assert "SEAM" not in command_line("field", "--supervision", "I+S").out
    assert "unknown supervision 'Q'" in command_line("field", "--supervision", "Q").err
    assert "no method is left" in command_line("field", "--since", "3000").err
    done = command_line("field", "--latex", "seam", "--csv", "--html", "--output", str(tmp_path / "out"))
    assert done.code == 0, done.err
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "field.tex",
        "field.bib",
        "field.csv",
        "field.html",
    }
    seam = [method for method in load_field() if method.key == "seam"]
    assert len((tmp_path / "out" / "field.csv").read_text().splitlines()) == 1 + len(list(rows(seam)))
    assert command_line("field", "--check").code == 0


def test_names_in_the_csv_are_no_formulas(
    command_line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = load_field(write(tmp_path, name="=1+1"))
    monkeypatch.setattr("results.field.load_field", lambda: hostile)
    assert command_line("field", "--csv", "--output", str(tmp_path / "out")).code == 0
    assert ",'=1+1," in (tmp_path / "out" / "field.csv").read_text()
