"""The paper's ablations, and those of what it leaves open, as data for `python -m benchmark experiment`."""

from __future__ import annotations

from methods.base import Experiment, ExperimentRow, Kind

_COLUMNS = ("segmentation", "pseudo-label")
_SCORES = ("segmentation", "pseudo_label")
_NO_STUDENT = ("weights.similarity=0", "weights.uncertain=0")
_NO_CORRECTION = ("labels.refinement=none",)
_THRESHOLDS = {(0.75, 0.35): (69.012, 70.966), (0.85, 0.25): (69.670, 71.429), (0.90, 0.20): (69.390, 70.892)}
_LAMBDAS = {
    (0.1, 0.4, 0.1): 67.19,
    (0.1, 0.5, 0.1): 67.18,
    (0.1, 0.6, 0.1): 68.04,
    (0.2, 0.4, 0.1): 68.82,
    (0.2, 0.5, 0.1): 69.67,
    (0.2, 0.5, 0.2): 68.95,
    (0.2, 0.6, 0.1): 68.56,
}


def _row(label: str, value: float | None, *settings: str, method: str | None = None) -> ExperimentRow:
    return ExperimentRow(label, (value, None), _SCORES, settings, method)


EXPERIMENTS = (
    Experiment(
        "modules",
        "Effect of distillation and correction (Tab. 1), and ToCo (Tab. 4)",
        _COLUMNS,
        (
            _row("ToCo", 71.1, method="toco"),
            _row("baseline", 68.57, *_NO_STUDENT, *_NO_CORRECTION),
            _row("+ DSKD", 68.53, *_NO_CORRECTION),
            _row("+ DSKD + GC", 69.67),
        ),
        until=Kind.PREDICTION,
    ),
    Experiment(
        "thresholds",
        "Thresholds θ_h and θ_l of the noise (Tab. 2)",
        ("segmentation", "CAM"),
        tuple(
            ExperimentRow(
                f"θ_h = {high}, θ_l = {low}",
                values,
                ("segmentation", "cam"),
                (f"correction.high={high}", f"correction.low={low}"),
            )
            for (high, low), values in _THRESHOLDS.items()
        ),
        until=Kind.PREDICTION,
    ),
    Experiment(
        "weights",
        "Weights λ1, λ2, λ3 of the losses (Tab. 3)",
        _COLUMNS,
        tuple(
            _row(
                f"λ = {contrast}, {similarity}, {uncertain}",
                value,
                f"weights.patch_contrast={contrast}",
                f"weights.similarity={similarity}",
                f"weights.uncertain={uncertain}",
            )
            for (contrast, similarity, uncertain), value in _LAMBDAS.items()
        ),
        until=Kind.PREDICTION,
    ),
    Experiment(
        "open",
        "What the paper leaves open",
        _COLUMNS,
        (
            _row("as set", 69.67),
            _row("+ GC without DSKD", None, *_NO_STUDENT),
            _row("classification by the class token alone", None, "weights.patch_classification=0"),
            _row("one mixture a class", None, "correction.scope=class"),
            _row("all pixels in the mixture", None, "correction.min_confidence=-1"),
            _row("τ = 0.3", None, "correction.similarity=0.3"),
            _row("τ = 0.7", None, "correction.similarity=0.7"),
            _row("Eq. 6 as printed", None, "distillation.average=literal"),
            _row("Eq. 7 over tokens", None, "distillation.similarity=tokens"),
            _row("cos instead of |cos| in Eq. 4", None, "contrast.absolute=false"),
            _row("no centring of projections", None, "distillation.centring=null"),
            _row("patch tokens pooled by their maximum", None, "pooling=max"),
            _row("patch tokens pooled by their mean", None, "pooling=mean"),
            _row("the student gives CAM and predictions", None, "which=student"),
        ),
        until=Kind.PREDICTION,
    ),
)
