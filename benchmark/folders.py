"""Folders and files that results go to: tried before anything is computed."""

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
        reason = "it is no folder" if isinstance(error, FileExistsError) else error.strerror
        raise ConfigError(
            f"{option} {folder}: cannot be written ({reason}); choose another folder"
        ) from error


def check_file(path: Path, option: str) -> None:
    """As `check_writable`, for a file. ConfigError also for a folder, and for a pipe or device: it would be replaced."""
    if path.is_dir():
        raise ConfigError(f"{option} {path}: is a folder; give a file in it")
    check_writable(path.parent, option)
    if path.exists() and not path.is_file():
        raise ConfigError(f"{option} {path}: is a pipe or device; give the name of a file")
