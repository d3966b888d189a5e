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
from typing import TYPE_CHECKING, Any

from methods.layers.weights.files import SHIPPED

if TYPE_CHECKING:
    import torch
    from torch import nn


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


def _abstract_pictures(settings: PretrainSettings, start: int, count: int) -> tuple[Any, Any, Any]:
    import torch

    from datasets.pretraining.forms import pretraining_batch

    batch = pretraining_batch(settings.seed, start, count, settings.size)
    return torch.from_numpy(batch.images), torch.from_numpy(batch.labels), torch.from_numpy(batch.masks)


def _normalised(images: torch.Tensor) -> torch.Tensor:
    from methods.miniatures.views import normalised

    return normalised(images)


@dataclass(frozen=True)
class Miniature:
    """A miniature: how to build it, its loss, its score on held-out pictures and what of it is shipped.

    build:   () -> network
    loss:    (network, settings, images (B, 3, S, S), labels (B,), masks (B, S, S), progress in [0, 1])
             -> scalar
    score:   (network, settings, images, labels, masks) -> score of each picture summed, in [0, B]
    shipped: network -> the state dict that is kept
    pictures: (settings, start, count) -> images (B, 3, S, S) uint8, labels (B,), masks (B, S, S)
    scaled:  images uint8 -> what loss and score are given: with ImageNet's statistics, unless said otherwise
    """

    summary: str
    metric: str
    settings: PretrainSettings
    build: Callable[[], nn.Module]
    loss: Callable[..., torch.Tensor]
    score: Callable[..., float]
    shipped: Callable[[nn.Module], dict[str, torch.Tensor]]
    pictures: Callable[[PretrainSettings, int, int], tuple[Any, Any, Any]] = _abstract_pictures
    scaled: Callable[[torch.Tensor], torch.Tensor] = _normalised


def _classifier() -> nn.Module:
    from torch import nn

    from datasets.pretraining.forms import PRETRAINING_CLASSES
    from methods.layers.config import BackboneConfig
    from methods.layers.networks.backbones import build_backbone

    backbone = build_backbone(BackboneConfig("resnet38d_nano", "none", 4))
    return nn.Sequential(
        backbone,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(backbone.channels, len(PRETRAINING_CLASSES)),
    )


def _classification_loss(
    network: nn.Module, settings: PretrainSettings, images: Any, labels: Any, masks: Any, progress: float
) -> torch.Tensor:
    from torch.nn.functional import cross_entropy

    from methods.miniatures.views import object_centred, plainer

    pictures = plainer(images, masks, min(1.0, 1.15 - 1.15 * progress / settings.plain))
    return cross_entropy(network(object_centred(pictures, masks, settings.crop, jitter=True)), labels)


def _accuracy(network: nn.Module, settings: PretrainSettings, images: Any, labels: Any, masks: Any) -> float:
    from methods.miniatures.views import object_centred

    views = object_centred(images, masks, settings.crop, jitter=False)
    return float((network(views).argmax(1) == labels).sum())


def _vit() -> nn.Module:
    from datasets.pretraining.forms import PRETRAINING_CLASSES
    from methods.layers.config import BackboneConfig, VitConfig
    from methods.layers.networks.backbones import build_backbone
    from methods.layers.networks.vit import build_trunk
    from methods.miniatures.vit import TaughtViT

    trunk, _ = build_trunk(VitConfig("vit_nano"))
    teacher = BackboneConfig("resnet38d_nano", "nano/resnet38d_nano", 4, freeze_bn=True)
    path = SHIPPED / "resnet38d_nano.safetensors"
    return TaughtViT(trunk, len(PRETRAINING_CLASSES), build_backbone(teacher, path))


def _vit_loss(
    network: nn.Module, settings: PretrainSettings, images: Any, labels: Any, masks: Any, progress: float
) -> torch.Tensor:
    from methods.miniatures.views import object_centred
    from methods.miniatures.vit import pretraining_loss

    return pretraining_loss(network, object_centred(images, masks, settings.crop, jitter=True), labels)


def _vit_accuracy(
    network: nn.Module, settings: PretrainSettings, images: Any, labels: Any, masks: Any
) -> float:
    from methods.miniatures.views import object_centred

    views = object_centred(images, masks, settings.crop, jitter=False)
    return float((network(views).image.argmax(1) == labels).sum())


def _saliency() -> nn.Module:
    from methods.layers.saliency.nano import SaliencyNet

    return SaliencyNet()


def _saliency_loss(
    network: nn.Module, settings: PretrainSettings, images: Any, labels: Any, masks: Any, progress: float
) -> torch.Tensor:
    from methods.layers.saliency.nano import pretraining_loss

    return pretraining_loss(network, images, masks)


def _saliency_iou(
    network: nn.Module, settings: PretrainSettings, images: Any, labels: Any, masks: Any
) -> float:
    predicted = network(images)[:, 0] > 0
    truth = masks > 0
    union = (predicted | truth).sum((1, 2)).clamp_min(1)
    return float(((predicted & truth).sum((1, 2)) / union).sum())


def _captioned_pictures(settings: PretrainSettings, start: int, count: int) -> tuple[Any, Any, Any]:
    """Images, their styles, and the noun of each pixel."""
    import torch

    from datasets.pretraining.captions import captioned_pictures

    batch = captioned_pictures(settings.seed, start, count, settings.size)
    return torch.from_numpy(batch.images), torch.from_numpy(batch.styles), torch.from_numpy(batch.nouns)


