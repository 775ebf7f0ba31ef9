"""Bytes and a path go in; a file that is there as a whole or not at all, also after a crash, comes out."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
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
    except BaseException as error:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        reason = error.strerror or str(error)
        raise StoreError(f"{path} cannot be written ({reason}); free or mend the disk and run again") from error


def write_text(path: Path, text: str) -> None:
    """`write_whole` of a UTF-8 text; a file that already holds this text is left as it is."""
    content = text.encode("utf-8")
    try:
        same = path.is_file() and path.read_bytes() == content
    except OSError:  # what cannot be read is written anew
        same = False
    if not same:
        write_whole(path, lambda file: file.write(content))


def read_whole(path: Path, cure: str) -> bytes:
    """A file's bytes. StoreError, with the cure, when it cannot be read or is no file: nobody waits for a pipe."""
    try:
        if path.exists() and not path.is_file():
            raise StoreError(f"{path} is no file; {cure}")
        return path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({error.strerror or error}); {cure}") from None


def remove_leftovers(folder: Path) -> None:
    """Delete what a crash left half written in the folder."""
    for aside in folder.glob(f"*{ASIDE}"):
        with suppress(OSError):  # a folder of that name, or one that may not be touched, harms nobody
            aside.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
