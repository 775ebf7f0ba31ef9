"""An archive and a folder flow in; its files lie in the folder, each whole, and nothing lies outside of it."""

from __future__ import annotations

import gzip
import io
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, ClassVar

from benchmarks.faults import DataError

PIECE = 1 << 20
DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError,
    UnicodeDecodeError,
)  # fmt: skip


class BadArchive(DataError):
    """An archive is damaged, or holds what is not unpacked."""

    kind: ClassVar[str] = "bad archive"


@dataclass(frozen=True)
class Member:
    """A file of an archive: its place in it, its bytes, and how it is opened."""

    place: PurePosixPath
    size: int
    open: Callable[[], IO[bytes]]


def unpack(archive: Path, folder: Path) -> int:
    """Every file of a zip or tar archive into a folder; how many there were.

    Nothing is written before all names have been looked at. A file that is there already, as long as in the archive, is
    left as it is, so that an unpacking that was interrupted goes on. BadArchive for a damaged archive, one with links,
    devices or passwords, with names that lead outside, or that is larger than the disk.
    """
    with _members(archive) as members:
        free = shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.exists())).free
        needed = 0
        for member in members:
            there = folder / member.place
            needed += 0 if there.is_file() and there.stat().st_size == member.size else member.size
        if needed > free:
            raise BadArchive(f"{archive} unpacks to {needed} bytes more, and {free} are free in {folder}.")
        for member in members:
            _write(member, folder / member.place, archive)
        return len(members)


def _write(member: Member, target: Path, archive: Path) -> None:
    if target.is_file() and target.stat().st_size == member.size:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    try:
        with member.open() as source, part.open("wb") as file:
            left = member.size
            while left >= 0 and (piece := source.read(min(PIECE, left + 1))):
                left -= len(piece)
                file.write(piece)
        if left:
            raise BadArchive(f"{archive}: {member.place} is not as long as the archive says; fetch it again.")
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _members(archive: Path) -> Iterator[list[Member]]:
    """The files of an archive, all of them looked at, while it is open."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                yield [_of_zip(opened, info, archive) for info in opened.infolist() if not info.is_dir()]
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tape:
                members = [_of_tar(tape, info, archive) for info in tape if not info.isdir()]
                _read_to_the_end(tape.fileobj)
                yield members
        else:
            raise BadArchive(f"{archive} is no zip or tar archive; fetch it again.")
    except DAMAGED as error:
        raise BadArchive(f"{archive} is damaged ({error}); fetch it again.") from None
    except OSError as error:
        if error.errno is not None:  # bz2 says so of what it cannot read; a disk gives a number
            raise
        raise BadArchive(f"{archive} is damaged ({error}); fetch it again.") from None


def _read_to_the_end(file: Any) -> None:
    """Whether a compressed tape is sound stands behind it; a plain one has nothing to check."""
    if not isinstance(file, io.BufferedReader):
        while file.read(PIECE):
            pass


def _of_zip(opened: zipfile.ZipFile, info: zipfile.ZipInfo, archive: Path) -> Member:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise BadArchive(f"{archive} holds a link or a device, {info.filename!r}; it is not unpacked.")
    if info.flag_bits & 1:
        raise BadArchive(f"{archive} has a password; unpack it by hand.")
    if info.header_offset < 0:  # by a damaged end of the archive, from which places are counted
        raise zipfile.BadZipFile(f"{info.filename!r} would begin before it")
    return Member(_place(info.filename, archive), info.file_size, lambda: opened.open(info))


def _of_tar(tape: tarfile.TarFile, info: tarfile.TarInfo, archive: Path) -> Member:
    if not info.isreg():
        raise BadArchive(f"{archive} holds a link or a device, {info.name!r}; it is not unpacked.")

    def opened() -> IO[bytes]:
        file: Any = tape.extractfile(info)
        found: IO[bytes] = file
        return found

    return Member(_place(info.name, archive), info.size, opened)


def _place(name: str, archive: Path) -> PurePosixPath:
    """Where a file goes, below the folder. BadArchive for a name that leads outside, or is none."""
    place = PurePosixPath(name)
    strange = place.is_absolute() or ".." in place.parts or "\\" in name or ":" in name or not place.parts
    if strange or any(ord(letter) < 32 for letter in name):
        raise BadArchive(f"{archive} holds the name {name!r}, which leads outside the folder; nothing is unpacked.")
    return place
