"""What a result was computed with: commit, packages, hardware."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

PACKAGES = ("torch", "torchvision", "timm", "open_clip_torch", "segment-anything", "lightning-fabric", "numpy",
            "pydensecrf2", "hydra-core", "rembg", "onnxruntime", "Pillow")  # fmt: skip


@cache
def git() -> dict[str, Any]:
    """Commit and whether the work tree differs from it; outside a checkout, the installed version."""

    def ask(*arguments: str) -> str:
        command = ["git", *arguments]
        return subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        ask(
            "ls-files", "--error-unmatch", Path(__file__).name
        )  # else the repository is one that holds a .venv
        return {"commit": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.CalledProcessError):
        return {"version": release()}


def release() -> str:
    """Version of this project as it was installed; "unknown" where it was not."""
    try:
        return version("wsss-benchmark")
    except PackageNotFoundError:
        return "unknown"


@cache
def packages() -> dict[str, str]:
    """Versions of what decides numbers."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def collect(device: torch.device) -> dict[str, Any]:
    """Provenance of a stage executed now on `device`."""
    import torch

    hardware: dict[str, Any] = {
        "machine": platform.machine(),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
    if device.type == "cuda":
        hardware["gpu"] = torch.cuda.get_device_name(device)
    return {
        "git": git(),
        "packages": packages(),
        "hardware": hardware,
        "device": str(device),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


def hardware_name(hardware: dict[str, Any]) -> str:
    """The GPU, or the processor and the threads it was used with."""
    if "gpu" in hardware:
        return machine(hardware)
    threads = hardware["threads"]
    return f"{machine(hardware)}, {threads} thread{'s' if threads != 1 else ''}"


def machine(hardware: Mapping[str, Any]) -> str:
    """The GPU, or the processor."""
    return str(hardware.get("gpu") or hardware["cpu"] or hardware["machine"])


def mixed(stages: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, list[str]]]:
    """What differs between the provenances of a run's stages: thing -> how it was -> stages.

    stages: name -> what `collect` gave when it was made. Things are the commit, packages and the hardware.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for name, provenance in stages.items():
        things = {"commit": _commit(provenance.get("git") or {}), **provenance.get("packages", {})}
        if hardware := provenance.get("hardware"):
            things["hardware"] = hardware_name(hardware)
        for thing, value in things.items():
            found.setdefault(thing, {}).setdefault(value, []).append(name)
    return {thing: values for thing, values in found.items() if len(values) > 1}


def _commit(git: Mapping[str, Any]) -> str:
    found: str = git["commit"][:10] if "commit" in git else git.get("version", "unknown")
    return found + (" with changes" if git.get("dirty") else "")


@cache
def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    except OSError:
        return platform.processor()


def world_size() -> int:
    """Number of processes of this run; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))
