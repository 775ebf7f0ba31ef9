"""Archives are unpacked inside their folder or not at all, and what is damaged leaves no broken file."""

from __future__ import annotations

import io
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.unpack import BadArchive, unpack

LINK, PIPE = stat.S_IFLNK | 0o777, stat.S_IFIFO | 0o644
NAMES = ("../out", "/abs/out", "a/../../out", "C:/out", "a\\..\\out", "a\nb")


def zipped(path: Path, files: Mapping[str, bytes], kinds: Mapping[str, int] = {}) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = kinds.get(name, stat.S_IFREG | 0o644) << 16
            archive.writestr(info, data)
    return path


def taped(path: Path, files: Mapping[str, bytes], kinds: Mapping[str, bytes] = {}) -> Path:
    mode: Any = f"w:{path.suffix[1:]}" if path.suffix in (".gz", ".bz2", ".xz") else "w"
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kinds.get(name, tarfile.REGTYPE), "../out"
            info.size = len(data) if info.type == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(data) if info.size else None)
    return path


SOUND = {"one/a.txt": b"a" * 5_000, "./one/two/b.png": bytes(range(256)) * 40, "c": b""}


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz"])
def test_archives_are_unpacked_and_what_is_there_is_left(name: str, tmp_path: Path) -> None:
    archive = (zipped if name.endswith("zip") else taped)(tmp_path / name, SOUND)
    into = tmp_path / "in"
    assert unpack(archive, into) == 3
    assert {path.relative_to(into).as_posix(): path.read_bytes() for path in into.rglob("*") if path.is_file()} == {
        name.removeprefix("./"): data for name, data in SOUND.items()
    }
    (into / "one/a.txt").write_bytes(b"half")  # as an interruption leaves a file that is written in place
    kept = (into / "one/two/b.png").stat().st_mtime_ns
    unpack(archive, into)
    assert (into / "one/a.txt").read_bytes() == SOUND["one/a.txt"]
    assert (into / "one/two/b.png").stat().st_mtime_ns == kept


def refuse(archive: Path, says: str) -> None:
    into = archive.parent / "in"
    with pytest.raises(BadArchive, match=says):
        unpack(archive, into)
    assert not into.exists() and not (archive.parent / "out").exists()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("make", [zipped, taped])
def test_names_that_lead_outside_are_refused_before_anything_is_written(
    make: Callable[..., Path], name: str, tmp_path: Path
) -> None:
    refuse(make(tmp_path / "x.zip", {**SOUND, name: b"evil"}), "which leads outside the folder; nothing is unpacked")


def test_links_devices_and_passwords_are_refused(tmp_path: Path) -> None:
    for kind in (LINK, PIPE):
        refuse(zipped(tmp_path / "x.zip", {**SOUND, "l": b"../out"}, {"l": kind}), "a link or a device, 'l'")
    for type_ in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
        refuse(taped(tmp_path / "x.tar", {**SOUND, "l": b""}, {"l": type_}), "a link or a device, 'l'")
    archive = zipped(tmp_path / "p.zip", SOUND)
    data = bytearray(archive.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1  # the flag of a file with a password
    archive.write_bytes(data)
    refuse(archive, "has a password; unpack it by hand")
    (tmp_path / "page.zip").write_bytes(b"<html>log in first</html>" * 100)
    refuse(tmp_path / "page.zip", "is no zip or tar archive")


def test_a_file_that_begins_before_its_zip_and_a_name_that_is_no_text_are_damage(tmp_path: Path) -> None:
    whole = zipped(tmp_path / "x.zip", SOUND).read_bytes()
    moved, named = bytearray(whole), bytearray(whole)
    moved[-6:-2] = (int.from_bytes(moved[-6:-2], "little") + 9).to_bytes(4, "little")  # where the list of files begins
    name = named.index(b"PK\x01\x02")
    named[name + 9] |= 8  # UTF-8
    named[name + 46] = 255
    for data, says in ((moved, "would begin before it"), (named, "codec can't decode")):
        (tmp_path / "x.zip").write_bytes(data)
        refuse(tmp_path / "x.zip", f"is damaged .*{says}.*; fetch it again")


def test_damaged_archives_end_in_a_sentence_and_leave_no_broken_file(tmp_path: Path, rng: np.random.Generator) -> None:
    for number, name in enumerate(["x.zip", "x.tar", "x.tar.gz", "x.tar.bz2", "x.tar.xz"] * 6):
        files = {"a.bin": rng.bytes(9_000), "b.bin": rng.bytes(9_000)}
        archive = (zipped if name.endswith("zip") else taped)(tmp_path / name, files)
        whole = archive.read_bytes()
        if number % 2:
            archive.write_bytes(whole[: int(rng.integers(len(whole) // 2))])
        else:
            spoilt = bytearray(whole)
            place = int(rng.integers(len(whole)))
            spoilt[place : place + 40] = rng.bytes(len(spoilt[place : place + 40]))
            archive.write_bytes(spoilt)
        into = tmp_path / f"{number}"
        try:
            unpack(archive, into)
        except BadArchive as refused:
            assert str(archive) in str(refused)
        if not name.endswith(".tar"):  # which has no checksums of what it holds: the md5 of the whole stands for it
            assert all(path.read_bytes() == files.get(path.name) for path in into.glob("[ab].bin"))


def test_an_archive_larger_than_the_disk_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 0, 9))
    refuse(zipped(tmp_path / "x.zip", SOUND), "unpacks to 15240 bytes more, and 9 are free")
