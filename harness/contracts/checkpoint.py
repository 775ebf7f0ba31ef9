"""A learner's bytes flow in; a file that is there as a whole or not at all flows out, and says when it is broken.

It says whose it is too: a checkpoint below `unfinished` belongs to the artefact in whose folder that lies.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path
from urllib.parse import quote

UNFINISHED = "unfinished"
_HEAD = b"checkpoint of %s blake2b-16 %s\n"
_HEADS = re.compile(rb"checkpoint of (\S*) blake2b-16 [0-9a-f]{32}\n")


def write_checkpoint(path: Path, content: bytes) -> None:
    """Write beside the path, sync, rename over it, sync the folder: after a crash the former or this one lies there.

    OSError when the disk refuses.
    """
    waiting = path.with_name(f"{path.name}.new")
    for place in (waiting, path):
        if place.is_dir():  # no checkpoint, and in its way
            shutil.rmtree(place)
    with waiting.open("wb") as file:
        file.write(_head(_owner(path), content))
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
    """What was written; None where nothing was. ValueError, with a clause, for what was not, or by another fit."""
    try:
        held = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error})") from error
    said = _HEADS.match(held)
    content = held[said.end() :] if said else b""
    if said is None or said[0] != _head(said[1], content):
        raise ValueError(f"{path} is damaged: its bytes are not those that were written")
    if said[1] != _owner(path):
        raise ValueError(f"{path} is of another fit, {said[1].decode()}")
    return content


def _owner(path: Path) -> bytes:
    """The name of the artefact's folder."""
    below = [folder for folder in path.absolute().parents if folder.name == UNFINISHED]
    return quote(below[0].parent.name, safe="").encode() if below else b""


def _head(owner: bytes, content: bytes) -> bytes:
    return _HEAD % (owner, hashlib.blake2b(owner + b"\0" + content, digest_size=16).hexdigest().encode())
