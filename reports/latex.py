"""Booktabs tables. Needs `booktabs` and `graphicx`: `\\input{tables}` then works as is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from reports.text import MISSING, deviation_text, entry_key, entry_label, percent, score_text, seeds_label
from results.aggregate import CONFUSION, KEYS, SCORES, Score, as_rows, best, confusion_pairs, varying

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "[": "{[}",  # after \\ a bare bracket would be read as its optional argument, and * as its star
    "]": "{]}",
    "*": "{*}",
} | {c: "\\" + c for c in "&%$#_{}"}

_CLASSES_A_BLOCK = 22
"""Classes side by side before the per-class table goes on in a further block (VOC's 21 fit in one)."""


def escape(text: str) -> str:
    """Text for use in LaTeX's text mode; white space and control characters become single spaces."""
    printable = "".join(c if c.isprintable() else " " for c in str(text))
    return "".join(_ESCAPES.get(c, c) for c in " ".join(printable.split()))


def tables(board: pd.DataFrame, per_class: pd.DataFrame) -> str:
    """All tables of a run: of each (data set, scale, protocol) the leaderboard and per-class IoU by stage."""
    parts = ["% Needs \\usepackage{booktabs,graphicx} and, for \\textquotedbl, \\usepackage[T1]{fontenc}."]
    for (dataset, scale, protocol), part in board.groupby(["dataset", "scale", "protocol"], sort=False):
        parts.append(leaderboard_table(part))
        here = per_class[
            (per_class["dataset"] == dataset)
            & (per_class["scale"] == scale)
            & (per_class["protocol"] == protocol)
        ]
        for score in SCORES:
            chosen = here[here["score"] == score.name]
            if not chosen.empty:
                parts.append(per_class_table(part, chosen, f"{score.title} ({score.split})", score.name))
    return "\n\n".join(parts) + "\n"


def leaderboard_table(part: pd.DataFrame) -> str:
    """The leaderboard of one (data set, scale, protocol); best of the entries without masks in bold."""
    extra, pairs = varying(part), confusion_pairs(part)
    scores = [score for score in SCORES if (part[f"{score.name}_n"] > 0).any()]
    columns = [(score.name, False) for score in scores] + [(CONFUSION + pair, True) for pair in pairs]
    tops = {name: score_text(best(part, f"{name}_mean", lowest=lowest), name) for name, lowest in columns}
    lines = []
    previous = None
    for row in as_rows(part):
        kind = (
            "reference" if row["status"] == "reference" else "masks" if row["mask_supervised"] else "method"
        )
        if previous not in (None, kind):
            lines.append(r"\midrule")
        previous = kind
        seeds = str(row["seeds"]) if row["seeds"] and kind != "reference" else escape(seeds_label(row))
        cells = [escape(entry_label(row, extra)), escape(row["supervision"]), seeds]
        for name, _ in columns:
            bold = _eligible(row) and score_text(row[f"{name}_mean"], name) == tops[name]
            cells.append(
                _score(
                    score_text(row[f"{name}_mean"], name), deviation_text(row[f"{name}_std"], name), bold=bold
                )
            )
        lines.append(" & ".join(cells) + r" \\")
    dataset, scale, protocol = (escape(part.iloc[0][key]) for key in KEYS[:3])
    caption = (
        f"{dataset}, {scale} scale, {protocol} protocol: mIoU in \\%, mean $\\pm$ sample standard deviation "
        f"over {_n_statement(part)}. Bold: best without mask supervision."
    )
    if pairs:
        caption += " Right: context confusion ratio at the fixed threshold, lower is better."
    tabular = _tabular("llr" + "r" * len(columns), _leaderboard_heads(scores, pairs), lines)
    return _float(tabular, caption, _label("leaderboard", part))


def _leaderboard_heads(scores: Sequence[Score], pairs: Sequence[str]) -> list[str]:
    """Two header rows: what is scored on which split, then threshold rules and context pairs."""
    cams = [score for score in scores if score.stage == "cam"]
    others = [score for score in scores if score.stage != "cam"]
    groups, names, rules = ["", "", ""], ["Method", "Sup.", "$n$"], []
    if cams:
        groups.append(rf"\multicolumn{{{len(cams)}}}{{c}}{{CAM ({cams[0].split})}}")
        rules.append(rf"\cmidrule(lr){{4-{3 + len(cams)}}}")
        names += [escape(score.title.removeprefix("CAM ")) for score in cams]
    groups += [escape(score.title) for score in others]
    names += [f"({escape(score.split)})" for score in others]
    if pairs:
        first = 4 + len(scores)
        groups.append(rf"\multicolumn{{{len(pairs)}}}{{c}}{{Confusion $\downarrow$}}")
        rules.append(rf"\cmidrule(lr){{{first}-{first + len(pairs) - 1}}}")
        names += [escape(pair.replace("|", "/")) for pair in pairs]
    return [" & ".join(groups) + r" \\", *rules, " & ".join(names) + r" \\"]


def per_class_table(part: pd.DataFrame, per_class: pd.DataFrame, title: str, name: str) -> str:
    """IoU of every class at one stage, methods as rows; long class lists go on in further blocks."""
    extra = varying(part)
    values = {(entry_key(row), row["class_name"]): row["mean"] for row in as_rows(per_class)}
    scored = {entry for entry, _ in values}
    rows = [row for row in as_rows(part) if entry_key(row) in scored]
    classes = list(dict.fromkeys(per_class["class_name"]))
    blocks = []
    for start in range(0, len(classes), _CLASSES_A_BLOCK):
        block = classes[start : start + _CLASSES_A_BLOCK]
        tops = {c: _top(values.get((entry_key(r), c), math.nan) for r in rows if _eligible(r)) for c in block}
        lines = []
        for row in rows:
            cells = [escape(entry_label(row, extra))]
            for c in block:
                value = values.get((entry_key(row), c), math.nan)
                cells.append(_score(percent(value), "", bold=_eligible(row) and percent(value) == tops[c]))
            lines.append(" & ".join(cells) + r" \\")
        heads = ["Method", *(rf"\rotatebox{{90}}{{{escape(c)}}}" for c in block)]
        blocks.append(_tabular("l" + "r" * len(block), [" & ".join(heads) + r" \\"], lines))
    dataset, scale, protocol = (escape(part.iloc[0][key]) for key in KEYS[:3])
    caption = (
        f"{dataset}, {scale} scale, {protocol} protocol, {escape(title)}: IoU of every class in \\%, mean "
        f"over {_n_statement(part)}. Bold: best without mask supervision."
    )
    return _float("\n\\\\[1ex]\n".join(blocks), caption, _label(f"per-class-{name}", part))


def _eligible(row: dict[str, Any]) -> bool:
    """Whether an entry competes for the best value: no masks used and no reference row."""
    return not row["mask_supervised"] and row["status"] != "reference"


def _top(values: Iterable[float]) -> str:
    return percent(max((v for v in values if math.isfinite(v)), default=math.nan))


def _score(mean: str, deviation: str, *, bold: bool) -> str:
    if mean == MISSING:
        return "--"
    number = rf"\textbf{{{mean}}}" if bold else mean
    return rf"{number}{{\scriptsize$\,\pm\,${deviation}}}" if deviation else number


def _n_statement(part: pd.DataFrame) -> str:
    """`$n=3$ seeds`, or the range where entries differ."""
    counts = part.loc[(part["status"] != "reference") & (part["seeds"] > 0), "seeds"]
    if counts.empty:
        return "$n=0$ seeds"
    low, high = counts.min(), counts.max()
    if low != high:
        return f"$n={low}$ to {high} seeds"
    return f"$n={low}$ seed" if low == 1 else f"$n={low}$ seeds"


def _tabular(columns: str, heads: Sequence[str], lines: Sequence[str]) -> str:
    """A booktabs tabular, scaled down where it is wider than the line, of finished rows."""
    opening = [
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{columns}}}",
    ]
    body = [r"\toprule", *heads, r"\midrule", *lines, r"\bottomrule"]
    return "\n".join([*opening, *body, r"\end{tabular}}"])


def _float(content: str, caption: str, label: str) -> str:
    head = [
        r"\begin{table}[tbp]",
        r"\centering\small\setlength{\tabcolsep}{4pt}",
        rf"\caption{{{caption}}}",
        rf"\label{{{label}}}",
    ]
    return "\n".join([*head, r"\medskip", content, r"\end{table}"])


def _label(kind: str, part: pd.DataFrame) -> str:
    names = "-".join(str(part.iloc[0][key]) for key in KEYS[:3])
    return f"tab:{kind}-" + "".join(c if c.isascii() and c.isalnum() else "-" for c in names)
