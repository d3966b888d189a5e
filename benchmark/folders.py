"""Folders that results go to: tried before anything is computed."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryFile

from benchmark.failures import ConfigError
from benchmark.store import disk_is_full


def check_writable(folder: Path, option: str) -> None:
    """Make the folder and try it. Raises ConfigError that names the option which chose it; a full disk's OSError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as error:
        if disk_is_full(error):
            raise
        raise ConfigError(
            f"{option} {folder}: cannot be written ({error.strerror}); choose another folder"
        ) from error
