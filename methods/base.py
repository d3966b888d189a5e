"""The contract between methods and the harness: what a method declares, and what its stages are handed.

Light to import (no torch): planning a run reads every method's declaration.
"""

from __future__ import annotations

import importlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, TypeVar

from datasets.base import DenseMap, Sample, TrainingView
from methods.declared import deviations_in, experiments_in
from methods.deviation import Deviation
from methods.errors import MethodError as MethodError
from methods.errors import NotRunnable as NotRunnable

if TYPE_CHECKING:
    import torch
    from torch import nn

    from datasets.loading.loader import Batch, ImageBatch, Normalisation, Recipe
    from datasets.recipe import View
    from methods.experiment import Experiment


T = TypeVar("T")
UNIFIED = "unified"
"""The protocol that makes the same choices for all methods."""


class Supervision(StrEnum):
    LABELS = "I"
    SALIENCY = "S"
    TEXT = "L"
    SAM = "SAM"
    MASKS = "M"


class Kind(StrEnum):
    """Kinds of artifacts. The evaluator scores CAM, PSEUDO_LABEL, PREDICTION and IMAGE_SCORES, whoever made them.

    PREDICTION: label maps of the split val, made from the images and a trained network (WEIGHTS, among the stage's
                inputs) alone: `predict` runs the stage on a view whose val is a user's images and whose train is empty
    TRAINING_LABEL: label maps, with holes, that another stage learns from
    IMAGE_SCORES: scores of every object class for the images of val, by the method's image classifier where it has
                one (`methods.artifacts.write_image_scores`). Optional: nothing is made from it, it is scored
    """

    WEIGHTS = "weights"
    SALIENCY = "saliency"
    CAM = "cam"
    PSEUDO_LABEL = "pseudo_label"
    PREDICTION = "prediction"
    TRAINING_LABEL = "training_label"
    IMAGE_SCORES = "image_scores"


@dataclass(frozen=True)
class Stage:
    """A step of a method's graph.

    run:        "package.module:function" (or ":Class.function"), imported only when the stage executes
    settings:   a dataclass instance; everything the stage may depend on, since it makes the stage's key
    inputs:     role -> name of the stage that yields it
    yields:     the kind of artifact written
    splits:     splits whose images it reads
    pretrained: references of weights it starts from (`methods.layers.weights.files`); their content is in the key
    seeded:     False where the result does not depend on the seed (one artifact serves all seeds)
    fixed_threshold: for a CAM, the method's own background threshold in [0, 1]
    seen_masks: data set whose pixel masks its pretrained weights were trained on, "": none. The leaderboard says so, and
                planning refuses it on that data set
    scored_as:  what its scores are called in the records; None: by its kind, and these are the board's. Give a
                name of its own to what comes on the way to an artifact of the same kind (a CAM before refinement)
    cam_folders: for a CAM, folders with one each that its artifact has; tells how large it is, and is in no key
    profile:    "package.module:function" that hands out what the stage passes images through, see `ForwardPass`:
                (settings, settings of the inputs' stages by role, number of object classes, (H, W) of an image) ->
                sequence of `ForwardPass`. None where the stage has neither a network nor a CRF or the like, or only
                serves evaluation (IMAGE_SCORES). It is in no key
    deviations: of a part that methods share (refiner, segmentation network); the report lists them with the
                method's own. In no key
    """

    name: str
    run: str
    settings: Any
    yields: Kind
    inputs: Mapping[str, str] = field(default_factory=dict)
    splits: tuple[str, ...] = ("train",)
    pretrained: tuple[str, ...] = ()
    seeded: bool = True
    fixed_threshold: float | None = None
    seen_masks: str = ""
    scored_as: str | None = None
    cam_folders: int = 1
    profile: str | None = None
    deviations: tuple[Deviation, ...] = ()


class Pictures(NamedTuple):
    """A batch that `profile` measures a forward pass with.

    pixels: (B, 3, H, W) uint8
    images: (B, 3, H, W), the same normalised
    cams:   (B, K, H, W) in [0, 1], CAMs of K present classes, whose maximum is 1
    """

    pixels: torch.Tensor
    images: torch.Tensor
    cams: torch.Tensor


