"""The paper's ablations as data for `python -m benchmark experiment`. Its tables score pseudo-labels."""

from __future__ import annotations

from methods.base import Experiment, ExperimentRow, Kind

_COLUMNS = ("ACC", "mIoU")
_FLIPS = ("views.scales=[1.0]",)
_SCALES = ("views.mirror=false", "views.rotations=[360]")
_NO_CONTRAST = ("contrast.weight=0",)


def _row(
    label: str, *settings: str, paper: tuple[float | None, float | None], of: str = "pseudo_label"
) -> ExperimentRow:
    return ExperimentRow(label, paper, (f"{of}:pixel_accuracy", of), settings)


EXPERIMENTS = (
    Experiment(
        "guidance",
        "How SAM makes its pseudo-labels (Tab. 2; its first row and Tab. 3's second should be one and are not)",
        _COLUMNS,
        (
            _row("no SAM", paper=(86.96, 83.68), of="pseudo_label_vit"),
            _row("SAM, flips and rotations", *_FLIPS, paper=(88.10, 85.01)),
            _row("SAM, scales", *_SCALES, paper=(88.23, 85.12)),
            _row("SAM, fused", paper=(89.51, 85.65)),
        ),
        until=Kind.PSEUDO_LABEL,
        dataset="bluefilm",
    ),
    Experiment(
        "modules",
        "Effect of class token contrast and SAM (Tab. 3)",
        _COLUMNS,
        (
            _row("ViT", *_NO_CONTRAST, paper=(85.96, 82.29), of="pseudo_label_vit"),
            _row("ViT + CTC", paper=(86.18, 83.29), of="pseudo_label_vit"),
            _row("ViT + SAM", *_NO_CONTRAST, paper=(88.11, 84.29)),
            _row("ViT + CTC + SAM", paper=(89.51, 85.65)),
        ),
        until=Kind.PSEUDO_LABEL,
        dataset="bluefilm",
    ),
    Experiment(
        "labels",
        "P1, P2 and P, which Fig. 6 shows and no table scores but P",
        _COLUMNS,
        (
            _row("P1, of the transformer", paper=(None, None), of="pseudo_label_vit"),
            _row("P2, of SAM", paper=(None, None), of="pseudo_label_sam"),
            _row("P, fused", paper=(89.51, 85.65)),
        ),
        until=Kind.PSEUDO_LABEL,
        dataset="bluefilm",
    ),
    Experiment(
        "open",
        "What the paper leaves open",
        _COLUMNS,
        (
            _row("as set", paper=(89.51, 85.65)),
            _row("K = 1, the image alone", "views.count=1", paper=(None, None)),
            _row("K = 4", "views.count=4", paper=(None, None)),
            _row("all 24 views", "views.count=null", paper=(None, None)),
            _row("all class tokens are contrasted", "contrast.token=all", paper=(None, None)),
            _row("τ = .1", "contrast.temperature=0.1", paper=(None, None)),
            _row("CTC's weight 1", "contrast.weight=1.0", paper=(None, None)),
            _row("prompts without negative points", "prompts.negatives=0", paper=(None, None)),
        ),
        until=Kind.PSEUDO_LABEL,
        dataset="bluefilm",
    ),
)
