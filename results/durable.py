"""Bytes and a path go in; a file that is there as a whole or not at all, also after a crash, comes out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from harness.errors import StoreError

ASIDE = ".tmp"


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write beside `path`, sync, rename over it, sync the folder. StoreError when the disk refuses."""
    aside = path.with_name(f"{path.name}.{os.getpid()}{ASIDE}")
    try:
        with aside.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
        _sync_folder(path.parent)
    except OSError as error:
        aside.unlink(missing_ok=True)
        reason = error.strerror or str(error)
        raise StoreError(f"{path} cannot be written ({reason}); free or mend the disk and run again") from error


def write_text(path: Path, text: str) -> None:
    """`write_whole` of a UTF-8 text; a file that already holds this text is left as it is."""
    content = text.encode("utf-8")
    if not (path.is_file() and path.read_bytes() == content):
        write_whole(path, lambda file: file.write(content))


def remove_leftovers(folder: Path) -> None:
    """Delete what a crash left half written in the folder."""
    for aside in folder.glob(f"*{ASIDE}"):
        aside.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
