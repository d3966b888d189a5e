"""Numbers that presets of several methods share: data sets' sizes, networks, trainings. Light to import.

A preset that differs in a number says so where it is; what is here is changed for all.
"""

from __future__ import annotations

from dataclasses import replace

from datasets.recipe import Recipe
from methods.layers.config import BackboneConfig, CamInferenceConfig, CrfConfig, TrainConfig, VitConfig

COCO = "paper/coco2014"
"""Key of the settings of paper scale on COCO (`methods.base.preset_key`); those of "paper" are VOC's."""
VOC_IMAGES = 10582
"""Images of VOC's train_aug: the papers' epochs are counted in iterations here."""
COCO_IMAGES = 82081
"""Images of COCO's train2014 with an object: what epochs are counted on there."""

NANO_BACKBONE = BackboneConfig("resnet38d_nano", "nano/resnet38d_nano", 4)
SMALL_BACKBONE = BackboneConfig("timm/tf_efficientnet_lite0", "timm/tf_efficientnet_lite0", 16)
RESNET38D = BackboneConfig(
    "resnet38d", "resnet38d/ilsvrc-cls_rna-a1_cls1000_ep-0001", 8, frozen_stages=2, freeze_bn=True
)
"""As EPS and PSA train it: first layers and all batch normalisations frozen."""
RESNET101 = BackboneConfig("resnet101", "torchvision/resnet101", 8, freeze_bn=True)
VGG16 = BackboneConfig("vgg16", "torchvision/vgg16", 8)
NANO_VIT = VitConfig("vit_nano", "nano/vit_nano")
SMALL_VIT = VitConfig("timm/vit_small_patch14_dinov2", "timm/vit_small_patch14_dinov2", final_norm=True)
"""DINOv2's tokens mean something after their LayerNorm, and its weights bear smaller steps than a new head needs."""
VIT_BASE = VitConfig(
    "timm/vit_base_patch16_224.orig_in21k_ft_in1k",
    "timm/vit_base_patch16_224.orig_in21k_ft_in1k",
    final_norm=True,
    normalisation="imagenet",
)
"""The file that ToCo's code starts from, and how it normalises images: the file's own mean and deviation are .5."""

NANO_RECIPE = Recipe(crop=80, scale=(0.9, 1.4), brightness=0.2, contrast=0.3, saturation=0.4, hue=0.5)
"""Of pictures up to 96 pixels long."""
NANO_TRAIN = TrainConfig(
    iterations=200,
    batch_size=16,
    optimiser="adamw",
    learning_rate=8e-3,
    weight_decay=0.01,
    head_multiplier=5.0,
    bias_multiplier=1.0,
    warmup=20,
    recipe=NANO_RECIPE,
)
"""Of the miniature backbone as a classifier; half or twice the rate gives CAMs of a lower mIoU."""
NANO_VIT_TRAIN = replace(NANO_TRAIN, iterations=300, learning_rate=3e-3, weight_decay=0.05, schedule="cosine")
"""Of the miniature transformer."""
SMALL_TRAIN = TrainConfig(
    iterations=200,
    batch_size=16,
    optimiser="adamw",
    learning_rate=1e-3,
    weight_decay=0.01,
    bias_multiplier=1.0,
    warmup=10,
    recipe=Recipe(crop=224, resize_long=(224, 288), brightness=0.2, contrast=0.2, saturation=0.2),
)
"""Six epochs of 528 pictures; ten fit its labels, and the maps shrink to an object's telling part."""
PAPER_TRAIN = TrainConfig(
    iterations=20000,
    batch_size=8,
    learning_rate=0.01,
    momentum=5e-4,
    weight_decay=5e-4,
    recipe=Recipe(crop=448, resize_long=(256, 512), brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1),
)
"""Of ResNet-38d as a classifier, as the logs of EPS's code print it; PSA resizes to (448, 768) instead."""
COCO_TRAIN = replace(
    PAPER_TRAIN,
    iterations=256500,
    batch_size=16,
    recipe=replace(PAPER_TRAIN.recipe, crop=321, resize_long=(256, 448)),
)
"""EPS's on COCO, by its code."""

NANO_INFERENCE = CamInferenceConfig(scales=(1.0, 1.5), batch_size=32)
"""Output stride 4 makes the miniature's cells as fine as the papers' largest scales."""
SMALL_INFERENCE = CamInferenceConfig(scales=(1.0, 1.5), batch_size=4)
"""Larger than the pictures trained on: at stride 16 the finer cells gain more than the change of scale costs."""
DEEPLAB_CRF = CrfConfig(10, 1.0, 3.0, 67.0, 3.0, 4.0)
"""deeplab-pytorch's, at test."""
