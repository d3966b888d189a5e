"""Which of a method's stages a job needs: up to a kind of artifact, or up to its scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmark.config import RunConfig, protocol_defaults
from methods.base import Kind, MethodError, NotRunnable, Stage

SCORED = {
    Kind.CAM: "cam",
    Kind.PSEUDO_LABEL: "pseudo_label",
    Kind.PREDICTION: "segmentation",
    Kind.IMAGE_SCORES: "classifier",
}
"""Artifact kinds the evaluator scores, and what their scores are called."""


def runs_network(stage: Stage, inputs: Iterable[Kind]) -> bool:
    """Whether a stage trains a network, is handed trained weights or starts from pretrained ones. inputs: their kinds"""
    return stage.yields == Kind.WEIGHTS or Kind.WEIGHTS in inputs or bool(stage.pretrained)


def without_profile(stages: Sequence[Stage]) -> list[Stage]:
    """Stages that run a network and do not say which, so that nothing of it can be counted.

    What only serves evaluation needs no profile.
    """
    yields = {stage.name: stage.yields for stage in stages}

    return [
        s
        for s in stages
        if s.profile is None
        and s.yields != Kind.IMAGE_SCORES
        and runs_network(s, [yields[name] for name in s.inputs.values()])
    ]


def check_order(stages: Sequence[Stage], method: str) -> None:
    """MethodError where a stage's input is no stage before it, or two stages have one name."""
    before: list[str] = []
    for stage in stages:
        if stage.name in before:
            raise MethodError(f"method {method}: two stages are called {stage.name!r}; rename one")
        for name in stage.inputs.values():
            if name not in before:
                known = ", ".join(before) or "none"
                raise MethodError(
                    f"method {method}, stage {stage.name}: its input {name!r} is no stage before it; there are {known}"
                )
        before.append(stage.name)


def check_refiner(config: RunConfig, stages: list[Stage], method: str) -> None:
    """NotRunnable where a grid's refiner has nothing to refine."""
    chosen = config.protocol
    usual = protocol_defaults(chosen.name, config.scale.name, config.dataset.name)
    own = usual.refiner.name if usual.refiner else None
    if chosen.refiner and chosen.refiner.name != own and all(s.yields != Kind.CAM for s in stages):
        raise NotRunnable(f"refiner {chosen.refiner.name}: {method} has no CAM that it could refine")


def check_masks_unseen(dataset: str, stages: list[Stage], method: str) -> None:
    """MethodError where a stage would start from weights that were trained on this data set's own pixel masks."""
    for stage in stages:
        if stage.seen_masks == dataset:
            raise MethodError(
                f"method {method}, stage {stage.name}: {', '.join(stage.pretrained)} was trained on the pixel masks of "
                f"{dataset}, which are scored here; give weights without them"
            )


def until_kind(stages: list[Stage], kind: Kind, method: str) -> list[Stage]:
    """The stages that yield `kind`, and everything upstream of them."""
    wanted = {s.name for s in stages if s.yields == kind}
    if not wanted:
        raise NotRunnable(f"--until {kind}: method {method} has no such stage; it yields "
                          f"{', '.join(dict.fromkeys(s.yields.value for s in stages))}")  # fmt: skip
    return _with_upstream(stages, wanted)


def until_scores(stages: list[Stage], scores: tuple[str, ...], method: str) -> list[Stage]:
    """The stages whose scores are called so, and everything upstream of them.

    A stage that is not scored is called by its own name: its time is recorded.
    """
    called = {s.name: s.scored_as or SCORED.get(s.yields, s.name) for s in stages}
    if missing := [score for score in scores if score not in called.values()]:
        raise NotRunnable(
            f"method {method} has no score {missing[0]}; it has {', '.join(dict.fromkeys(called.values()))}"
        )
    return _with_upstream(stages, {name for name, score in called.items() if score in scores})


def _with_upstream(stages: list[Stage], wanted: set[str]) -> list[Stage]:
    by_name = {s.name: s for s in stages}
    todo = list(wanted)
    while todo:
        for upstream in by_name[todo.pop()].inputs.values():
            if upstream not in wanted:
                wanted.add(upstream)
                todo.append(upstream)
    return [s for s in stages if s.name in wanted]
