"""The leaderboard in the terminal while a plan goes on: a line for each finished run."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.console import console
from benchmark.execution.runner import RunResult
from benchmark.planning.plan import PlannedRun

COLUMNS = {"CAM": ("cam", "fixed"), "pseudo": ("pseudo_label", ""), "segm.": ("segmentation", "")}
"""Heading -> stage and variant of the mean IoU below it; CAMs are at the fixed threshold."""
WIDTH = 7


class FinishedRuns:
    """Prints the line of each finished run, under a heading."""

    def __init__(self, runs: Sequence[PlannedRun]) -> None:
        self._total, self._done, self._headed = len(runs), 0, False
        self._title = max(len(run.title) for run in runs)

    def show(self, result: RunResult, left: str = "") -> None:
        """Print the scores and costs of a run. One without a result has no line: its reason was printed before.

        left: how long the others will take
        """
        self._done += 1
        if not result.stages:
            return
        if not self._headed:
            self._headed = True
            heading = "".join(f"{name:>{WIDTH}}" for name in COLUMNS)
            console.print(f"{'mIoU in %':<{self._title}}{heading}", style="bold", markup=False)
        scores = "".join(f"{_miou(result, *where):>{WIDTH}}" for where in COLUMNS.values())
        progress = f" · {self._done} of {self._total} done" if self._total > 1 else ""
        if left and self._done < self._total:
            progress += f", {left}"
        console.print(
            f"{result.run.title:<{self._title}}{scores}  {result.costs_said()}{progress}", markup=False
        )


def _miou(result: RunResult, stage: str, variant: str) -> str:
    for _, rows in result.scores:
        for row in rows:
            if (row["stage"], row["variant"], row["metric"], row["class_name"]) == (
                stage,
                variant,
                "miou",
                "",
            ):
                return f"{100 * row['value']:.1f}"
    return "–"
