"""The gain ledger: a difference of two scores, split among the things that differ, with intervals.

A thing's share is its Shapley value (Shapley, A Value for n-Person Games, 1953): what the score gains when it is changed
from one side's to the other's, averaged over the orders in which things can be changed. The shares add up to the whole
difference, and an interaction of things is divided equally among them. Shares are linear in the scores, so each seed
and each resampled set of images has its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, permutations

import numpy as np

from results.explanations import Share
from results.intervals import Sampled, score_of

Changed = frozenset[str]
"""The things that are the second side's."""


def subsets(names: Sequence[str], possible: Callable[[Changed], bool]) -> list[Changed]:
    """What can be changed together, nothing and everything among it; small sets first."""
    every = (frozenset(c) for size in range(len(names) + 1) for c in combinations(names, size))
    return [changed for changed in every if possible(changed)]


def weights(names: Sequence[str], known: Sequence[Changed]) -> dict[str, dict[Changed, float]]:
    """Name -> set -> its factor in the Shapley value over the orders whose steps are all known. ValueError if none is."""
    there = set(known)
    orders = [
        order
        for order in permutations(names)
        if all(frozenset(order[:k]) in there for k in range(len(names) + 1))
    ]
    if not orders:
        raise ValueError("there is no way from one side to the other")
    found: dict[str, dict[Changed, float]] = {name: {} for name in names}
    for order in orders:
        for k, name in enumerate(order):
            for changed, sign in ((frozenset(order[: k + 1]), 1), (frozenset(order[:k]), -1)):
                found[name][changed] = found[name].get(changed, 0.0) + sign / len(orders)
    return found


def shares(
    names: Sequence[str],
    values: Mapping[Changed, Mapping[int, float]],
    resamples: Mapping[Changed, Mapping[int, np.ndarray]],
) -> list[Share]:
    """A share for each name, and "" for the whole difference, last.

    values: set -> seed -> mIoU; resamples: set -> seed -> (B,) of the same resampled images
    """
    factors = {**weights(names, list(values)), "": {frozenset(names): 1.0, frozenset[str](): -1.0}}
    seeds = list(next(iter(values.values())))

    def combined(of: Mapping[Changed, Mapping[int, np.ndarray]]) -> dict[int, np.ndarray]:
        return {
            seed: np.stack([sum(w * of[c][seed] for c, w in f.items()) for f in factors.values()], -1)
            for seed in seeds
        }

    scores = {c: {seed: np.asarray(value) for seed, value in each.items()} for c, each in values.items()}
    found = score_of(Sampled(combined(scores), combined(resamples), ""))
    mean = {changed: float(np.mean(list(each.values()))) for changed, each in values.items()}
    made = []
    for k, name in enumerate(factors):
        steps = [mean[c | {name}] - mean[c] for c in mean if name and name not in c and c | {name} in mean]
        own = (float(found.mean[k]), float(found.low[k]), float(found.high[k]))
        made.append(Share(name, *own, *((min(steps), max(steps)) if steps else ())))
    return made
