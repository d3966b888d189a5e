"""The project's build backend: setuptools', which installs it editable (`pip install -e .`) and builds nothing else.

The package `datasets` has the name of Hugging Face's: in site-packages the two would overwrite each other.
"""

from __future__ import annotations

from typing import Any, NoReturn

from setuptools import build_meta

build_editable = build_meta.build_editable
get_requires_for_build_editable = build_meta.get_requires_for_build_editable
prepare_metadata_for_build_editable = build_meta.prepare_metadata_for_build_editable


def _refuse(*arguments: Any, **settings: Any) -> NoReturn:
    raise SystemExit(
        "wsss-benchmark is installed editable only, since its folder `datasets` would overwrite Hugging Face's package "
        "of that name in site-packages: pip install -e ."
    )


build_wheel = build_sdist = _refuse
