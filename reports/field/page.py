"""What the field reports as a page of its own: the chart of year against mIoU, and the table with filters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from reports.charts import Axis, Bubble, bubble_chart
from reports.field.terminal import CAPTION, HEADS, figures, labelled, network, rank, sorted_pairs
from reports.templating import environment
from results.field import SCORES, UNKNOWN, Conditions, FieldMethod, Result

_MORE_THAN_IMAGENET = {"ImageNet-21k": "‡", "COCO masks": "†"}
PRETRAINING = "†: the segmentation network starts from COCO's masks; ‡: a network is trained on ImageNet-21k."
"""What the marks of `field_chart` mean."""


@dataclass(frozen=True)
class Point:
    """A score of one's own in the chart. value: mIoU in percent"""

    label: str
    year: int
    value: float
    note: str


def field_chart(
    methods: Sequence[FieldMethod], score: str, own: Sequence[Point] = (), size: tuple[int, int] = (1080, 620)
) -> tuple[Markup, list[dict[str, Any]]] | None:
    """The highest mIoU printed of each method and supervision by year, and the legend; None where none is printed.

    A label's mark says what the network had seen beside ImageNet-1k: `PRETRAINING`. Own points are larger discs.
    """
    best: dict[tuple[str, str], tuple[float, FieldMethod, Result]] = {}
    for method in methods:
        for result in method.results:
            for number in result.of(score):
                key = (method.key, result.supervision)
                if key not in best or number.value > best[key][0]:
                    best[key] = (number.value, method, result)
    if not best:
        return None
    kinds = sorted({supervision for _, supervision in best}, key=rank)
    bubbles = [
        Bubble(
            method.name + _mark(result.conditions),
            kinds.index(supervision),
            float(method.year),
            value,
            0.0,
            f"{value:.1f}, {method.year}, {supervision}, {network(result.conditions)}",
        )
        for (_, supervision), (value, method, result) in best.items()
    ]
    bubbles += [Bubble(p.label, len(kinds), float(p.year), p.value, 0.25, p.note) for p in own]
    years = sorted({int(b.x) for b in bubbles})
    chart = bubble_chart(
        bubbles,
        Axis("year", ticks=tuple((float(y), str(y)) for y in years)),
        Axis(f"mIoU, {HEADS[score]} (%)"),
        f"Chart: the highest mIoU on {HEADS[score]} that is printed of each method, by year; "
        + "; ".join(f"{b.label}: {b.note}" for b in bubbles),
        size,
    )
    names = [*kinds, *(["this run"] if own else [])]
    return chart, [{"label": name, "series": series} for series, name in enumerate(names)]


def page(methods: Sequence[FieldMethod]) -> str:
    """The page as HTML, one file."""
    lines = [
        {
            "name": labelled(m, r),
            "venue": f"{m.venue} {m.year}",
            "supervision": r.supervision,
            "stages": m.stages,
            "code": m.code if m.code.startswith("https://") else "",
            "cam": _pretrained(r.conditions),
            "network": network(r.conditions),
            "test": _at_test(r.conditions),
            "figures": [figures(r.of(score)) for score in SCORES],
            "sources": list(
                dict.fromkeys(f"{HEADS[n.score]}: {n.of or n.source}, {n.where}" for n in r.numbers)
            ),
        }
        for m in methods
        for r in m.results
    ]  # fmt: skip
    drawn = field_chart(methods, "voc_val")
    return environment().get_template("field.html").render(
        caption=CAPTION,
        pretraining=PRETRAINING,
        chart=drawn[0] if drawn else "",
        legend=drawn[1] if drawn else [],
        heads=list(HEADS.values()),
        lines=lines,
        choices={
            "supervision": sorted({line["supervision"] for line in lines}, key=rank),
            "stages": sorted({m.stages for m in methods}),
        },
        pairs=[
            {"condition": p.condition.replace("_", " "), "change": f"{p.before} → {p.after}", "method": p.method}
            | {"score": HEADS[p.score], "values": f"{p.low:.1f} → {p.high:.1f}", "difference": f"{p.difference:+.1f}"}
            for p in sorted_pairs(methods)
        ],
    )  # fmt: skip


def _mark(conditions: Conditions) -> str:
    seen = {conditions.cam_pretraining, conditions.segmenter_initialisation}
    return "".join(mark for weights, mark in _MORE_THAN_IMAGENET.items() if weights in seen)


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
