"""CAM networks, and the stages that they have in common: training, released checkpoint, CAM, image scores, profile.

A method's network says what is its own (`build`, `heads`, `losses`, `maps`, `scores`); its stages are then
"package.network:Class.classify", ".released", ".cam" and ".image_scores" (`methods.pipeline` makes their graph).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence, Set
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from safetensors.torch import save_file
from torch import nn

from datasets.base import DenseMap
from datasets.loading.loader import Batch, ImageBatch
from datasets.recipe import Normalisation, View
from methods.base import ForwardPass, Inputs, StageContext
from methods.layers.cam import min_max, normalise, resize
from methods.layers.cam_inference import write_multi_scale_cams
from methods.layers.config import CamStageConfig, ReleasedConfig, ScoresConfig, TrainingConfig
from methods.layers.forward_passes import alone, multi_scale_cams
from methods.layers.image_scores import write_classifications
from methods.layers.optim import build_optimiser, fit
from methods.layers.tiles import grid_of
from methods.layers.weights.files import load_trained
from methods.layers.weights.released import write_released
from methods.pictures import contact_sheet, write_picture


class CamNetwork(nn.Module, ABC):
    """A network with maps of classes. What is passed to it is normalised by `normalisation`.

    title:    what `profile` calls it; steps: what its maps are made with, as `profile` says it ("refined; ")
    in_training: patterns of the names of parameters that inference does not need, which are not kept
    """

    title: ClassVar[str] = "CAM network"
    steps: ClassVar[str] = ""
    in_training: ClassVar[tuple[str, ...]] = ()
    file: ClassVar[str] = "network"

    @property
    @abstractmethod
    def normalisation(self) -> Normalisation: ...

    @classmethod
    @abstractmethod
    def build(cls, config: Any, classes: int, weights: Path | None = None) -> Self:
        """The network of its settings, `TrainingConfig.network`; weights: pretrained ones, None: random."""

    @abstractmethod
    def maps(self, images: torch.Tensor, settings: Any) -> torch.Tensor:
        """Images (B, 3, H, W) of any size -> maps (B, C, h, w), not negative, or those of all `folders`, (B, F C, h, w).

        settings: the CAM stage's
        """

    @abstractmethod
    def scores(self, images: torch.Tensor) -> torch.Tensor:
        """Images (B, 3, H, W) of any size -> logits (B, C)."""

    def names(self, state: Mapping[str, torch.Tensor], config: Any) -> Mapping[str, torch.Tensor]:
        """A released checkpoint's state under this network's names; config: the network's."""
        return state

    @staticmethod
    def folders(settings: Any) -> tuple[str, ...]:
        """Folders of the CAM stage's output that are written, "" being the output itself."""
        return ("",)

    @staticmethod
    def to_unit(maps: torch.Tensor) -> torch.Tensor:
        """Maps (..., h, w), summed over scales -> [0, 1]."""
        return normalise(maps)

    def attention(self, images: torch.Tensor, settings: Any) -> Mapping[str, torch.Tensor]:
        """Maps (B, C, h, w) by title that reports show beside the CAMs, of images (B, 3, H, W); none by default."""
        return {}

    @classmethod
    def trained(cls, context: StageContext, file: str = "network", config: Any = None) -> Self:
        """The network of the stage's input `weights`, by its settings or by `config`, ready for inference."""
        weights = context.inputs["weights"]
        network = cls.build(config or weights.settings.network, len(context.view.classes))
        load_trained(network, weights.path / f"{file}.safetensors", cls.in_training)
        return network.to(context.device).eval()

    @classmethod
    def released(cls, context: StageContext, settings: ReleasedConfig) -> None:
        """Stage: the network of a checkpoint of the paper's code, in place of a training."""
        network = cls.build(settings.network, len(context.view.classes))
        write_released(
            context,
            settings,
            network,
            lambda state: network.names(state, settings.network),
            f"{cls.file}.safetensors",
        )

    @classmethod
    def cam(cls, context: StageContext, settings: CamStageConfig) -> None:
        """Stage: multi-scale CAMs of the training images; of examples that are whole, also what else reports show."""
        network = cls.trained(context, settings.trained)
        shown = {sample.id for sample in context.view.examples()}
        write_multi_scale_cams(
            context,
            lambda images: network.maps(images, settings),
            network.normalisation,
            settings.inference,
            cls.folders(settings),
            cls.to_unit,
            lambda batch: network._picture(context, batch, shown, settings),
            grid=grid_of(network),
        )

    def _picture(self, context: StageContext, batch: ImageBatch, shown: Set[str], settings: Any) -> None:
        """Keep `attention` of the images that are shown: their present classes beside each other, as CAMs are."""
        chosen = [n for n, sample_id in enumerate(batch.ids) if sample_id in shown and batch.labels[n].any()]
        if not chosen or settings.inference.tiles.on:
            return
        for title, maps in self.attention(batch.images[chosen], settings).items():
            enlarged = resize(min_max(maps), batch.size).cpu()
            for n, of_image in zip(chosen, enlarged):
                write_picture(
                    context.output, title, batch.ids[n], contact_sheet(of_image[batch.labels[n].cpu() > 0])
                )

    @classmethod
    def image_scores(cls, context: StageContext, settings: ScoresConfig) -> None:
        """Stage: the classifier's logits of the validation images."""
        network = cls.trained(context, settings.trained)
        write_classifications(context, network.scores, network.normalisation, settings, grid_of(network))

    @classmethod
    def profile_cam(
        cls, settings: CamStageConfig, inputs: Inputs, classes: int, size: tuple[int, int]
    ) -> list[ForwardPass]:
        network = cls.build(inputs["weights"].network, classes).eval()
        title = cls.title if settings.trained == CamNetwork.file else settings.trained
        forward: Callable[[Any, torch.Tensor], torch.Tensor] = lambda m, x: m.maps(x, settings)  # noqa: E731
        return [multi_scale_cams(title, network, forward, settings.inference, size, cls.steps)]


