"""Images without a defect: which folders and labels say so, and the setting that declares others."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from datasets.base import DataError
from datasets.folder.spellings import folded, looks_good

GOOD = "good"
SETTING = "dataset.good_names"


@dataclass(frozen=True)
class GoodNames:
    """Names that mean an image without a defect, in any spelling that `folded` makes one.

    names: as set; declared: whether they were, so that others which look alike are classes
    """

    names: tuple[str, ...] = (GOOD,)
    declared: bool = False

    @classmethod
    def of(cls, setting: str) -> GoodNames:
        """From the setting: names separated by commas, or nothing for ``good``."""
        names = tuple(name.strip() for name in setting.split(",") if name.strip())
        return cls(names, True) if names else cls()

    def __contains__(self, name: str) -> bool:
        return folded(name) in map(folded, self.names)

    def require_sure(self, names: Iterable[str], source: object) -> None:
        """DataError where a name that is not declared looks as if it should be, with both settings that say so."""
        unsure = sorted({name for name in names if name not in self and looks_good(name)})
        if self.declared or not unsure:
            return
        used = sorted({name for name in names if name in self})
        setting = shlex.quote(f"{SETTING}={','.join([*used, *unsure])}")
        raise DataError(
            f"{source}: {', '.join(map(repr, unsure))} may mean images without a defect, or be a class; set {setting}"
            f" for the former, {SETTING}={GOOD} for the latter"
        )
