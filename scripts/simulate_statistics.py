"""How often intervals cover the truth and equals are told apart: leaderboards and papers' tables of known truth.

    python scripts/simulate_statistics.py [--repeats 200] [--images 100,1449] [--seeds 2,3,5]

Every simulated method hits a share of the pixels of 20 classes, image by image; shares vary by image (some of it alike
for all methods), and from seed to seed by `sd` points of mIoU. The mIoU and its resamples are computed from the counts,
as `benchmark.evaluation.bootstrap` does, and everything after that is the project's own code.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmark.evaluation.bootstrap import effective_images, widened
from results.directions import REPRODUCED, VERDICTS, Scored, directions, judged
from results.intervals import LEVEL, Sampled, compare, holm, maybe_best, score_of, seed_noise

CLASSES, RESAMPLES = 20, 200
HIT = 0.6
"""Share of its pixels that a method finds on average; its true mIoU is HIT / (1 + FALSE)."""
FALSE = 0.25
"""Pixels that are wrongly called a class, for each of its pixels."""
SHARED, OWN, OF_SEED = 0.25, 0.24, 0.1
"""Standard deviation from image to image of the share that is found: alike for all methods, of a method, of a seed."""


HEADS = ("images", "seeds", "seed SD", "noise", "some pair differs", "score covered", "noisy one's", "difference covered",
         "with the noisy one", "may be best")  # fmt: skip


class World:
    """Images of known classes and sizes, and the same resamples of them for every leaderboard."""

    def __init__(self, images: int, generator: np.random.Generator) -> None:
        self.rng = generator
        present = generator.random((images, CLASSES)) < 0.1
        present[np.arange(images), np.arange(images) % CLASSES] = True
        self.pixels = present * generator.lognormal(0, 0.7, present.shape)
        self.weights = generator.multinomial(images, np.full(images, 1 / images), RESAMPLES).astype(float)
        self.images = images

    def methods(self, means: Sequence[float], deviations: Sequence[float], seeds: int) -> list[Sampled]:
        """Methods with true mIoUs `truth()` + means and seeds' deviations, both in points; values in points."""
        pixels = self.pixels[self.rng.permutation(self.images)]
        sizes = (1 + FALSE) * np.concatenate([pixels.sum(0)[None], self.weights @ pixels])
        shared = self.rng.normal(0, SHARED, pixels.shape)
        found = []
        for mean, deviation in zip(means, deviations, strict=True):
            own = HIT + shared + self.rng.normal(0, OWN, pixels.shape) + mean / 100 * (1 + FALSE)
            values, resamples = {}, {}
            for seed in range(seeds):
                shift = self.rng.normal(0, deviation / 100) * (1 + FALSE)
                hits = pixels * (own + shift + self.rng.normal(0, OF_SEED, pixels.shape))
                counts = np.concatenate([hits.sum(0)[None], self.weights @ hits])
                with np.errstate(invalid="ignore"):
                    iou = 100 * counts / sizes
                drawn = widened(iou[1:], iou[0], effective_images(pixels.T))
                values[seed] = iou[0].mean(keepdims=True)
                resamples[seed] = np.nanmean(drawn, axis=1)[:, None]
            found.append(Sampled(values, resamples, "same"))
        return found

    @staticmethod
    def truth() -> float:
        return 100 * HIT / (1 + FALSE)


@dataclass(frozen=True)
class Leaderboards:
    """Rates over simulated leaderboards of equal methods, the first of which is the noisy one.

    family:      some pair differs after Holm's correction
    score, score_noisy: the interval of a score covers the truth, of the like methods and of the noisy one
    difference, difference_noisy: the same of a pair of like methods, and of a pair with the noisy one
    kept:        the truly best (all are) is among those that may be the best
    """

    family: float
    score: float
    score_noisy: float
    difference: float
    difference_noisy: float
    kept: float


def equal_methods(
    world: World, seeds: int, sd: float = 0.35, ratio: float = 1.0, repeats: int = 200, methods: int = 6
) -> Leaderboards:
    """Leaderboards of equal methods; the first one's seeds vary `ratio` times as much as the others'."""
    rates = []
    for _ in range(repeats):
        entries = world.methods([0.0] * methods, [ratio * sd, *[sd] * (methods - 1)], seeds)
        noise = seed_noise(entries)
        pairs = {(i, j): compare(entries[i], entries[j], noise) for i, j in combinations(range(methods), 2)}
        found = {pair: each for pair, each in pairs.items() if each is not None}
        p = np.array([each.p[0] for each in found.values()])
        scores = [score_of(entry) for entry in entries]
        covered = [s.low[0] < world.truth() < s.high[0] for s in scores]
        equal = {pair: each.low[0] < 0 < each.high[0] for pair, each in found.items()}
        rates.append(
            (
                bool((holm(p) < LEVEL).any()),
                np.mean(covered[1:]),
                covered[0],
                np.mean([held for (i, _), held in equal.items() if i]),
                np.mean([held for (i, _), held in equal.items() if not i]),
                np.mean(maybe_best([s.mean for s in scores], found)),
            )
        )
    return Leaderboards(*(float(rate) for rate in np.mean(rates, axis=0)))


