"""The installed project. Importing this puts its packages first on `sys.path`: benchmark, methods, datasets, ...

Other projects use these names too, above all Hugging Face with `datasets`. So a wheel holds them in a folder of its own,
where they overwrite nothing in site-packages and are found only by programs that import this. Spawned processes inherit
`sys.path`.
"""

from __future__ import annotations

import sys
from pathlib import Path

PACKAGES = ("benchmark", "methods", "datasets", "results", "reports")

_HERE = Path(__file__).resolve().parent
FOLDER = _HERE / "_packages" if (_HERE / "_packages").is_dir() else _HERE.parent
"""Holds PACKAGES: in a wheel, or the root of a checkout."""


def _put_first() -> None:
    for name in PACKAGES:
        loaded = sys.modules.get(name)
        places = [Path(place).resolve() for place in getattr(loaded, "__path__", ())]
        if loaded is not None and FOLDER / name not in places:
            where = places[0] if places else getattr(loaded, "__file__", None)
            raise ImportError(
                f"another package named `{name}` is already imported, from {where}; import wsss_benchmark before it, "
                "and the other one in a process of its own"
            )
    if sys.path[:1] != [str(FOLDER)]:
        sys.path.insert(0, str(FOLDER))


def main() -> None:
    """The command line, `wsss`."""
    from benchmark.__main__ import program

    program()


_put_first()
