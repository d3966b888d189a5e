"""JSON documents that carry the SHA-256 of their content, so that damage to them is noticed. Light to import."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets.base import DataError
from datasets.files.listing import text_of

_SEAL = "sha256"


def sealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document as plain data, with its hash. What JSON has no form for is written as text."""
    plain = json.loads(json.dumps(document, default=str))
    return {**plain, _SEAL: _digest(plain)}


def read_sealed(path: Path) -> dict[str, Any]:
    """The document in a file, without its hash. Files of older versions have none.

    Raises ValueError if the file is not a JSON object or was changed since; OSError as `open`.
    """
    try:
        document = json.loads(text_of(path))
    except RecursionError:
        raise ValueError("nested too deep") from None
    except DataError:
        raise ValueError("no regular file") from None
    if not isinstance(document, dict):
        raise ValueError("no JSON object")
    seal = document.pop(_SEAL, None)
    if seal is not None and seal != _digest(document):
        raise ValueError("damaged: the content does not match its checksum")
    return document


def _digest(plain: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
