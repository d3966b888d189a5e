"""What the field reports as a related-work table in LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from reports.field.terminal import HEADS, IMAGENET, labelled, network, rank
from reports.latex import PACKAGES, escape, row, tabular
from results.field import SCORES, SUPERVISION, UNKNOWN, FieldMethod, Result, citation_key
from results.field_lines import condensed

_STARTS = dict.fromkeys(IMAGENET, "i") | {"COCO masks": "m"}
"""Marks of the weights that a segmentation network starts from; others stand in words."""

_MARKS = {
    "s": "single stage",
    "f": "without training",
    "i": "starts from ImageNet-1k, or ImageNet without a number",
    "m": "starts from COCO's masks",
    "c": "CRF at test time",
}


def latex_table(methods: Sequence[FieldMethod]) -> str:
    """A related-work table by supervision: conditions as marks, notes for second-hand numbers, citations."""
    lines = [(method, result) for method in methods for result in condensed(method)]
    scores = [s for s in SCORES if any(result.of(s) for _, result in lines)]
    lines.sort(key=lambda line: (rank(line[1].supervision), line[0].year, line[0].name.casefold()))
    notes: dict[str, int] = {}
    marks: set[str] = set()
    body: list[str] = []
    for supervision, group in groupby(lines, key=lambda line: line[1].supervision):
        if body:
            body.append(r"\midrule")
        words = f"{supervision}: " + ", ".join(SUPERVISION[part] for part in supervision.split("+"))
        body.append(rf"\multicolumn{{{3 + len(scores)}}}{{l}}{{\emph{{{escape(words)}}}}} \\")
        last = None
        for method, result in group:
            first = last is not method
            body.append(row(_cells(method, result, first, marks) + _numbers(result, scores, notes)))
            last = method
    heads = ["Method", "CAM network", "Segmentation network", *(HEADS[s] for s in scores)]
    table = tabular("lll" + "r" * len(scores), [row([escape(h) for h in heads])], body)
    said = [rf"$^{{{mark}}}$\,{escape(words)}" for mark, words in _MARKS.items() if mark in marks]
    said += [rf"$^{{{number}}}$\,as printed by {escape(of)}" for of, number in notes.items()]
    caption = (
        "mIoU in percent, as printed. CAM and pseudo-labels: VOC 2012, train; of several refiners the best. "
        "A slash: sources disagree. A dash: not found."
    )
    return "\n".join(
        [
            f"% Needs {PACKAGES}; field.bib beside it.",
            r"\begin{table*}[t]",
            rf"\centering\small\setlength{{\tabcolsep}}{{4pt}}\caption{{{escape(caption)}}}",
            table,
            *([rf"\par\smallskip\parbox{{\linewidth}}{{\footnotesize {'; '.join(said)}.}}"] if said else []),
            r"\end{table*}",
        ]
    ) + "\n"  # fmt: skip


def _cells(method: FieldMethod, result: Result, first: bool, marks: set[str]) -> list[str]:
    """Method (named once), CAM network and segmentation network; adds the marks that they use."""
    c = result.conditions
    of_method = ("s" if method.stages == "single" else "") + ("f" if method.training_free else "")
    start = _STARTS.get(c.segmenter_initialisation, "")
    of_network = start + ("c" if c.test_crf == "yes" else "")
    marks.update(of_network)
    name = rf"\quad {escape(result.variant)}" if result.variant else ""
    if first:
        marks.update(of_method)
        cited = rf"~\cite{{{citation_key(method)}}} {escape(f'{method.venue} {method.year}')}"
        name = escape(labelled(method, result)) + _raised(of_method) + cited
    trunk = "--" if (said := network(c, start=not start)) == UNKNOWN else escape(said)
    cam = "--" if c.cam_backbone == UNKNOWN else escape(c.cam_backbone)
    return [name, cam, trunk + _raised(of_network)]


def _numbers(result: Result, scores: Sequence[str], notes: dict[str, int]) -> list[str]:
    """A cell a score: each value once, with the number of its note where only others print it."""
    cells = []
    for score in scores:
        texts: dict[str, str] = {}
        for number in result.of(score):
            text = f"{number.value:.1f}"
            if text in texts:
                continue
            second_hand = number.source == "second-hand"
            texts[text] = text + (
                _raised(str(notes.setdefault(number.of, len(notes) + 1))) if second_hand else ""
            )
        cells.append(" / ".join(texts.values()) or "--")
    return cells


def _raised(mark: str) -> str:
    return rf"$^{{{mark}}}$" if mark else ""
