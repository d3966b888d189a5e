"""Booktabs tables. Needs `booktabs` and `graphicx`: `\\usepackage{booktabs,graphicx}`, then `\\input{tables}`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from reports.text import entry_key, entry_label, percent, seeds_label
from results.aggregate import CONFUSION, KEYS, SCORES, best, confusion_pairs, varying

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
    """All tables of a run: the leaderboard of each (data set, scale, protocol) and its per-class IoU by stage."""
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
    columns = [(score.name, False) for score in SCORES if (part[f"{score.name}_n"] > 0).any()]
    titles = [f"{s.title} ({s.split})" for s in SCORES if (s.name, False) in columns]
    columns += [(CONFUSION + pair, True) for pair in pairs]
    titles += [f"{pair} $\\downarrow$" for pair in (escape(p.replace("|", " / ")) for p in pairs)]
    tops = {name: percent(best(part, f"{name}_mean", lowest=lowest)) for name, lowest in columns}
    lines = []
    previous = None
    for row in part.to_dict("records"):
        kind = (
            "reference" if row["status"] == "reference" else "masks" if row["mask_supervised"] else "method"
        )
        if previous not in (None, kind):
            lines.append(r"\midrule")
        previous = kind
        seeds = str(row["seeds"]) if row["seeds"] and kind != "reference" else escape(seeds_label(row))
        cells = [escape(entry_label(row, extra)), escape(row["supervision"]), seeds]
        for name, _ in columns:
            bold = _eligible(row) and percent(row[f"{name}_mean"]) == tops[name]
            cells.append(_score(row[f"{name}_mean"], row[f"{name}_std"], bold=bold))
        lines.append(" & ".join(cells) + r" \\")
    dataset, scale, protocol = (escape(part.iloc[0][key]) for key in KEYS[:3])
    caption = (
        f"{dataset}, {scale} scale, {protocol} protocol: mIoU in \\%, mean $\\pm$ sample standard deviation over "
        f"{_n_statement(part)}. Bold: best without mask supervision."
    )
    if pairs:
        caption += " Right: context confusion ratio at the fixed threshold in \\%, lower is better."
    heads = ["Method", "Sup.", "$n$", *(t if "$" in t else escape(t) for t in titles)]
    tabular = _tabular("llr" + "r" * len(columns), heads, lines)
    return _float(tabular, caption, _label("leaderboard", part))


def per_class_table(part: pd.DataFrame, per_class: pd.DataFrame, title: str, name: str) -> str:
    """IoU of every class at one stage, methods as rows; long class lists go on in further blocks."""
    extra = varying(part)
    values = {(entry_key(row), row["class_name"]): row["mean"] for row in per_class.to_dict("records")}
    scored = {entry for entry, _ in values}
    rows = [row for row in part.to_dict("records") if entry_key(row) in scored]
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
                cells.append(_score(value, math.nan, bold=_eligible(row) and percent(value) == tops[c]))
            lines.append(" & ".join(cells) + r" \\")
        heads = ["Method", *(rf"\rotatebox{{90}}{{{escape(c)}}}" for c in block)]
        blocks.append(_tabular("l" + "r" * len(block), heads, lines))
    dataset, scale, protocol = (escape(part.iloc[0][key]) for key in KEYS[:3])
    caption = (
        f"{dataset}, {scale} scale, {protocol} protocol, {escape(title)}: IoU of every class in \\%, mean over "
        f"{_n_statement(part)}. Bold: best without mask supervision."
    )
    return _float("\n\\\\[1ex]\n".join(blocks), caption, _label(f"per-class-{name}", part))


def _eligible(row: dict[str, Any]) -> bool:
    """Whether an entry competes for the best value: no masks used and no reference row."""
    return not row["mask_supervised"] and row["status"] != "reference"


def _top(values: Iterable[float]) -> str:
    return percent(max((v for v in values if math.isfinite(v)), default=math.nan))


def _score(mean: float, deviation: float, *, bold: bool) -> str:
    if not math.isfinite(mean):
        return "--"
    number = rf"\textbf{{{percent(mean)}}}" if bold else percent(mean)
    return rf"{number}{{\scriptsize$\,\pm\,${100 * deviation:.1f}}}" if math.isfinite(deviation) else number


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
    body = [r"\toprule", " & ".join(heads) + r" \\", r"\midrule", *lines, r"\bottomrule"]
    return "\n".join(
        [
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{{columns}}}",
        ]
        + body
        + [r"\end{tabular}}"]
    )


def _float(content: str, caption: str, label: str) -> str:
    head = [r"\begin{table}[tbp]", r"\centering", rf"\caption{{{caption}}}", rf"\label{{{label}}}"]
    return "\n".join([*head, content, r"\end{table}"])


def _label(kind: str, part: pd.DataFrame) -> str:
    names = "-".join(str(part.iloc[0][key]) for key in KEYS[:3])
    return f"tab:{kind}-" + "".join(c if c.isascii() and c.isalnum() else "-" for c in names)
