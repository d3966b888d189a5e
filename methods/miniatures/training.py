"""Pretraining of the miniature networks that ship with the project, each reproducible from here.

They play the parts of ImageNet, saliency, CLIP and SAM models at the nano scale, so they are trained on generated
worlds of their own (`datasets.pretraining.forms` and those beside it), never on benchmark images. The shipped file's hash
is what counts; a re-run must match its score, not its bits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from datasets.pretraining.captions import captioned_pictures
from datasets.pretraining.clicks import clicked_pictures
from datasets.pretraining.forms import PRETRAINING_CLASSES, pretraining_batch
from methods.layers.config import BackboneConfig, VitConfig
from methods.layers.networks.backbones import build_backbone
from methods.layers.networks.vit import build_trunk
from methods.layers.saliency import nano as saliency
from methods.layers.sam import nano as sam_nano
from methods.layers.weights.files import SHIPPED
from methods.miniatures import clip, clip_vit, sam, vit
from methods.miniatures.views import normalised, object_centred, plainer


@dataclass(frozen=True)
class PretrainSettings:
    """images: distinct training images; held_out: images the score is measured on; size: pixels a side;
    crop: side of the classifier's object-centred views; plain: share of the iterations over which pictures
    fade from silhouettes to full (`methods.miniatures.views`)."""

    images: int
    iterations: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.02
    held_out: int = 1024
    size: int = 96
    crop: int = 0
    plain: float = 0.0
    seed: int = 1


@dataclass(frozen=True)
class Miniature:
    """A miniature: how to build it, its loss, its score on held-out pictures and what of it is shipped.

    build:   () -> network
    loss:    (network, settings, images (B, 3, S, S), *truth (B, ...), progress in [0, 1]) -> scalar
    score:   (network, settings, images, *truth) -> score of each picture summed, in [0, B]
    shipped: network -> the state dict that is kept
    pictures: (seed, start, count, size) -> the generated world's pictures, with `images` (B, 3, S, S) uint8
    truth:   names of the two fields of `pictures` that loss and score are given: labels (B,) and masks (B, S, S),
             or what stands for them
    scaled:  images uint8 -> what loss and score are given: with ImageNet's statistics, unless said otherwise
    """

    summary: str
    metric: str
    settings: PretrainSettings
    build: Callable[[], Any]
    loss: Callable[..., Tensor]
    score: Callable[..., float]
    shipped: Callable[[Any], dict[str, Tensor]]
    pictures: Callable[..., Any] = pretraining_batch
    truth: tuple[str, str] = ("labels", "masks")
    scaled: Callable[[Tensor], Tensor] = normalised

    def draw(self, start: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Images (B, 3, S, S) uint8 and their truth, from number `start` of the endless list on."""
        drawn = self.pictures(self.settings.seed, start, count, self.settings.size)
        images, first, second = (torch.from_numpy(getattr(drawn, name)) for name in ("images", *self.truth))
        return images, first, second


