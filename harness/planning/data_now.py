"""What is remembered of a benchmark's files, and the files as they are, flow in; which images changed flows out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from harness.contracts import Mark, Origin, Recipe, Traits
from harness.contracts.facts import digest
from harness.foreign.opened import mark_of
from harness.protocol.given import checked_sample
from harness.recipes.origins import DataSource

FEW = 100  # images that are read without a word
UNREADABLE = ""  # stands for the digest of an image that cannot be read: it equals none


class DataNow:
    """One benchmark's images as they are now: each file is looked at once, and read only if it changed.

    key: under which it is remembered. known: origins by image, renewed by what was read again; `renewed` are those.
    """

    def __init__(
        self, source: DataSource, classes: int, key: str, known: dict[str, Origin], tell: Callable[[str], None]
    ) -> None:
        self._source, self._classes, self._tell = source, classes, tell
        self.key, self.known = key, known
        self.renewed: dict[str, Origin] = {}
        self._digests: dict[str, str | None] = {}
        self._marks: dict[str, Mark] = {}
        self._used: set[str] = set()  # images that were read for rows since

    def changed(self, stored: Mapping[str, str | None]) -> dict[str, str]:
        """Of stored rows' digests by image, those that are no longer right: image id -> digest as it is now.

        Rows without a digest are left alone: nobody knows what they saw.
        """
        asked = {image_id: digest for image_id, digest in stored.items() if digest is not None}
        unsure = [image_id for image_id in asked if image_id not in self._digests and not self._stands(image_id)]
        if unsure:
            self._tell(f"{len(unsure)} images of {self._source.use} are read again: their files changed, or are new")
        for image_id in unsure:
            self._read(image_id)
        now = {image_id: self._digests[image_id] for image_id in asked}
        return {image_id: found for image_id, found in now.items() if found not in (None, asked[image_id])}

    def pictures(self, image_ids: Iterable[str], read: bool) -> dict[str, str]:
        """Image id -> digest of the image alone, whatever its truth; without `read` of those that are remembered."""
        unknown = [image_id for image_id in image_ids if not self._picture(image_id)]
        if read and len(unknown) > FEW:
            self._tell(
                f"{len(unknown)} images of {self._source.use} are read, to compare what is learned from and scored"
            )
        for image_id in unknown if read else ():
            self._read(image_id)
        return {image_id: digest for image_id in image_ids if (digest := self._picture(image_id))}

    def _picture(self, image_id: str) -> str:
        entry = self.known.get(image_id)
        stands = entry is not None and self._stands(image_id)
        return entry.image if entry is not None and stands else ""

    def news(self, origins: Iterable[Origin]) -> list[Origin]:
        """Those that say what is not known yet; they are known from now on.

        A machine with a copy of its own has other inodes: if the same pixels came of it, what is known stays.
        """
        known, of_now = self.known, {origin.image_id: origin for origin in origins}
        self._used.update(of_now)
        if not known.keys().isdisjoint(of_now):
            of_now = {i: one for i, one in of_now.items() if (held := known.get(i)) is None or _is_news(one, held)}
        known.update(of_now)
        return list(of_now.values())

    def seen(self, image_ids: Sequence[str], most: int) -> Traits:
        """A few of these images, from first to last, each with its digest as it is now; none that code alone makes."""
        count = min(most, len(image_ids))
        chosen = [image_ids[number * (len(image_ids) - 1) // max(1, count - 1)] for number in range(count)]
        for image_id in chosen:
            if image_id not in self._digests and not self._stands(image_id):
                self._read(image_id)
        found = [(image_id, self._digests[image_id]) for image_id in chosen]
        return tuple([(image_id, digest) for image_id, digest in found if digest])

    def touched(self) -> list[str]:
        """Images that were read for rows, and whose files are no longer what they were then: to be looked at anew.

        By places, sizes and times, which copies on other machines have in common.
        """
        found = [image_id for image_id in sorted(self._used) if self._is_touched(image_id)]
        self._marks = {}
        for image_id in found:
            self._digests.pop(image_id, None)
        return found

    def _is_touched(self, image_id: str) -> bool:
        marks = self.known[image_id].files if image_id in self.known else ()
        return any((now := mark_of(mark.path)).size >= 0 and now[:3] != mark[:3] for mark in marks)

    def unseen(self, origins: Iterable[Origin]) -> str:
        """What to say where nobody would notice that the images change; empty where their files are known."""
        first = next(iter(origins), None)
        return "" if first is None else self._source.unseen(first)

    def _stands(self, image_id: str) -> bool:
        """Whether what is remembered of an image holds, as its files are what they were; then its digest is known."""
        try:
            named = self._source.named(image_id)
        except Exception:  # the image will fail to load, in words
            return False
        if named == ():  # nothing but code makes it, and code is in the id
            self._digests[image_id] = None
            return True
        entry = self.known.get(image_id)
        if entry is None or (named is not None and named != tuple(mark.path for mark in entry.files)):
            return False
        if any(self._mark(mark.path) != mark for mark in entry.files):
            return False
        self._digests[image_id] = entry.sample
        return True

    def _mark(self, path: str) -> Mark:
        if path not in self._marks:
            self._marks[path] = mark_of(path)
        return self._marks[path]

    def _read(self, image_id: str) -> None:
        try:
            check = partial(checked_sample, image_id=image_id, classes=self._classes)
            _, origin = self._source.load(image_id, check)
        except Exception:  # a fresh sweep would leave a failed row, and so does this one
            self._digests[image_id] = UNREADABLE
            return
        self._digests[image_id] = origin.sample
        if not _alike(origin, self.known.get(image_id)):
            self.known[image_id] = self.renewed[image_id] = origin


def _alike(origin: Origin, other: Origin | None) -> bool:
    """Whether two say the same pixels and files; which libraries were there is told only where pixels differ."""
    return other is not None and (origin.sample, origin.files, origin.image) == (other.sample, other.files, other.image)


def _is_news(origin: Origin, other: Origin) -> bool:
    """Whether another says something else, of files too as far as a copy keeps it: places, sizes and times."""
    if origin == other:
        return False
    if other.image != origin.image or not all(mark.inode for mark in other.files if mark.size >= 0):
        return True
    here, there = ([mark[:3] for mark in one.files] for one in (origin, other))
    return (origin.sample, here) != (other.sample, there)


def behind(samples: Mapping[str, str | None], image_ids: Iterable[str]) -> str | None:
    """What stands for the data of some images together; None where one is not known."""
    known = [(image_id, samples.get(image_id)) for image_id in sorted(image_ids)]
    return None if any(digest is None for _, digest in known) else digest(known)


def key_of_data(recipe: Recipe, facts: Mapping[str, object], names_files: bool) -> str:
    """Under which a benchmark is remembered: its facts; where it names no files, also where they lie."""
    place = [] if names_files else [sorted(map(repr, recipe.settings)), os.getcwd()]
    return digest([facts, place])
