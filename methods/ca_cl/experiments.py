"""The paper's ablations, and those of what it leaves open, as data for `python -m benchmark run --experiment`."""

from __future__ import annotations

from collections.abc import Sequence

from methods.experiment import Claim, Experiment, ExperimentRow
from methods.layers.clip.words import PROMPTS

ORIGAMI = "a clean origami {}."
_CONTEXTS = {
    "boat with water": "boat|water",
    "train with railway": "train|rail*",
    "train with platform": "train|platform",
}
_CONFUSION = ("cam", *(f"cam:confusion_ratio:{pair}" for pair in _CONTEXTS.values()))
_TIMED = ("cam", "guide:hours")
_UNBOUNDED = ("suppression.lower=-1", "suppression.upper=1")


def _prompts(prompts: Sequence[str]) -> tuple[str, ...]:
    return ("text.prompts=[" + ",".join(f'"{prompt}"' for prompt in prompts) + "]",)


EXPERIMENTS = (
    Experiment(
        "table4",
        "Single prompts against their dynamic selection (Tab. 4)",
        ("CAM",),
        (
            *(
                ExperimentRow(prompt, f"ca_cl/Tab. 4/{prompt}", settings=_prompts([prompt]))
                for prompt in (PROMPTS[0], ORIGAMI, *PROMPTS[1:])
            ),
            ExperimentRow("DCPS", "ca_cl/Tab. 4/DCPS"),
        ),
    ),
    Experiment(
        "table5",
        "Class-specific background suppression (Tab. 5), and confusion with co-occurring context, FP/TP",
        ("CAM", *_CONTEXTS),
        (
            ExperimentRow("DCPS + ITCL", "ca_cl/Tab. 5/DCPS + ITCL", _CONFUSION, ("weights.suppression=0",)),
            ExperimentRow("DCPS + ITCL + CSBS", "ca_cl/Tab. 5/DCPS + ITCL + CSBS", _CONFUSION),
        ),
        claims=tuple(
            Claim("DCPS + ITCL + CSBS", "DCPS + ITCL", context, "Sec. 4.4.3 and Fig. 7 of boats and trains")
            for context in ("boat with water", "train with railway")
        ),
    ),
    Experiment(
        "table6",
        "Losses (Tab. 6)",
        ("CAM",),
        (
            ExperimentRow("ITC", "ca_cl/Tab. 6/ITC", settings=("weights.suppression=0", "weights.area=0")),
            ExperimentRow("ITC + REG", "ca_cl/Tab. 6/ITC + REG", settings=("weights.suppression=0",)),
            ExperimentRow("ITC + BGS", "ca_cl/Tab. 6/ITC + BGS", settings=("weights.area=0",)),
            ExperimentRow("ITC + BGS + REG", "ca_cl/Tab. 6/ITC + BGS + REG"),
        ),
    ),
    Experiment(
        "table7",
        "Number m of prompts (Tab. 7, whose numbers are the best over all sets of m; here the first m)",
        ("CAM", "training (h)"),
        tuple(
            ExperimentRow(
                f"m = {count}", f"ca_cl/Tab. 7/m = {count}", _TIMED, _prompts([*PROMPTS, ORIGAMI][:count])
            )
            for count in range(1, 6)
        ),
    ),
    Experiment(
        "table8",
        "Number n of background words a class (Tab. 8)",
        ("CAM", "training (h)"),
        tuple(
            ExperimentRow(
                f"n = {count}", f"ca_cl/Tab. 8/n = {count}", _TIMED, (f"text.words_per_class={count}",)
            )
            for count in range(3, 8)
        ),
    ),
    Experiment(
        "table1",
        "Against CLIMS and plain CAM (Tab. 1)",
        ("CAM", "pseudo-label"),
        (
            ExperimentRow(
                "CAM", scores=("cam", "pseudo_label"), settings=("refiner.name=irn",), method="cam"
            ),
            ExperimentRow("CLIMS", "ca_cl/Tab. 1/CLIMS", ("cam", "pseudo_label"), method="clims"),
            ExperimentRow("CA-CL", "ca_cl/Tab. 1/CA-CL", ("cam", "pseudo_label")),
        ),
        claims=(
            Claim("CA-CL", "CAM", "CAM", "Sec. 4.3 and Fig. 4 of the backbone's CAMs"),
            Claim("CA-CL", "CA-CL", "pseudo-label", "Tab. 1, column against column", than_column="CAM"),
        ),
    ),
    Experiment(
        "open",
        "What the paper leaves open",
        ("CAM",),
        (
            ExperimentRow("as set", "ca_cl/Tab. 1/CA-CL"),
            ExperimentRow("θ fixed", settings=("suppression.learned=false",)),
            ExperimentRow("θ by a soft gate", settings=("suppression.gate=sigmoid",)),
            # AdamW moves θ by its rate, whatever the gradient, so it takes a larger one to leave the bounds;
            # SGD's steps are as large as the gradient, which thousands of texts add up to
            ExperimentRow(
                "θ unbounded",
                settings=(*_UNBOUNDED, "suppression.learning_rate=5e-3"),
                scales=("nano", "small"),
            ),
            ExperimentRow("θ unbounded, at the rate as set", settings=_UNBOUNDED, scales=("paper",)),
            ExperimentRow("suppression summed over a batch", settings=("suppression.reduction=sum",)),
            ExperimentRow("suppression averaged over images", settings=("suppression.reduction=mean",)),
            ExperimentRow(
                "from the pretrained backbone, no classifier", settings=("initialisation=backbone",)
            ),
            ExperimentRow("regions on black", settings=("composition=pixels",)),
            ExperimentRow("images normalised as ImageNet's", settings=("clip.normalise=imagenet",)),
            ExperimentRow("CAM by the sigmoid", settings=("activation=sigmoid",)),
            # nano and small train with AdamW, which has none
            ExperimentRow("momentum .9", settings=("train.momentum=0.9",), scales=("paper",)),
        ),
    ),
)
