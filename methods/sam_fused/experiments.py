"""The paper's ablations as data for `python -m benchmark run --experiment`. Its tables score pseudo-labels."""

from __future__ import annotations

from methods.experiment import Experiment, ExperimentRow

_COLUMNS = ("ACC", "mIoU")
_FLIPS = ("views.rotations=[180,360]", "views.scales=[1.0]", "views.fills=2.0")
"""The image, its mirror image, and both upside down: with a half turn, all that flips make and no quarter turn."""
_SCALES = ("views.mirror=false", "views.rotations=[360]")
_ALL = ("views.count=8",)
"""The whole method, which Tab. 1, 2 and 3 print once: K is the same wherever it stands, at every scale."""
_NO_CONTRAST = ("contrast.weight=0",)


def _row(
    label: str, *settings: str, paper: str = "", of: str = "pseudo_label", scales: tuple[str, ...] = ()
) -> ExperimentRow:
    """paper: "table/row" of the paper."""
    reported = f"sam_fused/{paper}" if paper else ""
    return ExperimentRow(label, reported, (f"{of}:pixel_accuracy", of), settings, scales=scales)


EXPERIMENTS = (
    Experiment(
        "table2",
        "How SAM makes its pseudo-labels (Tab. 2; its first row and Tab. 3's second should be one and are not)",
        _COLUMNS,
        (
            _row("no SAM", paper="Tab. 2/no SAM", of="pseudo_label_vit"),
            _row("SAM, flips", *_FLIPS, paper="Tab. 2/SAM on flips"),
            _row("SAM, scales", *_SCALES, paper="Tab. 2/SAM on scales"),
            _row("SAM, fused", *_ALL, paper="Tab. 2/SAM on all"),
            _row("SAM, fused, as many views as flips", "views.count=4"),
        ),
        dataset="bluefilm",
    ),
    Experiment(
        "table3",
        "Effect of class token contrast and SAM (Tab. 3)",
        _COLUMNS,
        (
            _row("ViT", *_NO_CONTRAST, paper="Tab. 3/ViT", of="pseudo_label_vit"),
            _row("ViT + CTC", paper="Tab. 3/ViT + CTC", of="pseudo_label_vit"),
            _row("ViT + SAM", *_NO_CONTRAST, *_ALL, paper="Tab. 3/ViT + SAM"),
            _row("ViT + CTC + SAM", *_ALL, paper="Tab. 3/ViT + CTC + SAM"),
        ),
        dataset="bluefilm",
    ),
    Experiment(
        "fig6",
        "P1, P2 and P, which Fig. 6 shows and no table scores but P",
        _COLUMNS,
        (
            _row("P1, of the transformer", of="pseudo_label_vit"),
            _row("P2, of SAM", *_ALL, of="pseudo_label_sam"),
            _row("P, fused", *_ALL, paper="Tab. 1/SAM-fused"),
        ),
        dataset="bluefilm",
    ),
    Experiment(
        "open",
        "What the paper leaves open",
        _COLUMNS,
        (
            _row("as set", paper="Tab. 1/SAM-fused"),
            _row("K = 1, the image alone", "views.count=1"),
            _row("K = 4", "views.count=4", scales=("small", "paper")),
            _row("K = 8", "views.count=8", scales=("nano",)),
            _row("all 24 views", "views.count=null"),
            _row("all class tokens are contrasted", "contrast.token=all"),
            _row("τ = .1", "contrast.temperature=0.1"),
            _row("CTC's weight 1", "contrast.weight=1.0"),
            _row("prompts without negative points", "prompts.negatives=0"),
        ),
        dataset="bluefilm",
    ),
)
