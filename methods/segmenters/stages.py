"""Training and inference of the segmentation network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import cross_entropy, interpolate

from datasets.base import IGNORE, DenseMap
from datasets.files.images import read_image, write_labels
from datasets.loading.loader import Batch
from datasets.recipe import Normalisation
from methods.artifacts import label_dense_map, label_map_path
from methods.base import StageContext
from methods.layers.config import CrfConfig, SegmenterConfig, TilesConfig
from methods.layers.crf import CrfPool
from methods.layers.networks.deeplab import DeepLab, build_segmenter
from methods.layers.networks.smp import SmpNetwork
from methods.layers.optim import build_optimiser, fit
from methods.layers.tiles import grid_of, tiled
from methods.layers.upsampling import enlarged
from methods.layers.weights.files import load_trained
from methods.layers.weights.released import ReleasedConfig, write_released
from methods.segmenters.multi_scale import MultiScale, multi_scale_losses
from methods.segmenters.released import network_names


def segment(context: StageContext, settings: SegmenterConfig) -> None:
    """Train on the pseudo-labels of the training images."""
    train_segmentation(context, settings, label_dense_map(context.inputs["labels"].path))


def train_segmentation(context: StageContext, settings: SegmenterConfig, labels: DenseMap) -> None:
    """Train the network on label maps; pixel-wise cross-entropy, 255 ignored. Writes network.safetensors.

    With `loss_scales` it learns from several scales at once, see `MultiScale`.
    """
    weights = context.weights_path(settings.backbone.weights)
    network = build_segmenter(settings, len(context.view.classes), weights)
    optimiser = build_optimiser(network, network.new_layers, settings.train)
    learner: nn.Module = network
    losses: Callable[[nn.Module, Batch], Mapping[str, torch.Tensor]] = segmentation_losses
    if settings.loss_scales:
        learner, losses = MultiScale(network, settings.loss_scales), multi_scale_losses
    if settings.padding_is_background:
        losses = with_background_around(losses)
    fit(
        context,
        learner,
        optimiser,
        settings.train,
        network.normalisation,
        losses,
        {"labels": labels},
    )
    save_file(network.state_dict(), context.output / "network.safetensors")


def with_background_around(
    losses: Callable[[nn.Module, Batch], Mapping[str, torch.Tensor]],
) -> Callable[[nn.Module, Batch], Mapping[str, torch.Tensor]]:
    """The losses with background as the label of what lies outside an image."""

    def filled(network: nn.Module, batch: Batch) -> Mapping[str, torch.Tensor]:
        labels = batch.dense_maps["labels"].masked_fill(~batch.valid[:, 0], 0)
        return losses(network, dataclasses.replace(batch, dense_maps={**batch.dense_maps, "labels": labels}))

    return filled


def released(context: StageContext, settings: ReleasedConfig) -> None:
    """The network of a released checkpoint; settings.network: the segmenter's settings."""
    network = build_segmenter(settings.network, len(context.view.classes))
    write_released(context, settings, network, lambda state: network_names(state, settings.network))


def segmentation_losses(network: nn.Module, batch: Batch) -> Mapping[str, torch.Tensor]:
    """Cross-entropy of the logits upsampled to the labels' size, averaged over the others than 255."""
    labels = batch.dense_maps["labels"]
    logits = enlarged(network(batch.images), labels.shape[-2:])
    total = cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")
    return {"segmentation": total / (labels != IGNORE).sum().clamp_min(1)}


def predict(context: StageContext, settings: SegmenterConfig) -> None:
    """Write a label map of every validation image, and of the training images that reports show."""
    network = load_segmenter(context.inputs["weights"].path, settings, len(context.view.classes))
    network.to(context.device).eval()
    write_label_maps(
        context,
        network,
        network.normalisation,
        settings.test_batch_size,
        settings.test_scales,
        settings.test_flip,
        settings.test_crf,
        settings.test_tiles,
    )


def write_label_maps(
    context: StageContext,
    network: nn.Module,
    normalisation: Normalisation,
    batch_size: int,
    scales: Sequence[float],
    flip: bool,
    crf: CrfConfig | None,
    tiles: TilesConfig,
) -> None:
    """Write the label map of every validation image and of the reports' training images, and report its scores."""
    with CrfPool(crf) if crf is not None else nullcontext() as pool:
        for _, samples in context.shards((*context.view.samples("val"), *context.view.examples())):
            paths = {s.id: s.image for s in samples}
            for batch in context.images(samples, normalisation, batch_size, tiles.on):
                forward = tiled(network, tiles, batch.at_once, grid_of(network))
                probabilities = segmentation_probabilities(forward, batch.images, scales, flip)
                maps = label_maps(probabilities, [paths[i] for i in batch.ids], pool)
                for sample_id, labels, scores in zip(batch.ids, maps, probabilities):
                    write_labels(label_map_path(context.output, sample_id), labels)
                    context.report_scores(sample_id, scores)


def label_maps(probabilities: torch.Tensor, paths: Sequence[Path], pool: CrfPool | None) -> torch.Tensor:
    """The likeliest classes (B, H, W) uint8 on the CPU of (B, C + 1, H, W), with the pool's CRF if there is one.

    paths: files of the batch's images
    """
    labels = probabilities.argmax(1).to(torch.uint8).cpu()
    if pool is not None:
        labels = refined_by_crf(probabilities.cpu(), labels, paths, pool)
    return labels


def refined_by_crf(
    probabilities: torch.Tensor, labels: torch.Tensor, paths: Sequence[Path], pool: CrfPool
) -> torch.Tensor:
    """Dense CRF over each image's predicted classes and background; the others cannot win and cost time.

    probabilities (B, C + 1, H, W), labels (B, H, W) their argmax -> refined labels (B, H, W) uint8.
    """
    present = [torch.unique(torch.cat([labels.new_zeros(1), x.flatten()])) for x in labels]

    def jobs() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for path, scores, keep in zip(paths, probabilities, present):
            kept = scores[keep.long()].clamp_min(1e-5)
            yield read_image(path).permute(1, 2, 0).contiguous().numpy(), (kept / kept.sum(0)).numpy()

    refined = [keep[torch.from_numpy(q).argmax(0)] for keep, q in zip(present, pool.map(jobs()))]
    return torch.stack(refined)


@torch.inference_mode()
def segmentation_probabilities(
    network: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor, scales: Sequence[float], flip: bool
) -> torch.Tensor:
    """Mean softmax over scales and mirror images: (B, 3, H, W) -> (B, C + 1, H, W)."""
    size = images.shape[-2:]
    total = torch.zeros((), device=images.device)
    count = 0
    for scale in scales:
        scaled = images
        if scale != 1.0:
            target = (round(size[0] * scale), round(size[1] * scale))
            scaled = interpolate(images, target, mode="bilinear", align_corners=False, antialias=True)
        for mirrored in (False, True) if flip else (False,):
            logits = network(scaled.flip(-1) if mirrored else scaled)
            logits = logits.flip(-1) if mirrored else logits
            logits = interpolate(logits.float(), size, mode="bilinear", align_corners=False)
            probabilities = logits.softmax(1)
            total = total.add_(probabilities) if count else probabilities  # large images: no copy more
            count += 1
    return total.div_(count)


def load_segmenter(directory: Path, settings: SegmenterConfig, classes: int) -> DeepLab | SmpNetwork:
    """The trained network of a `segment` artifact."""
    bare = dataclasses.replace(settings, backbone=dataclasses.replace(settings.backbone, weights="none"))
    network = build_segmenter(bare, classes, None)
    load_trained(network, directory / "network.safetensors")
    return network
