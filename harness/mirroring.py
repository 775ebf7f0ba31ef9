"""A URL and a results folder flow in; a folder that holds what lies there, and is copied there as it grows, flows out.

A back room of the door. An empty folder is filled; one that lacks some of what lies there gets it merged in.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from harness.errors import StoreError
from results import merge
from results.folder.rows import Contradiction
from results.folder.store import Store
from results.mirror import layout
from results.mirror.bringing import bring_home
from results.mirror.bucket import Bucket, Lying
from results.mirror.copying import Mirror
from results.mirror.lease import lease_of


def mirrored(where: str, folder: Path) -> Mirror:
    """The mirror of a sweep's folder, which holds from now on what lies there, with the right to be its only writer.

    StoreError where another sweep writes there, what lies there contradicts the folder, or the bucket is out of reach.
    """
    bucket = Bucket(where)
    lease = lease_of(bucket)
    try:
        there = {name: found for name, found in bucket.listed().items() if layout.is_mirrored(name)}
        brought = _brought(bucket, folder, there)
    except FileNotFoundError:
        lease.release()
        raise StoreError(f"{bucket.url} changes while it is read, though nobody should write there") from None
    except BaseException:
        lease.release()
        raise
    return Mirror(bucket, folder, lease, there, brought, Store(folder).event, _say)


def _brought(bucket: Bucket, folder: Path, there: Mapping[str, Lying]) -> frozenset[str]:
    """What lies there is in the folder afterwards; the files that came from there as they are."""
    if not there:
        return frozenset()
    if not (folder / "rows").is_dir() or not any((folder / "rows").iterdir()):
        brought = bring_home(bucket, Store.open(folder).folder, there)
        _say(f"{len(brought)} files were brought from {bucket.url}.")
        return brought
    if all((folder / name).exists() for name in there if not layout.log_of(name)):
        return frozenset()
    with tempfile.TemporaryDirectory(prefix="mirror-") as place:
        bring_home(bucket, Store.open(place).folder, there)
        try:
            new = merge.merge([Store.open(place)], Store.open(folder))
        except Contradiction as error:
            raise StoreError(_either(bucket.url, folder, error)) from None
    if new.rows or new.files:
        _say(f"{new.rows} rows and {new.files} files beside them were brought from {bucket.url}.")
    return frozenset()


def _either(where: str, folder: Path, error: Contradiction) -> str:
    """What to do where one of the two is of before."""
    return (
        f"{folder} and {where} do not hold the same: {error}. Where something was learned anew, or data changed, while "
        f"no mirror was given, {where} stayed behind: name another URL with --mirror (or delete what lies there), and "
        f"all of {folder} is copied. Where {where} is the one to go on from, give --results a new folder, which is "
        "filled from there"
    )


def verdict(mirror: Mirror, where: str) -> bool:
    """Whether all is there now; what is not is said."""
    lacking = mirror.lacking()
    if lacking:
        _say(f"{lacking} files are not in {where} as they are here; the same command copies them.")
    return not lacking


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
