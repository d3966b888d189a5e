"""The paper's ablations, and those of what it leaves open, as data for `python -m benchmark experiment`."""

from __future__ import annotations

from collections.abc import Sequence

from methods.base import Experiment, ExperimentRow, Kind
from methods.layers.words import PROMPTS

ORIGAMI = "a clean origami {}."
_SINGLE = {PROMPTS[0]: 62.8, ORIGAMI: 59.8, PROMPTS[1]: 62.7, PROMPTS[2]: 61.9, PROMPTS[3]: 60.3}
_COUNTS = {1: 62.8, 2: 63.1, 3: 63.7, 4: 64.4, 5: 62.4}
_WORDS = {3: 59.7, 4: 61.5, 5: 64.4, 6: 63.6, 7: 63.7}


def _prompts(prompts: Sequence[str]) -> tuple[str, ...]:
    return ("text.prompts=[" + ",".join(f'"{prompt}"' for prompt in prompts) + "]",)


EXPERIMENTS = (
    Experiment(
        "prompts",
        "Single prompts against their dynamic selection (Tab. 4)",
        ("CAM",),
        (
            *(
                ExperimentRow(prompt, (value,), settings=_prompts([prompt]))
                for prompt, value in _SINGLE.items()
            ),
            ExperimentRow("DCPS", (64.4,)),
        ),
    ),
    Experiment(
        "modules",
        "Class-specific background suppression (Tab. 5)",
        ("CAM",),
        (
            ExperimentRow("DCPS + ITCL", (58.4,), settings=("weights.suppression=0",)),
            ExperimentRow("DCPS + ITCL + CSBS", (64.4,)),
        ),
    ),
    Experiment(
        "losses",
        "Losses (Tab. 6)",
        ("CAM",),
        (
            ExperimentRow("ITC", (57.9,), settings=("weights.suppression=0", "weights.area=0")),
            ExperimentRow("ITC + REG", (58.4,), settings=("weights.suppression=0",)),
            ExperimentRow("ITC + BGS", (62.7,), settings=("weights.area=0",)),
            ExperimentRow("ITC + BGS + REG", (64.4,)),
        ),
    ),
    Experiment(
        "prompt_count",
        "Number m of prompts (Tab. 7, whose numbers are the best over all sets of m; here the first m)",
        ("CAM",),
        tuple(
            ExperimentRow(f"m = {count}", (value,), settings=_prompts([*PROMPTS, ORIGAMI][:count]))
            for count, value in _COUNTS.items()
        ),
    ),
    Experiment(
        "word_count",
        "Number n of background words a class (Tab. 8)",
        ("CAM",),
        tuple(
            ExperimentRow(f"n = {count}", (value,), settings=(f"text.words_per_class={count}",))
            for count, value in _WORDS.items()
        ),
    ),
    Experiment(
        "baselines",
        "Against CLIMS and plain CAM (Tab. 1)",
        ("CAM", "pseudo-label"),
        (
            ExperimentRow("CAM", (None, None), ("cam", "pseudo_label"), method="cam"),
            ExperimentRow("CLIMS", (56.6, 70.5), ("cam", "pseudo_label"), method="clims"),
            ExperimentRow("CA-CL", (64.4, 76.0), ("cam", "pseudo_label")),
        ),
        until=Kind.PSEUDO_LABEL,
    ),
    Experiment(
        "open",
        "What the paper leaves open",
        ("CAM",),
        (
            ExperimentRow("as set", (64.4,)),
            ExperimentRow("θ fixed", (None,), settings=("suppression.learned=false",)),
            ExperimentRow("θ by a soft gate", (None,), settings=("suppression.gate=sigmoid",)),
            ExperimentRow("θ unbounded", (None,), settings=("suppression.lower=-1", "suppression.upper=1")),
            ExperimentRow(
                "suppression averaged over images", (None,), settings=("suppression.reduction=mean",)
            ),
            ExperimentRow(
                "from the pretrained backbone, no classifier", (None,), settings=("initialisation=backbone",)
            ),
            ExperimentRow("regions on black", (None,), settings=("composition=pixels",)),
            ExperimentRow("images normalised as ImageNet's", (None,), settings=("clip.normalise=imagenet",)),
            ExperimentRow("CAM by the sigmoid", (None,), settings=("activation=sigmoid",)),
        ),
    ),
)
