"""How many masks say how much of a run's methods: the estimates that there are, or on full masks a simulation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmark.selection.budget_inputs import Inputs
from benchmark.selection.estimates import (
    LEVEL,
    Estimates,
    estimate,
    half_width,
    known_classes,
    linearised,
    masks_needed,
)
from benchmark.selection.labelling import Order
from benchmark.selection.sampling import sizes
from benchmark.selection.simulation import EVIDENCE, ORDERED, PLAIN, WAYS, ladder, needed_masks, simulate

LEAST = 10
"""Masks that an interval is given from: fewer say too little of their own spread."""
BEGIN = 20
"""Masks to begin with."""
WORTH = 1.1
"""From this factor on, evidence is said to be worth something."""


def estimated(inputs: Inputs, order: Order) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The document of `results.budget.write_budget` and widths by entry, from the masks that there are.

    Raises ValueError where these are fewer than `LEAST`.
    """
    if inputs.truth is None or order.counting < LEAST:
        raise ValueError("too few masks")
    images, masks = _open(inputs), order.counting
    at = (inputs.truth, order.drawn[None], order.probability)
    classes = known_classes(inputs.stand_in)
    plain = estimate(*at, inputs.combine, classes)
    helped = estimate(*at, inputs.combine, classes, inputs.stand_in)
    rows = []
    for n, entry in enumerate(inputs.entries):
        row: dict[str, Any] = {"entry": entry}
        for columns, found in (
            (("value", "low", "high"), helped),
            (("plain", "plain_low", "plain_high"), plain),
        ):
            value, half = float(found.value[0, n]), float(found.half_width()[0, n])
            row |= dict(zip(columns, (value, max(value - half, 0.0), min(value + half, 1.0))))
        rows.append({**row, "factor": _squared(plain.spread[0, n], helped.spread[0, n])})
    widths = _widths(inputs, _spread(plain, inputs, masks), _spread(helped, inputs, masks), masks)
    pair = None
    if len(inputs.entries) > 1:
        difference, names = _best_two(helped.value[0], inputs)
        by_plain = estimate(*at, difference, classes)
        by_evidence = estimate(*at, difference, classes, inputs.stand_in)
        gap, margin = float(by_evidence.value[0, 0]), float(by_evidence.half_width()[0, 0])
        if gap < 0:  # the difference has a slope of its own
            gap, names = -gap, {"first": names["second"], "second": names["first"]}
        pair = {
            **names,
            "difference": gap,
            "low": gap - margin,
            "high": gap + margin,
            "needed_plain": masks_needed(float(_spread(by_plain, inputs, masks)[0]), gap, images, LEAST),
            "needed_evidence": masks_needed(
                float(_spread(by_evidence, inputs, masks)[0]), gap, images, LEAST
            ),
        }
    return _document(inputs, masks, False, rows, widths, pair), widths


