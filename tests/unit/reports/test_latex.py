"""LaTeX: what is marked, how names are escaped, and that a real TeX takes all of it."""

from __future__ import annotations

import re
import shutil
import subprocess
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reports import build_reports, latex
from reports.latex_tables import leaderboard_table, per_class_table, tables
from reports.text import entry_key
from results.aggregate import SCORES, as_rows, leaderboard, per_class_iou
from results.experiments import Experiment, write_experiment
from results.io import read_run
from results.significance import significance
from tests.helpers.synthetic_runs import HOSTILE, synthetic_run

_COMMANDS = {value: key for key, value in latex._ESCAPES.items()} | {
    rf"\ensuremath{{{value}}}": key for key, value in latex._MATHS.items()
}
_MARKS = {value: key for key, value in latex._ACCENTS.items()}
_TOKEN = re.compile(
    "|".join(re.escape(value) for value in sorted(_COMMANDS, key=len, reverse=True))
    + r"|\\texttt\{U\+(?P<number>[0-9A-F]{4,6})\}|\\(?P<accent>[`'^~v\"u=.rHc])\{(?P<letter>[A-Za-z])\}"
)


def unescaped(match: re.Match[str]) -> str:
    if match["number"]:
        return chr(int(match["number"], 16))
    if match["letter"]:
        return unicodedata.normalize("NFC", match["letter"] + _MARKS[match["accent"]])
    return _COMMANDS[match[0]]


@given(st.text())
@example("É ñ ß θ → 中文 50% [x]*--''``\\")
def test_escaping_leaves_nothing_special_and_loses_nothing(text: str) -> None:
    escaped = latex.escape(text)
    assert escaped.isascii()
    rest = _TOKEN.sub("", escaped)
    assert not set(rest) & set("\\{}$&#%_^~<>|\"[]*-'`\n\r\t")
    composed = unicodedata.normalize("NFC", text)
    plain = " ".join("".join(c if c.isprintable() else " " for c in composed).split())
    assert _TOKEN.sub(unescaped, escaped) == plain


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic_run(tmp_path_factory.mktemp("run"))


def test_marks_follow_significance_and_not_digits(run_dir: Path) -> None:
    stored = read_run(run_dir)
    board = leaderboard(stored.records, stored.runs)
    standings = significance(stored, board).standings
    total = standings[standings["class_name"] == ""]
    groups = {(entry_key(r), r["score"], ""): r["group"] for r in as_rows(total)}
    text = leaderboard_table(board, groups)
    lines = {line.split(" & ")[0]: line.split(" & ") for line in text.splitlines() if " & " in line}
    position = {score.name: 3 + number for number, score in enumerate(SCORES)}
    seen = set()
    for row in as_rows(total):
        title = board.set_index("method").loc[row["method"], "title"]
        cell = lines[str(title).replace("-", "{-}")][position[row["score"]]]
        assert (r"\textbf" in cell) == (row["group"] == 1)
        assert (r"\underline" in cell) == (row["group"] == 2)
        seen.add(row["group"])
    assert seen >= {0, 1, 2}
    assert not any(r"\textbf" in cell for cell in lines["Supervised"])
    assert "Bold: best without mask supervision" in text


def test_entries_that_do_not_differ_are_all_marked(run_dir: Path) -> None:
    stored = read_run(run_dir)
    board = leaderboard(stored.records, stored.runs)
    group = {"eps": 1, "dskd_gc": 1, "ca_cl": 2, "cam": 2}
    marks = {
        (entry_key(row), "segmentation", ""): group[row["method"]]
        for row in as_rows(board)
        if row["method"] in group
    }
    text = leaderboard_table(board, marks)
    assert text.count(r"\textbf") == 2
    assert text.count(r"\underline") == 2


def test_without_resamples_nothing_is_marked_and_the_caption_says_so(run_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(run_dir, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "resamples")
    text = build_reports(tmp_path / "run", formats=["latex"])["latex"].read_text()
    assert r"\textbf" not in text
    assert r"\underline" not in text
    assert "Nothing is marked" in text


def test_all_tables_are_there_and_braces_match(run_dir: Path) -> None:
    stored = read_run(run_dir)
    board = leaderboard(stored.records, stored.runs)
    text = tables(stored, board, significance(stored, board))
    assert text.count("{") == text.count("}")
    for name in ("leaderboard", "per-class-segmentation", "costs", "complexity-a-machine", "papers"):
        assert rf"\label{{tab:{name}-shapes-nano-paper}}" in text
    assert "$n=3$ seeds" in text


def test_many_classes_go_on_in_blocks() -> None:
    where = {"dataset": "coco", "method": "cam", "scale": "nano", "protocol": "paper", "refiner": "own"}
    where |= {"changes": "", "segmenter": "own", "stage": "segmentation", "variant": "", "split": "val"}
    names = [f"class_{i}" for i in range(81)]
    records = pd.DataFrame(
        [
            where | {"seed": 0, "metric": "iou", "class_name": name, "value": 0.5, "threshold": np.nan}
            for name in names
        ]
    )
    table = per_class_table(leaderboard(records, []), per_class_iou(records), SCORES[-1], {})
    assert table.count(r"\begin{tabular}") == 4
    assert all(f"{{{latex.escape(name)}}}" in table for name in names)


PDFLATEX = shutil.which("pdflatex")


@pytest.mark.skipif(PDFLATEX is None, reason="no pdflatex; apt-get install texlive-latex-recommended lmodern")
@pytest.mark.parametrize("hostile", ["", HOSTILE + " ßø É θ_h ≤ 中文 🙂 ^~\\ -- ?` !`"])
def test_a_real_tex_takes_everything(tmp_path: Path, hostile: str) -> None:
    run_dir = synthetic_run(tmp_path / "run", seeds=2, hostile=hostile)
    table = pd.DataFrame(
        {"row": ["α = 1" + hostile, "none"], "column": ["CAM"] * 2, "threshold rule": ["oracle"] * 2,
         "paper": [63.4, None], "mean": [40.1, 39.0], "deviation": [0.5, None], "seeds": [2, 1],
         "reason": ["", "none" + hostile]}
    )  # fmt: skip
    write_experiment(run_dir / "experiments", Experiment("it-alpha", "It" + hostile, "here" + hostile, table))
    build_reports(run_dir, tmp_path / "out", ["latex"] if hostile else ["latex", "figures"])
    done = subprocess.run(
        [str(PDFLATEX), "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "report.tex"],
        cwd=tmp_path / "out",
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "out" / "report.pdf").stat().st_size > 20_000
    assert "Missing character" not in done.stdout
    log = (tmp_path / "out" / "report.log").read_text(errors="replace")
    if not hostile:  # names that cannot be broken stand out of their columns
        assert "Overfull" not in log