def named_best(
    world: World, seeds: int, gap: float, sd: float = 0.88, repeats: int = 200, methods: int = 10
) -> tuple[float, float, float]:
    """Of leaderboards whose best method leads by `gap` points: how often the best score is its, how often it is among
    those that may be the best, and how many these are."""
    rates = []
    for _ in range(repeats):
        entries = world.methods([gap, *[0.0] * (methods - 1)], [sd] * methods, seeds)
        noise = seed_noise(entries)
        pairs = {(i, j): compare(entries[i], entries[j], noise) for i, j in combinations(range(methods), 2)}
        means = [entry.mean for entry in entries]
        leads = maybe_best(means, {pair: each for pair, each in pairs.items() if each is not None})[:, 0]
        rates.append((float(np.argmax([m[0] for m in means]) == 0), float(leads[0]), float(leads.sum())))
    first, kept, size = np.mean(rates, axis=0)
    return float(first), float(kept), float(size)


def papers_table(
    world: World,
    seeds: int,
    effect: float,
    published: float,
    sd: float = 0.88,
    rows: int = 5,
    noisy_best: float = 1.0,
    repeats: int = 200,
) -> dict[str, float]:
    """Verdicts on tables whose best row leads by `effect` points where the paper has `published`: the share of rows by
    verdict, and under "some reproduced" that of tables with a row that is said to reproduce."""
    counted = dict.fromkeys((*VERDICTS, "some reproduced"), 0.0)
    for _ in range(repeats):
        entries = world.methods([effect, *[0.0] * rows], [noisy_best * sd, *[sd] * rows], seeds)
        table = [
            Scored(str(k), published * (k == 0), entry, score="cam:miou:") for k, entry in enumerate(entries)
        ]
        found = [each for each in judged(directions("m/t", "CAM", table)) if each.better]
        for each in found:
            counted[each.verdict] += 1 / rows / repeats
        counted["some reproduced"] += any(each.verdict == REPRODUCED for each in found) / repeats
    return counted


def report(repeats: int, images: Sequence[int], seeds: Sequence[int]) -> Iterator[str]:
    """Lines of the tables, in percent."""
    yield "six equal methods, rates in %:"
    yield "| " + " | ".join(HEADS) + " |"
    yield "|---:|---:|---:|---|---:|---:|---:|---:|---:|---:|"
    for number in images:
        for n in seeds:
            for sd, ratio in ((0.35, 1.0), (0.88, 1.0), (0.35, 5.0), (0.88, 5.0)):
                world = World(number, np.random.default_rng([number, n, int(100 * sd), int(ratio)]))
                rate = equal_methods(world, n, sd, ratio, repeats)
                like = "equal" if ratio == 1 else f"one {ratio:g} times"
                values = (
                    rate.family,
                    rate.score,
                    rate.score_noisy,
                    rate.difference,
                    rate.difference_noisy,
                    rate.kept,
                )
                yield (
                    f"| {number} | {n} | {sd} | {like} | "
                    + " | ".join(f"{100 * v:.1f}" for v in values)
                    + " |"
                )
    world = World(max(images), np.random.default_rng(1))
    yield ""
    yield "papers' tables of five rows, three seeds, SD .88; % of rows by verdict, and of tables with one reproduced:"
    for what, settings in (
        ("no effect, published 2", {"effect": 0.0, "published": 2.0}),
        (
            "no effect, published 2, best row three times as noisy",
            {"effect": 0.0, "published": 2.0, "noisy_best": 3.0},
        ),
        ("true .3, published 6.5", {"effect": 0.3, "published": 6.5}),
        ("true .3, published 6.5, seed SD .1", {"effect": 0.3, "published": 6.5, "sd": 0.1}),
        ("true 6.5, published 6.5", {"effect": 6.5, "published": 6.5}),
    ):
        found = papers_table(world, 3, **settings, repeats=repeats)  # type: ignore[arg-type]
        yield f"- {what}: " + ", ".join(f"{name} {100 * rate:.1f}" for name, rate in found.items() if rate)
    for gap in (1.1, 3.0, 6.0):
        first, kept, size = named_best(world, 3, gap, repeats=repeats)
        yield (
            f"- ten methods, three seeds, the best leads by {gap:g}: it has the best score in {100 * first:.0f} %, is "
            f"among those that may be the best in {100 * kept:.0f} %, of which there are {size:.1f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--images", default="100,1449")
    parser.add_argument("--seeds", default="2,3,5")
    given = parser.parse_args()
    images, seeds = ([int(part) for part in text.split(",")] for text in (given.images, given.seeds))
    for line in report(given.repeats, images, seeds):
        print(line, flush=True)


if __name__ == "__main__":
    main()
