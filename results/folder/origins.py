"""Where samples came from goes into a results folder and is found again: by benchmark and image, digest and files.

`origins/<key>.jsonl` has lines of images; the last one of an image stands. Lines are appended before the rows that
rest on them are stored. A line that a crash cut short says nothing, and costs one reading of its image.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from harness.contracts import Mark, Origin
from harness.errors import StoreError
from results.folder.durable import write_text
from results.folder.recipes import recipe_path

FOLDER = "origins"


def recall(folder: Path, key: str) -> dict[str, Origin]:
    """Image id -> origin, as remembered for a benchmark; nothing where nothing is."""
    return {origin.image_id: origin for origin in _lines(_path(folder, key))}


def said(folder: Path) -> Iterator[Origin]:
    """All that is remembered of any benchmark, former origins too."""
    for path in sorted((folder / FOLDER).glob("*.jsonl")):
        yield from _lines(path)


def remember(folder: Path, key: str, origins: Iterable[Origin]) -> None:
    """Append origins. StoreError when the disk refuses."""
    append_lines(folder, key, [origin.line() for origin in origins])


def append_lines(folder: Path, key: str, lines: Iterable[str]) -> None:
    """Append the lines of origins. StoreError when the disk refuses."""
    path = _path(folder, key)
    try:
        path.parent.mkdir(exist_ok=True)
        with path.open("ab") as file:
            # Each behind the end of another one, so that one which a crash cut short stays alone.
            file.write("".join([f"\n{line}" for line in lines]).encode())
    except OSError as error:
        raise StoreError(f"{path} cannot be written ({error.strerror}); free or mend the disk") from None


def bring_origins(sources: Iterable[Path], folder: Path) -> None:
    """Put what other folders remember before what this one does, so that its own stands."""
    for source in sources:
        for path in sorted((source / FOLDER).glob("*.jsonl")):
            own = _path(folder, path.stem)
            held = own.read_text("utf-8").splitlines() if own.is_file() else []
            news = [line for line in path.read_text("utf-8").splitlines() if line not in set(held)]
            if news:
                own.parent.mkdir(exist_ok=True)
                write_text(own, "\n".join([*news, *held]))


def _lines(path: Path) -> list[Origin]:
    try:
        lines = path.read_bytes().splitlines() if path.is_file() else []
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({error.strerror}); mend the disk, or delete it") from None
    return [origin for origin in map(_origin, lines) if origin is not None]


def _path(folder: Path, key: str) -> Path:
    return recipe_path(folder / FOLDER, key).with_suffix(".jsonl")


def _origin(line: bytes) -> Origin | None:
    try:
        image_id, sample, files, readers, *image = json.loads(line)  # of before: without the image's own digest
        marks = tuple(Mark(str(path), *map(int, numbers)) for path, *numbers in files)
        return Origin(str(image_id), str(sample), marks, str(readers), *map(str, image))
    except (ValueError, TypeError):
        return None
