"""Pretrained weights by reference: where their file is, what it contains, and loading it without surprises.

References: ``none`` (random initialisation), ``nano/<name>`` (shipped with the project), ``timm/<model>``,
``torchvision/<model>``, ``open_clip/<model>.<tag>``, ``smp/<encoder>``, ``rembg/<model>``, ``<family>/<name>`` for files
that no library serves (``resnet38d/res38_cls``), or a file's path.
The folder `root` (setting, or the environment variable WSSS_WEIGHTS) is searched before any download.
Light to import (no torch): planning a run asks for fingerprints.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from datasets.files.places import expanded, resolved
from methods.base import MethodError
from methods.layers.weights import hubs as weight_hubs
from methods.layers.weights import mxnet as mxnet_params
from methods.layers.weights.contents import REBUILDING, read_shapes, tensors_of, unpickling
from methods.layers.weights.hubs import HUBS, TOKENIZERS
from methods.layers.weights.rembg import open_session

if TYPE_CHECKING:
    import torch
    from torch import nn

NONE = "none"
SHIPPED = Path(__file__).parents[2] / "pretrained"
SUFFIXES = (".safetensors", ".fp16.safetensors", ".pth", ".pt", ".bin")

USUAL_NAMES: Mapping[str, tuple[str, ...]] = {
    "resnet38d/ilsvrc-cls_rna-a1_cls1000_ep-0001": ("ilsvrc-cls_rna-a1_cls1000_ep-0001.params",),
    "torchvision/vgg16": ("vgg16-397923af.pth",),
    "torchvision/resnet50": ("resnet50-0676ba61.pth",),
    "torchvision/resnet101": ("resnet101-63fe2227.pth",),
    "timm/deit_small_patch16_224": ("deit_small_patch16_224-cd65a155.pth",),
    "timm/vit_base_patch16_224.orig_in21k_ft_in1k": ("jx_vit_base_p16_224-80ecf9dd.pth",),
}
"""Names under which these files circulate, tried after `<model>.<suffix>`."""

FILE_SUFFIXES = {".safetensors", ".pth", ".pt", ".bin", ".onnx", mxnet_params.SUFFIX}


def locate(reference: str, root: str | Path | None = None) -> Path | None:
    """Local file of a reference; None for random initialisation, or where there is none yet (see `fetch`).

    Raises MethodError for a path without a file.
    """
    if reference == NONE:
        return None
    family = reference.partition("/")[0]
    as_path = expanded(reference)
    if as_path.is_file():
        if as_path.suffix in FILE_SUFFIXES:
            return as_path
        raise MethodError(
            f"weight file {reference}: files ending in {as_path.suffix or 'nothing'} are not read; convert it, or rename "
            f"it if it is one of {', '.join(sorted(FILE_SUFFIXES))}"
        )
    if as_path.suffix in FILE_SUFFIXES or as_path.is_absolute():
        what = "does not exist; correct the path"
        if os.path.lexists(as_path):
            what = "is a folder; name the file in it" if as_path.is_dir() else "is no regular file; name one"
        raise MethodError(f"weight file {reference} {what} in the setting that names it")
    folders = [SHIPPED] if family == "nano" else _folders(family, root)
    for folder in folders:
        for candidate in candidates(reference):
            if (folder / candidate).is_file():
                return folder / candidate
    return None


def candidates(reference: str) -> tuple[str, ...]:
    """File names under which a reference is looked for, in order."""
    family, _, name = reference.rpartition("/")
    if family == "rembg":
        return (f"{name}.onnx",)
    return (*(name + suffix for suffix in SUFFIXES), *USUAL_NAMES.get(reference, ()))


def file_to_provide(reference: str) -> str:
    """Name of the file that a reference is found by: the one it circulates under, where that is known."""
    return USUAL_NAMES.get(reference, candidates(reference))[0]


def fingerprint(reference: str, root: str | Path | None = None) -> str | None:
    """SHA-256 of the file's content; "none" for random initialisation; None without a local file, see `fetch`.

    Cached by path, size and modification time.
    """
    path = locate(reference, root)
    if path is None:
        return NONE if reference == NONE else None
    stat = path.stat()
    key = f"{resolved(path)}|{stat.st_size}|{stat.st_mtime_ns}"
    if key not in _digests:
        _digests.update(_read_digest_cache())
    if key not in _digests:
        with path.open("rb") as f:
            _digests[key] = hashlib.file_digest(f, "sha256").hexdigest()
        _write_digest_cache()
    return _digests[key]


def load_state(path: Path) -> dict[str, torch.Tensor]:
    """State dictionary of a weight file: float32 instead of half precision, wrappers and prefixes removed.

    Reads safetensors, torch files without unpickling more than tensors (`contents`), and MXNet's .params (names as
    there). Unwraps {"state_dict": ...}, {"model": ...}, modules and DataParallel's "module." prefix, and leaves out what
    is no tensor. Raises MethodError for anything else.
    """
    import torch
    from safetensors.torch import load_file

    read_shapes(path)  # what is wrong with a file is said in our words
    readers: Mapping[str, Callable[[Path], Any]] = {
        ".safetensors": load_file,
        mxnet_params.SUFFIX: mxnet_params.read_params,
    }
    try:
        content: Any = readers.get(path.suffix, _load_tensors)(path)
    except Exception as error:
        reason = f" ({error})" if path.suffix == mxnet_params.SUFFIX else ""
        raise MethodError(
            f"cannot read weights {path}{reason}: its data are damaged; fetch or export the file again"
        ) from error
    return {
        key: _full_precision(value.detach()) for key, value in tensors_of(path, content, torch.Tensor).items()
    }


def _load_tensors(path: Path) -> Any:
    """Content of a torch file, memory-mapped where it can be; what is no tensor, container or number is `Opaque`."""
    import torch

    def rebuild_from_type(function: Any, kind: Any, arguments: Any, state: Any) -> Any:
        return function(*arguments)

    def known(module: str, name: str) -> Any:
        if module in ("torch._utils", "torch._tensor") and name in REBUILDING:
            return rebuild_from_type if name == "_rebuild_from_type_v2" else getattr(torch._utils, name)
        found = getattr(torch, name, None) if module == "torch" else None
        return found if found in (torch.Size, torch.device) or isinstance(found, torch.dtype) else None

    with warnings.catch_warnings(action="ignore"):  # that a module's source code has changed
        return torch.load(
            str(path),
            map_location="cpu",
            weights_only=False,  # nothing is unpickled but what `known` knows
            pickle_module=unpickling(known),
            mmap=zipfile.is_zipfile(path),
        )


def load_into(
    module: nn.Module,
    state: Mapping[str, torch.Tensor],
    *,
    allow_missing: Iterable[str] = (),
    allow_unexpected: Iterable[str] = (),
    source: str | Path,
) -> None:
    """Copy `state` into `module`; every key has to fit unless a pattern (fnmatch, "fc8.*") excuses it.

    `num_batches_tracked` may be missing: old files lack it and nothing here uses it.
    Raises MethodError in one line, and leaves the module as it was, where anything does not fit.
    """
    own = module.state_dict()
    allow_missing = (*allow_missing, "*num_batches_tracked")
    allow_unexpected = tuple(allow_unexpected)
    excused = {key for key in state if key not in own and _matches(key, allow_unexpected)}
    faults = {
        "expected but not there": [k for k in own if k not in state and not _matches(k, allow_missing)],
        "there but not expected": [k for k in state if k not in own and k not in excused],
        "of another shape": [
            f"{k} {tuple(state[k].shape)}, expected {tuple(own[k].shape)}"
            for k in own
            if k in state and state[k].shape != own[k].shape
        ],
    }
    found = [
        f"{len(keys)} {what} ({'; '.join(keys[:3])}{', ...' if keys[3:] else ''})"
        for what, keys in faults.items()
        if keys
    ]
    if found:
        raise MethodError(
            f"weights {source} do not fit {type(module).__name__} ({len(own)} tensors): {'; '.join(found)}; "
            f"choose the file of this network, or the network of this file"
        )
    module.load_state_dict({k: v for k, v in state.items() if k not in excused}, strict=False)


def load_trained(network: nn.Module, file: Path, allow_unexpected: Iterable[str] = ()) -> None:
    """Copy into `network` what a stage has trained; arguments and errors as `load_into`'s."""
    load_into(network, load_state(file), allow_unexpected=allow_unexpected, source=file)