Inputs = Mapping[str, Any]
"""Settings of the stages that a stage has as its inputs, by role: what `profile` is handed beside its own."""


@dataclass(frozen=True)
class ForwardPass:
    """How images pass through one of a stage's networks, and what follows: what `profile` counts and measures.

    network: what it is called: "CAM network", "segmentation network"
    covers:  what the figures are of: "network alone", "scales 0.5, 1; mirrored", "and CRF"
    size:    (H, W) of the images
    module:  the network, whose parameters are counted; None where there is none (a CRF alone)
    run:     (module, images (B, 3, H, W)) -> output; by default, one forward pass. Its operations are counted on
             the meta device, so it decides nothing by values
    finish:  (output, pictures) -> anything: what follows the networks (CRF, random walk). Timed, not counted. A
             context manager (a pool of processes) is entered while batches are measured
    """

    network: str
    covers: str
    size: tuple[int, int]
    module: nn.Module | None
    run: Callable[[Any, torch.Tensor], Any] = field(default=lambda module, images: module(images))
    finish: Callable[[Any, Pictures], object] | None = None


@dataclass(frozen=True)
class MethodConfig:
    """Base of every method's typed settings; a field's type may carry its limits (`datasets.limits`)."""


@dataclass(frozen=True)
class Shared:
    """Parts that the protocol chooses for all methods; None means "the method's own".

    inference: scales and mirror images of the CAMs
    """

    refiner: Any = None
    segmenter: Any = None
    inference: Any = None


def part(kind: type[T], of: Any, **own: Any) -> T:
    """A dataclass of `kind` with the values that `own` gives, and for its other fields those of the same name in `of`.

    Stages' settings are made so of a method's: what a stage depends on is listed once, in `kind`. A field that neither
    has keeps its default.
    """
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: getattr(of, name) for name in names if hasattr(of, name)} | own)


def function_of(reference: str) -> Callable[..., Any]:
    """What a stage's "package.module:function" or "package.module:Class.function" names; its module is imported."""
    module, _, name = reference.partition(":")
    return attrgetter(name)(importlib.import_module(module))  # type: ignore[no-any-return]


def settings_of_inputs(stage: Stage, stages: Iterable[Stage]) -> dict[str, Any]:
    """Role -> settings of the stage among `stages` that yields it."""
    by_name = {each.name: each.settings for each in stages}
    return {role: by_name[name] for role, name in stage.inputs.items()}


def preset_key(presets: Mapping[str, Any], scale: str, dataset: str) -> str:
    """Key of the settings of a scale and data set: "scale/data set" where `presets` has it, else the scale's."""
    own = f"{scale}/{dataset}"
    return own if own in presets else scale


class Method(ABC):
    """One entry of the leaderboard. A method is one folder of `methods/` with a `METHOD` attribute."""

    name: ClassVar[str]
    title: ClassVar[str]
    paper: ClassVar[str]
    summary: ClassVar[str]
    needs: ClassVar[str]
    supervision: ClassVar[frozenset[Supervision]]
    default: ClassVar[bool] = False
    """Whether `--methods all` includes it (the papers' methods, `cam` and `supervised`)."""
    config: ClassVar[type[MethodConfig]]
    presets: ClassVar[Mapping[str, MethodConfig]]
    """Settings by scale: nano, small, paper; "paper/coco2014" are a data set's own, chosen before the scale's."""
    unified: ClassVar[Mapping[str, MethodConfig]] = {}
    """Those of the protocol `unified`, at scales where `presets` start from weights of another family than ImageNet's
    1000 classes, which all share there."""
    reported_as: ClassVar[str] = ""
    """`method` of its published numbers in `results/reported`; "": none."""

    @property
    def folder(self) -> Path | None:
        """Of the method's module, where its YAML is; None where it has no file."""
        source = getattr(sys.modules[type(self).__module__], "__file__", None)
        return Path(source).parent if source else None

    @cached_property
    def deviations(self) -> Sequence[Deviation]:
        """The method's own, of `deviations.yaml`; those of parts that methods share are `Stage.deviations`."""
        return deviations_in(self.folder) if self.folder else ()

    @cached_property
    def experiments(self) -> Sequence[Experiment]:
        """Of `experiments.yaml`. Read when asked for, so that a faulty file stops nothing else."""
        return experiments_in(self.folder) if self.folder else ()

    def preset(self, scale: str, protocol: str, dataset: str = "") -> MethodConfig:
        """The settings of a scale, protocol and data set, before any override."""
        key = preset_key(self.presets, scale, dataset)
        return self.unified.get(key, self.presets[key]) if protocol == UNIFIED else self.presets[key]

    @abstractmethod
    def stages(self, config: Any, view: TrainingView, shared: Shared) -> Sequence[Stage]:
        """The graph, in an order where inputs come first. Raises NotRunnable."""


