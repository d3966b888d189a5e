"""`export`: what is written says what it is, and labels pixels as `predict` does, at sizes it was not traced at."""

from __future__ import annotations

import ast
import io
import json
import runpy
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from benchmark.export import write
from benchmark.export.export import Exported, export_network
from benchmark.export.network import reduced
from benchmark.failures import ConfigError
from benchmark.prediction.networks import Predictor
from datasets.base import Conversion
from datasets.folder.copies import Header
from methods.base import Artifact, Kind
from methods.layers.config import SegmenterConfig
from methods.layers.networks.deeplab import build_segmenter
from methods.layers.presets import DEEPLAB_CRF
from methods.segmenters import SEGMENTERS
from tests.conftest import ROOT
from tests.helpers.trees import write_image

CLASSES = ("scratch", "dent")
RUNNER = ROOT / "examples" / "segment_with_onnx.py"
SMALL = replace(SEGMENTERS["small"], backbone=replace(SEGMENTERS["small"].backbone, weights="none"))


def needs(*packages: str) -> None:
    for name in packages:
        pytest.importorskip(name, reason=f"{name} is not installed")


def predictor(folder: Path, settings: SegmenterConfig, conversion: Conversion) -> Predictor:
    """Of random weights, under which classes share an image."""
    torch.manual_seed(0)
    network = build_segmenter(settings, len(CLASSES))
    for parameter in network.head.parameters():
        torch.nn.init.normal_(parameter, std=0.3 if parameter.ndim > 1 else 0.01)
    weights = folder / "weights"
    weights.mkdir(parents=True)
    save_file(network.state_dict(), weights / "network.safetensors")
    inputs = {"weights": Artifact(weights, "0" * 24, Kind.WEIGHTS)}
    stages = "methods.segmenters.stages:predict"
    profile = "methods.segmenters.profile:predict"
    return Predictor(stages, settings, inputs, CLASSES, conversion, 0, profile)


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Exported]:
    """The miniature, with reduction to 80 pixels."""
    needs("onnx", "onnxscript", "onnxruntime")
    folder = tmp_path_factory.mktemp("export")
    coarse = np.random.default_rng(1).integers(0, 256, (6, 9, 3), np.uint8)
    (folder / "images").mkdir()
    Image.fromarray(coarse).resize((100, 64)).save(folder / "images" / "a.png")
    made = predictor(folder, SEGMENTERS["nano"], Conversion(longest_side=80))
    return folder / "net.onnx", export_network(made, "onnx", folder / "net.onnx", folder / "images")


def test_the_miniature_labels_as_predict_does(onnx_file: tuple[Path, Exported]) -> None:
    """At four sizes, one of them given, two of them reduced; checked by `export_network` itself."""
    path, done = onnx_file
    assert done.equal >= 0.999
    assert (done.images, done.size) == (4, (64, 100))
    assert done.covers == "scale 1; mirrored"
    assert set(done.seconds) == {"PyTorch", "onnxruntime"}
    assert sorted(each.name for each in path.parent.iterdir()) == ["images", "net.onnx", "weights"]


def test_the_file_says_what_it_is(onnx_file: tuple[Path, Exported]) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx_file[0], providers=["CPUExecutionProvider"])
    said = {key: json.loads(text) for key, text in session.get_modelmeta().custom_metadata_map.items()}
    assert said["classes"] == ["background", *CLASSES]
    assert said["mean"] == [0.485, 0.456, 0.406]
    assert (said["longest_side"], said["test_time"], said["crf"]) == (80, "scale 1; mirrored", None)
    assert said["versions"]["torch"] == torch.__version__
    height, width, channels = session.get_inputs()[0].shape
    assert isinstance(height, str)
    assert isinstance(width, str)
    assert channels == 3


