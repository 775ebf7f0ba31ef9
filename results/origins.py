"""Where samples came from goes into a results folder and is found again: by benchmark and image, digest and files.

`origins/<key>.jsonl` has a line an image; the last line of an image stands. Lines are appended before the rows that
rest on them are stored. A line that a crash cut short says nothing, and costs one reading of its image.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from harness.contracts import Mark, Origin
from harness.errors import StoreError
from results.durable import write_text
from results.recipes import recipe_path

FOLDER = "origins"


def recall(folder: Path, key: str) -> dict[str, Origin]:
    """Image id -> origin, as remembered for a benchmark; nothing where nothing is."""
    path = _path(folder, key)
    try:
        lines = path.read_bytes().splitlines() if path.is_file() else []
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({error.strerror}); mend the disk, or delete it") from None
    found = [_origin(line) for line in lines]
    return {origin.image_id: origin for origin in found if origin is not None}


def remember(folder: Path, key: str, origins: Iterable[Origin]) -> None:
    """Append origins. StoreError when the disk refuses."""
    lines = [json.dumps([one.image_id, one.sample, one.files]) for one in origins]
    path = _path(folder, key)
    try:
        path.parent.mkdir(exist_ok=True)
        with path.open("ab") as file:
            # A line that a crash cut short stays alone.
            file.write("".join(f"\n{line}" for line in lines).encode())
    except OSError as error:
        raise StoreError(f"{path} cannot be written ({error.strerror}); free or mend the disk") from None


def renew(folder: Path, key: str, origins: Iterable[Origin]) -> None:
    """Write all that is known of a benchmark anew, a line an image."""
    lines = [json.dumps([one.image_id, one.sample, one.files]) for one in origins]
    _path(folder, key).parent.mkdir(exist_ok=True)
    write_text(_path(folder, key), "\n".join(lines))


def _path(folder: Path, key: str) -> Path:
    return recipe_path(folder / FOLDER, key).with_suffix(".jsonl")


def _origin(line: bytes) -> Origin | None:
    try:
        image_id, sample, files = json.loads(line)
        return Origin(str(image_id), str(sample), tuple(Mark(str(p), int(size), int(time)) for p, size, time in files))
    except (ValueError, TypeError):
        return None