def _clip() -> nn.Module:
    from methods.miniatures.clip import ClipPretraining

    return ClipPretraining()


def _clip_loss(
    network: nn.Module, settings: PretrainSettings, images: Any, styles: Any, nouns: Any, progress: float
) -> torch.Tensor:
    from methods.miniatures.clip import ClipPretraining, pretraining_loss

    assert isinstance(network, ClipPretraining)
    return pretraining_loss(network, images, styles, nouns, progress)


def _clip_accuracy(
    network: nn.Module, settings: PretrainSettings, images: Any, styles: Any, nouns: Any
) -> float:
    from methods.miniatures.clip import ClipPretraining, zero_shot_score

    assert isinstance(network, ClipPretraining)
    return zero_shot_score(network, images, nouns)


def _clicked_pictures(settings: PretrainSettings, start: int, count: int) -> tuple[Any, Any, Any]:
    """Images, the thing of each that the score clicks on, and the number of the thing at each pixel."""
    import torch

    from datasets.pretraining.clicks import clicked_pictures

    batch = clicked_pictures(settings.seed, start, count, settings.size)
    return torch.from_numpy(batch.images), torch.from_numpy(batch.clicked), torch.from_numpy(batch.things)


def _sam() -> nn.Module:
    from methods.layers.sam.nano import build_sam_nano, start_from_vit

    model = build_sam_nano()
    start_from_vit(model, SHIPPED / "vit_nano.safetensors")
    return model


def _sam_loss(
    network: nn.Module, settings: PretrainSettings, images: Any, clicked: Any, things: Any, progress: float
) -> torch.Tensor:
    from methods.miniatures.sam import pretraining_loss

    return pretraining_loss(network, images, things)


def _one_click_iou(
    network: nn.Module, settings: PretrainSettings, images: Any, clicked: Any, things: Any
) -> float:
    from methods.miniatures.sam import one_click_score

    return one_click_score(network, images, clicked, things)


def _sam_state(network: nn.Module) -> dict[str, torch.Tensor]:
    from methods.layers.sam.nano import shipped_state

    return shipped_state(network)


MINIATURES: dict[str, Miniature] = {
    "resnet38d_nano": Miniature(
        "narrow ResNet-38d at output stride 4: the nano scale's ImageNet classifier",
        "accuracy",
        PretrainSettings(
            images=16384, iterations=9000, batch_size=32, learning_rate=4e-3, crop=48, plain=0.3
        ),
        _classifier,
        _classification_loss,
        _accuracy,
        lambda network: network[0].trunk.state_dict(),  # type: ignore[index,union-attr]
    ),
    "vit_nano": Miniature(
        "small vision transformer, taught by resnet38d_nano: the nano scale's DeiT",
        "accuracy",
        PretrainSettings(
            images=16384, iterations=14000, batch_size=32, learning_rate=5e-3, weight_decay=0.05, crop=48
        ),
        _vit,
        _vit_loss,
        _vit_accuracy,
        lambda network: network.trunk.state_dict(),  # type: ignore[union-attr,operator]
    ),
    "saliency": Miniature(
        "small U-Net: the nano scale's class-agnostic saliency detector",
        "mean IoU",
        PretrainSettings(images=12288, iterations=5000, batch_size=16, learning_rate=3e-3),
        _saliency,
        _saliency_loss,
        _saliency_iou,
        lambda network: network.state_dict(),
    ),
    "clip": Miniature(
        "narrow open_clip model with CLIP's tokenizer: the nano scale's CLIP",
        "zero-shot accuracy",
        PretrainSettings(images=12288, iterations=4400, batch_size=32, learning_rate=2e-3, size=72),
        _clip,
        _clip_loss,
        _clip_accuracy,
        lambda network: network.shipped(),  # type: ignore[union-attr,operator]
        _captioned_pictures,
        lambda images: images.float() / 255,
    ),
    "sam": Miniature(
        "segment_anything's classes at tiny width: the nano scale's SAM",
        "mask IoU from one click",
        PretrainSettings(images=8192, iterations=2400, batch_size=16, learning_rate=1e-3, size=128),
        _sam,
        _sam_loss,
        _one_click_iou,
        _sam_state,
        _clicked_pictures,
    ),
}


def pretrain(name: str, output: Path = SHIPPED, report: Callable[[str], None] = print) -> dict[str, Any]:
    """Train a miniature and write `<name>.safetensors` and `<name>.json` (settings, score, hash) to `output`.

    Returns what the JSON holds.
    """
    import torch
    from safetensors.torch import save_file

    miniature, settings = MINIATURES[name], MINIATURES[name].settings
    torch.manual_seed(settings.seed)
    network = miniature.build()
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=settings.iterations, pct_start=0.15
    )
    images, labels, masks = miniature.pictures(settings, 0, settings.images)
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
    import torch

    settings = miniature.settings
    images, labels, masks = miniature.pictures(settings, settings.images, settings.held_out)
    network.eval()
    with torch.inference_mode():
        return (
            sum(
                miniature.score(network, settings, miniature.scaled(i), y, m)
                for i, y, m in zip(images.split(128), labels.split(128), masks.split(128))
            )
            / settings.held_out
        )