def test_the_example_runs_it_alone(onnx_file: tuple[Path, Exported], tmp_path: Path, monkeypatch) -> None:
    source = RUNNER.read_text()
    assert len(source.splitlines()) <= 30
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(source))
        for name in ([a.name for a in node.names] if isinstance(node, ast.Import) else [])
        + ([str(node.module)] if isinstance(node, ast.ImportFrom) else [])
    }
    assert imported - set(sys.stdlib_module_names) == {"onnxruntime", "PIL", "numpy"}
    image = tmp_path / "part.png"
    write_image(image, 2, (70, 50))
    monkeypatch.setattr(sys, "argv", [str(RUNNER), str(onnx_file[0]), str(image)])
    said = io.StringIO()
    with redirect_stdout(said):
        runpy.run_path(str(RUNNER))
    labels = np.asarray(Image.open(tmp_path / "part_labels.png"))
    assert labels.shape == (50, 70)
    most = np.bincount(labels.ravel(), minlength=3)[1:]
    verdict = CLASSES[most.argmax()] if most.any() else "OK"
    assert said.getvalue().startswith(f"{image}: {verdict}, score 0.")
    with pytest.raises(SystemExit, match=r"part_labels\.png is there already"):
        runpy.run_path(str(RUNNER))


@pytest.mark.slow
def test_the_networks_of_scale_small(tmp_path: Path) -> None:
    """Whose dilated convolutions are cut into others on a CPU; by torch.export and by onnxruntime."""
    needs("onnx", "onnxscript", "onnxruntime")
    made = predictor(tmp_path, SMALL, Conversion())
    done = export_network(made, "onnx", tmp_path / "net.onnx")
    assert done.equal >= 0.999
    assert done.covers == "scale 1"


def test_torch_export_and_a_crf_that_is_left_out(tmp_path: Path) -> None:
    """Labels are compared before the CRF; one size alone."""
    settings = replace(SEGMENTERS["nano"], test_crf=DEEPLAB_CRF, test_scales=(1.0, 0.5))
    made = predictor(tmp_path, settings, Conversion())
    done = export_network(made, "torch_export", tmp_path / "net.pt2", size=(40, 56))
    assert done.crf
    assert done.equal >= 0.999
    extra = {write.METADATA: ""}
    program = torch.export.load(tmp_path / "net.pt2", extra_files=extra)
    assert json.loads(json.loads(extra[write.METADATA])["size"]) == [40, 56]
    labels, probabilities = program.module()(torch.zeros(40, 56, 3, dtype=torch.uint8))
    assert labels.shape == (40, 56)
    assert torch.allclose(probabilities.sum(0), torch.ones(40, 56), atol=1e-5)


def test_openvino(tmp_path: Path) -> None:
    needs("onnx", "onnxscript", "onnxruntime", "openvino")
    made = predictor(tmp_path, SEGMENTERS["nano"], Conversion())
    done = export_network(made, "openvino", tmp_path / "net.xml")
    assert done.equal >= 0.999
    assert (tmp_path / "net.bin").is_file()


def test_labels_that_differ_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    form = write.FORMS["torch_export"]

    def wrong(path: Path) -> write.Run:
        def run(image):
            labels, probabilities = form.load(path)(image)
            labels[:8] = (labels[:8] + 1) % 3
            return labels, probabilities

        return run

    monkeypatch.setitem(write.FORMS, "torch_export", replace(form, load=wrong))
    made = predictor(tmp_path, SEGMENTERS["nano"], Conversion())
    with pytest.raises(ConfigError, match=r"gives predict's label on 80\.00% of the pixels"):
        export_network(made, "torch_export", tmp_path / "net.pt2", size=(40, 40))
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


def test_a_stage_without_a_profile_is_one_line(tmp_path: Path) -> None:
    made = predictor(tmp_path, SEGMENTERS["nano"], Conversion())
    with pytest.raises(ConfigError, match="cannot be exported; its stage has no `profile`"):
        export_network(replace(made, profile=None), "torch_export", tmp_path / "net.pt2")


def test_what_is_absent_and_wrong_names_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"--to onnx writes \.onnx; give net\.onnx"):
        write.check_form("onnx", tmp_path / "net.pt2")
    monkeypatch.setattr(write.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="needs onnx, onnxscript, onnxruntime; pip install onnx onnxscript"):
        write.check_form("onnx", tmp_path / "net.onnx")


@pytest.mark.parametrize("longest_side", [32, 33, 100])
def test_sizes_are_those_of_the_copies(longest_side: int) -> None:
    """Halves among them: 41 of 64 at 32 are 20.5."""
    for size in ((64, 41), (41, 64), (31, 7), (1000, 1), (200, 199), (128, 52)):
        width, height = Header(size, False).reduced(longest_side)
        found = tuple(reduced(side, size[1], size[0], longest_side) for side in size)
        assert found == (width, height)
