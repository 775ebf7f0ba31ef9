"""Files come whole or not at all, archives are unpacked inside their folder or not at all, data sets are gated."""

from __future__ import annotations

import fcntl
import hashlib
import io
import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import trees
import yaml
from in_process import call
from unreliable_server import Server, serving

from benchmarks import download as downloads
from benchmarks import fetch as fetching
from benchmarks.archives import KNOWN, Archive, Obtainable
from benchmarks.download import TRIES, CannotFetch, download
from benchmarks.unpack import BadArchive, unpack
from harness.checks.__main__ import main as checks
from harness.contracts import Recipe
from harness.recipes import loading

SIZE = 40_000


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


@pytest.fixture
def server(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of random bytes; what comes is read in small pieces."""
    monkeypatch.setattr(downloads, "PIECE", 997)
    with serving(Server(rng.bytes(SIZE))) as one:
        yield one


@pytest.fixture
def get(server: Server, tmp_path: Path) -> Callable[..., Path]:
    """Fetches the server's file to a place of its own."""

    def fetch(path: str = "/file", digest: str | None = None, name: str = "file", **more: Any) -> Path:
        wanted = digest or md5(server.data)
        return download(server.address + path, tmp_path / name, wanted, loopback=True, pause=0, **more)

    return fetch


def test_a_file_comes_whole_and_is_not_fetched_twice(server: Server, get: Callable[..., Path]) -> None:
    seen: list[tuple[int, int | None]] = []
    assert get(told=lambda have, total: seen.append((have, total))).read_bytes() == server.data
    assert seen[-1] == (SIZE, SIZE) and len(seen) > 9
    assert get().name == "file" and server.asked == [None]


def test_a_line_that_breaks_at_20_random_bytes_ends_whole(
    server: Server, get: Callable[..., Path], rng: np.random.Generator
) -> None:
    server.cuts = rng.integers(0, SIZE // 19, 20).tolist()
    assert get(name="at once").read_bytes() == server.data
    places = [start or 0 for start in server.asked]
    assert len(places) > 15 and places == sorted(places)
    for place in rng.integers(0, SIZE, 20).tolist():
        server.cuts, server.asked = [place], []
        assert get(name=f"{place}").read_bytes() == server.data
        assert server.asked == ([None, place] if place else [None, None])


def test_a_fetch_that_is_interrupted_at_20_random_bytes_goes_on_where_it_was(
    server: Server, get: Callable[..., Path], rng: np.random.Generator, tmp_path: Path
) -> None:
    for place in rng.integers(1, SIZE, 20).tolist():
        server.asked = []

        def told(have: int, _total: int | None, place: int = place) -> None:
            if have >= place:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            get(name=f"{place}", told=told)
        kept = (tmp_path / f"{place}.part").stat().st_size
        assert place <= kept and not (tmp_path / f"{place}").exists()
        assert get(name=f"{place}").read_bytes() == server.data
        assert server.asked == [None, kept]


def test_a_server_without_ranges_is_asked_for_all_again(server: Server, get: Callable[..., Path]) -> None:
    server.ranges, server.cuts = False, [7, 12_345]
    assert get().read_bytes() == server.data and server.asked == [None, 7, 12_345]


def test_a_range_that_starts_elsewhere_is_not_taken(server: Server, get: Callable[..., Path]) -> None:
    server.cuts, server.starts = [5_000], 17
    assert get().read_bytes() == server.data and server.asked == [None, 5_000, None]


def test_a_server_that_promises_too_much(server: Server, get: Callable[..., Path], tmp_path: Path) -> None:
    server.says = SIZE + 9
    with pytest.raises(CannotFetch, match=r"read to its end: .*bytes are kept; the same command continues") as caught:
        server.ranges = False
        get()
    assert f"it promised {SIZE + 9} bytes and gave {SIZE} ({TRIES} times in a row)" in str(caught.value)
    server.ranges = True
    assert get().read_bytes() == server.data  # 416 says that all is here


def test_a_server_that_promises_too_little_gives_another_file(
    server: Server, get: Callable[..., Path], tmp_path: Path
) -> None:
    server.says = SIZE - 9
    with pytest.raises(CannotFetch, match="gave another file than promised: its md5 is"):
        get()
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_fit_the_disk_is_not_begun(
    server: Server, get: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 0, 9))
    with pytest.raises(CannotFetch, match=f"needs {SIZE} bytes more, and 9 are free"):
        get()


def test_another_file_is_refused_wherever_it_lies(server: Server, get: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(CannotFetch, match="gave another file than promised"):
        get(digest=md5(b"other"))
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(CannotFetch, match="is not the file that was promised"):
        get()
    (tmp_path / "old.part").write_bytes(b"of another release")
    assert get(name="old").read_bytes() == server.data


def test_two_do_not_write_one_file(get: Callable[..., Path], tmp_path: Path) -> None:
    with (tmp_path / "file.part").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(CannotFetch, match="is being written by another process"):
            get()


def test_refusals_end_at_once_and_faults_are_tried_again(
    server: Server, get: Callable[..., Path], tmp_path: Path
) -> None:
    server.statuses = [404]
    with pytest.raises(CannotFetch, match="was not given: HTTP Error 404: Not Found"):
        get()
    assert len(server.asked) == 1
    server.statuses = [503, 500, 429]
    assert get().read_bytes() == server.data
    server.statuses = [503] * TRIES
    with pytest.raises(CannotFetch, match=r"could not be read to its end: .*503.* Nothing came\.$"):
        get(name="never")
    assert not (tmp_path / "never.part").exists()  # nothing is begun that could be continued


def test_redirections_within_this_machine_are_followed_where_a_test_says_so(
    server: Server, get: Callable[..., Path], tmp_path: Path
) -> None:
    server.leads = {"/moved": f"{server.address}/file", "/away": "http://example.org/file", "/self": "/self",
                    "/disk": "file:///etc/hostname", "/ftp": "ftp://127.0.0.1/file"}  # fmt: skip
    assert get("/moved").read_bytes() == server.data
    for path in ("/away", "/ftp"):
        with pytest.raises(CannotFetch, match="is where a redirection leads, and only https is followed"):
            get(path, name="no")
    with pytest.raises(CannotFetch, match="file:///etc/hostname' is not allowed"):
        get("/disk", name="no")
    with pytest.raises(CannotFetch, match="redirect"):
        get("/self", name="no")
    with pytest.raises(CannotFetch, match="only https is followed"):  # as the command does
        download(f"{server.address}/moved", tmp_path / "no", md5(server.data), pause=0)


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
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
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


def test_damaged_archives_end_in_a_sentence_and_leave_no_broken_file(tmp_path: Path, rng: np.random.Generator) -> None:
    for number, name in enumerate(["x.zip", "x.tar", "x.tar.gz"] * 8):
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


def pack(tree: Path, archive: Path) -> Path:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w") as tape:
        tape.add(tree, tree.name)
    return archive


def in_this_process(use: str, settings: Mapping[str, Any], limit: int | None) -> int:
    """The gate, without a process of its own."""
    words = [f"{name}={value}" for name, value in settings.items()]
    return checks(["benchmark", use, "--with", *words])


def test_a_data_set_is_fetched_unpacked_gated_and_told(
    tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = trees.write_voc(tmp_path / "made", rng)
    archive = pack(tmp_path / "made/VOCdevkit", tmp_path / "voc.tar")
    with serving(Server(archive.read_bytes(), cuts=[1_000, 5_000])) as server:
        known = Obtainable(
            "PAS-20", "benchmarks.pascal_voc:PascalVOC", "VOCdevkit", {"split": "val"},
            (Archive("voc.tar", "", "VOCdevkit/VOC2012/JPEGImages", f"{server.address}/f", md5(server.data)),),
        )  # fmt: skip
        for _ in range(2):
            code = fetching.obtain(known, tmp_path / "data", loopback=True, pause=0, gate=in_this_process)
            told = capsys.readouterr().out
            assert code == 1 and f"{len(drawn)} images; the official split has 1449" in " ".join(told.split())
        assert server.asked == [None, 1_000, 6_000]
    entry = yaml.safe_load(told.partition("For the grid:")[2])["benchmarks"][0]
    benchmark = loading.build(Recipe.of(entry["use"], **entry["with"]))
    assert list(benchmark.ids()) == sorted(drawn)


def test_what_cannot_be_fetched_is_told_and_taken_once_it_is_brought(
    tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "run_gate", in_this_process)
    drawn = trees.write_ade(tmp_path / "made", rng)
    command = ["ade20k", "--root", str(tmp_path / "data")]
    assert fetching.main(command) == 1
    told = capsys.readouterr().out
    assert f"bring ADEChallengeData2016.zip to {tmp_path}/data/archives, from http://sceneparsing" in told
    pack(tmp_path / "made/ADEChallengeData2016", tmp_path / "data/archives/ADEChallengeData2016.zip")
    assert fetching.main(command) == 1
    told = " ".join(capsys.readouterr().out.split())
    assert f"{len(drawn)} images; the official split has 2000" in told and "use: benchmarks.ade20k:ADE20K" in told
    pack(tmp_path / "made", tmp_path / "data/archives/leftImg8bit_trainvaltest.zip")
    assert fetching.main(["cityscapes", *command[1:]]) == 2
    assert "was unpacked and holds no leftImg8bit: it is another archive" in capsys.readouterr().err


def test_a_list_that_is_brought_with_its_checksum(tmp_path: Path) -> None:
    one = Archive("list.txt", "sub", "sub/list.txt", md5=md5(b"a\n"), by_hand="somebody", single=True)
    assert "bring list.txt to" in fetching.bring(one, tmp_path)
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives/list.txt").write_bytes(b"b\n")
    with pytest.raises(CannotFetch, match="is not the file that was promised"):
        fetching.bring(one, tmp_path)
    (tmp_path / "archives/list.txt").write_bytes(b"a\n")
    assert fetching.bring(one, tmp_path) == "" and (tmp_path / "sub/list.txt").read_bytes() == b"a\n"


def test_data_of_ones_own_in_place_is_not_fetched_again(tmp_path: Path) -> None:
    one = Archive("x.tar", "", "VOCdevkit/VOC2012", "http://nowhere.invalid/x.tar", "0" * 32)
    (tmp_path / "VOCdevkit/VOC2012").mkdir(parents=True)
    assert fetching.bring(one, tmp_path) == "" and not (tmp_path / "archives").exists()


WRITERS: dict[str, Callable[[Path, np.random.Generator], Any]] = {
    "pascal_voc": trees.write_voc,
    "pascal_context": lambda root, rng: trees.write_context_json(root, rng, [0, 2, 9, 300]),
    "pascal_context_full": lambda root, rng: trees.write_context_mat(root, rng, [1, 2, 459]),
    "coco_stuff": lambda root, rng: trees.write_coco(root / "coco", rng, {"": [0, 91, 255]})[""],
    "coco_object": lambda root, rng: trees.write_coco(root / "coco", rng, {"": [0, 91, 255]})[""],
    "ade20k": trees.write_ade,
    "cityscapes": lambda root, rng: trees.write_cityscapes(root / "cityscapes", rng, "labelIds", [0, 7, 33]),
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_is_unpacked_is_what_the_reader_reads(name: str, tmp_path: Path, rng: np.random.Generator) -> None:
    known, made, root = KNOWN[name], tmp_path / "made", tmp_path / "data"
    drawn = WRITERS[name](made, rng)
    (root / "archives").mkdir(parents=True)
    for one in known.archives:
        if one.train:
            continue
        if one.single:
            shutil.copyfile(made / one.makes, root / "archives" / one.name)
        else:
            top = Path(one.makes).relative_to(one.into).parts[0]
            pack(made / one.into / top, root / "archives" / one.name)
        assert fetching.bring(replace(one, address="", md5=""), root) == ""
    reader: Any = loading.build(Recipe.of(known.use, root=str(root / known.root), **known.settings))
    assert list(reader.ids()) == sorted(drawn) and reader.load(reader.ids()[0]).image.ndim == 3


@pytest.mark.parametrize("name", KNOWN)
def test_the_table_of_archives_is_what_the_pages_say(name: str) -> None:
    known, page = KNOWN[name], Path("docs/data", f"{name}.md").read_text("utf-8")
    loading.build(Recipe.of(known.use, root="x", **known.settings))
    assert bool(known.archives) != bool(known.by_hand) and f"fetch {name} " in page
    pages = page + Path("docs/data/coco_stuff.md").read_text("utf-8") * (name == "coco_object")
    pages += Path("docs/data/pascal_context.md").read_text("utf-8") * (name == "pascal_context_full")
    for one in known.archives:
        assert one.md5 in pages and one.name in pages
        assert (one.address.startswith("http") and len(one.md5) == 32) != bool(one.by_hand)


def test_the_command_knows_every_data_set(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert KNOWN.keys() == {path.stem for path in Path("benchmarks/names").glob("*.json")}
    assert fetching.main(["pascal_vok", "--root", str(tmp_path)]) == 2
    assert "there is no data set 'pascal_vok'; did you mean 'pascal_voc'?" in capsys.readouterr().err
    assert fetching.main(["foodpix", "--root", str(tmp_path)]) == 1
    assert "To do by hand: get UECFoodPix Complete at https://" in capsys.readouterr().out


@pytest.mark.parametrize("inside", ["", "below"])
def test_a_root_that_is_a_file_is_told(inside: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").write_text("")
    assert fetching.main(["pascal_voc", "--root", str(tmp_path / "taken" / inside)]) == 2
    told = f"{tmp_path / 'taken'} is a file; --root is the folder below which data sets lie.\n"
    assert capsys.readouterr().err == told


def test_the_gate_is_a_process_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "UECFOODPIXCOMPLETE").mkdir()
    run: list[list[str]] = []

    def ran(command: list[str], **_: Any) -> Any:
        run.append(command)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", ran)
    answer = call(fetching.main, "foodpix", "--root", tmp_path, "--limit", 7)
    assert answer.returncode == 0 and "name: FoodPix" in answer.stdout
    (command,) = run
    assert command[:3] == [sys.executable, "-m", "harness.checks"]
    assert checks(command[3:]) == 1  # the words are the gate's
