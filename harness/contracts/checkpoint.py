"""A learner's bytes flow in; a file that is there as a whole or not at all flows out, and says when it is broken."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

_HEAD = b"checkpoint blake2b-16 %s\n"
_LENGTH = len(_HEAD % b"") + 32


def write_checkpoint(path: Path, content: bytes) -> None:
    """Write beside the path, sync, rename over it, sync the folder: after a crash the former or this one lies there.

    OSError when the disk refuses.
    """
    waiting = path.with_name(f"{path.name}.new")
    with waiting.open("wb") as file:
        file.write(_head(content))
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(waiting, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_checkpoint(path: Path) -> bytes | None:
    """What was written; None where nothing was. ValueError, with a clause, for what is not what was written."""
    try:
        held = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error})") from error
    content = held[_LENGTH:]
    if held[:_LENGTH] != _head(content):
        raise ValueError(f"{path} is damaged: its bytes are not those that were written")
    return content


def _head(content: bytes) -> bytes:
    return _HEAD % hashlib.blake2b(content, digest_size=16).hexdigest().encode()
