"""Artifacts that a run has discarded: which of them a plan needs again, and which it does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from methods.base import Kind

if TYPE_CHECKING:
    from benchmark.planning.plan import Plan, PlannedStage
    from benchmark.store import StoredArtifact

KEPT = (Kind.WEIGHTS,)
"""Kinds that are never discarded: trained networks are small beside what they took."""


class Unneeded:
    """The discarded artifacts of a plan that nothing which is still to be made, or scored, is made from.

    An artifact that nothing in the plan is made from is what the plan is for: it is made again.
    """

    def __init__(self, plan: Plan) -> None:
        self._store = plan.store
        self._names: set[tuple[str, str]] = set()
        if not plan.store.has_discarded:
            return
        stages = {_name(planned): planned for run in plan.runs for planned in run.stages}
        made_from = {name: {*map(_name, p.inputs.values())} for name, p in stages.items()}
        there: set[tuple[str, str]] = set()
        for name, planned in reversed(stages.items()):  # what is made from an artifact comes after it
            consumers = [consumer for consumer, inputs in made_from.items() if name in inputs]
            if plan.store.find(*name) is not None:
                there.add(name)
            elif consumers and there.issuperset(consumers) and _is_done_with(plan, planned):
                there.add(name)
                self._names.add(name)

    def __contains__(self, name: object) -> bool:
        """name: (stage, key)"""
        return name in self._names

    def found(self, planned: PlannedStage) -> StoredArtifact | None:
        """The artifact of a stage, or what is left of it where it is not needed; None where it is to be made."""
        stage, key = name = _name(planned)
        stored = self._store.find(stage, key)
        return self._store.discarded(stage, key) if stored is None and name in self._names else stored


def _name(planned: PlannedStage) -> tuple[str, str]:
    return planned.stage.name, planned.key


def _is_done_with(plan: Plan, planned: PlannedStage) -> bool:
    """Whether an artifact was discarded, and its scores are stored where it has any."""
    if plan.store.discarded(*_name(planned)) is None:
        return False
    if planned.score_key is None or not planned.is_scored(plan.dataset.masked):
        return True
    return plan.store.find(planned.score_name, planned.score_key) is not None


def artifacts(plan: Plan) -> Iterator[tuple[PlannedStage, StoredArtifact | None]]:
    """Every distinct stage of all runs, with its artifact, or what is left of one that is not needed."""
    unneeded = Unneeded(plan)
    seen = set()
    for planned in (planned for run in plan.runs for planned in run.stages):
        if planned.key not in seen:
            seen.add(planned.key)
            yield planned, unneeded.found(planned)