def fetch(reference: str, root: str | Path | None = None) -> Path | None:
    """Like `locate`, but has the library download what is not local. None for "none" only.

    Raises MethodError with the file name to provide where there is no file and no library serves it.
    """
    path = locate(reference, root)
    if path is not None or reference == NONE:
        return path
    check_served(reference, root)
    family, _, name = reference.partition("/")
    try:
        if family == "rembg":  # keeps its files itself
            open_session(name, _u2net_home())
            return _u2net_home() / candidates(reference)[0]
        library: Callable[[str], dict[str, torch.Tensor]] = {
            "timm": weight_hubs.from_timm,
            "torchvision": weight_hubs.from_torchvision,
            "open_clip": weight_hubs.from_open_clip,
            "smp": weight_hubs.from_smp,
        }[family]
        state = library(name)
    except Exception as error:  # of the libraries and of what they download with, which share no base
        folder = _root(root) or "a folder that WSSS_WEIGHTS names"
        raise MethodError(
            f"{family} could not fetch the weights of {name} ({type(error).__name__}); "
            f"put {file_to_provide(reference)} into {folder}"
        ) from error
    return _keep(reference, state)


def tokenizers(path: Path | None) -> Path | None:
    """Folder of tokenizers beside a CLIP's weights, or in the folder of weights; None where there is none: where the
    library keeps them."""
    given = _root(None)
    roots = [path.parent.parent] if path is not None else []
    found = (root / TOKENIZERS for root in (*roots, *([given] if given else [])))
    return next((folder for folder in found if folder.is_dir()), None)


