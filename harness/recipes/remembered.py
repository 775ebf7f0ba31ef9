"""Files flow in; digests of their content flow out, of large ones remembered, so that a checkpoint is read once.

What is remembered lies in the user's cache folder: `$XDG_CACHE_HOME/stableseg-harness`, else
`~/.cache/stableseg-harness`. It can be deleted at any time, and where it cannot be written files are read again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from harness.errors import SettingsError
from harness.recipes.syntax import hashed

LARGE = 1 << 20  # bytes from which on a digest is worth remembering
SETTLED = 2 * 10**9  # nanoseconds: a file written more recently can change again within one tick of its clock
_SKIPPED = frozenset({"__pycache__", ".git", ".cache"})


def digest_of_file(path: Path) -> str:
    """Hex digest of a file's bytes. SettingsError when it cannot be read."""
    try:
        about = path.stat()
        # The second time is that of the last change of any kind, which nobody can set.
        state = [about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino]
        if about.st_size < LARGE:
            return hashed(path.read_bytes())
        note = cache_folder() / "digests" / f"{hashed(str(path.resolve()).encode())}.json"
        if (known := _noted(note)).get("state") == state:
            return str(known["digest"])
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise SettingsError(f"{path} is named by a setting and cannot be read ({error.strerror})") from None
    if time.time_ns() - about.st_ctime_ns > SETTLED:
        _note(note, json.dumps({"state": state, "digest": digest}))
    return digest


def digest_of_folder(folder: Path) -> str:
    """Hex digest of the names and contents of all files below a folder, those in folders that it links to included."""
    try:
        lines = [f"{path.relative_to(folder).as_posix()}\0{digest_of_file(path)}\n" for path in _files_below(folder)]
    except OSError as error:
        raise SettingsError(f"{error.filename} is in a folder that a setting names and cannot be read") from None
    return hashed("".join(sorted(lines)).encode())


def cache_folder() -> Path:
    """Where what can be made again is kept between sweeps."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path("~/.cache").expanduser()) / "stableseg-harness"


def _files_below(folder: Path, above: frozenset[str] = frozenset()) -> Iterator[Path]:
    """The files of a folder and of those in it. above: the real folders on the way; a link to one of them ends."""
    real = os.path.realpath(folder)
    if real in above:
        return
    for path in folder.iterdir():
        if path.is_file():
            yield path
        elif path.is_dir() and path.name not in _SKIPPED:
            yield from _files_below(path, above | {real})


def _noted(note: Path) -> dict[str, object]:
    try:
        found = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _note(note: Path, text: str) -> None:
    aside = note.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text(text, encoding="utf-8")
        os.replace(aside, note)
