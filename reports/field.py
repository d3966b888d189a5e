"""What the field reports, shown: in the terminal, as a related-work table in LaTeX, and as a page."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from reports.charts import Axis, Bubble, bubble_chart
from reports.latex import PACKAGES, escape, row, tabular
from reports.templating import environment
from reports.text import MISSING
from results.comparison import compare_with_papers
from results.field import (
    SCORES,
    SUPERVISION,
    UNKNOWN,
    Conditions,
    FieldMethod,
    Number,
    Result,
    citation_key,
    pairs,
)
from results.io import Run

HEADS = {
    "cam": "CAM, train",
    "pseudo_label": "Pseudo-label, train",
    "voc_val": "VOC val",
    "voc_test": "VOC test",
    "coco_val": "COCO val",
}
CAPTION = (
    "mIoU in percent, as printed. CAM and pseudo-labels: VOC 2012, train. Supervision: "
    + "; ".join(f"{mark}: {meaning}" for mark, meaning in SUPERVISION.items())
    + "."
)
_CHARTED = "voc_val"


def labelled(method: FieldMethod, result: Result) -> str:
    """A result's label: the method's name, with the variant where it has one."""
    return f"{method.name} ({result.variant})" if result.variant else method.name


def figures(numbers: Sequence[Number]) -> str:
    """Numbers of one score as text: several where sources disagree; ² after what was read in another paper."""
    texts = [f"{n.value:.1f}{'²' if n.source == 'second-hand' else ''}" for n in numbers]
    values = {text.rstrip("²"): text for text in reversed(texts)}  # one's own source wins over equal others
    return " / ".join(dict.fromkeys(values[text.rstrip("²")] for text in texts)) or MISSING


def network(conditions: Conditions) -> str:
    """Segmentation network and trunk in few words."""
    known = [part for part in (conditions.segmenter, conditions.segmenter_backbone) if part != UNKNOWN]
    start = conditions.segmenter_initialisation
    return ", ".join(known) + (f" from {start}" if start not in (UNKNOWN, "ImageNet-1k") else "") or UNKNOWN


def print_methods(methods: Sequence[FieldMethod], console: Console) -> None:
    """A line for each set of conditions."""
    table = Table(
        box=box.SIMPLE_HEAD, caption=Text(f"{CAPTION} ²: read in another paper."), caption_justify="left"
    )
    for head in ("Method", "Venue", "Sup."):
        table.add_column(head)
    table.add_column("CAM network" if console.width >= 120 else "CAM net", overflow="fold")
    if console.width >= 120:
        table.add_column("Segmentation network", overflow="fold")
    for score in SCORES:
        table.add_column(HEADS[score].replace(", train", ""), justify="right", overflow="fold")
    for method in methods:
        for result in method.results:
            where = [f"{method.venue} {method.year}", method.supervision, result.conditions.cam_backbone]
            if console.width >= 120:
                where.append(network(result.conditions))
            numbers = [figures(result.of(score)) for score in SCORES]
            table.add_row(*map(Text, (labelled(method, result), *where, *numbers)))
    console.print(table)


def print_pairs(methods: Sequence[FieldMethod], console: Console) -> None:
    """Differences within one paper, condition by condition."""
    found = sorted(pairs(methods), key=lambda p: (p.condition, p.before, p.after, p.score))
    if not found:
        console.print("No paper here prints the same method under two conditions of which one alone differs.")
        return
    table = Table(
        box=box.SIMPLE_HEAD,
        caption=Text(
            "The same method in its own paper or repository, where one known condition alone differs."
        ),
        caption_justify="left",
    )
    for head in ("Condition", "From", "To", "Method", "Score"):
        table.add_column(head, overflow="fold")
    table.add_column("mIoU", justify="right")
    table.add_column("Difference", justify="right")
    for p in found:
        name = p.condition.replace("_", " ")
        value = f"{p.low:.1f} → {p.high:.1f}"
        table.add_row(
            *map(Text, (name, p.before, p.after, p.method, HEADS[p.score], value, f"{p.difference:+.1f}"))
        )
    console.print(table)


def print_like(methods: Sequence[FieldMethod], run: Run, console: Console) -> None:
    """What was reported under a run's conditions: scores of the same data set and split, and what differs else."""
    measured = compare_with_papers(run.records, run.cells, ())
    places = {(dataset, stage, split): score for score, (dataset, split, stage) in SCORES.items()}
    shown = False
    for found in measured.to_dict("records"):
        score = places.get((found["dataset"], found["stage"], found["split"]))
        if score is None:
            continue
        shown = True
        cell = next(
            c for c in run.cells if all(c[k] == found[k] for k in ("dataset", "method", "scale", "protocol"))
        )
        own = conditions_of(cell)
        console.print(
            f"\n{found['method']}, {HEADS[score]}: {100 * found['measured']:.1f} (n = {found['n']}, "
            f"{found['images']} images, scale {found['scale']})",
            markup=False,
        )
        lines = [
            (len(differing), -number.value, labelled(method, result), number.value, differing)
            for method in methods
            for result in method.results
            for number in result.of(score)[:1]
            if (differing := other_conditions(own, result.conditions)) is not None
        ]
        for _, _, name, value, differing in sorted(lines)[:15]:
            console.print(
                f"  {value:5.1f}  {name}: {'; '.join(differing) or 'the same conditions'}", markup=False
            )
    if not shown:
        datasets = ", ".join(dict.fromkeys(dataset for dataset, _, _ in SCORES.values()))
        console.print(f"The field reports on {datasets}; {run.path} has no score on these", markup=False)


