"""What a weight file holds: the names and shapes in its header, and its tensors without anything else that was saved.

Checkpoints are pickles, and many hold more than tensors: arguments, a NumPy scalar, a whole module. Nothing of that is
imported or called: a few functions that rebuild tensors are known by name, all else becomes `Opaque`. Light to import
(no torch): planning reads headers, a few kilobytes of gigabytes.
"""

from __future__ import annotations

import json
import pickle
import shlex
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, NamedTuple

from methods.base import MethodError

WRAPPERS = ("state_dict", "model_state_dict", "model", "network", "net", "module", "params", "weights")
"""Keys under which checkpoints keep the state dictionary, the first that is there."""
_MAGIC = 0x1950A86A20F9469CFC6C
"""What files of torch before 1.6 begin with, as a pickle."""
_LONGEST_HEADER = 10**8
"""Bytes of a safetensors file's header, as its library reads them."""
_MOST_MODULES = 20_000
"""Modules in a pickled network, each as often as it is reached."""
_NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")
"""Entries of OpenAI's CLIP archives that are no weights."""


REBUILDING = (
    "_rebuild_tensor",
    "_rebuild_tensor_v2",
    "_rebuild_parameter",
    "_rebuild_parameter_with_state",
    "_rebuild_from_type_v2",
)
"""Functions of torch that make tensors of storages, and what wraps them."""


class Shape(NamedTuple):
    """A tensor of a header."""

    size: tuple[int, ...]


class Opaque:
    """Stands for whatever a pickle holds besides tensors and containers; keeps the state that it is given."""

    state: Any = None
    dump_patches = False  # torch asks classes of old files

    def __new__(cls, *args: Any, **kwargs: Any) -> Opaque:
        return object.__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __call__(self, *args: Any, **kwargs: Any) -> Opaque:
        return Opaque()

    def __setitem__(self, key: Any, value: Any) -> None: ...
    def append(self, value: Any) -> None: ...
    def extend(self, values: Any) -> None: ...
    def add(self, value: Any) -> None: ...


_CONTAINERS = {
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
}


def unpickling(known: Callable[[str, str], Any]) -> SimpleNamespace:
    """What `torch.load` takes as `pickle_module`: an unpickler that calls nothing but what is known.

    known: (module, name) -> what stands for it, None for `Opaque`
    """

    class Unpickler(pickle._Unpickler):  # in C, it makes room for as many objects as a file says
        def find_class(self, module: str, name: str) -> Any:
            found = _CONTAINERS.get((module, name)) or known(module, name)
            return Opaque if found is None else found

    def load(file: IO[bytes], **kwargs: Any) -> Any:
        unpickler = Unpickler(file, **kwargs)
        unpickler.persistent_load = _referred  # type: ignore[method-assign, assignment]
        return unpickler.load()

    return SimpleNamespace(__name__="tensors", Unpickler=Unpickler, load=load)


def _referred(reference: Any) -> Any:
    """Of a storage what names it; old files name a module's class with its source code."""
    return reference[1] if reference[0] == "module" else reference


def read_shapes(path: Path) -> dict[str, tuple[int, ...]] | None:
    """Name -> shape of the tensors in a file, from its header; None of formats without one that is read here.

    Raises MethodError in one line, with the remedy, for what is no weight file, is damaged or holds no state dictionary.
    """
    with path.open("rb") as file:
        if path.suffix == ".safetensors":
            return _safetensors_shapes(path, file)
        if path.suffix in (".params", ".onnx"):
            return None
        content = _content(path, file)
    return {name: shape.size for name, shape in tensors_of(path, content, Shape).items()}


def tensors_of(path: Path, content: Any, kind: type) -> dict[str, Any]:
    """The state dictionary in what was read of a file: wrappers and "module." removed, what is no tensor left out.

    kind: of the tensors. Raises MethodError where there is none.
    """
    entered: set[int] = set()
    while True:
        if isinstance(content, Opaque) and isinstance(content.state, Mapping):
            content = _module_state(content, kind)
        if not isinstance(content, Mapping) or id(content) in entered:
            break
        entered.add(id(content))
        state = {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, kind)}
        inner = [k for k, v in content.items() if _holds(v, kind)]
        wrapper = next((name for name in WRAPPERS if name in inner), None)
        if wrapper is None and not state and len(inner) == 1:
            wrapper = inner[0]
        if wrapper is not None:
            content = content[wrapper]
            continue
        if state:
            if all(key.startswith("module.") for key in state):
                state = {key.removeprefix("module."): value for key, value in state.items()}
            return state
        break
    held = ", ".join(map(str, content)) if isinstance(content, Mapping) else "something else"
    raise MethodError(
        f"{path} holds no state dictionary (name -> tensor); it has {held[:80] or 'nothing'}; export"
        " model.state_dict() to it"
    )


