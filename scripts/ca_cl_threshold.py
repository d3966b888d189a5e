"""The course of CA-CL's θ over the schedule of paper scale, on drawn similarities, as the lines of a table.

Similarities of a foreground and its class's background texts are drawn from a normal distribution (SD .03); everything
else is the method's: loss, gate, optimiser, schedule, bounds.

    python scripts/ca_cl_threshold.py                       # both data sets; one θ, and one of each of C classes at C
                                                            # times the rate, since each has its class's gradient alone
    python scripts/ca_cl_threshold.py --learning-rate 1e-5  # of one θ; --means, --presets likewise
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from methods.ca_cl.config import PRESETS, CaClConfig, CaClTrainingConfig
from methods.ca_cl.losses import background_suppression
from methods.ca_cl.network import GuidedNetwork
from methods.ca_cl.stages import build_guided_optimiser
from methods.layers.clip.words import Texts
from methods.layers.optim import schedule
from methods.layers.presets import COCO

SIZES = {"paper": (20, 23), COCO: (80, 47)}
"""Number of classes, and pairs of an image and a present class in a batch of 16."""
TEXTS = 20
"""Background texts of a class: 4 prompts of 5 words."""
SPREAD = 0.03


class OneClassifier(nn.Module):
    """What stands for the CAM network, of which θ sees nothing."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classifier = nn.Conv2d(1, classes, 1, bias=False)


def course(config: CaClConfig, classes: int, pairs: int, mean: float, iterations: int) -> list[float]:
    """θ before each iteration and after the last, its mean over classes where each has its own."""
    settings = config.suppression
    network = GuidedNetwork(OneClassifier(classes), settings, True, 1, 1)  # type: ignore[arg-type]
    training = CaClTrainingConfig(
        network=None,
        train=config.train,
        clip=config.clip,
        texts=Texts((), (), (), ()),
        composition=config.composition,
        initialisation=config.initialisation,
        weights=config.weights,
        margin=config.margin,
        suppression=settings,
    )
    optimiser = build_guided_optimiser(network, training)
    group, factor = optimiser.param_groups[-1], schedule(config.train)
    drawn = torch.Generator().manual_seed(0)
    found = [network.threshold.mean().item()]
    for iteration in range(iterations):
        similarity = mean + SPREAD * torch.randn(pairs, TEXTS, generator=drawn)
        present = torch.randint(classes, (pairs,), generator=drawn)
        threshold = network.threshold[present][:, None] if settings.per_class else network.threshold
        optimiser.zero_grad()
        loss = background_suppression(
            similarity,
            threshold,
            settings.gate,
            settings.steepness,
            config.train.batch_size,
            settings.reduction,
        ).loss
        (config.weights.suppression * loss).backward()
        group["lr"] = settings.learning_rate * factor(iteration)
        optimiser.step()
        network.project_threshold()
        found.append(network.threshold.mean().item())
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--presets", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--means", nargs="+", type=float, default=[0.17, 0.19, 0.21])
    parser.add_argument("--learning-rate", type=float, help="of one θ, in place of the preset's")
    parser.add_argument("--iterations", type=int, help="stop after so many, of the same schedule")
    asked = parser.parse_args(arguments)
    shares = ("0", "10", "100", "10 %", "50 %", "all")
    print(f"| preset | θ | rate | mean similarity | {' | '.join(shares)} | bound reached |")
    print("| " + " | ".join(["---"] * (len(shares) + 5)) + " |")
    for preset in asked.presets:
        classes, pairs = SIZES[preset]
        for per_class in (False, True):
            own = PRESETS[preset].suppression
            rate = (asked.learning_rate or own.learning_rate) * (classes if per_class else 1)
            config = replace(
                PRESETS[preset], suppression=replace(own, per_class=per_class, learning_rate=rate)
            )
            length = asked.iterations or config.train.iterations
            for mean in asked.means:
                found = course(config, classes, pairs, mean, length)
                shown = [found[min(i, length)] for i in (0, 10, 100, length // 10, length // 2, length)]
                reached = next(
                    (i for i, value in enumerate(found) if not own.lower < value < own.upper), None
                )
                whose = "of each class" if per_class else "one"
                cells = [
                    preset,
                    whose,
                    f"{rate:g}",
                    f"{mean:g}",
                    *(f"{value:.4f}" for value in shown),
                    reached,
                ]
                print(f"| {' | '.join('–' if cell is None else str(cell) for cell in cells)} |")


if __name__ == "__main__":
    main()