def planned(inputs: Inputs, ratios: Mapping[str, float]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """As `estimated`, without masks: by what `select` predicts, and by how far images differ against the consensus.

    ratios: `spread.RATIOS` of a calibration
    """
    if inputs.predicted is None:
        raise ValueError("nothing is predicted")
    images = _open(inputs)

    def spread(combine: np.ndarray) -> np.ndarray:
        influence = linearised(inputs.stand_in, np.ones((1, len(inputs.images))), combine).influence[0]
        return np.asarray(images * influence[:, ~inputs.certain].std(-1, ddof=1))

    alone = spread(inputs.combine)
    values = inputs.predicted.tolist()
    factor = _squared(ratios["plain"], ratios["evidence"])
    rows = [
        {"entry": entry, "value": value, "plain": value, "factor": factor}
        | dict.fromkeys(("low", "high", "plain_low", "plain_high"))
        for entry, value in zip(inputs.entries, values)
    ]
    widths = _widths(inputs, ratios["plain"] * alone, ratios["evidence"] * alone)
    pair = None
    if len(inputs.entries) > 1:
        difference, names = _best_two(inputs.predicted, inputs)
        gap = float(-np.diff(np.sort(inputs.predicted)[::-1])[0])
        apart = float(spread(difference)[0])
        pair = {**names, "difference": gap, "low": None, "high": None} | {
            f"needed_{way}": masks_needed(ratios[f"pair_{way}"] * apart, gap, images, LEAST)
            for way in (PLAIN, EVIDENCE)
        }
    return _document(inputs, 0, False, rows, widths, pair), widths


def simulated(inputs: Inputs) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """As `estimated`, where all images have masks: what fewer would have said, by drawing them many times."""
    if inputs.truth is None:
        raise ValueError("no masks")
    images, once = _open(inputs), np.ones((1, len(inputs.images)))
    value = linearised(inputs.truth, once, inputs.combine).value
    size = sizes(inputs.stand_in, inputs.combine)
    widths: list[dict[str, Any]] = []
    errors: dict[str, list[np.ndarray]] = {way: [] for way in WAYS}
    for step in ladder(images, LEAST):
        fared = {
            way: simulate(inputs.truth, inputs.stand_in, size, inputs.combine, step, way, inputs.certain)
            for way in WAYS
        }
        for way in WAYS:
            errors[way].append(fared[way].error)
        for n, entry in enumerate(inputs.entries):
            row: dict[str, Any] = {"entry": entry, "masks": step}
            row |= {way: float(fared[way].width[n]) for way in WAYS}
            row |= {f"coverage_{way}": float(fared[way].coverage[n]) for way in WAYS}
            widths.append(row | {f"error_{way}": float(fared[way].error[n]) for way in WAYS})
    factor = np.median(_squared(np.array(errors[PLAIN]), np.array(errors[EVIDENCE])), 0)
    ordered = np.median(_squared(np.array(errors[EVIDENCE]), np.array(errors[ORDERED])), 0)
    rows = [
        {"entry": entry, "value": float(value[0, n]), "low": None, "high": None, "plain": float(value[0, n]),
         "plain_low": None, "plain_high": None, "factor": float(factor[n]), "factor_order": float(ordered[n])}
        for n, entry in enumerate(inputs.entries)
    ]  # fmt: skip
    pair = None
    if len(inputs.entries) > 1:
        difference, names = _best_two(value[0], inputs)
        gap = float(linearised(inputs.truth, once, difference).value[0, 0])
        pair = {**names, "difference": gap, "low": None, "high": None}
        pair |= {
            f"needed_{way}": needed_masks(
                inputs.truth, inputs.stand_in, size, difference, way, LEAST, inputs.certain
            )
            for way in WAYS
        }
    return _document(inputs, images, True, rows, widths, pair), widths


def _open(inputs: Inputs) -> int:
    """How many images are drawn from: all but those whose truth is known in any case."""
    return int((~inputs.certain).sum())


def _spread(found: Estimates, inputs: Inputs, masks: int) -> np.ndarray:
    """(E,) of the images that are drawn from; where others are known, by the error that so many masks have left."""
    if not inputs.certain.any() or masks >= _open(inputs):
        return np.asarray(found.spread[0])
    return np.asarray(found.error[0] / np.sqrt(1 / masks - 1 / _open(inputs)))


def _best_two(values: np.ndarray, inputs: Inputs) -> tuple[np.ndarray, dict[str, Any]]:
    """(1, A) weights of the difference of the two highest, and their names."""
    first, second = (int(n) for n in np.argsort(-values, kind="stable")[:2])
    names = {"first": inputs.entries[first], "second": inputs.entries[second]}
    return (inputs.combine[first] - inputs.combine[second])[None], names


def _widths(inputs: Inputs, plain: np.ndarray, evidence: np.ndarray, *masks: int) -> list[dict[str, Any]]:
    """Widths of the entries' intervals by their spreads, (E,), at usual numbers of masks and those given."""
    images = _open(inputs)
    return [
        {
            "entry": entry,
            "masks": step,
            PLAIN: float(2 * half_width(plain[n], step, images)),
            EVIDENCE: float(2 * half_width(evidence[n], step, images, 1)),
        }
        for n, entry in enumerate(inputs.entries)
        for step in sorted({*ladder(images, LEAST), *masks})
    ]


def _document(
    inputs: Inputs,
    masks: int,
    simulated: bool,
    rows: list[dict[str, Any]],
    widths: list[dict[str, Any]],
    pair: dict[str, Any] | None,
) -> dict[str, Any]:
    import pandas as pd

    means = pd.DataFrame(widths).groupby("masks").mean(numeric_only=True).reset_index()
    document: dict[str, Any] = {
        "kind": inputs.kind.value,
        "split": inputs.split,
        "images": _open(inputs),
        "masks": masks,
        "simulated": simulated,
        "level": LEVEL,
        "entries": sorted(rows, key=lambda row: -row["value"]),
        "widths": means.to_dict("records"),
        "pair": pair,
        "warnings": [*inputs.notes, *_known(inputs)],
        "state": list(inputs.state),
    }
    return {**document, "label": _to_label(document), "advice": _advice(document)}


def _known(inputs: Inputs) -> list[str]:
    known = int(inputs.certain.sum())
    return (
        [f"{known} images without labels need no mask; they count, and are in none of these numbers"]
        if known
        else []
    )


def _to_label(document: Mapping[str, Any]) -> int:
    """How many images to label next: until the best two are told apart, but at least a few."""
    pair, rest = document["pair"], document["images"] - document["masks"]
    needed = pair["needed_evidence"] if pair is not None else 0
    return min(max(needed - document["masks"], BEGIN), rest)


def _advice(document: Mapping[str, Any]) -> str:
    """A line or two: what the masks tell, what more would, and what the images without masks are worth."""
    factor = float(np.median([row["factor"] for row in document["entries"]]))
    lowest, highest = (f([row["factor"] for row in document["entries"]]) for f in (min, max))
    by_entry = f"{lowest:.1f} to {highest:.1f} by entry"
    worth = f"the unmasked images' evidence is worth {factor:.1f} times the masks ({by_entry})"
    if factor < WORTH:
        worth = f"the unmasked images' evidence is worth little here: {factor:.2f} times the masks"
    pair, images = document["pair"], document["images"]
    if pair is None:
        return f"One entry: there are no two to tell apart; {worth}."
    points = 100 * pair["difference"]
    needed, without = pair["needed_evidence"], pair["needed_plain"]
    named = f"{pair['first']} and {pair['second']}"
    if document["simulated"]:
        enough = f"{needed} random masks of {images} tell {named} apart ({points:.1f} points), {without} without evidence"
        if needed >= images:
            enough = f"nothing less than all {images} masks tells {named} apart ({points:.1f} points)"
        return f"{enough}; {worth}."
    if pair["low"] is None:
        return (
            f"No masks yet. If {pair['first']} leads {pair['second']} by {points:.1f} points, as is predicted, about "
            f"{needed} tell them apart ({without} without evidence): begin with the first {BEGIN} of label-next.csv; "
            f"{worth}."
        )
    interval = f"{points:.1f} [{100 * pair['low']:.1f}, {100 * pair['high']:.1f}] points"
    if pair["low"] > 0:
        better = f"{pair['first']} is better than {pair['second']} by {interval}"
        return f"{better}: {document['masks']} masks are enough; {worth}."
    open_ = f"{document['masks']} masks do not tell {named} apart: {interval}"
    if needed >= images:
        return f"{open_}. Nothing less than all {images} would, if the difference is as large as it looks; {worth}."
    return (
        f"{open_}. If the difference is as large as it looks, about {needed} would ({without} without evidence): "
        f"label the first {_to_label(document)} of label-next.csv; {worth}."
    )


def _squared(above: Any, below: Any) -> Any:
    """(above / below)², 1 where both are 0 and what is below is."""
    above, below = np.asarray(above, float), np.asarray(below, float)
    found = (
        np.divide(above, below, out=np.ones(np.broadcast_shapes(above.shape, below.shape)), where=below > 0)
        ** 2
    )
    return float(found) if found.ndim == 0 else found
