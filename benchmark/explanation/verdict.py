"""What an audit says: each rule in words, which of them gives the number that was reported, and a table of all."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmark.explanation.audit import Audit
from benchmark.explanation.rules import Rule, Scored
from benchmark.failures import ConfigError

SHOWN = 8
"""Rules that give the number, named one by one."""
AROUND = 0.02
"""mIoU on either side of the number in which rules are counted, to say how many would give it by chance."""

WORDS = {
    ("size", "prediction"): "masks stretched to the predictions' size",
    ("crf", "yes"): "after a dense CRF",
    ("labels", "known"): "image labels known at test time: other classes cannot be predicted",
    ("predicted_255", "out"): "pixels predicted 255 not scored",
    ("predicted_255", "wrong"): "pixels predicted 255 count as wrong, not as background",
    ("void", "background"): "255 in the masks counts as background",
    ("mean", "image"): "mean over images of each image's mIoU",
    ("mean", "class"): "each class's IoU averaged over images, then over classes",
    ("absent", "predicted"): "a class that is predicted but in no mask counts as 0",
    ("absent", "zero"): "absent classes count as 0, predicted or not",
    ("absent", "one"): "absent classes count as 0 where they are predicted, else as 1",
    ("background", "out"): "background left out of the mean",
    ("threshold", "oracle"): "at the best background threshold",
}
IDLE = {
    "labels": "image labels (no file holds a class outside them)",
    "predicted_255": "predicted 255 (there is none)",
    "void": "255 in the masks (there is none)",
    "absent": "absent classes (none where counts are summed)",
}


def in_words(scored: Scored) -> str:
    """How a rule differs from this benchmark's; "as here" where it does not."""
    rule = asdict(scored.rule)
    parts = []
    for name in scored.differs:
        value = rule[name]
        if name == "images":
            parts.append(f"images of {value} ({scored.images:,})")
        elif (name, value) in WORDS:
            parts.append(WORDS[name, value])
        else:
            parts.append(f"both stretched to {value}x{value}")
    return " + ".join(parts) or "scored as here"


@dataclass(frozen=True)
class Reported:
    """A number as it was printed. value: mIoU, a fraction; half: half a unit of its last digit, a fraction"""

    text: str
    value: float
    half: float

    def is_given_by(self, scored: Scored) -> bool:
        return abs(scored.value - self.value) <= self.half + 1e-9


def read_reported(text: str) -> Reported:
    """Of "61.2", "61.2 %" or ".612"; ConfigError for anything else."""
    found = re.fullmatch(r"\s*(\d*)(?:\.(\d*))?\s*(%?)\s*", text)
    if found is None or not (found[1] or found[2]):
        raise ConfigError(f"--reported {text!r}: write the mIoU as printed, 61.2 (per cent) or 0.612")
    number, decimals = float(f"{found[1] or 0}.{found[2] or 0}"), len(found[2] or "")
    fraction = number <= 1 and not found[3] and decimals > 1
    scale = 1 if fraction else 100
    if number > scale or (number == 0 and not found[3]):
        raise ConfigError(f"--reported {text!r}: an mIoU is above 0 and at most 100")
    return Reported(text.strip(), number / scale, 0.5 * 10.0**-decimals / scale)


def verdict(audit: Audit, reported: Reported) -> tuple[bool, list[str]]:
    """Whether some rule gives the number, and what to say of it."""
    own, half = audit.scored[0], reported.half
    given = sorted(
        filter(reported.is_given_by, audit.scored),
        key=lambda s: (len(s.differs), abs(s.value - reported.value)),
    )
    said = f"Reported {reported.text}"
    if not given:
        near = min(audit.scored, key=lambda s: abs(s.value - reported.value))
        first = audit.found.lists[0]
        why = f"only {len(first.files):,} of {len(first.masked):,} images of {first.name} have a file, "
        return False, [
            f"{said}: none of {len(audit.scored):,} rules gives it. The nearest: {_percent(near)}, {in_words(near)}",
            f"So {'' if first.complete else why}the number is of other files, images or masks, or of a rule that is"
            " not known here",
        ]
    fewest = [s for s in given if len(s.differs) == len(given[0].differs)]
    rest = len(given) - len(fewest)
    further = f"{rest:,} more give it with more differences" if rest else ""
    if given[0] is own:
        lines = [f"{said}: given by the scoring of this benchmark, {_percent(own)}"]
    elif len(fewest) == 1:
        lines = [f"{said}: given by one rule, {_percent(fewest[0])}: {in_words(fewest[0])}"]
    else:
        lines = [f"{said}: given by {len(fewest)} rules; these files do not tell which was used:"]
        lines += [f"  {_percent(each)}  {in_words(each)}" for each in fewest[:SHOWN]]
        if len(fewest) > SHOWN:
            lines.append(f"  and {len(fewest) - SHOWN} more (--output FILE.csv lists all)")
    if given[0] is not own:
        around = [
            s
            for s in audit.scored
            if len(s.differs) <= len(given[0].differs) and abs(s.value - reported.value) <= AROUND
        ]
        chance = (len(around) - len(fewest)) * half / AROUND
        if chance >= 0.1:
            lines.append(
                f"{len(around)} rules with so few differences are within {100 * AROUND:g} points of it, so"
                f" {chance:.1f} would give it by chance"
            )
    if further and given[0] is not own:
        lines.append(further)
    return True, lines


def table(audit: Audit) -> list[str]:
    """This benchmark's score, and what each single difference makes of it, as lines."""
    own = audit.scored[0]
    at = "" if own.threshold is None else f", {own.rule.threshold} threshold {own.threshold:.2f}"
    lines = [f"{_percent(own)}  scored as this benchmark does: {audit.found.lists[0]}{at}"]
    singles = [each for each in audit.scored if len(each.differs) == 1]
    if singles:
        lines += ["", "Scored otherwise in one thing:"]
        lines += [
            f"{_percent(each)}  {100 * (each.value - own.value):+6.2f}  {in_words(each)}"
            + ("" if each.threshold is None else f" (threshold {each.threshold:.2f})")
            for each in singles
        ]
    return lines


def write_table(audit: Audit, path: Path) -> None:
    """All rules as CSV: a column for each of a rule's fields, mIoU as a fraction."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        names = list(asdict(Rule("")))
        writer.writerow(["miou", "differences", "scored_images", "threshold_value", *names, "in_words"])
        for each in audit.scored:
            threshold = "" if each.threshold is None else f"{each.threshold:.4g}"
            fields: Sequence[str] = list(asdict(each.rule).values())
            writer.writerow(
                [f"{each.value:.6f}", len(each.differs), each.images, threshold, *fields, in_words(each)]
            )


def _percent(scored: Scored) -> str:
    return f"{100 * scored.value:6.2f} %".strip()
