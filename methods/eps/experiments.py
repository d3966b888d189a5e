"""The paper's tables as data for `python -m benchmark run --experiment`."""

from __future__ import annotations

from methods.experiment import Experiment, ExperimentRow

_OTHER = "another paper's method, which is not part of this suite"
_BOUNDARY = tuple(f"pseudo_label:boundary_{metric}" for metric in ("recall", "precision", "f1"))
_CONTEXTS = ("boat|water", "train|rail*", "train|platform")
_CONFUSION = (
    *(f"pseudo_label:confusion_ratio:{pair}" for pair in _CONTEXTS),
    "pseudo_label:iou:boat",
    "pseudo_label:iou:train",
)
_LABELS = ("pseudo_label",)
_SEGMENTATION = ("segmentation",)
_PREDICTED = {"V1": "largefov", "V2": "aspp"}


def _beside(table: str, scores: tuple[str, ...], others: tuple[str, ...]) -> tuple[ExperimentRow, ...]:
    """CAM, others and EPS, as a comparison prints them."""
    return (
        ExperimentRow("CAM", f"eps/{table}/CAM", scores, method="cam"),
        *(ExperimentRow(other, f"eps/{table}/{other}", scores, unavailable=_OTHER) for other in others),
        ExperimentRow("EPS", f"eps/{table}/EPS", scores),
    )


def _networks(
    table: str, backbone: tuple[str, ...] = (), scales: tuple[str, ...] = ()
) -> tuple[ExperimentRow, ...]:
    """EPS's labels to DeepLab V1 and V2."""
    return tuple(
        ExperimentRow(
            f"EPS, DeepLab {version}",
            f"eps/{table}/EPS {version}",
            _SEGMENTATION,
            (f"segmenter.head={head}", *backbone),
            scales=scales,
        )
        for version, head in _PREDICTED.items()
    )


EXPERIMENTS = (
    Experiment(
        "table1",
        "Boundary accuracy of the pseudo-labels (Tab. 1)",
        ("recall", "precision", "F1"),
        _beside("Tab. 1", _BOUNDARY, ("SEAM", "BES")),
        dataset="sbd",
    ),
    Experiment(
        "table2",
        "Confusion with co-occurring context, FP/TP, and IoU (Tab. 2)",
        ("boat with water", "train with railway", "train with platform", "IoU of boat", "IoU of train"),
        _beside("Tab. 2", _CONFUSION, ("SEAM", "ICD", "SGAN")),
        # The paper's are presumably over the images with the context alone, ours over all.
        unjudged=("IoU of boat", "IoU of train"),
    ),
    Experiment(
        "table3",
        "Map selection (Tab. 3)",
        ("pseudo-label",),
        (
            ExperimentRow(
                "baseline",
                "eps/Tab. 3/baseline",
                _LABELS,
                unavailable="the paper does not define it against the naive selection",
            ),
            ExperimentRow("naive", "eps/Tab. 3/naive", _LABELS, ("map_selection=naive",)),
            ExperimentRow("pre-defined", "eps/Tab. 3/pre-defined", _LABELS, ("map_selection=predefined",)),
            ExperimentRow("adaptive", "eps/Tab. 3/adaptive", _LABELS, ("map_selection=adaptive",)),
        ),
    ),
    Experiment(
        "table4",
        "Pseudo-labels by refiner (Tab. 4)",
        ("CAM or pseudo-label",),
        (
            ExperimentRow("CAM", "eps/Tab. 4/CAM", ("cam",), method="cam"),
            ExperimentRow(
                "CAM, AffinityNet",
                "eps/Tab. 4/CAM/with AffinityNet",
                _LABELS,
                ("refiner.name=psa",),
                method="cam",
            ),
            ExperimentRow("SEAM", "eps/Tab. 4/SEAM", ("cam",), unavailable=_OTHER),
            ExperimentRow("ICD", "eps/Tab. 4/ICD", ("cam",), unavailable=_OTHER),
            ExperimentRow("SGAN", "eps/Tab. 4/SGAN", ("cam",), unavailable=_OTHER),
            ExperimentRow("EPS", "eps/Tab. 4/EPS", ("cam",)),
            ExperimentRow("EPS, CRF", "eps/Tab. 4/EPS/with CRF", _LABELS, ("refiner.name=crf",)),
            ExperimentRow(
                "EPS, AffinityNet", "eps/Tab. 4/EPS/with AffinityNet", _LABELS, ("refiner.name=psa",)
            ),
        ),
    ),
    Experiment(
        "table5",
        "DeepLab on VGG16 (Tab. 5)",
        ("segmentation",),
        _networks(
            "Tab. 5",
            ("segmenter.backbone.name=vgg16", "segmenter.backbone.weights=torchvision/vgg16"),
            ("paper",),
        ),
    ),
    Experiment(
        "table6",
        "DeepLab on ResNet-101, or the scale's own backbone (Tab. 6)",
        ("segmentation",),
        _networks("Tab. 6"),
    ),
    Experiment(
        "saliency",
        "Source of the saliency maps (Sec. 5.3)",
        ("segmentation",),
        (
            ExperimentRow("PFAN, or the scale's own detector", "eps/Sec. 5.3/PFAN", _SEGMENTATION),
            *(
                ExperimentRow(
                    name,
                    f"eps/Sec. 5.3/{name}",
                    _SEGMENTATION,
                    unavailable=f"{name}'s maps are not redistributed; with a folder of them: "
                    "method.eps.saliency.source=folder method.eps.saliency.folder=PATH",
                )
                for name in ("DSS", "USPS")
            ),
        ),
    ),
)
