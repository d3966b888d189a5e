"""Stages of PSA: affinity labels, affinity network, random walk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from datasets.base import Sample
from datasets.files.images import write_labels
from datasets.loading.loader import Batch
from methods.artifacts import CamReader, label_dense_map, label_map_path
from methods.base import MethodError, StageContext
from methods.layers.cam import resize
from methods.layers.crf import CrfPool
from methods.layers.networks.backbones import build_backbone
from methods.layers.optim import build_optimiser, fit
from methods.layers.weights.files import load_trained
from methods.layers.weights.released import RESNET38D, ReleasedConfig, Rule, renamed, write_released
from methods.refiners.affinity_labels import confident_labels
from methods.refiners.cam_maps import (
    background_score,
    class_ids,
    crf_picture,
    crf_size,
    resized_maps,
    write_winners,
)
from methods.refiners.psa.config import AffinityLabelConfig, AffinityTrainingConfig, WalkConfig
from methods.refiners.psa.network import AffinityNetwork, affinity_losses, pair_affinities
from methods.refiners.random_walk import SparseTransition, disc_offsets, random_walk

RELEASED: tuple[Rule, ...] = (
    (r"f8_([345])\.weight", lambda match: f"reduce.{int(match[1]) - 3}.weight"),
    (r"f9\.weight", "fuse.weight"),
    *RESNET38D,
)
"""Names of PSA's code and this network's."""


def label(context: StageContext, settings: AffinityLabelConfig) -> None:
    """Write a label map of every training image: the foreground and background that two CRFs are sure of.

    Either CRF starts from the CAM and the background score (1 - max CAM)^power; see `confident_labels`.
    """
    cams = CamReader(context.inputs["cam"].path)
    with CrfPool(settings.crf) as pool:
        for _, samples in context.shards(context.view.samples("train")):
            posteriors = pool.map(_crf_jobs(samples, cams, settings))
            for sample in samples:
                cam = cams[sample.id]
                values = class_ids(cam.classes)
                low, high = (values[torch.from_numpy(next(posteriors)).argmax(0)] for _ in settings.powers)
                labels = F.interpolate(
                    confident_labels(low, high)[None, None], cam.size, mode="nearest-exact"
                )
                write_labels(label_map_path(context.output, sample.id), labels[0, 0])
                context.advance(1)


def _crf_jobs(
    samples: Sequence[Sample], cams: CamReader, settings: AffinityLabelConfig
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(image, probabilities) for each sample and power."""
    for sample in samples:
        cam = cams[sample.id]
        size = crf_size(cam, settings.crf_stride)
        pixels, maps = crf_picture(sample.image, size), resized_maps(cam, size)
        for power in settings.powers:
            scores = torch.cat([background_score(maps, power), maps]).clamp_min(1e-5)
            yield pixels, (scores / scores.sum(0)).numpy()


def train(context: StageContext, settings: AffinityTrainingConfig) -> None:
    """Train the affinity network on the affinity labels. Writes network.safetensors."""
    backbone = build_backbone(settings.network, context.weights_path(settings.network.weights))
    crop, stride = settings.train.recipe.crop, backbone.output_stride
    if crop % stride:
        raise MethodError(
            f"refiner.psa.train.recipe.crop={crop} is no multiple of the backbone's output stride {stride}; "
            f"choose {crop // stride * stride}"
        )
    network = AffinityNetwork(backbone)
    offsets = disc_offsets(settings.radius)

    def losses(network: nn.Module, batch: Batch) -> Mapping[str, torch.Tensor]:
        affinities = pair_affinities(network(batch.images), offsets)
        return affinity_losses(affinities, batch.dense_maps["labels"], stride, offsets)

    optimiser = build_optimiser(network, network.head, settings.train)
    labels = {"labels": label_dense_map(context.inputs["labels"].path)}
    fit(context, network, optimiser, settings.train, backbone.normalisation, losses, labels)
    save_file(network.state_dict(), context.output / "network.safetensors")


def released(context: StageContext, settings: ReleasedConfig) -> None:
    """The affinity network of a checkpoint of PSA's code; settings.network: its backbone."""
    network = AffinityNetwork(build_backbone(settings.network))
    write_released(context, settings, network, lambda state: renamed(state, RELEASED))


@torch.inference_mode()
def pseudo_label(context: StageContext, settings: WalkConfig) -> None:
    """Write a label map of every training image: argmax of the walked CAM and background, upsampled.

    They walk at the network's stride, to which they are averaged; the image is padded to whole cells.
    """
    trained = context.inputs["affinity"]
    network = AffinityNetwork(build_backbone(trained.settings.network))
    load_trained(network, trained.path / "network.safetensors")
    network.to(context.device).eval()
    cams = CamReader(context.inputs["cam"].path)
    normalisation = network.backbone.normalisation
    for _, samples in context.shards(context.view.samples("train")):
        for batch in context.images(samples, normalisation, settings.batch_size):
            features = padded_features(network, batch.images)
            found = [cams[i] for i in batch.ids]
            maps = pad_sequence([resized_maps(cam, batch.size) for cam in found], batch_first=True)
            winners = walk(features, maps.to(context.device), settings, network.backbone.output_stride).cpu()
            write_winners(context.output, batch.ids, found, winners)


def padded_features(network: AffinityNetwork, images: torch.Tensor) -> torch.Tensor:
    """Features (B, F, h, w) of images (B, 3, H, W) padded to whole cells."""
    stride = network.backbone.output_stride
    height, width = images.shape[-2:]
    return network(F.pad(images, (0, -width % stride, 0, -height % stride)))  # type: ignore[no-any-return]


def walk(features: torch.Tensor, maps: torch.Tensor, settings: WalkConfig, stride: int) -> torch.Tensor:
    """Walked labels (B, H, W): 0 background, k + 1 the k-th map.

    features: (B, F, h, w), of the padded images; maps: (B, K, H, W) in [0, 1], of the images
    """
    height, width = maps.shape[-2:]
    offsets = disc_offsets(settings.radius)
    transition = SparseTransition(offsets, pair_affinities(features, offsets), settings.beta)
    cells = F.avg_pool2d(_with_background(maps, settings), stride, ceil_mode=True)
    walked = random_walk(cells, transition, 2**settings.logt)
    padded = (walked.shape[-2] * stride, walked.shape[-1] * stride)
    return resize(walked, padded)[..., :height, :width].argmax(1)


def _with_background(maps: torch.Tensor, settings: WalkConfig) -> torch.Tensor:
    """(B, K, H, W) -> (B, 1 + K, H, W), the background first."""
    if settings.background_power is not None:
        return torch.cat([background_score(maps, settings.background_power), maps], 1)
    constant = maps.new_full((len(maps), 1, *maps.shape[-2:]), settings.background_threshold)
    return torch.cat([constant, maps], 1)
