"""Stages of IRNet: inter-pixel labels, network, random walk up to the edges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from datasets.base import IGNORE, Sample
from datasets.files.images import write_labels
from datasets.loading.loader import Batch
from methods.artifacts import CamReader, label_dense_map, label_map_path
from methods.base import MethodError, StageContext
from methods.layers.cam import resize
from methods.layers.crf import CrfPool
from methods.layers.networks.backbones import build_backbone
from methods.layers.optim import build_optimiser, fit
from methods.layers.weights.files import load_trained
from methods.layers.weights.released import (
    RESNET50,
    ReleasedConfig,
    Rule,
    renamed,
    require_undilated,
    write_released,
)
from methods.refiners.cam_maps import class_ids, crf_picture, crf_size, resized_maps, write_winners
from methods.refiners.irn.config import EdgeWalkConfig, InterPixelLabelConfig, InterPixelTrainingConfig
from methods.refiners.irn.network import InterPixelNetwork, inter_pixel_losses, smallest_crop
from methods.refiners.irn.paths import walk_to_edges

RELEASED: tuple[Rule, ...] = (
    (r"fc_edge([1-5])\.(.*)", lambda match: f"edge_levels.{int(match[1]) - 1}.{match[2]}"),
    (r"fc_edge6\.(.*)", r"edge.\1"),
    (r"fc_dp([1-5])\.(.*)", lambda match: f"displacement_levels.{int(match[1]) - 1}.{match[2]}"),
    (r"fc_dp6\.(.*)", r"displacement_coarse.\1"),
    (r"fc_dp7\.([01])\.(.*)", r"displacement.0.\1.\2"),
    (r"fc_dp7\.3\.(.*)", r"displacement.2.\1"),
    (r"mean_shift\.running_mean", "mean_displacement"),
    # second names, and what the loss keeps of its pairs
    (r"fc_dp7\.4\.running_mean|(edge|dp)_layers\..*|path_indices\d+|disp_target", None),
    *RESNET50,
)
"""Names of IRNet's code and this network's."""


def label(context: StageContext, settings: InterPixelLabelConfig) -> None:
    """Write a label map of every training image: foreground and background that are confident, 255 elsewhere.

    A CRF starts from the CAM against the high background score, another from that against the low one; see
    `foreground_before_background`.
    """
    cams = CamReader(context.inputs["cam"].path)
    with CrfPool(settings.crf) as pool:
        for _, samples in context.shards(context.view.samples("train")):
            posteriors = pool.map(_crf_jobs(samples, cams, settings))
            for sample in samples:
                cam = cams[sample.id]
                labels = torch.zeros(cam.size, dtype=torch.uint8)  # without a class all is background
                if cam.classes:
                    values = class_ids(cam.classes)
                    foreground, background = (
                        values[torch.from_numpy(next(posteriors)).argmax(0)] for _ in range(2)
                    )
                    found = foreground_before_background(foreground, background)
                    labels = F.interpolate(found[None, None], cam.size, mode="nearest-exact")[0, 0]
                write_labels(label_map_path(context.output, sample.id), labels)
                context.advance(1)


def foreground_before_background(foreground: torch.Tensor, background: torch.Tensor) -> torch.Tensor:
    """Label map of two of one image; 0 background, c + 1 class c, 255 ignored.

    foreground: (..., H, W), made with the high background score: what is no background in it is taken
    background: made with the low one: of the rest, what is background in it too is taken
    """
    rest = torch.where(background == 0, 0, IGNORE)
    return torch.where(foreground == 0, rest, foreground).to(foreground.dtype)


def _crf_jobs(
    samples: Sequence[Sample], cams: CamReader, settings: InterPixelLabelConfig
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(image, probabilities) for each sample that has classes and each threshold."""
    for sample in samples:
        cam = cams[sample.id]
        if not cam.classes:
            continue
        size = crf_size(cam, settings.crf_stride)
        pixels, maps = crf_picture(sample.image, size), resized_maps(cam, size)
        for threshold in (settings.confident_foreground, settings.confident_background):
            scores = torch.cat([torch.full((1, *size), threshold), maps])
            yield pixels, label_probabilities(scores, settings.label_probability).numpy()


def label_probabilities(scores: torch.Tensor, own: float) -> torch.Tensor:
    """Scores (L, H, W), L > 1 -> probabilities: `own` of the highest label, the others share the rest."""
    won = F.one_hot(scores.argmax(0), len(scores)).movedim(-1, 0).bool()
    return torch.where(won, own, (1 - own) / (len(scores) - 1))