def check_served(reference: str, root: str | Path | None = None) -> None:
    """MethodError, with what to provide, where no library serves the weights; downloads nothing."""
    family, _, name = reference.partition("/")
    if family not in HUBS:
        raise _not_served(reference, root)
    weight_hubs.check_name(family, name)


def _not_served(reference: str, root: str | Path | None) -> MethodError:
    family, _, name = reference.partition("/")
    if family == "nano":
        shipped = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.safetensors"))) or "none"
        return MethodError(
            f"no shipped weights {reference!r} in {SHIPPED} (there: {shipped}); correct the name, or restore the "
            "folder with git checkout"
        )
    file = (
        file_to_provide(reference) if reference in USUAL_NAMES else f"{name or reference}.safetensors or .pth"
    )
    return MethodError(
        f"weights {reference!r} not found: put {file} "
        f"into the weights folder ({_root(root) or 'set WSSS_WEIGHTS to one'})"
    )


def _keep(reference: str, state: Mapping[str, torch.Tensor]) -> Path:
    """Store fetched weights where `locate` finds them, so that later runs know their content."""
    from safetensors.torch import save_file

    path = _cache() / reference.partition("/")[0] / candidates(reference)[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    save_file({k: v.contiguous().clone() for k, v in state.items()}, temporary)
    temporary.replace(path)
    return path


def _full_precision(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.is_floating_point() and tensor.itemsize < 4 else tensor


def _matches(key: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch(key, pattern) for pattern in patterns)


def _root(root: str | Path | None) -> Path | None:
    given = root or os.environ.get("WSSS_WEIGHTS")
    return expanded(given) if given else None


def _folders(family: str, root: str | Path | None) -> list[Path]:
    """Folders searched: the given one, what was fetched before, and the library's own download folder."""
    given = _root(root)
    own = [given / family, given] if given else []
    if family == "rembg":
        return [*own, _u2net_home()]
    torch_home = Path(os.environ.get("TORCH_HOME", Path.home() / ".cache" / "torch"))
    return [*own, _cache() / family, torch_home / "hub" / "checkpoints"]


def _u2net_home() -> Path:
    return expanded(os.environ.get("U2NET_HOME", "~/.u2net"))


def _cache() -> Path:
    return Path(platformdirs.user_cache_dir("wsss-benchmark")) / "weights"


_digests: dict[str, str] = {}


def _read_digest_cache() -> dict[str, str]:
    try:
        return dict(json.loads((_cache() / "sha256.json").read_text()))
    except (OSError, ValueError):
        return {}  # absent or torn: the digests are computed again


def _write_digest_cache() -> None:
    path = _cache() / "sha256.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps(_digests))
        temporary.replace(path)
    except OSError:
        pass  # a read-only home costs time, not correctness
