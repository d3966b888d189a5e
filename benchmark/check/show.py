"""What `check` found, for a person and as JUnit XML for a continuous integration."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from benchmark.check.compare import SPREAD_TIER, Difference, compare
from benchmark.check.reference import Baseline
from benchmark.check.sections import Section
from benchmark.check.tiers import NO_REFERENCE, SEED
from benchmark.console import console, duration

ROWS = 20
"""Numbers that are printed; a JUnit file has all."""


def print_section(section: Section, reference: str) -> None:
    """What was compared, what differs, what could not be compared."""
    title = f"{section.device} · tier {section.tier}"
    if section.outcomes and all(o.status == NO_REFERENCE for o in section.outcomes.values()):
        reasons = "; ".join(dict.fromkeys(outcome.reason for outcome in section.outcomes.values()))
        console.print(f"{title}: no reference in {reference}: {reasons}", markup=False)
        return
    done = len(section.differences)
    console.print(
        f"{title}: {section.compared} numbers of {done} method{'s' if done != 1 else ''} compared, "
        f"{len(section.failing)} differ ({duration(section.seconds)})",
        style="red" if section.failing or section.failures else "green",
        markup=False,
    )
    for name, outcome in section.outcomes.items():
        if outcome.status != "done":
            console.print(f"  {name}: {outcome.status}: {outcome.reason}", markup=False)
    for note in [*section.notes, *_as_other_seeds(section)]:
        console.print(f"  {note}", markup=False)
    _print_numbers(section.failing)


def print_recorded(section: Section) -> None:
    """What recording changed."""
    console.print(
        f"{section.device} · tier {section.tier}: recorded ({duration(section.seconds)})", markup=False
    )
    for name, outcome in section.outcomes.items():
        if outcome.status != "done":
            console.print(f"  {name}: {outcome.status}: {outcome.reason}; not recorded", markup=False)
            continue
        changed = [d for d in section.differences.get(name, []) if d.value != d.reference]
        if name not in section.differences:
            said = f"new, {len(outcome.values)} numbers"
        else:
            beyond = sum(d.fails for d in changed)
            said = f"{len(changed)} of {len(outcome.values)} numbers changed, {beyond} beyond their tolerance"
        console.print(f"  {name}: {said}", markup=False)
    for note in [*section.notes, *_as_other_seeds(section)]:
        console.print(f"  {note}", markup=False)
    _print_numbers(section.failing)


def print_spread(baselines: dict[str, Baseline]) -> None:
    """Mean, tolerance and number of runs of each number that tier 2 compares, losses left out."""
    for method, baseline in baselines.items():
        seeds = len({run.seed for run in baseline.runs})
        for d in compare(baseline.runs, baseline.runs[0].values, SPREAD_TIER, SEED):
            if "/loss " not in d.name and d.reference is not None:
                console.print(
                    f"  {method} {d.name}: mean {_number(d.reference)}, tolerance {d.tolerance:.4f}, another seed's "
                    f"{d.by_seed:.4f}, {d.runs} of {len(baseline.runs)} runs, {seeds} seeds",
                    markup=False,
                )


def _as_other_seeds(section: Section) -> list[str]:
    """Of each method with differences: whether a changed random stream may be all there is, a line each."""
    found: dict[str, list[Difference]] = defaultdict(list)
    for method, difference in section.failing if section.tier == SPREAD_TIER else ():
        found[method].append(difference)
    lines = []
    for method, differing in found.items():
        alike = sum(d.is_as_another_seed for d in differing)
        said = (
            "as if the order of random draws had changed"
            if alike == len(differing)
            else "results have changed"
        )
        lines.append(
            f"{method}: {alike} of {len(differing)} differences are no larger than another seed makes: {said}; if "
            "that is intended, check --update records it"
        )
    return lines


def write_junit(sections: Sequence[Section], file: Path) -> None:
    """One test suite for each device and tier, one test case for each method and stage."""
    root = ElementTree.Element("testsuites", name="benchmark check")
    for section in sections:
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=f"check {section.device} tier {section.tier}",
            time=f"{section.seconds:.1f}",
        )
        for method, outcome in section.outcomes.items():
            if outcome.status != "done":
                kind = "skipped" if outcome.status == NO_REFERENCE else "error"
                message = f"{outcome.status}: {outcome.reason}"
                ElementTree.SubElement(_case(suite, section, method), kind, message=message)
            for stage, found in _by_stage(section.differences.get(method, [])).items():
                case = _case(suite, section, f"{method}/{stage}")
                if failing := [d for d in found if d.fails]:
                    message = f"{len(failing)} of {len(found)} numbers differ"
                    node = ElementTree.SubElement(case, "failure", message=message)
                    node.text = "\n".join(_line(d) for d in failing)
        for kind, tag in (
            ("tests", "testcase"),
            ("failures", "failure"),
            ("errors", "error"),
            ("skipped",) * 2,
        ):
            suite.set(kind, str(len(list(suite.iter(tag)))))
    ElementTree.indent(root)
    file.parent.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)


def _print_numbers(found: Sequence[tuple[str, Difference]]) -> None:
    """One line each, so that a log of any width can be searched."""
    for method, d in found[:ROWS]:
        console.print(f"  {method} {_line(d)}", markup=False)
    if len(found) > ROWS:
        console.print(f"  and {len(found) - ROWS} more", markup=False)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _line(d: Difference) -> str:
    by = "" if d.value is None or d.reference is None else f" ({d.value - d.reference:+.4f})"
    return f"{d.name}: {_number(d.reference)} → {_number(d.value)}{by}, tolerance {d.tolerance:.4f}"


def _case(suite: ElementTree.Element, section: Section, name: str) -> ElementTree.Element:
    classname = f"check.{section.device}.tier{section.tier}"
    return ElementTree.SubElement(suite, "testcase", classname=classname, name=name)


def _by_stage(found: Sequence[Difference]) -> dict[str, list[Difference]]:
    stages: dict[str, list[Difference]] = defaultdict(list)
    for difference in found:
        stages[difference.name.partition("/")[0]].append(difference)
    return stages
