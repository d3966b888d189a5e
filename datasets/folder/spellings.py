"""How other tools spell what is no class (the background, pixels that are not scored, images without a defect), and
names that are one."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import lru_cache

BACKGROUND = "background"

_BACKGROUND = {"background", "backgrounds", "bg", "bkg", "bgd", "backgrnd"}
_IGNORED = {
    "ignore",
    "ignored",
    "ignoreregion",
    "unlabeled",
    "unlabelled",
    "unlabel",
    "dontcare",
    "unannotated",
    "255",
}
_GOOD_WORDS = """
    good goods ok okay io gut pass passed normal clean healthy intact perfect flawless faultless undamaged negative neg
    defectfree nodefect nodefects nondefect nondefective withoutdefect withoutdefects faultfree nofault nofaults
    errorfree noerror anomalyfree noanomaly nonanomalous nocrack noncrack none empty goodimages normalimages 良品 正常
    合格 无缺陷
"""
_GOOD = frozenset(_GOOD_WORDS.split())
_PERHAPS_IGNORED = {"void", "ambiguous"}
"""Names that VOC has for 255, and foundries for a cavity: `__void__` is the former, a plain one may be a class."""


@lru_cache(10_000)  # label files repeat a few names in every row
def folded(name: str) -> str:
    """A name without what is easily spelled two ways: case, Unicode form, spaces, hyphens, underscores."""
    text = unicodedata.normalize("NFKC", name).casefold()
    return "".join(c for c in text if unicodedata.category(c) not in ("Zs", "Cc", "Cf", "Pd", "Pc")) or text


def same_names(names: Iterable[str]) -> tuple[str, str] | None:
    """Two different names that are `folded` to one; None where there are none."""
    seen: dict[str, str] = {}
    for name in names:
        if seen.setdefault(folded(name), name) != name:
            return seen[folded(name)], name
    return None


def looks_good(name: str) -> bool:
    """Whether a class is called as images without a defect are in many a factory."""
    return folded(name) in _GOOD or is_background(name)


def is_background(name: str) -> bool:
    """``background`` as labelme (``_background_``), CVAT, VOC, mmsegmentation and others spell it."""
    return folded(name) in _BACKGROUND


def is_ignored(name: str) -> bool:
    """Pixels that are not scored: labelme's ``__ignore__``, mmsegmentation's ``ignore``, ``unlabeled``, ..."""
    spelled = folded(name)
    return spelled in _IGNORED or (spelled in _PERHAPS_IGNORED and name.startswith("_"))


def may_be_ignored(name: str) -> bool:
    """``void``: not scored where no image is labelled with it."""
    return folded(name) in _PERHAPS_IGNORED
