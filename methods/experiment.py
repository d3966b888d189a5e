"""Named ablations as data: the papers' tables, row by row. No stage reaches this, so a new table retrains nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ExperimentRow:
    """One row of an experiment's table.

    label:    what the paper calls it
    reported: where the paper prints it, "paper/table/row" or "paper/table/row/column" of `results/reported`; "" if
              nowhere
    scores:   what is read for each column: "stage", its mIoU; "stage:metric"; "stage:metric:class", where the class
              may be a pattern ("train|rail*"). Stages are called as in the records (cam, cam_original, segmentation).
              "stage:hours" is how long a stage took, by its own name
    settings: overrides of the method's settings, e.g. "modulation.strength=0.6"
    method:   another entry whose row this is (a baseline); None: the experiment's own
    unavailable: why nobody can run it (inputs that are not to be had); "" if one can
    scales:   scales that have what it needs; (): all
    """

    label: str
    reported: str = ""
    scores: tuple[str, ...] = ("cam",)
    settings: tuple[str, ...] = ()
    method: str | None = None
    unavailable: str = ""
    scales: tuple[str, ...] = ()


@dataclass(frozen=True)
class Claim:
    """What a paper says of two cells of a table without printing a difference in one column: the first is the better.

    row, column:       the cell that should be better
    than, than_column: the cell it should be better than; "": of the same column
    source:            where the paper says so
    """

    row: str
    than: str
    column: str
    source: str
    than_column: str = ""

    @property
    def compared(self) -> str:
        """What the summary calls the other cell."""
        return f"{self.than}, {self.than_column}" if self.than_column else self.than


@dataclass(frozen=True)
class Experiment:
    """A named ablation, run by one command: settings by row, beside the paper's numbers (of its data set, `dataset`).

    A row's stages stop where its scores are.
    unjudged: columns whose numbers are not held against the paper's, as those are of other images, say; shown all the
              same
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[ExperimentRow, ...]
    dataset: str = "voc2012"
    claims: tuple[Claim, ...] = ()
    unjudged: tuple[str, ...] = ()
