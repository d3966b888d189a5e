"""A run against a paper's row: in what they differ, and what of it can be exchanged at the run's scale.

What can be had here is the paper's refiner, head of the segmentation network, scales, thresholds and CRF, as far as the
row states them or the method's settings of paper scale hold them. Data, networks, initial weights and schedules of the
paper are not run here: what they are worth is in what is left unexplained.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from benchmark.config import compose, protocol_defaults
from benchmark.explanation.cells import Side
from benchmark.failures import ConfigError
from benchmark.planning.changes import run_changes
from datasets import dataset_class
from datasets import names as dataset_names
from methods.layers.config import CamInferenceConfig, SegmenterConfig
from methods.refiners.config import REFINERS
from methods.registry import find_method
from results.changes import changes_of, is_place
from results.comparison import COCO_MASKS, HEADS, headline_of, is_network
from results.explanations import Condition
from results.reported import ReportedNumber, reported_of
from results.schema import CHANGES_SEPARATOR

PAPER = "paper"
REST = "rest"
REST_WORDS = "not explained here"
OTHERWISE = " (other settings)"
_LINES = (
    *(
        f"{part}.{name}="
        for part in ("backbone", "vit", "segmenter.backbone")
        for name in ("name", "weights")
    ),
    *("inference.scales=", "inference.flip=", "background_threshold=", "refiner.name=", "segmenter.head="),
    *("segmenter.test_scales=", "segmenter.test_flip=", "segmenter.test_crf=", "train.", "segmenter.train."),
)
"""Beginnings of settings that have a line of their own."""


def is_paper(text: str) -> bool:
    """Whether a side is `paper` or `paper:PAPER/TABLE/ROW`."""
    return text.partition(":")[0] == PAPER


def printed_number(a: Side, text: str, stage: str) -> ReportedNumber:
    """The printed mIoU that is meant by `paper:PAPER/TABLE/ROW`, which a column may follow, or by `paper`.

    `paper` is the highest of the method's own paper, of those on the run's data where there are some.
    Raises ConfigError that names the rows there are.
    """
    method = a.method
    reported_as = find_method(method).reported_as
    found = [
        number
        for number in (reported_of(reported_as) if reported_as else ())
        if (number.metric, number.stage, number.class_name) == ("miou", stage, "") and number.split != "test"
    ]
    if not found:
        raise ConfigError(f"no paper here prints a mIoU of {method}'s {stage}; see --score")
    wanted = text.partition(":")[2]
    here = [number for number in found if number.dataset == a.config.dataset.name]
    if not wanted and (chosen := headline_of(here) or headline_of(found)):
        return chosen[0]
    for number in found:
        place = _place(number)
        if wanted in (place, f"{place}/{number.column}"):
            if number.suspicious:
                raise ConfigError(f"{place}: is not compared with; {number.suspicious}")
            return number
    rows = ", ".join(dict.fromkeys(f"'{PAPER}:{_place(number)}'" for number in found))
    raise ConfigError(f"no row {wanted!r} with {method}'s {stage}; there are {rows}")


def _place(number: ReportedNumber) -> str:
    return f"{number.paper}/{number.table}/{number.row}"


def paper_side(a: Side, number: ReportedNumber) -> Side:
    """Side a with what it can be given of the conditions of a printed number; its network and training stay."""
    authors, parts = _authors(a, number), dict(a.parts)
    config = a.config
    shared = (config.protocol.name, config.scale.name, config.dataset.name)
    refiner, segmenter, inference = parts["refiner"], parts["segmenter"], parts["inference"]
    wanted = _refiner(number, authors)
    if refiner is not None and wanted in REFINERS and wanted != refiner.name:
        parts["refiner"] = protocol_defaults(*shared, refiner=wanted).refiner
    if isinstance(segmenter, SegmenterConfig):
        head = HEADS.get(number.segmenter)
        if head and not segmenter.head.startswith(head):
            segmenter = protocol_defaults(*shared, segmenter=head).segmenter
        test = getattr(authors, "segmenter", None) or parts["segmenter"]
        parts["segmenter"] = replace(
            segmenter, test_scales=test.test_scales, test_flip=test.test_flip, test_crf=test.test_crf
        )
    theirs = getattr(authors, "inference", None)
    if isinstance(inference, CamInferenceConfig) and isinstance(theirs, CamInferenceConfig):
        parts["inference"] = replace(inference, scales=theirs.scales, flip=theirs.flip)
    threshold = getattr(authors, "background_threshold", None)
    if number.stage != "cam" and isinstance(threshold, float) and parts["background_threshold"] is not None:
        parts["background_threshold"] = threshold
    where = "its paper" if number.ours else number.paper
    name = f"{number.method} in {where}: {number.table}, {number.row}, {number.column}"
    return Side(name, a.method, config, parts)


def _authors(a: Side, number: ReportedNumber) -> Any:
    """The method's settings of paper scale on the paper's data; None where it has none."""
    if "paper" not in find_method(a.method).presets:
        return None
    dataset = number.dataset if number.dataset in dataset_names() else None
    return compose([a.method], dataset, "paper", "paper").method[a.method]


def _refiner(number: ReportedNumber, authors: Any) -> str:
    return number.refiner or getattr(getattr(authors, "refiner", None), "name", "")


def conditions(
    a: Side, b: Side, number: ReportedNumber, things: Sequence[str], seeds: Sequence[int]
) -> list[Condition]:
    """What differs between a run and a printed number, in the order of a run; b: of `paper_side`.

    things: in which a and b differ, they are exchanged. What the paper does not say is left out.
    """
    found = []
    for name, what, here, paper in _compared(a, b, number, seeds):
        if name in things and here == paper:
            paper += OTHERWISE
        if paper and here != paper:
            found.append(Condition(name, what, here, paper))
    return found


def _compared(
    a: Side, b: Side, number: ReportedNumber, seeds: Sequence[int]
) -> Iterator[tuple[str, str, str, str]]:
    config, authors = a.config, _authors(a, number)
    truth = getattr(config.dataset, "ground_truth", "")
    drawn = " (drawn)" if dataset_class(config.dataset.name).generated else ""
    unsaid = "" if number.split else ", the split is not said"
    yield "data", "data set", config.dataset.name + drawn, number.dataset + unsaid
    if truth and number.dataset == config.dataset.name:
        yield "ground_truth", "true masks", truth, number.ground_truth
    yield "scale", "scale: networks, schedules, other settings", config.scale.name, "paper"
    yield "protocol", "protocol", config.protocol.name, number.protocol
    changed = [
        part
        for part in changes_of(run_changes(config, a.method))
        if not part.startswith(_LINES) and not is_place(part, config.dataset.name)
    ]
    yield "settings", "settings changed here", CHANGES_SEPARATOR.join(changed), "none" if changed else ""
    for part in ("backbone", "vit"):
        here, paper = a.parts[part], getattr(authors, part, None)
        if here is not None and paper is not None:
            same = _is_theirs(here.name, paper.name, number.backbone)
            yield part, "network of the CAM", here.name, here.name if same else number.backbone or paper.name
            yield f"{part}_weights", "initial weights of the CAM's network", here.weights, paper.weights
    if a.parts["train"] is not None and getattr(authors, "train", None) is not None:
        yield "train", "training of the CAM's network", *_trainings(a.parts["train"], authors.train)
    yield "inference", "scales of the CAM", _scales(a), _scales(b)
    if number.stage == "cam":
        yield "choice", "choice of the CAM's threshold", "fixed", "the best of a sweep, in most papers"
    else:
        yield "background_threshold", "background threshold", _threshold(a), _threshold(b)
        if a.parts["refiner"] is not None:
            yield "refiner", "refiner", a.parts["refiner"].name, _refiner(number, authors)
    if number.stage == "segmentation" and isinstance(a.parts["segmenter"], SegmenterConfig):
        yield from _of_segmenter(a, b, number, getattr(authors, "segmenter", None))
    yield "seeds", "seeds", str(len(seeds)), "not said"


def _of_segmenter(
    a: Side, b: Side, number: ReportedNumber, authors: SegmenterConfig | None
) -> Iterator[tuple[str, str, str, str]]:
    here, there = a.parts["segmenter"], b.parts["segmenter"]
    head = f"DeepLab {number.segmenter}" if number.segmenter else ""
    yield "segmenter", "head of the segmentation network", here.head, head if here.head != there.head else ""
    trunk = number.segmenter_backbone or (authors.backbone.name if authors else "")
    if not _is_theirs(
        here.backbone.name, authors.backbone.name if authors else None, number.segmenter_backbone
    ):
        yield "segmenter_backbone", "backbone of the segmentation network", here.backbone.name, trunk
    weights = number.initialisation or (authors.backbone.weights if authors else "")
    saw_masks = (number.initialisation == COCO_MASKS) != (here.init == "coco-masks")
    if authors is None or here.backbone.weights != authors.backbone.weights or saw_masks:
        yield (
            "segmenter_weights",
            "initial weights of the segmentation network",
            here.backbone.weights,
            weights,
        )
    if authors is not None:
        yield (
            "segmenter_train",
            "training of the segmentation network",
            *_trainings(here.train, authors.train),
        )
    yield "test", "test of the segmentation network", _test(here), _test(there)


def _is_theirs(here: str, authors: str | None, printed: str) -> bool:
    """Whether a network is that of a number: by what is printed of it, and by the authors' settings unless they are of
    another one. Miniatures have names that begin alike."""
    if not is_network(printed, here):
        return False
    return here == authors or bool(printed and authors and not is_network(printed, authors))


def _trainings(here: Any, paper: Any) -> tuple[str, str]:
    first, second = _training(here), _training(paper)
    return first, second + (OTHERWISE if here != paper and first == second else "")


def _training(train: Any) -> str:
    recipe = getattr(train, "recipe", None)
    crop = f", crops of {recipe.crop}" if recipe is not None else ""
    return f"{train.iterations} iterations of {train.batch_size}{crop}"


def _scales(side: Side) -> str:
    inference = side.parts["inference"]
    if not isinstance(inference, CamInferenceConfig):
        return ""
    return ", ".join(f"{s:g}" for s in inference.scales) + ("; mirrored" if inference.flip else "")


def _threshold(side: Side) -> str:
    value = side.parts["background_threshold"]
    return "" if value is None else f"{value:g}"


def _test(segmenter: SegmenterConfig) -> str:
    more = [*(["mirrored"] if segmenter.test_flip else []), *(["CRF"] if segmenter.test_crf else [])]
    return "; ".join([", ".join(f"{s:g}" for s in segmenter.test_scales), *more])
