"""Segment images with an exported network: python segment_with_onnx.py NETWORK.onnx IMAGE...

Needs onnxruntime, Pillow and numpy. Writes class ids (0: background) to IMAGE_labels.png, never over a file.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
height, width, _ = session.get_inputs()[0].shape
for file in map(Path, sys.argv[2:]):
    target = file.with_name(f"{file.stem}_labels.png")
    if target.exists():
        sys.exit(f"{target} is there already; move it away, or leave {file.name} out")
    image = ImageOps.exif_transpose(Image.open(file))
    if image.mode[0] in "IF":  # conversion would clip it to 8 bits
        sys.exit(f"{file}: not an 8-bit image; convert it as the training images were")
    image = image.convert("RGB")
    image = image.resize((width, height)) if isinstance(height, int) else image  # exported for one size
    labels, probabilities = session.run(["labels", "probabilities"], {"image": np.asarray(image)})
    Image.fromarray(labels).save(target)
    pixels = np.bincount(labels.ravel(), minlength=len(classes))[1:]
    verdict = classes[1 + pixels.argmax()] if pixels.any() else "OK"
    print(f"{file}: {verdict}, score {probabilities[1:].max():.4f}")
