"""The paper's ablations, and those of what it leaves open, as data for `python -m benchmark experiment`."""

from __future__ import annotations

from methods.base import Experiment, ExperimentRow, Kind

_ALPHA = {0.6: 63.45, 0.8: 63.51, 1.0: 63.55, 1.2: 63.60, 1.4: 63.54, 1.6: 63.52, 1.8: 63.50}
_RHO = {0.1: None, 0.2: None, 0.3: 63.6, 0.4: None, 0.5: None}
_ALL_STAGES = ("intermediate=[original,affinity,modulated]",)

EXPERIMENTS = (
    Experiment(
        "modulation",
        "Effect of semantic modulation (Tab. 2)",
        ("CAM", "segmentation"),
        (
            ExperimentRow("baseline", (61.7, 71.9), ("cam", "segmentation"), method="mctformer"),
            ExperimentRow("semantic modulation", (63.6, 72.7), ("cam", "segmentation")),
        ),
        until=Kind.PREDICTION,
    ),
    Experiment(
        "alpha",
        "Strength α of the modulation (Tab. 3)",
        ("CAM",),
        tuple(
            ExperimentRow(f"α = {alpha}", (value,), settings=(f"modulation.strength={alpha}",))
            for alpha, value in _ALPHA.items()
        ),
    ),
    Experiment(
        "rho",
        "Share ρ of related patches (Fig. 5, whose values are not printed)",
        ("CAM",),
        tuple(
            ExperimentRow(f"ρ = {rho:.0%}", (value,), settings=(f"modulation.ratio={rho}",))
            for rho, value in _RHO.items()
        ),
    ),
    Experiment(
        "attention",
        "Attention that refines the CAM (Tab. 4; Tab. 5 is its first, third and last row)",
        ("CAM",),
        (
            ExperimentRow("original", (46.1,), ("cam_original",), _ALL_STAGES),
            ExperimentRow("original + patch-to-patch", (54.2,), ("cam_affinity",), _ALL_STAGES),
            ExperimentRow("original + class-to-patch (modulated)", (59.3,), ("cam_modulated",), _ALL_STAGES),
            ExperimentRow("original + both (final)", (63.6,), ("cam",), _ALL_STAGES),
        ),
    ),
    Experiment(
        "open",
        "What the paper leaves open",
        ("CAM",),
        (
            ExperimentRow("as set", (63.6,)),
            ExperimentRow(
                "Eq. 6 as printed, CAM · p2p", (None,), settings=("attention.patch_to_patch_side=right",)
            ),
            ExperimentRow(
                "ranked by each layer's own affinity", (None,), settings=("modulation.ranking=each_layer",)
            ),
            ExperimentRow(
                "a patch is not related to itself", (None,), settings=("modulation.include_self=false",)
            ),
            ExperimentRow("no ReLU before Eq. 5", (None,), settings=("attention.rectify=false",)),
            ExperimentRow(
                "class-to-patch of the last layer", (None,), settings=("attention.class_to_patch_layers=1",)
            ),
            ExperimentRow(
                "class-to-patch of all layers", (None,), settings=("attention.class_to_patch_layers=null",)
            ),
        ),
    ),
)
