"""The files that a network is exported to, what they say of it, and how each is run."""

from __future__ import annotations

import importlib.util
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.export.network import ANY_SIZE, Exportable
from benchmark.failures import ConfigError, one_line

Run = Callable[[NDArray[np.uint8]], tuple[NDArray[np.uint8], NDArray[np.float32]]]
"""(H, W, 3) uint8 RGB -> labels (H, W), probabilities (C + 1, h, w)."""
INPUT, OUTPUTS = "image", ("labels", "probabilities")
OTHER_SIZES = ((75, 101), (224, 224))
"""(H, W) that a network which was traced at `ANY_SIZE` has to take: patches of no network divide the first, and those
of most the second. A transformer that resizes to whole patches does so at one of them only."""
METADATA = "metadata.json"
"""In a file of torch.export, of what the other files hold as their own metadata."""


@dataclass(frozen=True)
class Form:
    """A kind of file.

    ending: of its name; packages: that it needs; engine: what runs it
    """

    ending: str
    packages: tuple[str, ...]
    engine: str
    write: Callable[[torch.export.ExportedProgram, Path, dict[str, str]], None]
    load: Callable[[Path], Run]


def traced(module: Exportable, size: tuple[int, int] | None) -> torch.export.ExportedProgram:
    """The module for images of any height and width, or of `size` alone.

    Raises ConfigError where what the network does depends on the size in ways that cannot be traced.
    """
    shapes = None if size else ({0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC},)
    try:
        with torch.no_grad(), _quiet():
            program = torch.export.export(
                module, (_blank(size or ANY_SIZE),), dynamic_shapes=shapes, strict=False
            )
            for other in () if size else OTHER_SIZES:
                program.module()(_blank(other))
            return program
    except Exception as error:  # torch's are many
        remedy = "" if size else " for images of any size; give one with --size HEIGHTxWIDTH"
        said = one_line(error, Path.cwd())
        raise ConfigError(f"this network cannot be traced{remedy} ({said[:300]})") from error


def _blank(size: tuple[int, int]) -> torch.Tensor:
    return torch.zeros((*size, 3), dtype=torch.uint8)


def _write_onnx(program: torch.export.ExportedProgram, path: Path, metadata: dict[str, str]) -> None:
    with _quiet():
        made = torch.onnx.export(
            program, (), dynamo=True, input_names=[INPUT], output_names=OUTPUTS, verbose=False
        )
    assert made is not None
    made.model.metadata_props.update(metadata)
    made.save(path)


def _load_onnx(path: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(image: NDArray[np.uint8]) -> Any:
        labels, probabilities = session.run(OUTPUTS, {INPUT: image})
        return labels, probabilities

    return run


def _write_torch(program: torch.export.ExportedProgram, path: Path, metadata: dict[str, str]) -> None:
    torch.export.save(program, path, extra_files={METADATA: json.dumps(metadata)})


def _load_torch(path: Path) -> Run:
    return run_module(torch.export.load(path).module())


def run_module(module: Any) -> Run:
    """As PyTorch runs it."""

    @torch.inference_mode()
    def run(image: NDArray[np.uint8]) -> Any:
        return tuple(each.numpy() for each in module(torch.tensor(image)))

    return run


def _write_openvino(program: torch.export.ExportedProgram, path: Path, metadata: dict[str, str]) -> None:
    import openvino

    between = path.with_suffix(".onnx")
    _write_onnx(program, between, metadata)
    model = openvino.convert_model(between)
    for key, value in metadata.items():
        model.set_rt_info(value, [key])
    openvino.save_model(model, path, compress_to_fp16=False)
    between.unlink()


def _load_openvino(path: Path) -> Run:
    import openvino

    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_NUM_THREADS": torch.get_num_threads()})

    def run(image: NDArray[np.uint8]) -> Any:
        labels, probabilities = compiled({INPUT: image}).values()
        return labels, probabilities

    return run


_ONNX = ("onnx", "onnxscript", "onnxruntime")
FORMS = {
    "onnx": Form(".onnx", _ONNX, "onnxruntime", _write_onnx, _load_onnx),
    "torch_export": Form(".pt2", (), "torch.export", _write_torch, _load_torch),
    "openvino": Form(".xml", (*_ONNX, "openvino"), "OpenVINO", _write_openvino, _load_openvino),
}
"""By the name that `--to` takes."""


def check_form(to: str, output: Path) -> Form:
    """The form called `to`. Raises ConfigError for an output with another ending, and packages that are not there."""
    form = FORMS[to]
    if output.suffix != form.ending:
        raise ConfigError(
            f"--output {output}: --to {to} writes {form.ending}; give {output.stem}{form.ending}"
        )
    if absent := [name for name in form.packages if importlib.util.find_spec(name) is None]:
        raise ConfigError(f"--to {to} needs {', '.join(absent)}; pip install {' '.join(absent)}")
    return form


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch says to authors of operators."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(before)
