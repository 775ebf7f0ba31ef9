"""A bucket flows in; the right to be its only writer flows out, held by an object `LOCK` that names host and process.

As in a folder (results.folder.lock): the owner renews it every few seconds, a living one is never followed, and who
finds that it is another's by now writes nothing more. Every change of it asks for the object to be as it was seen, so
that of two who take over one lock one wins.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from harness.errors import StoreError
from results.folder import lock
from results.mirror.bucket import Bucket, Lying, OutOfReach

LOCK = lock.LOCK
BEAT, SILENCE = lock.BEAT, lock.SILENCE
_LOOK = 1.0  # seconds between looks of who waits
_MARGIN = 0.75  # of the silence after which others may follow: until then what is ours is surely ours


class Lease:
    """A lock in a bucket that this process holds, and renews."""

    def __init__(self, bucket: Bucket, mine: Mapping[str, object], tag: str) -> None:
        self._bucket, self._mine, self._tag = bucket, dict(mine), tag
        self._beats, self._lost, self._renewed = 0, "", time.monotonic()
        self._turn, self._over = threading.Lock(), threading.Event()
        self._beating = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._beating.start()

    def check(self) -> None:
        """StoreError where it is another process's by now."""
        if self._lost:
            raise StoreError(
                f"{self._bucket.url} was taken over by {self._lost} while nothing was heard of this process; it writes "
                "nothing more. What it had stored is kept."
            )

    def holds(self) -> bool:
        """Whether nobody can have taken it over: it was renewed a short time ago."""
        return not self._lost and time.monotonic() - self._renewed < _MARGIN * SILENCE

    def renew(self) -> None:
        """Say that its owner lives. OutOfReach where that cannot be said now."""
        with self._turn:
            asked, self._beats = time.monotonic(), self._beats + 1
            content = _text({**self._mine, "beats": self._beats})
            tag = self._bucket.put_if(LOCK, content, self._tag)
            if tag is None:  # another's, deleted by a person, or ours all the same: an answer may be lost on its way
                seen = self._bucket.look(LOCK)
                if seen and _owner(seen[0]).get("token") != self._mine["token"]:
                    self._lost = _named(_owner(seen[0]))
                    return
                tag = seen[1].tag if seen else self._bucket.put_new(LOCK, content)
            if tag is not None:
                self._tag, self._renewed = tag, asked

    def release(self) -> None:
        """Give it back, if it is still ours."""
        self._over.set()
        self._beating.join()
        with suppress(OutOfReach):  # then it falls silent
            seen = self._bucket.look(LOCK)
            if seen and _owner(seen[0]).get("token") == self._mine["token"]:
                self._bucket.delete([LOCK])

    def _beat(self) -> None:
        while not self._over.wait(BEAT) and not self._lost:
            with suppress(OutOfReach):
                self.renew()


def lease_of(bucket: Bucket) -> Lease:
    """Take a bucket's lock; that of a dead process is taken over, and of one that says nothing any more.

    StoreError when a writer lives. Waits up to a minute where only silence can tell.
    """
    mine = {**lock.myself(), "token": uuid.uuid4().hex}
    first: Lying | None = None
    silent = 0.0
    while True:
        if tag := bucket.put_new(LOCK, _text(mine)):
            return Lease(bucket, mine, tag)
        seen = bucket.look(LOCK)
        if seen is None:
            continue
        owner, found = _owner(seen[0]), seen[1]
        if first is None:
            first, silent, began = found, _age(bucket, found), time.monotonic()
        alive = lock.lives(owner) if owner else False
        if alive or found.tag != first.tag:
            raise StoreError(
                f"{bucket.url} is being written by {_named(owner)}; wait until it ends, or delete {bucket.url}/{LOCK} "
                "if you are sure that it has ended"
            )
        if alive is False or silent + time.monotonic() - began > SILENCE:
            if tag := bucket.put_if(LOCK, _text(mine), found.tag):
                return Lease(bucket, mine, tag)
        else:
            time.sleep(_LOOK)


def _age(bucket: Bucket, found: Lying) -> float:
    """Seconds since an object was written, by the server's own clock."""
    probe = f"now-{uuid.uuid4().hex}"
    bucket.put(probe, b"")
    seen = bucket.look(probe)
    bucket.delete([probe])
    return (seen[1].changed - found.changed).total_seconds() if seen else 0.0


def _text(content: Mapping[str, object]) -> bytes:
    return json.dumps(content).encode()


def _owner(text: bytes) -> dict[str, Any]:
    """Who holds the lock; empty for what is none."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _named(owner: Mapping[str, object]) -> str:
    return f"process {owner.get('pid')} on {owner.get('host')}"
