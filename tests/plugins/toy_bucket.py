"""An object store in memory flows out in place of a bucket; it can be told to be gone, to refuse, and to be slow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from results.mirror import bucket, copying, lease

URL = "s3://lab/run"
SECRET = "AKIA-this-is-the-key"


class Refused(Exception):
    """What a server says, which may repeat a key."""

    def __init__(self, status: int = 503) -> None:
        super().__init__(f"Error performing PUT http://host/lab?id={SECRET} - status code: {status} <Id>{SECRET}</Id>")


class Stores:
    """One store in memory for every URL. trouble: asked before each call, by name and arguments; it may raise."""

    def __init__(self) -> None:
        from obstore.store import MemoryStore

        self._made, self._maker = dict[str, Any](), MemoryStore
        self.calls: list[tuple[str, str]] = []
        self.trouble: Callable[[str, Any], None] = lambda name, path: None

    def opened(self, url: str) -> Any:
        return Told(self, self._made.setdefault(url, self._maker()))

    def objects(self, url: str = URL) -> dict[str, bytes]:
        store = self._made[url]
        found = [one["path"] for page in store.list() for one in page]
        return {path: bytes(store.get(path).bytes()) for path in sorted(found)}

    def put(self, path: str, content: bytes, url: str = URL) -> None:
        self._made.setdefault(url, self._maker()).put(path, content)


class Told:
    """A store whose calls are told of first."""

    def __init__(self, stores: Stores, inner: Any) -> None:
        self._stores, self._inner = stores, inner

    def __getattr__(self, name: str) -> Any:
        def call(path: Any = None, *more: Any, **options: Any) -> Any:
            self._stores.calls.append((name, str(path)))
            self._stores.trouble(name, path)
            return getattr(self._inner, name)(path, *more, **options)

        return call


def in_place_of_buckets(patch: pytest.MonkeyPatch, every: float = 0.02) -> Stores:
    """All URLs lead to stores in memory from now on, and what waits for minutes waits for a moment."""
    stores = Stores()
    patch.setattr(bucket, "_opened", stores.opened)
    patch.setattr(copying, "EVERY", every)
    patch.setattr(copying, "LOOKING", 0)
    patch.setattr(copying, "_RETRY", 0.001)
    patch.setattr(lease, "_LOOK", 0.01)
    return stores