def _classifier() -> nn.Module:
    backbone = build_backbone(BackboneConfig("resnet38d_nano", "none", 4))
    head = nn.Linear(backbone.channels, len(PRETRAINING_CLASSES))
    return nn.Sequential(backbone, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


def _classification_loss(
    network: nn.Module,
    settings: PretrainSettings,
    images: Tensor,
    labels: Tensor,
    masks: Tensor,
    progress: float,
) -> Tensor:
    pictures = plainer(images, masks, min(1.0, 1.15 - 1.15 * progress / settings.plain))
    return cross_entropy(network(object_centred(pictures, masks, settings.crop, jitter=True)), labels)


def _hits(
    network: nn.Module, settings: PretrainSettings, images: Tensor, labels: Tensor, masks: Tensor
) -> float:
    """Number of pictures whose object-centred view is classified rightly."""
    found = network(object_centred(images, masks, settings.crop, jitter=False))
    logits = found.image if isinstance(found, vit.Answers) else found
    return float((logits.argmax(1) == labels).sum())


def _vit() -> nn.Module:
    trunk, _ = build_trunk(VitConfig("vit_nano"))
    teacher = BackboneConfig("resnet38d_nano", "nano/resnet38d_nano", 4, freeze_bn=True)
    path = SHIPPED / "resnet38d_nano.safetensors"
    return vit.TaughtViT(trunk, len(PRETRAINING_CLASSES), build_backbone(teacher, path))


def _saliency_iou(
    network: nn.Module, settings: PretrainSettings, images: Tensor, labels: Tensor, masks: Tensor
) -> float:
    return float(sam.mask_iou(network(images)[:, 0] > 0, masks > 0).sum())


def _sam() -> nn.Module:
    model = sam_nano.build_sam_nano()
    sam_nano.start_from_vit(model, SHIPPED / "vit_nano.safetensors")
    return model


MINIATURES: dict[str, Miniature] = {
    "resnet38d_nano": Miniature(
        "narrow ResNet-38d at output stride 4: the nano scale's ImageNet classifier",
        "accuracy",
        PretrainSettings(
            images=16384, iterations=9000, batch_size=32, learning_rate=4e-3, crop=48, plain=0.3
        ),
        _classifier,
        _classification_loss,
        _hits,
        lambda network: network[0].trunk.state_dict(),
    ),
    "vit_nano": Miniature(
        "small vision transformer, taught by resnet38d_nano: the nano scale's DeiT",
        "accuracy",
        PretrainSettings(
            images=16384, iterations=14000, batch_size=32, learning_rate=5e-3, weight_decay=0.05, crop=48
        ),
        _vit,
        lambda network, settings, images, labels, masks, progress: vit.pretraining_loss(
            network, object_centred(images, masks, settings.crop, jitter=True), labels
        ),
        _hits,
        lambda network: network.trunk.state_dict(),
    ),
    "saliency": Miniature(
        "small U-Net: the nano scale's class-agnostic saliency detector",
        "mean IoU",
        PretrainSettings(images=12288, iterations=5000, batch_size=16, learning_rate=3e-3),
        saliency.SaliencyNet,
        lambda network, settings, images, labels, masks, progress: saliency.pretraining_loss(
            network, images, masks
        ),
        _saliency_iou,
        lambda network: network.state_dict(),
    ),
    "clip": Miniature(
        "narrow open_clip model with CLIP's tokenizer: the nano scale's CLIP",
        "zero-shot accuracy",
        PretrainSettings(images=12288, iterations=4400, batch_size=32, learning_rate=2e-3, size=72),
        clip.ClipPretraining,
        lambda network, settings, *batch: clip.pretraining_loss(network, *batch),
        lambda network, settings, images, styles, nouns: clip.zero_shot_score(network, images, nouns),
        lambda network: network.shipped(),
        captioned_pictures,
        ("styles", "nouns"),
        lambda images: images.float() / 255,
    ),
    "clip_vit": Miniature(
        "CLIP with a small vision transformer, taught by clip: for methods that need tokens of patches",
        "zero-shot accuracy",
        PretrainSettings(
            images=6144, iterations=1800, batch_size=32, learning_rate=3e-3, weight_decay=0.05, size=72
        ),
        clip_vit.TaughtClip,
        lambda network, settings, *batch: clip_vit.pretraining_loss(network, *batch),
        lambda network, settings, images, styles, nouns: clip.zero_shot_score(network, images, nouns),
        lambda network: network.shipped(),
        captioned_pictures,
        ("styles", "nouns"),
        lambda images: images.float() / 255,
    ),
    "sam": Miniature(
        "segment_anything's classes at tiny width: the nano scale's SAM",
        "mask IoU from one click",
        PretrainSettings(images=8192, iterations=2400, batch_size=16, learning_rate=1e-3, size=128),
        _sam,
        lambda network, settings, images, clicked, things, progress: sam.pretraining_loss(
            network, images, things
        ),
        lambda network, settings, *batch: sam.one_click_score(network, *batch),
        sam_nano.shipped_state,
        clicked_pictures,
        ("clicked", "things"),
    ),
}


def pretrain(name: str, output: Path = SHIPPED, report: Callable[[str], None] = print) -> dict[str, Any]:
    """Train a miniature and write `<name>.safetensors` and `<name>.json` (settings, score, hash) to `output`.

    Returns what the JSON holds.
    """
    miniature, settings = MINIATURES[name], MINIATURES[name].settings
    torch.manual_seed(settings.seed)
    network = miniature.build()
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=settings.iterations, pct_start=0.15
    )
    images, labels, masks = miniature.draw(0, settings.images)
    network.train()
    total, every = 0.0, max(1, settings.iterations // 10)
    for iteration in range(settings.iterations):
        chosen = torch.randint(0, settings.images, (settings.batch_size,))
        progress = iteration / settings.iterations
        batch = (miniature.scaled(images[chosen]), labels[chosen], masks[chosen])
        loss = miniature.loss(network, settings, *batch, progress)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        total += loss.item()
        if (iteration + 1) % every == 0:
            report(f"{name}: iteration {iteration + 1}/{settings.iterations}, loss {total / every:.4f}")
            total = 0.0
    output.mkdir(parents=True, exist_ok=True)
    path = output / f"{name}.safetensors"
    save_file({k: v.contiguous() for k, v in miniature.shipped(network).items()}, path)
    card = {
        "summary": miniature.summary,
        "settings": asdict(settings),
        "metric": miniature.metric,
        "score": round(_score(miniature, network), 4),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    (output / f"{name}.json").write_text(json.dumps(card, indent=1) + "\n")
    return card


def shipped_card(name: str) -> dict[str, Any] | None:
    """Settings, score and hash recorded with the shipped weights; None where none are shipped."""
    if not (SHIPPED / f"{name}.json").exists():
        return None
    return json.loads((SHIPPED / f"{name}.json").read_text())  # type: ignore[no-any-return]


def _score(miniature: Miniature, network: nn.Module) -> float:
    """Score on pictures that training has not seen."""
    settings = miniature.settings
    images, labels, masks = miniature.draw(settings.images, settings.held_out)
    network.eval()
    with torch.inference_mode():
        return (
            sum(
                miniature.score(network, settings, miniature.scaled(i), y, m)
                for i, y, m in zip(images.split(128), labels.split(128), masks.split(128))
            )
            / settings.held_out
        )
