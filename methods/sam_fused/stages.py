"""Stages of the SAM-fused pseudo-labels: SAM's masks and their fusion with P1's CAMs."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from datasets.files.images import write_labels
from datasets.loading.loader import Batch
from methods.artifacts import Cam, CamReader, label_map_path, write_cams
from methods.base import StageContext
from methods.layers.cam import resize
from methods.layers.optim import build_optimiser, schedule
from methods.layers.sam.model import POSITIVE, load_sam, masks_of_views, normalisation_of
from methods.layers.sam.views import View, all_views, draw_views
from methods.pictures import contact_sheet, write_picture
from methods.sam_fused.config import (
    FusionStageConfig,
    MaskStageConfig,
    PromptConfig,
    RuleConfig,
    ViewConfig,
)
from methods.sam_fused.fusion import (
    EvidenceReader,
    FusionNetwork,
    fused_labels,
    fusion_batches,
    fusion_loss,
)
from methods.sam_fused.prompts import Prompts, cam_prompts, padded
from methods.sam_fused.reliability import mean_mask, reliability
from methods.sam_fused.rules import fused_by_rule


def views_of(config: ViewConfig) -> list[View]:
    """The views that settings ask for."""
    turns = [degrees // 90 for degrees in config.rotations]
    return draw_views(all_views(config.mirror, turns, config.scales), config.count)


def masks(context: StageContext, settings: MaskStageConfig) -> None:
    """SAM's masks of the training images' present classes, the mean over the views (Eq. 3), at the image's size.

    The entropy of the class that is least agreed upon is kept as a picture, and, of the images that reports show,
    the masks of all views, class after class.
    """
    sam = load_sam(settings.sam, context.weights_path(settings.sam.weights)).to(context.device)
    cams = CamReader(context.inputs["cam"].path)
    views = views_of(settings.views)
    normalisation, precision = normalisation_of(sam), settings.sam.precision
    shown = {sample.id for sample in context.view.examples()}
    asked = found = 0
    for name, samples in context.shards(context.view.samples("train")):
        written: dict[str, Cam] = {}
        for batch in context.images(samples, normalisation, settings.batch_size):
            prompts = padded([prompts_of(i, cams[i], settings.prompts) for i in batch.ids])
            points, labels = (part.to(context.device) for part in prompts)
            every = masks_of_views(
                sam,
                batch.images,
                points,
                labels,
                views,
                settings.views.frames,
                settings.views.largest,
                precision,
                settings.sam.fillers,
            )
            for position, (sample_id, means) in enumerate(zip(batch.ids, mean_mask(every).cpu())):
                present = cams[sample_id].classes
                own = means[: len(present)]
                written[sample_id] = Cam(own.numpy().astype(np.float16), present, batch.size)
                write_picture(context.output, "entropy of the views", sample_id, 1 - reliability(own))
                if sample_id in shown and present:
                    of_views = every[:, position, : len(present)].transpose(0, 1).flatten(0, 1)
                    write_picture(
                        context.output, "masks of the views", sample_id, contact_sheet(of_views.cpu())
                    )
            asked += sum(len(cams[i].classes) for i in batch.ids)
            found += int((prompts.labels == POSITIVE).any(2).sum())
        write_cams(context.output / f"{name}.safetensors", {s.id: written[s.id] for s in samples})
    if found < asked:
        context.log(
            f"{asked - found} of {asked} classes have no confident region, and so no prompt and no mask"
        )


def prompts_of(sample_id: str, cam: Cam, config: PromptConfig) -> Prompts:
    """Prompts of an image's present classes, from its CAMs at the image's size."""
    if not cam.classes:
        return cam_prompts(np.zeros((1, *cam.size), np.float32), config, 0)
    maps = resize(torch.from_numpy(cam.maps).float()[None], cam.size)[0].numpy()
    return cam_prompts(maps, config, zlib.crc32(sample_id.encode()))


def fuse(context: StageContext, settings: FusionStageConfig) -> None:
    """Train the network that fuses P1 and P2."""
    network = FusionNetwork(len(context.view.classes), settings.fusion)
    train = settings.fusion.train
    batches = fusion_batches(
        context.view.samples("train"),
        _evidence(context, settings),
        settings.fusion,
        context.seed,
        context.device,
    )

    def losses(network: nn.Module, batch: Batch) -> Mapping[str, torch.Tensor]:
        dense = batch.dense_maps
        return {"fusion": fusion_loss(network(batch.images), dense["labels"], dense["weights"])}

    optimiser = build_optimiser(network, [], train)
    context.train(network, optimiser, losses, batches, train.iterations, schedule(train))
    save_file(network.state_dict(), context.output / "network.safetensors")


@torch.inference_mode()
def pseudo_label(context: StageContext, settings: FusionStageConfig) -> None:
    """P: the fused label map of every training image."""
    network = FusionNetwork(len(context.view.classes), settings.fusion)
    network.load_state_dict(load_file(context.inputs["fusion"].path / "network.safetensors"))
    network.to(context.device).eval()
    evidence = _evidence(context, settings)
    for _, samples in context.shards(context.view.samples("train")):
        for sample in samples:
            maps = evidence[sample.id].maps.to(context.device)
            labels = fused_labels(network(maps[None])[0], sample.labels)
            write_labels(label_map_path(context.output, sample.id), labels.cpu())
            context.advance(1)


def pseudo_label_by_rule(context: StageContext, settings: RuleConfig) -> None:
    """P: P1 and P2 of every training image, fused by a rule."""
    cams, means = (CamReader(context.inputs[role].path) for role in ("cam", "masks"))
    for _, samples in context.shards(context.view.samples("train")):
        for sample in samples:
            cam = cams[sample.id]
            first, second = (torch.from_numpy(maps) for maps in (cam.maps, means[sample.id].maps))
            labels = fused_by_rule(first, second, cam.classes, cam.size, settings)
            write_labels(label_map_path(context.output, sample.id), labels)
            context.advance(1)


def _evidence(context: StageContext, settings: FusionStageConfig) -> EvidenceReader:
    cams, means = (CamReader(context.inputs[role].path) for role in ("cam", "masks"))
    images = {sample.id: sample.image for sample in context.view.samples("train")}
    return EvidenceReader(cams, means, len(context.view.classes), settings, images)
