"""Bytes and JSON objects go in; digests come out, and files that carry their own: behind their last byte, or as a key.

A digest is BLAKE2b with 16 bytes, in hexadecimal: one that no accident meets, at the price of a memory copy or two.
Files of before carry none; they are read as they are, and `python -m results.verify` counts them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness.errors import StoreError
from results.folder.durable import read_whole

SEAL = "seal"  # the key of a JSON object that holds the digest of all its other keys
_END = b"\nblake2b-16 %s\n"  # behind a picture's last byte, where no decoder looks
_LENGTH = len(_END % b"") + 32
# With what a whole file without a digest ends, within so many bytes.
_LAST, _TAIL = {".jpg": b"\xff\xd9", ".png": b"IEND\xaeB`\x82", ".npz": b"PK\x05\x06"}, 22
CURE = "move it away (`python -m results.verify DIR --set-aside` does) and run the sweep again"


def bytes_digest(content: bytes) -> str:
    """32 hexadecimal letters that stand for these bytes."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def file_digest(path: Path) -> str:
    """The digest of a file, which is never held all at once. StoreError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({error.strerror}); {CURE}") from None


def seal_of(content: Mapping[str, object]) -> str:
    """The digest of a JSON object without its seal, whatever the order and spelling of its text."""
    bare = {key: value for key, value in content.items() if key != SEAL}
    return bytes_digest(json.dumps(bare, sort_keys=True).encode())


def sealed(content: Mapping[str, object], default: Callable[[object], object] | None = None) -> dict[str, object]:
    """A JSON object as it is read again, with its seal, the last key. default: says what JSON cannot."""
    plain = json.loads(json.dumps(content, default=default))
    return {**plain, SEAL: seal_of(plain)}


def unsealed(content: dict[str, object]) -> dict[str, object] | None:
    """A JSON object without its seal, if it had one; None where it is not what was sealed."""
    if SEAL in content:
        seal = content.pop(SEAL)
        return content if seal == seal_of(content) else None
    last = next(reversed(content), "")
    rest = {key: value for key, value in content.items() if key != last}
    name_is_damaged = last != "" and content[last] == seal_of(rest)
    return None if name_is_damaged else content  # of before


def read_json(path: Path, of_now: Callable[[dict[str, Any]], bool] = lambda _: False) -> dict[str, Any]:
    """The JSON object of a file, without its seal. StoreError when it is none, or not the one that was written.

    of_now: whether an object was written since there are seals; then one without a seal has lost it.
    """
    try:
        content = json.loads(read_whole(path, CURE))
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path} cannot be read as JSON ({error}); {CURE}") from None
    if not isinstance(content, dict):
        raise StoreError(f"{path} holds no JSON object; {CURE}")
    if SEAL not in content and of_now(content):
        raise StoreError(f"{path} is damaged, or was changed by hand: it has lost its seal; {CURE}")
    bare = unsealed(content)
    if bare is None:
        raise StoreError(f"{path} is damaged, or was changed by hand: its seal is that of another content; {CURE}")
    return bare


def stamped(content: bytes) -> bytes:
    """A picture's bytes with their digest behind them."""
    return content + _END % bytes_digest(content).encode()


def read_stamped(path: Path) -> bytes:
    """The bytes of a stored picture, without their digest. StoreError when they are not those that were written."""
    content = read_whole(path, CURE)
    body, end = content[:-_LENGTH], content[-_LENGTH:]
    if is_stamped(content) and end == _END % bytes_digest(body).encode():
        return body
    if not is_stamped(content) and _LAST.get(path.suffix, b"") in content[-_TAIL:]:
        return content  # of before
    raise StoreError(f"{path} is damaged: its bytes are not those that were written; {CURE}")


def is_stamped(content: bytes) -> bool:
    """Whether these bytes end in a digest, be it the right one."""
    end = content[-_LENGTH:]
    return len(end) == _LENGTH and end.startswith(_END[: _END.index(b"%")]) and end.endswith(b"\n")