def conditions_of(cell: dict[str, Any]) -> Conditions:
    """Those of a run's cell, as far as its settings say them in the field's words."""
    settings = cell["settings"].get("method") or {}
    segmenter = (cell["settings"].get("protocol") or {}).get("segmenter") or settings.get("segmenter") or {}
    trunk = (settings.get("backbone") or {}).get("name", UNKNOWN)
    scales = segmenter.get("test_scales")
    masks = segmenter.get("init") == "coco-masks"
    return Conditions(
        cam_backbone=str(trunk),
        segmenter={"largefov": "DeepLab V1", "largefov_single": "DeepLab V1", "aspp": "DeepLab V2"}.get(
            segmenter.get("head", ""), UNKNOWN
        ),
        segmenter_backbone=str((segmenter.get("backbone") or {}).get("name", UNKNOWN)),
        segmenter_initialisation="COCO masks" if masks else UNKNOWN,
        test_scales=UNKNOWN if scales is None else "one" if len(scales) == 1 else "several",
        test_mirror="yes" if segmenter.get("test_flip") else "no" if segmenter else UNKNOWN,
        test_crf="yes" if segmenter.get("test_crf") else "no" if segmenter else UNKNOWN,
    )


def other_conditions(own: Conditions, reported: Conditions) -> list[str]:
    """What differs or is not known of a reported number's conditions beside one's own."""
    found = []
    for name, here in vars(own).items():
        there = getattr(reported, name)
        if here == UNKNOWN:
            continue
        words = name.replace("_", " ")
        if there == UNKNOWN:
            found.append(f"{words} unknown")
        elif not _same(here, there):
            found.append(f"{words} {there}")
    return found


def _same(here: str, there: str) -> bool:
    one, other = (
        "".join(c for c in text.lower() if c.isalnum()) for text in (here.rpartition("/")[2], there)
    )
    return one.startswith(other) or other.startswith(one)


def latex_table(methods: Sequence[FieldMethod]) -> str:
    """A related-work table by supervision: conditions as marks, footnotes for second-hand numbers, citations."""
    notes: dict[str, int] = {}
    scores = [s for s in SCORES if any(r.of(s) for m in methods for r in m.results)]
    lines: list[str] = []
    ordered = sorted(methods, key=lambda m: (_rank(m.supervision), m.year, m.name.casefold()))
    for supervision, group in groupby(ordered, key=lambda m: m.supervision):
        if lines:
            lines.append(r"\midrule")
        lines.append(rf"\multicolumn{{{4 + len(scores)}}}{{l}}{{\emph{{{escape(_words(supervision))}}}}} \\")
        for method in group:
            lines += [_line(method, result, scores, notes) for result in method.results]
    heads = ["Method", "Venue", "CAM network", "Segmentation network", *(HEADS[s] for s in scores)]
    body = tabular("llll" + "r" * len(scores), [row([escape(h) for h in heads])], lines)
    marks = [r"$^{s}$\,single stage", r"$^{f}$\,without training", r"$^{m}$\,starts from COCO's masks",
             r"$^{c}$\,CRF at test time"]  # fmt: skip
    marks += [rf"$^{{{number}}}$\,as printed by {escape(of)}" for of, number in notes.items()]
    caption = rf"\caption{{{escape(CAPTION)} {'; '.join(marks)}. A dash: not found.}}"
    opening = [f"% Needs {PACKAGES}; field.bib beside it.", r"\begin{table*}[t]", r"\centering\small"]
    return "\n".join([*opening, caption, body, r"\end{table*}"]) + "\n"


