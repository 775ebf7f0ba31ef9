"""Results folders go in; files beside rows that the first one lacks, and those that contradict each other, come out.

Such files are whole artefacts, label maps, pictures and the user's ledgers. What serves an unfinished fit stays behind.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness.errors import StoreError
from results.folder import keepsakes
from results.folder.artefacts import UNFINISHED, refuse_damaged
from results.folder.durable import ASIDE, remove_leftovers, write_whole
from results.folder.sameness import CARD, Files, differing_files, equal, fingerprint, learned, seen, standing

_MEANING = {"artefacts": learned, "label_maps": seen, "pictures": seen, "ledger": fingerprint}
_OURS = ("artefacts", "label_maps", "pictures")  # a ledger is the user's
_ENDINGS = {"label_maps": (".png",), "pictures": (".jpg", ".png"), "ledger": (".csv",)}


@dataclass(frozen=True)
class Cargo:
    """copies: (file, its path within the target). wrong: what contradicts, as (folder, file's name)."""

    copies: tuple[tuple[Path, Path], ...]
    wrong: tuple[tuple[Path, str], ...]


def find_cargo(folders: Sequence[Path]) -> Cargo:
    """What the first folder lacks, or holds in a version that does not stand. Nothing is written.

    StoreError for a link (none is followed, so that no path leaves a folder), a damaged file, ledgers that differ.
    """
    units = [_units(folder) for folder in folders]
    copies: list[tuple[Path, Path]] = []
    wrong: list[tuple[Path, str]] = []
    for unit in sorted({unit for own in units for unit in own}):
        versions = [own[unit] for own in units if unit in own]
        chosen = versions[0]
        if not equal(versions):
            chosen = standing(versions)
            wrong += _wrong(unit, versions)
        held = units[0].get(unit, {})
        copies += [(path, unit / name) for name, path in chosen.items() if _is_news(path, held.get(name))]
    return Cargo(tuple(copies), tuple(wrong))


def bring_files(cargo: Cargo, folder: Path) -> None:
    """Copy every file, whole or not at all, the cards of artefacts last. StoreError when a disk refuses."""
    for name in (name for _, name in cargo.copies if name.name == CARD):
        (folder / name).unlink(missing_ok=True)  # until all its files are there, an artefact is not whole
    for path, name in sorted(cargo.copies, key=lambda copy: copy[1].name == CARD):
        target = folder / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with path.open("rb") as source:
                write_whole(target, partial(shutil.copyfileobj, source))
        except OSError as error:
            raise StoreError(f"{path} cannot be copied to {target} ({error.strerror}); mend the disk") from None
    for place in {(folder / name).parent for _, name in cargo.copies if name.parts[0] in _OURS}:
        remove_leftovers(place)


def _units(folder: Path) -> dict[Path, Files]:
    """What is carried as one, by its path in the folder: an artefact with all its files, any other file by itself."""
    found: dict[Path, Files] = {}
    for place in _inner(folder / "artefacts"):
        files = {path.relative_to(place).as_posix(): path for path in _walk(place, UNFINISHED)}
        if CARD in files:
            refuse_damaged(place)
            found[place.relative_to(folder)] = files
    for kind, endings in _ENDINGS.items():
        files = {path.relative_to(folder).as_posix(): path for path in _walk(folder / kind)}
        files = {name: path for name, path in files.items() if path.suffix in endings}
        for path in files.values() if kind in _OURS else ():
            keepsakes.read_kept(path)
        found |= {Path(name): {"": path} for name, path in files.items()}
    return found


def _walk(place: Path, without: str = "") -> Iterator[Path]:
    """The files below a place, without one of its folders, and without what a crash left half written."""
    for path in _inner(place):
        if path.is_dir() and path.name != without:
            yield from _walk(path)
        elif path.is_file() and not path.name.endswith(ASIDE):
            yield path


def _inner(place: Path) -> list[Path]:
    """What lies in a folder, in order; nothing where there is none. StoreError for a link, or what is no file."""
    paths = [place, *(sorted(place.iterdir()) if place.is_dir() else ())]
    for path in paths:
        if path.is_symlink() or (path.exists() and not (path.is_dir() or path.is_file())):
            raise StoreError(f"{path} is a link, or no file at all; a merge follows neither: put a copy in its place")
    return paths[1:]


def _is_news(path: Path, held: Path | None) -> bool:
    return held is None or (path != held and fingerprint(path) != fingerprint(held))


def _wrong(unit: Path, versions: Sequence[Files]) -> list[tuple[Path, str]]:
    kind = unit.parts[0]
    names = differing_files(versions, _MEANING[kind])
    if names and kind == "ledger":
        places = " and ".join(sorted(str(files[""]) for files in versions))
        raise StoreError(f"{places} bear one name and differ; give one of them another name, so that both are kept")
    return [(unit, name) if kind == "artefacts" else (unit.parent, unit.name) for name in names]