class CamClassifier(CamNetwork):
    """A CAM network that the shared training trains."""

    @abstractmethod
    def heads(self) -> list[nn.Module]:
        """Modules that learn at the head's rate."""

    @abstractmethod
    def losses(self, forward: nn.Module, batch: Batch, settings: Any) -> Mapping[str, torch.Tensor]:
        """Named scalar terms of a batch; settings: the training's.

        forward: this network as it is to be called, which is wrapped in distributed training
        """

    @classmethod
    def build_for_training(cls, settings: Any, classes: int, weights: Path | None) -> Self:
        return cls.build(settings.network, classes, weights)

    @classmethod
    def dense_maps(cls, context: StageContext, settings: Any) -> Mapping[str, DenseMap]:
        """Maps that come with the batches, by name."""
        return {}

    @staticmethod
    def views(settings: Any) -> Sequence[View]:
        """Of each training image, besides the one that the recipe gives."""
        return ()

    @classmethod
    def classify(cls, context: StageContext, settings: TrainingConfig) -> None:
        """Stage: the training. Writes network.safetensors."""
        weights = context.weights_path(settings.network.weights)
        network = cls.build_for_training(settings, len(context.view.classes), weights)
        fit(
            context,
            network,
            build_optimiser(network, network.heads(), settings.train),
            settings.train,
            network.normalisation,
            lambda forward, batch: network.losses(forward, batch, settings),
            cls.dense_maps(context, settings),
            cls.views(settings),
        )
        kept = {
            name: value
            for name, value in network.state_dict().items()
            if not any(fnmatchcase(name, pattern) for pattern in cls.in_training)
        }
        save_file(kept, context.output / "network.safetensors")

    @classmethod
    def profile_classify(
        cls, settings: TrainingConfig, inputs: Inputs, classes: int, size: tuple[int, int]
    ) -> list[ForwardPass]:
        network = cls.build(settings.network, classes).eval()
        return [alone(cls.title, network, settings.train.recipe.crop)]
