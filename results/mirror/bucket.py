"""A URL flows in; what lies below it can be read, listed and written, in words of our own: the one file of obstore.

Credentials come from the environment alone, as the provider's own programs know them. What a server says may repeat
them, so that no message of it is passed on: only what kind of trouble it is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from harness.errors import StoreError

SCHEMES = ("s3", "gs", "az")
# An own server may speak plain HTTP.
_ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT", "GOOGLE_BASE_URL")
_ANSWER, _CONNECTION = timedelta(seconds=30), timedelta(seconds=5)
_RETRIES = {"max_retries": 2, "retry_timeout": _ANSWER}
_STATUS = re.compile(r"status code: (\d{3})")


class OutOfReach(StoreError):
    """The bucket does not answer, or does not let us; it may later."""


class Lying(NamedTuple):
    """An object. tag: changes with its content; that of a list may differ from that of a look. changed: when, by the
    server's clock."""

    size: int
    tag: str
    changed: datetime


def url(text: str) -> str:
    """The URL of a bucket, or of a place in it. StoreError for one that names none, or holds a secret."""
    scheme, _, rest = text.partition("://")
    if "@" in rest or "?" in rest:
        raise StoreError(f"a URL {scheme}://... holds no names, keys or tokens; give them by the environment")
    if scheme not in SCHEMES or not rest.partition("/")[0]:
        known = ", ".join(f"{one}://" for one in SCHEMES)
        raise StoreError(f"{text} is no place for results; give a bucket and a folder in it, of {known}: s3://lab/run")
    return text.rstrip("/")


class Bucket:
    """All objects below a URL, by their paths there. Every call raises OutOfReach where it cannot be done now."""

    def __init__(self, where: str) -> None:
        self.url = url(where)
        with self._in_words():
            self._store = _opened(self.url)

    def listed(self, below: str = "") -> dict[str, Lying]:
        """All objects, or those below a folder."""
        with self._in_words():
            found = [one for page in self._store.list(below or None) for one in page]
        return {one["path"]: Lying(one["size"], one["e_tag"] or "", one["last_modified"]) for one in found}

    def look(self, path: str) -> tuple[bytes, Lying] | None:
        """An object's content and what is known of it; None where there is none."""
        try:
            with self._in_words(may_be_absent=True):
                answer = self._store.get(path)
                meta = answer.meta
                return bytes(answer.bytes()), Lying(meta["size"], self._tag(meta), meta["last_modified"])
        except FileNotFoundError:
            return None

    def chunks(self, path: str) -> Iterator[bytes]:
        """An object's content, piece by piece. FileNotFoundError where there is none."""
        with self._in_words(may_be_absent=True):
            yield from map(bytes, self._store.get(path).stream())

    def put(self, path: str, content: bytes | Path) -> None:
        """Write an object, whole or not at all, in place of what was there. FileNotFoundError where a file is gone."""
        with self._in_words(may_be_absent=isinstance(content, Path) and not content.exists()):
            self._store.put(path, content)

    def put_new(self, path: str, content: bytes) -> str | None:
        """Write an object where there is none; its tag, or None where there is one, which stays."""
        return self._put_as(path, content, "create")

    def put_if(self, path: str, content: bytes, tag: str) -> str | None:
        """Write an object in place of the one with this tag; the new tag, or None where it is another one by now."""
        return self._put_as(path, content, {self._kind: tag})

    def delete(self, paths: Sequence[str]) -> None:
        """Take objects away; one that is not there is no fault."""
        for path in paths:
            with suppress(FileNotFoundError), self._in_words(may_be_absent=True):
                self._store.delete(path)

    def _put_as(self, path: str, content: bytes, mode: Any) -> str | None:
        import obstore.exceptions as faults

        with self._in_words():
            try:
                return self._tag(self._store.put(path, content, mode=mode, use_multipart=False))
            except (faults.AlreadyExistsError, faults.PreconditionError):
                return None

    @property
    def _kind(self) -> str:
        """What tells this provider that an object is as it was seen."""
        return "version" if self.url.startswith("gs://") else "e_tag"

    def _tag(self, said: Any) -> str:
        return str(said[self._kind] or "")

    @contextmanager
    def _in_words(self, may_be_absent: bool = False) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except Exception as error:
            if may_be_absent and isinstance(error, FileNotFoundError):
                raise
            raise OutOfReach(f"{self.url} cannot be used: {_why(error)}") from None


def _opened(where: str) -> Any:
    try:
        from obstore.store import from_url
    except ImportError:
        cure = "pip install 'stableseg-harness[mirror]'"
        raise StoreError(f"{where} asks for the package obstore, which is not installed: {cure}") from None
    plain = any(os.environ.get(name, "").startswith("http://") for name in _ENDPOINTS)
    limits = {"timeout": _ANSWER, "connect_timeout": _CONNECTION, "allow_http": plain}
    return from_url(where, client_options=limits, retry_config=_RETRIES)


def _why(error: Exception) -> str:
    """What kind of trouble it is; nothing of what a server said."""
    kind, text = type(error).__name__, str(error).lower()
    if kind in ("PermissionDeniedError", "UnauthenticatedError") or "status code: 403" in text:
        return "it does not let us; look at the credentials in the environment, and at what they may do"
    if isinstance(error, FileNotFoundError):
        return "there is no such bucket"
    if "missing" in text or "credential" in text:
        return "there are no credentials for it in the environment"
    if "timed out" in text or "timeout" in text:
        return "it does not answer in time"
    status = _STATUS.search(text)
    return f"it answers with the status {status[1]}" if status else "it does not answer"
