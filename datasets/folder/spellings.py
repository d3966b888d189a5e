"""How other tools spell what is no class: the background, pixels that are not scored, images without a defect."""

from __future__ import annotations

import unicodedata

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
_PERHAPS_IGNORED = {"void", "ambiguous"}
"""Names that VOC has for 255, and foundries for a cavity: `__void__` is the former, a plain one may be a class."""


def folded(name: str) -> str:
    """A name without what is easily spelled two ways: case, Unicode form, spaces, hyphens, underscores, dots."""
    text = unicodedata.normalize("NFKC", name).casefold()
    return "".join(c for c in text if c.isalnum()) or text


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
