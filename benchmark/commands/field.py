"""The command `field`: what papers report of weakly supervised segmentation, with conditions and sources."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.commands.arguments import names_of
from benchmark.config import choose
from benchmark.console import console
from benchmark.failures import ConfigError
from benchmark.folders import check_writable

if TYPE_CHECKING:
    from results.field import FieldMethod

SORTS = ("year", "name", "cam", "pseudo_label", "voc_val", "voc_test", "coco_val")


def field(
    supervision: Annotated[
        str, typer.Option(help="Only methods with one of these, comma-separated, such as I,I+S.")
    ] = "",
    since: Annotated[int, typer.Option(help="Only from this year on.")] = 0,
    stages: Annotated[str, typer.Option(help="Only single or multi.")] = "",
    sort: Annotated[str, typer.Option(help=f"One of {', '.join(SORTS)}.")] = "year",
    like: Annotated[
        Path | None,
        typer.Option(help="A run's folder: show what was reported under its conditions, and what differs."),
    ] = None,
    latex: Annotated[
        str, typer.Option(help="A related-work table of these methods (keys of their files), or `all`.")
    ] = "",
    csv: Annotated[
        bool, typer.Option("--csv", help="Write every number with conditions and source.")
    ] = False,
    html: Annotated[
        bool, typer.Option("--html", help="Write the page with the table and the chart.")
    ] = False,
    pairs: Annotated[
        bool,
        typer.Option(
            "--pairs", help="Show how much conditions such as the backbone change a score within one paper."
        ),
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Check the files: schema, sources, duplicates, range.")
    ] = False,
    output: Annotated[Path, typer.Option(help="Folder of what is written.")] = Path("results/field"),
) -> None:
    """What papers report, by method: filtered and sorted here, or as a LaTeX table with BibTeX, CSV or a page."""
    if check:
        _check()
        return
    from results.field import load_field

    methods = _chosen(load_field(), supervision, since, stages, choose("order", sort, SORTS))
    if latex:
        methods = _named(methods, latex)
    if latex or csv or html:
        check_writable(output, "--output")
        _write(methods, output, bool(latex), csv, html)
    elif pairs:
        from reports.field.terminal import print_pairs

        print_pairs(methods, console)
    elif like is not None:
        from reports.field.terminal import print_like
        from results.io import read_run

        print_like(methods, read_run(like), console)
    else:
        from reports.field.terminal import print_methods

        print_methods(methods, console)


def _check() -> None:
    """Print every fault of the files, and where the papers' own tables differ; exit with 1 for a fault."""
    from results.field import conflicts, read_field
    from results.reported import load_reported

    methods, faults = read_field()
    for line in faults:
        console.print(line, markup=False)
    for found in conflicts(methods, load_reported()):
        console.print(
            f"note: {found.method}, {found.score}: {found.here:g} here ({found.source}), {found.reported:g} in "
            f"{found.where}",
            markup=False,
        )
    numbers = [n for m in methods for r in m.results for n in r.numbers]
    own = sum(n.source != "second-hand" for n in numbers)
    console.print(
        f"{len(methods)} methods, {len(numbers)} numbers, {own} of them read in the method's own source"
    )
    if faults:
        sys.exit(1)


def _chosen(
    methods: Sequence[FieldMethod], supervision: str, since: int, stages: str, sort: str
) -> list[FieldMethod]:
    wanted = names_of(supervision, "--supervision") if supervision else []
    for one in wanted:
        choose("supervision", one, sorted({r.supervision for m in methods for r in m.results}))
    if stages:
        choose("number of stages", stages, ("single", "multi"))
    found = [
        replace(m, results=results)
        for m in methods
        if m.year >= since and stages in ("", m.stages)
        if (results := tuple(r for r in m.results if not wanted or r.supervision in wanted))
    ]
    if not found:
        raise ConfigError("no method is left; widen --supervision, --since or --stages")
    if sort == "name":
        return sorted(found, key=lambda m: m.name.casefold())
    return found if sort == "year" else sorted(found, key=lambda m: -m.best(sort))


def _named(methods: Sequence[FieldMethod], text: str) -> list[FieldMethod]:
    known = {method.key: method for method in methods}
    names = names_of(text, "--latex")
    return list(methods) if names == ["all"] else [known[choose("method", n, list(known))] for n in names]


def _write(methods: Sequence[FieldMethod], output: Path, latex: bool, csv: bool, html: bool) -> None:
    from reports.field.latex import latex_table
    from reports.field.page import page
    from results.field import bibtex, rows

    written = {}
    if latex:
        written["field.tex"] = latex_table(methods)
        written["field.bib"] = "\n".join(map(bibtex, methods))
    if csv:
        import pandas as pd

        from results.csv_cells import to_csv

        written["field.csv"] = to_csv(pd.DataFrame(rows(methods)))
    if html:
        written["field.html"] = page(methods)
    for name, content in written.items():
        (output / name).write_text(content, encoding="utf-8")
        console.print(f"{output / name}", markup=False)
