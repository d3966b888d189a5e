"""The paper's ablations, and those of what it leaves open, as data for `python -m benchmark run --experiment`."""

from __future__ import annotations

from methods.experiment import Experiment, ExperimentRow

_COLUMNS = ("segmentation", "pseudo-label")
_SCORES = ("segmentation", "pseudo_label")
_BOUNDED = ("segmentation",)
_NO_STUDENT = ("weights.similarity=0", "weights.uncertain=0")
_NO_CORRECTION = ("labels.refinement=none",)
_THRESHOLDS = ((0.75, 0.35), (0.85, 0.25), (0.9, 0.2))
_LAMBDAS = (
    (0.1, 0.4, 0.1),
    (0.1, 0.5, 0.1),
    (0.1, 0.6, 0.1),
    (0.2, 0.4, 0.1),
    (0.2, 0.5, 0.1),
    (0.2, 0.5, 0.2),
    (0.2, 0.6, 0.1),
)
_ABLATION = "dskd_gc/Tab. 1/"


def _row(label: str, reported: str, *settings: str, method: str | None = None) -> ExperimentRow:
    return ExperimentRow(label, reported, _SCORES, settings, method)


EXPERIMENTS = (
    Experiment(
        "table1",
        "Effect of distillation and correction (Tab. 1)",
        _COLUMNS,
        (
            _row("baseline", _ABLATION + "baseline", *_NO_STUDENT, *_NO_CORRECTION),
            _row("+ DSKD", _ABLATION + "+ DSKD", *_NO_CORRECTION),
            _row("+ DSKD + GC", _ABLATION + "+ DSKD + GC"),
        ),
    ),
    Experiment(
        "table2",
        "Thresholds θ_h and θ_l of the noise (Tab. 2)",
        ("segmentation", "CAM"),
        tuple(
            ExperimentRow(
                f"θ_h = {high}, θ_l = {low}",
                f"dskd_gc/Tab. 2/θ_h = {high}, θ_l = {low}",
                ("segmentation", "cam"),
                (f"correction.high={high}", f"correction.low={low}"),
            )
            for high, low in _THRESHOLDS
        ),
    ),
    Experiment(
        "table3",
        "Weights λ1, λ2, λ3 of the losses (Tab. 3)",
        _COLUMNS,
        tuple(
            _row(
                f"λ = {contrast}, {similarity}, {uncertain}",
                f"dskd_gc/Tab. 3/λ = {contrast}, {similarity}, {uncertain}",
                f"weights.patch_contrast={contrast}",
                f"weights.similarity={similarity}",
                f"weights.uncertain={uncertain}",
            )
            for contrast, similarity, uncertain in _LAMBDAS
        ),
    ),
    Experiment(
        "table4",
        "Against ToCo (Tab. 4, whose whole method is not that of Tab. 1: 74.8 against 69.67)",
        _COLUMNS,
        (
            _row("ToCo", "dskd_gc/Tab. 4/ToCo", method="toco"),
            _row("DSKD + GC", "dskd_gc/Tab. 4/DSKD + GC"),
        ),
    ),
    Experiment(
        "bounds",
        "Against what it builds on, and against the shared network on true masks",
        ("segmentation",),
        (
            ExperimentRow("ToCo", scores=_BOUNDED, method="toco"),
            ExperimentRow("baseline", scores=_BOUNDED, settings=(*_NO_STUDENT, *_NO_CORRECTION)),
            ExperimentRow("DSKD + GC", scores=_BOUNDED),
            ExperimentRow("supervised (bound)", scores=_BOUNDED, method="supervised"),
        ),
    ),
    Experiment(
        "open",
        "What the paper leaves open",
        _COLUMNS,
        (
            _row("as set", _ABLATION + "+ DSKD + GC"),
            _row("+ GC without DSKD", "", *_NO_STUDENT),
            _row("classification by the class token alone", "", "weights.patch_classification=0"),
            _row("one mixture a class", "", "correction.scope=class"),
            _row("all pixels in the mixture", "", "correction.min_confidence=-1"),
            _row("peaks no noisier than the upper component's mean", "", "correction.posterior=capped"),
            _row("τ = 0.3", "", "correction.similarity=0.3"),
            _row("τ = 0.7", "", "correction.similarity=0.7"),
            _row("Eq. 6 as printed", "", "distillation.average=literal"),
            _row("Eq. 7 over tokens", "", "distillation.similarity=tokens"),
            _row("cos instead of |cos| in Eq. 4", "", "contrast.absolute=false"),
            _row("no centring of projections", "", "distillation.centring=null"),
            _row("patch tokens pooled by their maximum", "", "pooling=max"),
            _row("patch tokens pooled by their mean", "", "pooling=mean"),
            _row("the student gives CAM and predictions", "", "which=student"),
        ),
    ),
)
