"""The command `export`: a trained network as a file that runs without this project."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands.arguments import NetworkMethod, NetworkRun, NetworkSeed, NetworkWeights
from benchmark.config import choose
from benchmark.console import console
from benchmark.failures import ConfigError


def export(
    output: Annotated[Path, typer.Option(help="The file to write: NAME.onnx, NAME.pt2 or NAME.xml.")],
    run_dir: NetworkRun = None,
    method: NetworkMethod = None,
    seed: NetworkSeed = None,
    weights: NetworkWeights = None,
    to: Annotated[str, typer.Option(help="onnx, torch_export, or openvino.")] = "onnx",
    images: Annotated[
        Path | None,
        typer.Option(
            help="A folder, an image or a list; on a few of these, too, the file is held against `predict`."
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="HxW", help="Height and width of all images; by default the file takes any."),
    ] = None,
) -> None:
    """Write a trained network with its pre- and post-processing as ONNX, torch.export or OpenVINO; check and time it."""
    from benchmark.export.export import export_network
    from benchmark.export.write import FORMS
    from benchmark.prediction.networks import chosen, load

    choose("form to export --to", to, list(FORMS))
    fixed = None if size is None else _size(size)
    done = export_network(load(chosen(run_dir, method, seed, weights)), to, output, images, fixed)
    reduction = f"reduction to {done.longest_side} pixels, " if done.longest_side else ""
    console.print(f"Written: {output}", markup=False)
    console.print(
        f"In it: normalisation, {reduction}{done.covers}, softmax, argmax; images of {size or 'any size'}",
        markup=False,
    )
    if done.crf:
        console.print(
            "note: predict's CRF is no network and cannot be exported; it is left out", markup=False
        )
    console.print(f"predict's label on {done.equal:.3%} of the pixels of {done.images} images", markup=False)
    times = ", ".join(f"{name} {1000 * seconds:.1f} ms" for name, seconds in done.seconds.items())
    console.print(f"An image of {done.size[0]}x{done.size[1]} on this CPU: {times}", markup=False)


def _size(text: str) -> tuple[int, int]:
    """(H, W) of "512x640"."""
    found = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if found is None:
        raise ConfigError(f"--size {text}: write height and width in pixels, such as --size 512x640")
    return int(found[1]), int(found[2])
