"""A results folder flows, as it grows, into a bucket: by a thread of its own, which no sweep ever waits for.

What the bucket cannot take now is taken later. At the end it is given time as long as anything gets through. What is
gone from the folder (parts that were joined) goes from the bucket when a sweep ends well, never because a disk is gone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from harness.errors import StoreError
from results.folder.proof import bytes_digest
from results.mirror import layout
from results.mirror.bucket import Bucket, Lying, OutOfReach
from results.mirror.lease import Lease

EVERY = 10.0  # seconds between two rounds
LOOKING = 20  # times what a look at the folder takes: it is looked at no more often
PATIENCE = 60.0  # seconds at the end in which nothing gets through, after which it is given up
_RETRY = 1.0  # seconds between rounds then
_MANY = 64  # pieces of one log, which a new sweep makes one of
_PIECE = 2**26  # bytes of a log that are copied at a time


class Mirror:
    """A sweep's results folder as it is copied; a context around the sweep.

    there: what the bucket holds at the start, all of which the folder holds too. brought: files that came from it just
    now. tell: takes an event; say: takes a sentence for people.
    """

    def __init__(
        self,
        bucket: Bucket,
        folder: Path,
        lease: Lease,
        there: Mapping[str, Lying],
        brought: Iterable[str] = (),
        tell: Callable[[Mapping[str, object]], None] = lambda event: None,
        say: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self._bucket, self._folder, self._lease, self._tell, self._say = bucket, folder, lease, tell, say
        self._objects = set(there)
        states = layout.files_of(folder)
        known = {name for name in there if layout.is_part(name)} | set(brought)
        self._copied = {name: states[name] for name in known & states.keys()}
        self._sizes = {name: found.size for name, found in there.items()}
        self._grown: dict[str, int] = {}  # by log, how much of it is there
        self._outdated: dict[str, set[str]] = {}  # by log that is written anew, its pieces of before
        self._tidy = False  # whether what is gone from the folder may go from the bucket
        self._through = 0  # objects that were written
        self._trouble, self._pause = "", EVERY
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="mirror", daemon=True)

    def __enter__(self) -> Mirror:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        try:
            self._thread.join()
            self._tidy = error is None
            self._finish()
        finally:
            self._lease.release()

    def check(self) -> None:
        """StoreError where another process has taken the bucket over."""
        self._lease.check()

    def lacking(self) -> int:
        """How many files of the folder are not in the bucket as they are now."""
        return sum(
            self._grown.get(name, 0) != state[0] if layout.is_log(name) else self._copied.get(name) != state
            for name, state in layout.files_of(self._folder).items()
        )

    def _watch(self) -> None:
        while not self._over.wait(self._pause):
            self._try()

    def _finish(self) -> None:
        """Copy what is left, as long as it gets through."""
        through, since = -1, time.monotonic()
        while not self._try() and not self._lost():
            if through != self._through:
                through, since = self._through, time.monotonic()
            if time.monotonic() - since > PATIENCE:
                break
            time.sleep(_RETRY)

    def _lost(self) -> bool:
        try:
            self.check()
        except StoreError:
            return True
        return False

    def _try(self) -> bool:
        """One round; whether all got through. Trouble is told when it begins and when it is over."""
        try:
            self._round()
        except (OutOfReach, OSError) as error:
            if not self._trouble:
                self._trouble = str(error)
                self._note(state="out of reach", why=self._trouble)
                self._say(f"{error}. The sweep goes on; what is missing there is copied later.")
            return False
        if not self._trouble:
            return True
        self._trouble = ""
        self._note(state="in reach again")
        return self._try()  # that is to be copied too

    def _note(self, **content: str) -> None:
        with suppress(StoreError):  # whatever is wrong with the disk is told by others
            self._tell({"event": "mirror", "url": self._bucket.url, **content})

    def _round(self) -> None:
        began = time.monotonic()
        files = layout.files_of(self._folder)
        self._pause = max(EVERY, LOOKING * (time.monotonic() - began))
        for name, state in files.items():
            if layout.is_log(name):
                self._grow(name)
            elif self._copied.get(name) != state:
                self._copy(name, state)
        if self._tidy:
            self._delete(sorted(name for name in self._objects - files.keys() if not layout.log_of(name)))

    def _copy(self, name: str, state: layout.State) -> None:
        """A file as it is; one that went meanwhile, since parts were joined, is not missed."""
        self._may_write()
        path = self._folder / name
        try:
            if layout.is_part(name):
                self._bucket.put_new(name, path.read_bytes())  # where there is one, it is the same
            else:
                self._bucket.put(name, path)
        except FileNotFoundError:
            return
        self._wrote(name)
        self._copied[name] = state

    def _grow(self, log: str) -> None:
        """What a log has more than the bucket, as objects of their own."""
        if log not in self._grown:
            self._grown[log] = self._known_of(log)
        with (self._folder / log).open("rb") as file:
            file.seek(self._grown[log])
            while content := file.read(_PIECE):
                self._may_write()
                name = layout.growth_name(log, self._grown[log], content)
                self._bucket.put_new(name, content)
                self._wrote(name)
                self._grown[log] += len(content)
                self._outdated.get(log, set()).discard(name)
        self._delete(sorted(self._outdated.pop(log, ())))

    def _known_of(self, log: str) -> int:
        """How much of a log is there, as it is here. Where it is another, or in many pieces, it is written anew."""
        chain = layout.pieces(log, self._sizes.items())
        with (self._folder / log).open("rb") as file:
            same = all(bytes_digest(file.read(piece.size)) == layout.digest_in(piece.path) for piece in chain)
        kept = {piece.path for piece in chain} if same and len(chain) <= _MANY else set[str]()
        self._outdated[log] = {name for name in self._objects if layout.log_of(name) == log} - kept
        return sum(piece.size for piece in chain) if kept else 0

    def _delete(self, names: Sequence[str]) -> None:
        if names:
            self._may_write()
            self._bucket.delete(names)
            self._objects.difference_update(names)

    def _wrote(self, name: str) -> None:
        self._objects.add(name)
        self._through += 1

    def _may_write(self) -> None:
        """OutOfReach where another one may have taken over by now: until the lease is renewed nothing is written."""
        if not self._lease.holds():
            self._lease.renew()
        if not self._lease.holds():
            raise OutOfReach(f"{self._bucket.url} cannot be used: its lock is not ours")
