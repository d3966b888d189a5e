"""An experiment of a method with the jobs of its rows, and the options that it runs under."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.experiments.measured import Column
from benchmark.planning.plan import Job
from methods.base import Method
from methods.experiment import Experiment
from results.experiments import file_name


@dataclass(frozen=True)
class Options:
    """Where and how experiments run; as the options of `run`."""

    dataset: str
    scale: str
    protocol: str
    seeds: Sequence[int]
    overrides: Sequence[str] = ()


@dataclass(frozen=True)
class Table:
    """An experiment of a method, with each row's job, or why it has none.

    place: "<data set>-<scale>"
    conditions: what of the given overrides decides numbers of its rows, "key=value; ..."
    """

    method: Method
    experiment: Experiment
    jobs: tuple[Job | str, ...]
    place: str
    conditions: str = ""

    @property
    def name(self) -> str:
        return f"{self.method.name}/{self.experiment.name}"

    @property
    def columns(self) -> list[Column]:
        """Column by column, what each row is read by."""
        rows = self.experiment.rows
        return [
            Column(title, tuple(row.scores[number] for row in rows), title not in self.experiment.unjudged)
            for number, title in enumerate(self.experiment.columns)
        ]

    @property
    def file_name(self) -> str:
        """Of its files in the run folder."""
        return file_name(self.name, self.place, self.conditions)


def all_jobs(tables: Sequence[Table]) -> list[Job]:
    """Those of all rows that can be run."""
    return [job for table in tables for job in table.jobs if isinstance(job, Job)]
