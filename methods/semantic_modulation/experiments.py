"""The paper's ablations, and those of what it leaves open, as data for `python -m benchmark run --experiment`."""

from __future__ import annotations

from methods.experiment import Claim, Experiment, ExperimentRow

_ALPHA = (0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8)
_RHO = {0.1: "", 0.2: "", 0.3: "semantic_modulation/Fig. 5/ρ = 30%", 0.4: "", 0.5: ""}
_FINAL = "semantic_modulation/Tab. 4/original + both"
_ALL_STAGES = ("intermediate=[original,affinity,modulated]",)

EXPERIMENTS = (
    Experiment(
        "table2",
        "Effect of semantic modulation (Tab. 2)",
        ("CAM", "segmentation"),
        (
            ExperimentRow(
                "baseline",
                "semantic_modulation/Tab. 2/baseline",
                ("cam", "segmentation"),
                method="mctformer",
            ),
            ExperimentRow(
                "semantic modulation",
                "semantic_modulation/Tab. 2/semantic modulation",
                ("cam", "segmentation"),
            ),
        ),
    ),
    Experiment(
        "table3",
        "Strength α of the modulation (Tab. 3)",
        ("CAM",),
        tuple(
            ExperimentRow(
                f"α = {alpha}",
                f"semantic_modulation/Tab. 3/α = {alpha}",
                settings=(f"modulation.strength={alpha}",),
            )
            for alpha in _ALPHA
        ),
    ),
    Experiment(
        "fig5",
        "Share ρ of related patches (Fig. 5, whose values are not printed)",
        ("CAM",),
        tuple(
            ExperimentRow(f"ρ = {rho:.0%}", printed, settings=(f"modulation.ratio={rho}",))
            for rho, printed in _RHO.items()
        ),
        claims=tuple(
            Claim("ρ = 30%", f"ρ = {rho:.0%}", "CAM", "Sec. 3.4.1 and Fig. 5") for rho in _RHO if rho != 0.3
        ),
    ),
    Experiment(
        "table4",
        "Attention that refines the CAM (Tab. 4)",
        ("CAM",),
        (
            ExperimentRow("original", "semantic_modulation/Tab. 4/original", ("cam_original",), _ALL_STAGES),
            ExperimentRow(
                "original + patch-to-patch",
                "semantic_modulation/Tab. 4/original + patch-to-patch",
                ("cam_affinity",),
                _ALL_STAGES,
            ),
            ExperimentRow(
                "original + class-to-patch (modulated)",
                "semantic_modulation/Tab. 4/original + class-to-patch",
                ("cam_modulated",),
                _ALL_STAGES,
            ),
            ExperimentRow("original + both (final)", _FINAL, ("cam",), _ALL_STAGES),
        ),
    ),
    Experiment(
        "table5",
        "CAM by stage (Tab. 5)",
        ("CAM",),
        (
            ExperimentRow(
                "Original-CAM", "semantic_modulation/Tab. 5/Original-CAM", ("cam_original",), _ALL_STAGES
            ),
            ExperimentRow(
                "Modulated-CAM", "semantic_modulation/Tab. 5/Modulated-CAM", ("cam_modulated",), _ALL_STAGES
            ),
            ExperimentRow("Final-CAM", "semantic_modulation/Tab. 5/Final-CAM", ("cam",), _ALL_STAGES),
        ),
    ),
    Experiment(
        "open",
        "What the paper leaves open",
        ("CAM",),
        (
            ExperimentRow("as set", _FINAL),
            ExperimentRow("Eq. 6 as printed, CAM · p2p", settings=("attention.patch_to_patch_side=right",)),
            ExperimentRow("ranked by each layer's own affinity", settings=("modulation.ranking=each_layer",)),
            ExperimentRow("a patch is not related to itself", settings=("modulation.include_self=false",)),
            ExperimentRow("no ReLU before Eq. 5", settings=("attention.rectify=false",)),
            ExperimentRow(
                "class-to-patch of the last layer", settings=("attention.class_to_patch_layers=1",)
            ),
            ExperimentRow("class-to-patch of all layers", settings=("attention.class_to_patch_layers=null",)),
        ),
    ),
)
