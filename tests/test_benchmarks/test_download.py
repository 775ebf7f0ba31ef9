"""Files come whole or not at all, however often the line breaks, and never from elsewhere."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from unreliable_server import Server, md5, serving

from benchmarks import download as downloads
from benchmarks.download import TRIES, CannotFetch, download

SIZE = 40_000


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
    for place in rng.choice(SIZE, 20, replace=False).tolist():  # none twice: each is a file's name
        server.cuts, server.asked = [place], []
        assert get(name=f"{place}").read_bytes() == server.data
        assert server.asked == ([None, place] if place else [None, None])


def test_a_fetch_that_is_interrupted_at_20_random_bytes_goes_on_where_it_was(
    server: Server, get: Callable[..., Path], rng: np.random.Generator, tmp_path: Path
) -> None:
    for place in (1 + rng.choice(SIZE - 1, 20, replace=False)).tolist():
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
