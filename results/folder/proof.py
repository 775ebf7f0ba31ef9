"""Bytes and JSON objects go in; digests come out, and files that carry their own: behind their last byte, or as a key.

A digest is BLAKE2b with 16 bytes, in hexadecimal: one that no accident meets, at the price of a memory copy or two.
That of a picture stands for its place in the folder too: whose it is, and of which image. Files of before carry none,
or one of their bytes alone; they are read as they are, and `python -m results.verify` counts them. Whether a file that
carries none is of before, whoever reads it has to know.
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
_END = b"\nblake2b-16p %s\n"  # behind a picture's last byte, where no decoder looks: of bytes and place
_END_OF_BEFORE = b"\nblake2b-16 %s\n"  # of bytes alone
_KINDS = ("label_maps", "pictures", "artefacts")  # where a place in a folder begins
# With what a whole file without a digest ends, within so many bytes.
_LAST, _TAIL = {".jpg": b"\xff\xd9", ".png": b"IEND\xaeB`\x82", ".npz": b"PK\x05\x06"}, 22
_OTHER = "its bytes are not those that were written"
_PLAIN = frozenset({str, int, float, bool, type(None)})
_text, _sorted_text = json.JSONEncoder().encode, json.JSONEncoder(sort_keys=True).encode
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


def sealed_line(content: Mapping[str, object]) -> str:
    """`sealed` as a line of text; what JSON cannot say, as its own text."""
    if SEAL in content or not content or not all(map(_is_plain, content, content.values())):
        return json.dumps(sealed(content, default=str)) + "\n"
    digest = bytes_digest(_sorted_text(content).encode())  # what is plain need not be read again to be known
    return f'{_text(content)[:-1]}, "{SEAL}": "{digest}"}}\n'


def _is_plain(key: object, value: object) -> bool:
    """Whether JSON gives back what it was given: texts, numbers, and lists of texts."""
    return type(key) is str and (type(value) in _PLAIN or (type(value) is list and {*map(type, value)} <= {str}))


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


def stamped(content: bytes, path: Path) -> bytes:
    """The bytes of a picture that is to lie there, with their digest behind them."""
    return content + _END % _of_picture(content, path)


def read_stamped(path: Path, of_before: Callable[[Path], bool]) -> bytes:
    """The bytes of a stored picture, without their digest. StoreError when others were written there.

    of_before: whether a file without a digest may have been written so; it is asked of whole ones alone.
    """
    return without_stamp(read_whole(path, CURE), path, of_before)


def without_stamp(content: bytes, path: Path, of_before: Callable[[Path], bool]) -> bytes:
    """The bytes of a picture that lies there, without their digest. StoreError when they are not what was written."""
    for end, digest in ((_END, _of_picture), (_END_OF_BEFORE, lambda body, _: bytes_digest(body).encode())):
        if _ends_in(content, end):
            body = content[: -_length(end)]
            if content[len(body) :] == end % digest(body, path):
                return body
            moved = " there (it may be another run's, or another image's)" if end == _END else ""
            raise StoreError(f"{path} is damaged: {_OTHER}{moved}; {CURE}")
    whole = _LAST.get(path.suffix, b"") in content[-_TAIL:]
    if whole and of_before(path):
        return content
    lost = "it has lost its digest, as a picture does that is saved again" if whole else _OTHER
    raise StoreError(f"{path} is damaged: {lost}; {CURE}")


def is_stamped(content: bytes) -> bool:
    """Whether these bytes end in a digest of them and their place, be it the right one."""
    return _ends_in(content, _END)


def _of_picture(content: bytes, path: Path) -> bytes:
    """The digest of bytes at a place: `label_maps/<run>/<image>.png`, wherever the results folder lies."""
    begins = [number for number, part in enumerate(path.parts) if part in _KINDS]
    place = "/".join(path.parts[begins[-1] :]) if begins else path.name
    return bytes_digest(content + b"\0" + place.encode()).encode()


def _length(end: bytes) -> int:
    return len(end % b"") + 32


def _ends_in(content: bytes, end: bytes) -> bool:
    last = content[-_length(end) :]
    return len(last) == _length(end) and last.startswith(end[: end.index(b"%")]) and last.endswith(b"\n")
