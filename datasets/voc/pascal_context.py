"""PASCAL-Context (Mottaghi et al., CVPR 2014) beside VOC: regions that co-occur with objects, for the confusion ratio.

Labels of whole scenes for the trainval images of VOC 2010, a part of VOC 2012's. Either of the authors' archives does:
``trainval.tar.gz`` (``trainval/<id>.mat`` with `LabelMap`, and ``labels.txt``, 459 labels) or
``59_context_labels.tar.gz`` (``59_context_labels/<id>.png``) with ``59_labels.txt`` beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from datasets.base import ContextClass, DataError
from datasets.files.listing import names_in, open_regular

if TYPE_CHECKING:
    import numpy as np

LAYOUTS = (("trainval", ".mat", "labels.txt"), ("59_context_labels", ".png", "59_labels.txt"))
"""(folder of the maps, their ending, file of the labels' names), the first that is there."""

PAIRS = (("boat", "water", "water"), ("train", "railway", "track"), ("train", "platform", "platform"))
"""Object class, its context as EPS (Tab. 2) calls it, and what PASCAL-Context calls that."""

REMEDY = (
    "set dataset.context_root=PATH of PASCAL-Context's unpacked trainval.tar.gz (trainval/*.mat, labels.txt)"
)


class PascalContext:
    """Context maps under a folder."""

    def __init__(self, root: Path, classes: tuple[str, ...]) -> None:
        """classes: the object classes of the data set. Raises DataError where nothing of the kind is there."""
        for folder, ending, names in LAYOUTS:
            if (root / folder).is_dir() and (root / names).is_file():
                self.folder, self._ending = root / folder, ending
                ids = _label_ids(root / names)
                break
        else:
            raise DataError(f"no PASCAL-Context under {root}; {REMEDY}")
        if missing := [name for _, _, name in PAIRS if name not in ids]:
            raise DataError(f"{root / names} has no label {', '.join(missing)}; {REMEDY}")
        self.contexts = tuple(
            ContextClass(context, classes.index(item), ids[name]) for item, context, name in PAIRS
        )
        self._files = names_in(self.folder)

    def path(self, sample_id: str) -> Path | None:
        name = sample_id + self._ending
        return self.folder / name if name in self._files else None


def _label_ids(file: Path) -> dict[str, int]:
    """Ids by name, from lines like ``59: water``."""
    ids = {}
    with open_regular(file) as opened:
        lines = opened.read().decode().splitlines()
    for line in lines:
        number, _, name = line.partition(":")
        if number.strip().isdigit():
            ids[name.strip()] = int(number)
    return ids


def read_context_map(path: Path) -> np.ndarray:
    """Region ids (H, W), uint8 or uint16, of a PNG or of a ``.mat`` file's `LabelMap`. Raises DataError."""
    import numpy as np
    from scipy.io import loadmat

    from datasets.files.images import read_labels

    if path.suffix != ".mat":
        return np.asarray(read_labels(path))
    try:
        with open_regular(path) as file:
            labels = loadmat(file, variable_names=["LabelMap"])["LabelMap"]
    except (PermissionError, DataError):  # the guard's; what is no file
        raise
    except KeyError:
        raise DataError(f"{path}: no LabelMap in it; {REMEDY}") from None
    except Exception as error:  # scipy raises whatever a damaged file makes it stumble over
        raise DataError(f"{path}: cannot be read as a .mat file; unpack the archive again") from error
    if labels.ndim != 2 or labels.min(initial=0) < 0 or labels.max(initial=0) > np.iinfo(np.uint16).max:
        raise DataError(f"{path}: LabelMap is no map of label ids; unpack the archive again")
    return np.asarray(labels, np.uint16)