@dataclass(frozen=True)
class Artifact:
    """A finished artifact: a directory that is never written again.

    settings: those of the stage that made it, as its manifest has them; an inference finds its network's in them
    """

    path: Path
    key: str
    kind: Kind
    settings: Any = None


class StageContext(Protocol):
    """What the harness hands to a running stage.

    Stages run with gradients on. Under `torch.inference_mode` run only the functions that are handed to
    `methods.layers.cam_inference.write_multi_scale_cams` and `methods.layers.image_scores.write_classifications`, and
    those of a `ForwardPass` while `profile` measures it. One that needs gradients there, as Grad-CAM does, leaves it:

        with torch.inference_mode(False), torch.enable_grad():
            images = images.clone()  # what was made under inference mode takes no part in gradients
    """

    view: TrainingView
    inputs: Mapping[str, Artifact]
    output: Path
    """Directory to write the artifact to. Kept after a kill: what is complete there need not be redone."""
    seed: int
    device: torch.device
    processes: int
    """Among which a training's batches are divided. Gradients are averaged over them, so a loss that is a sum over
    a batch, not a mean, has to be multiplied by it."""

    def masks(self) -> DenseMap:
        """True masks, for methods that declare `Supervision.MASKS`; PermissionError for all others."""

    def weights_path(self, reference: str) -> Path | None:
        """Local file of a pretrained-weights reference; fetched by its library where allowed."""

    def train_batches(
        self,
        samples: Sequence[Sample],
        recipe: Recipe,
        normalisation: Normalisation,
        batch_size: int,
        dense_maps: Mapping[str, DenseMap] | None = None,
        views: Sequence[View] = (),
    ) -> Callable[[int, int], Iterator[Batch]]:
        """A source of augmented batches, to be handed to `train`; with `views` of each image besides `recipe`'s."""

    def images(
        self, samples: Sequence[Sample], normalisation: Normalisation, batch_size: int, tiled: bool = False
    ) -> Iterator[ImageBatch]:
        """Whole images at native size, in batches of equal size, with progress shown.

        tiled: one image at a time, of which `ImageBatch.at_once` tiles may pass a network together: `batch_size`, or
               what memory suffices for
        """

    def train(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        losses: Callable[[nn.Module, Batch], Mapping[str, torch.Tensor]],
        batches: Callable[[int, int], Iterator[Batch]],
        iterations: int,
        learning_rate: Callable[[int], float],
    ) -> None:
        """Train with checkpoints; resumes by itself after a kill, with equal results on CPU.

        losses: returns named scalar terms; their sum is minimised, each is logged.
        learning_rate: iteration -> factor on every group's initial rate.
        """

    def shards(self, samples: Sequence[Sample]) -> Iterator[tuple[str, Sequence[Sample]]]:
        """Split per-image work into shards: (name, samples) of those not done yet.

        A shard counts as done when the loop comes back for the next one.
        """

    def report_scores(self, sample_id: str, scores: torch.Tensor) -> None:
        """Probabilities (C + 1, H, W) in [0, 1], background first, behind a PREDICTION's label map that has been written.

        `predict` makes score maps, regions and verdicts of them; a run on data with good parts keeps what verdicts and
        AUPRO need.
        """

    def advance(self, images: int) -> None:
        """Report progress of per-image work that does not go through `images`."""

    def log(self, message: str) -> None: ...