def train(context: StageContext, settings: InterPixelTrainingConfig) -> None:
    """Train the branches on the inter-pixel labels. Writes network.safetensors."""
    backbone = build_backbone(settings.network, context.weights_path(settings.network.weights))
    network = InterPixelNetwork(backbone)
    crop, least = settings.train.recipe.crop, smallest_crop(network.stride, settings.radius)
    if crop < least:
        raise MethodError(
            f"refiner.irn.train.recipe.crop={crop} has no pairs of cells at "
            f"refiner.irn.training_radius={settings.radius}; choose {least} or more, or a smaller radius"
        )
    stride, radius = network.stride, settings.radius

    def losses(network: nn.Module, batch: Batch) -> Mapping[str, torch.Tensor]:
        edges, displacements = network(batch.images)
        labels = batch.dense_maps["labels"]
        return inter_pixel_losses(edges.sigmoid(), displacements, labels, stride, radius)

    optimiser = build_optimiser(network, network.displacement_branch, settings.train)
    made = {"labels": label_dense_map(context.inputs["labels"].path)}
    fit(context, network, optimiser, settings.train, backbone.normalisation, losses, made)
    network.mean_displacement.copy_(mean_displacement(context, network, settings.train.batch_size))
    save_file(network.state_dict(), context.output / "network.safetensors")


def released(context: StageContext, settings: ReleasedConfig) -> None:
    """The network of a checkpoint of IRNet's code; settings.network: its backbone."""
    network = InterPixelNetwork(build_backbone(settings.network))

    def names(state: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        require_undilated(state, settings.network, "refiner.irn.backbone")
        return renamed(state, RELEASED)

    write_released(context, settings, network, names)


@torch.inference_mode()
def mean_displacement(context: StageContext, network: InterPixelNetwork, batch_size: int) -> torch.Tensor:
    """Mean (2,) over the training images of their mean displacements, as (dy, dx)."""
    network.eval()
    samples = context.view.samples("train")
    total = torch.zeros(2, device=context.device)
    for batch in context.images(samples, network.backbone.normalisation, batch_size):
        total += network(batch.images)[1].mean((2, 3)).sum(0)
    return total / len(samples)


@torch.inference_mode()
def pseudo_label(context: StageContext, settings: EdgeWalkConfig) -> None:
    """Write a label map of every training image: argmax of a constant and the walked CAM, upsampled, / maximum.

    The maximum is that over all classes of the image: a class that little is left of loses its pixels.
    """
    trained = context.inputs["inter_pixel"]
    network = InterPixelNetwork(build_backbone(trained.settings.network))
    load_trained(network, trained.path / "network.safetensors")
    network.to(context.device).eval()
    cams = CamReader(context.inputs["cam"].path)
    for _, samples in context.shards(context.view.samples("train")):
        for batch in context.images(samples, network.backbone.normalisation, settings.batch_size):
            edges = network.boundaries(batch.images)
            grid = (edges.shape[-2], edges.shape[-1])
            found = [cams[i] for i in batch.ids]
            # an image without classes has one map of zeros, which is all background
            maps = pad_sequence([resized_maps(cam, grid, least=1) for cam in found], batch_first=True)
            winners = walk(edges, maps.to(context.device), settings, batch.size).cpu()
            write_winners(context.output, batch.ids, found, winners)


def walk(
    edges: torch.Tensor, maps: torch.Tensor, settings: EdgeWalkConfig, size: tuple[int, int]
) -> torch.Tensor:
    """Walked labels (B, *size): 0 background, k + 1 the k-th map. edges: (B, 1, h, w), maps: (B, K, h, w)."""
    walked = walk_to_edges(maps, edges, settings.radius, settings.beta, settings.exp_times)
    return _winners(resize(walked, size), settings.background_threshold)


def _winners(walked: torch.Tensor, background_threshold: float) -> torch.Tensor:
    """(B, K, H, W), not negative -> (B, H, W): 0 background, k + 1 the k-th map; all background for zeros."""
    highest = walked.amax((1, 2, 3), keepdim=True).clamp_min(torch.finfo(walked.dtype).tiny)
    return F.pad(walked / highest, (0, 0, 0, 0, 1, 0), value=background_threshold).argmax(1)