def _line(method: FieldMethod, result: Result, scores: Sequence[str], notes: dict[str, int]) -> str:
    c = result.conditions
    marks = ("s" if method.stages == "single" else "") + ("f" if method.training_free else "")
    name = escape(labelled(method, result)) + (rf"$^{{{marks}}}$" if marks else "")
    of_network = ("m" if c.segmenter_initialisation == "COCO masks" else "") + (
        "c" if c.test_crf == "yes" else ""
    )
    trunk = escape(network(c)) + (rf"$^{{{of_network}}}$" if of_network else "")
    cells = []
    for score in scores:
        texts: list[str] = []
        for number in result.of(score):
            text = f"{number.value:.1f}"
            if number.source == "second-hand":
                text += rf"$^{{{notes.setdefault(number.of, len(notes) + 1)}}}$"
            if text.partition("$")[0] not in [t.partition("$")[0] for t in texts]:
                texts.append(text)
        cells.append(" / ".join(texts) or "--")
    where = escape(f"{method.venue} {method.year}")
    cited = rf"{name}~\cite{{{citation_key(method)}}}"
    return row([cited, where, escape(c.cam_backbone), trunk, *cells])


def _rank(supervision: str) -> tuple[int, str]:
    return supervision.count("+"), supervision


def _words(supervision: str) -> str:
    return f"{supervision}: " + ", ".join(SUPERVISION[part] for part in supervision.split("+"))


def page(methods: Sequence[FieldMethod]) -> str:
    """A page of its own: the chart of year against mIoU, and the table with filters."""
    kinds = sorted({m.supervision for m in methods}, key=_rank)
    bubbles = [
        Bubble(
            m.name,
            kinds.index(m.supervision),
            m.year + 0.0,
            m.best(_CHARTED),
            0.05,
            f"{m.best(_CHARTED):.1f}, {m.year}",
        )
        for m in methods
        if m.best(_CHARTED)
    ]
    years = sorted({m.year for m in methods})
    chart = bubble_chart(
        bubbles,
        Axis("year", ticks=tuple((float(y), str(y)) for y in years)),
        Axis(f"mIoU, {HEADS[_CHARTED]} (%)"),
        f"Chart: the highest mIoU on {HEADS[_CHARTED]} that is printed of each method, by year; "
        + "; ".join(f"{b.label}: {b.note}" for b in bubbles),
        (900, 480),
    )
    lines = [
        {
            "name": labelled(m, r),
            "venue": f"{m.venue} {m.year}",
            "supervision": m.supervision,
            "stages": m.stages,
            "code": m.code if m.code.startswith("https://") else "",
            "cam": _pretrained(r.conditions),
            "network": network(r.conditions),
            "test": _at_test(r.conditions),
            "figures": [figures(r.of(score)) for score in SCORES],
            "sources": "; ".join(
                dict.fromkeys(
                    f"{HEADS[n.score]}: {n.of or n.source}, {n.where}" for n in r.numbers
                )
            ),
        }
        for m in methods
        for r in m.results
    ]  # fmt: skip
    legend = [{"label": kind, "series": i, "values": []} for i, kind in enumerate(kinds)]
    differences = sorted(pairs(methods), key=lambda p: (p.condition, p.before, p.after, p.score))
    return environment().get_template("field.html").render(
        caption=CAPTION,
        chart=chart,
        legend=legend,
        heads=list(HEADS.values()),
        lines=lines,
        choices={"supervision": kinds, "stages": sorted({m.stages for m in methods})},
        pairs=[
            {"condition": p.condition.replace("_", " "), "change": f"{p.before} → {p.after}", "method": p.method}
            | {"score": HEADS[p.score], "values": f"{p.low:.1f} → {p.high:.1f}", "difference": f"{p.difference:+.1f}"}
            for p in differences
        ],
    )  # fmt: skip


def _pretrained(conditions: Conditions) -> str:
    parts = [p for p in (conditions.cam_backbone, conditions.cam_pretraining) if p != UNKNOWN]
    return ", ".join(parts) or UNKNOWN


def _at_test(conditions: Conditions) -> str:
    said = {
        "several": "several scales",
        "one": "one scale",
    }.get(conditions.test_scales, "")
    mirror = {"yes": "mirrored", "no": ""}.get(conditions.test_mirror, "")
    crf = {"yes": "CRF", "no": "no CRF"}.get(conditions.test_crf, "")
    return ", ".join(filter(None, (said, mirror, crf))) or UNKNOWN
