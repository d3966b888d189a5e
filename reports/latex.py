"""LaTeX's alphabet and booktabs: escaping, tabulars, floats, and a document around them.

Everything written is ASCII, so that no input encoding is asked for. Needs `array`, `booktabs`, `graphicx` and T1 fonts.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from reports.text import MISSING

PACKAGES = "\\usepackage{array,booktabs,graphicx} and \\usepackage[T1]{fontenc}"

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    "[": "{[}",  # after \\ a bare bracket would be read as its optional argument, and * as its star
    "]": "{]}",
    "*": "{*}",
    "-": "{-}",  # two would become a dash
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
    "’": r"\textquoteright{}",
    "‘": r"\textquoteleft{}",
    "“": r"\textquotedblleft{}",
    "”": r"\textquotedblright{}",
    "…": r"\textellipsis{}",
    "·": r"\textperiodcentered{}",
    "†": r"\textdagger{}",
    "‡": r"\textdaggerdbl{}",
    "ß": r"\ss{}", "æ": r"\ae{}", "Æ": r"\AE{}", "œ": r"\oe{}", "Œ": r"\OE{}", "ø": r"\o{}", "Ø": r"\O{}",
    "ł": r"\l{}", "Ł": r"\L{}",
} | {c: "\\" + c for c in "&%$#_{}"}  # fmt: skip

_MATHS = {
    "±": r"\pm", "×": r"\times", "−": "-", "→": r"\to", "←": r"\leftarrow", "≤": r"\leq", "≥": r"\geq",
    "≈": r"\approx", "≠": r"\neq", "∞": r"\infty", "Δ": r"\Delta", "Σ": r"\Sigma", "Ω": r"\Omega",
    "α": r"\alpha", "β": r"\beta", "γ": r"\gamma", "δ": r"\delta", "ε": r"\varepsilon", "η": r"\eta",
    "θ": r"\theta", "κ": r"\kappa", "λ": r"\lambda", "μ": r"\mu", "π": r"\pi", "ρ": r"\rho", "σ": r"\sigma",
    "τ": r"\tau", "φ": r"\varphi", "χ": r"\chi", "ψ": r"\psi", "ω": r"\omega",
}  # fmt: skip

_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0308": '"', "\u030c": "v", "\u0306": "u",
    "\u0304": "=", "\u0307": ".", "\u030a": "r", "\u030b": "H", "\u0327": "c",
}  # fmt: skip

_DOCUMENT = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage{lmodern}
\usepackage{array,booktabs,graphicx}
\usepackage[a4paper,margin=2cm]{geometry}
\begin{document}
\title{\large %s}
\date{%s}
\maketitle
\input{tables}
%s
\end{document}
"""


def escape(text: str) -> str:
    """Text for use in LaTeX's text mode; white space and control characters become single spaces.

    Characters that LaTeX's usual fonts lack are written as their number, U+4E2D.
    """
    printable = "".join(c if c.isprintable() else " " for c in unicodedata.normalize("NFC", str(text)))
    return "".join(map(_character, " ".join(printable.split())))


def _character(c: str) -> str:
    if c in _ESCAPES:
        return _ESCAPES[c]
    if c in _MATHS:
        return rf"\ensuremath{{{_MATHS[c]}}}"
    if c.isascii():
        return c
    parts = unicodedata.normalize("NFD", c) + " "
    letter, mark = parts[0], parts[1]
    if letter.isascii() and letter.isalpha() and unicodedata.normalize("NFC", letter + mark) == c:
        return rf"\{_ACCENTS[mark]}{{{letter}}}" if mark in _ACCENTS else _unknown(c)
    return _unknown(c)


def _unknown(c: str) -> str:
    return rf"\texttt{{U+{ord(c):04X}}}"


def score_cell(mean: str, deviation: str = "", group: int = 0) -> str:
    """A score as `61.2 ± 0.8`; group 1 in bold, 2 underlined (`results.significance`)."""
    if mean == MISSING:
        return "--"
    mean = mean.replace("−", "$-$")
    number = {1: rf"\textbf{{{mean}}}", 2: rf"\underline{{{mean}}}"}.get(group, mean)
    return rf"{number}{{\scriptsize$\,\pm\,${deviation}}}" if deviation else number


def row(cells: Sequence[str]) -> str:
    """A line of finished cells."""
    return " & ".join(cells) + r" \\"


def tabular(columns: str, heads: Sequence[str], lines: Sequence[str]) -> str:
    """A booktabs tabular, scaled down where it is wider than the line, of finished rows."""
    opening = [
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{columns}}}",
    ]
    body = [r"\toprule", *heads, r"\midrule", *lines, r"\bottomrule"]
    return "\n".join([*opening, *body, r"\end{tabular}}"])


def floating(content: str, caption: str, label: str) -> str:
    """A table with a finished caption above it."""
    head = [
        r"\begin{table}[htbp]",
        r"\centering\small\setlength{\tabcolsep}{4pt}",
        rf"\caption{{{caption}}}",
        rf"\label{{{label}}}",
    ]
    return "\n".join([*head, r"\medskip", content, r"\end{table}"])


def label(*names: str) -> str:
    """A label of ASCII letters, digits and hyphens."""
    return "tab:" + "-".join("".join(c if c.isascii() and c.isalnum() else "-" for c in n) for n in names)


def document(title: str, date: str, figures: Sequence[tuple[str, str]]) -> str:
    """A document of its own: `tables.tex` and, where they lie beside it, figures (file, finished caption)."""
    shown = [
        rf"\IfFileExists{{{file}}}{{\begin{{figure}}[htbp]\centering\includegraphics[width=\linewidth]{{{file}}}"
        rf"\caption{{{caption}}}\end{{figure}}}}{{}}"
        for file, caption in figures
    ]
    return _DOCUMENT % (escape(title), escape(date), "\n".join(shown))