def _holds(value: Any, kind: type) -> bool:
    """Whether a value is a state dictionary, a wrapper around one, or a module. It may hold itself."""
    waiting, seen = [value], set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, Opaque):
            if "_parameters" in _mapping(value.state):
                return True
        elif isinstance(value, Mapping) and id(value) not in seen:
            seen.add(id(value))
            if any(isinstance(inner, kind) for inner in value.values()):
                return True
            waiting += value.values()
    return False


def _module_state(module: Opaque, kind: type) -> dict[str, Any]:
    """What `state_dict()` of a pickled module would be; empty for one that has itself as a part."""
    found, waiting, reached = {}, [("", module)], 0
    while waiting:
        prefix, module = waiting.pop()
        state, reached = _mapping(module.state), reached + 1
        if reached > _MOST_MODULES:
            return {}
        passing = state.get("_non_persistent_buffers_set")
        passing = passing if isinstance(passing, set) else ()
        for part in ("_parameters", "_buffers"):
            for name, value in _mapping(state.get(part)).items():
                if isinstance(value, kind) and name not in passing:
                    found[f"{prefix}{name}"] = value
        children = _mapping(state.get("_modules")).items()
        waiting += [
            (f"{prefix}{name}.", child)
            for name, child in reversed(list(children))
            if isinstance(child, Opaque)
        ]
    return found


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


# ---------------------------------------------------------------- headers


def _safetensors_shapes(path: Path, file: IO[bytes]) -> dict[str, tuple[int, ...]]:
    size = file.seek(0, 2)
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    try:
        if length > min(size - 8, _LONGEST_HEADER):
            raise ValueError
        header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        shapes = {name: tuple(map(_count, entry["shape"])) for name, entry in header.items()}
        end = max((_count(entry["data_offsets"][1]) for entry in header.values()), default=0)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise _unreadable(path, file) from None
    if 8 + length + end != size:
        raise MethodError(
            f"weights {path} are truncated: {size} of {8 + length + end} bytes; fetch the file again"
        )
    return shapes


def _content(path: Path, file: IO[bytes]) -> Any:
    """What a torch file's pickle makes, tensors as `Shape`."""
    reader = unpickling(_known_shape)
    try:
        if not zipfile.is_zipfile(file):
            file.seek(0)
            if file.read(1) != b"\x80":
                raise ValueError
            file.seek(0)
            if reader.load(file) != _MAGIC:
                raise ValueError
            for _ in range(2):  # version of the protocol, sizes of numbers on the machine
                reader.load(file)
            return reader.load(file)
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            if any("/code/" in name for name in names):
                raise _scripted(path)
            pickled = next((name for name in names if name.endswith("data.pkl")), None)
            if pickled is None:
                raise ValueError
            if (
                archive.getinfo(pickled).compress_type != zipfile.ZIP_STORED
            ):  # torch would take it as it lies there
                raise MethodError(
                    f"weights {path} were packed again; save them with torch.save, which doesn't compress"
                )
            with archive.open(pickled) as content:
                return reader.load(content)
    except MethodError:
        raise
    except Exception:  # whatever bytes that are no pickle make of the unpickler
        raise _unreadable(path, file) from None


def _count(value: Any) -> int:
    """A size in a header. ValueError for anything else."""
    if type(value) is not int or value < 0:
        raise ValueError
    return value


def _scripted(path: Path) -> MethodError:
    target = path.with_name(f"{path.stem}-weights.pth")
    code = (
        "import sys, torch; state = torch.jit.load(sys.argv[1], map_location='cpu').state_dict(); "
        f"torch.save({{k: v for k, v in state.items() if k not in {_NOT_WEIGHTS}}}, sys.argv[2])"
    )
    command = shlex.join(["python", "-c", code, str(path), str(target)])
    return MethodError(
        f"weights {path} are a TorchScript archive, a program and no state dictionary; convert it once, then give"
        f" {target}: {command}"
    )


def _unreadable(path: Path, file: IO[bytes]) -> MethodError:
    """What a file that is no readable weight file seems to be."""
    file.seek(0)
    head = file.read(256)
    if not head:
        what = "the file is empty"
    elif head.startswith(b"version https://git-lfs"):
        what = "it is a pointer of Git LFS; run git lfs pull in its repository"
    elif head.lstrip()[:1] == b"<":
        what = "it is a web page, saved in place of the file"
    elif head.startswith(b"PK"):
        what = "the archive is truncated or damaged"
    else:
        what = f"it is damaged, or no {path.suffix} file"
    return MethodError(f"cannot read weights {path}: {what}; fetch or export the file again")


def _known_shape(module: str, name: str) -> Any:
    if module in ("torch._utils", "torch._tensor") and name in REBUILDING:
        if name == "_rebuild_from_type_v2":
            return lambda function, kind, arguments, state: function(*arguments)
        if name.startswith("_rebuild_tensor"):
            return lambda storage, offset, size, *rest: Shape(tuple(size))
        return lambda data, *rest: data
    return (lambda size=(): tuple(size)) if (module, name) == ("torch", "Size") else None
