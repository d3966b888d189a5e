"""Segment images with an exported network: python segment_with_onnx.py NETWORK.onnx IMAGE...

Needs onnxruntime, Pillow and numpy alone. Writes IMAGE_labels.png beside each image: class ids, 0 is background.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

network, *files = sys.argv[1:]
session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
height, width, _ = session.get_inputs()[0].shape
for file in map(Path, files):
    image = ImageOps.exif_transpose(Image.open(file))
    if image.mode[0] in "IF":  # conversion would clip it to 8 bits
        sys.exit(f"{file}: not an 8-bit image; convert it as the training images were")
    image = image.convert("RGB")
    if isinstance(height, int):  # exported for one size
        image = image.resize((width, height))
    labels, probabilities = session.run(["labels", "probabilities"], {"image": np.asarray(image)})
    Image.fromarray(labels).save(file.with_name(f"{file.stem}_labels.png"))
    pixels = np.bincount(labels.ravel(), minlength=len(classes))[1:]
    verdict = classes[1 + pixels.argmax()] if pixels.any() else "OK"
    print(f"{file}: {verdict}, score {probabilities[1:].max():.4f}")
