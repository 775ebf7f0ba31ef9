"""An image's id flows in; the classes that a file of tags has for it flow out, to be offered: tags made before."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.contracts import Image, MethodError, ModelError, Vocabulary, json_without_doubles


@dataclass(frozen=True)
class TagFile:
    """Tagger: the classes that a JSON file names for an image, whoever made it; the image itself is not looked at.

    The file is `{"classes": [...], "images": {id: [class, ...]}}`, as `python -m harness.tags` writes it, with all
    classes of the benchmark in order; or a mapping from ids to words alone, each of which must be a word of one class.
    digest: of the file's content as it was planned (BLAKE2b, 16 bytes); empty where any will do.
    """

    file: str
    digest: str = ""

    def open_models(self) -> Sequence[str]:
        """Read the file. ModelError when it cannot be, or is another one than was planned."""
        _ = self.held
        return ()

    @cached_property
    def held(self) -> tuple[tuple[str, ...], Mapping[str, Sequence[str]]]:
        """The classes, none where the file does not say, and the tags of every image."""
        try:
            content = Path(self.file).read_bytes()
        except OSError as error:
            raise ModelError(f"The tags in {self.file} cannot be read: {error.strerror or error}.") from error
        if self.digest and digest_of_tags(content) != self.digest:
            raise ModelError(f"The tags in {self.file} are not those that were planned; sweep again.")
        try:
            read = json_without_doubles(content)
            classes, images = _parts(read)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ModelError(
                f"{self.file} is no file of tags: it is JSON that gives every image id a list of classes, or has such "
                f"a mapping as `images` beside `classes` ({error})."
            ) from error
        return classes, images

    def unanswered(self, image_ids: Sequence[str]) -> Sequence[str]:
        """The images of which the file says nothing."""
        _, images = self.held
        return [one for one in image_ids if one not in images]

    def tags(self, image: Image, vocabulary: Vocabulary, image_id: str) -> Sequence[int]:
        """Positions of the classes that the file names. MethodError for an image, or a class, that it lacks."""
        classes, images = self.held
        if image_id not in images:
            raise MethodError(f"the tags in {self.file} say nothing of the image {image_id!r}")
        if classes and len(classes) != len(vocabulary):
            raise MethodError(
                f"the tags in {self.file} are of {len(classes)} classes, and the benchmark has {len(vocabulary)}"
            )
        return [self._position(name, classes, vocabulary) for name in images[image_id]]

    def _position(self, name: str, classes: Sequence[str], vocabulary: Vocabulary) -> int:
        found = [place for place, one in enumerate(classes) if one == name] if classes else _worded(name, vocabulary)
        if len(found) != 1:
            told = "a word of several classes" if found else "no class"
            raise MethodError(f"the tags in {self.file} name {name!r}, which is {told}")
        return found[0]


def digest_of_tags(content: bytes) -> str:
    """What stands for a file's content."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _worded(name: str, vocabulary: Vocabulary) -> list[int]:
    return [place for place, words in enumerate(vocabulary.names) if name in words]


def _parts(read: Any) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Classes and tags; TypeError or ValueError when they are none."""
    whole = set(read) == {"classes", "images"} and isinstance(read["images"], dict)
    images = {image_id: _words(tags) for image_id, tags in (read["images"] if whole else read).items()}
    return _words(read["classes"]) if whole else (), images


def _words(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise TypeError("a list of words was expected")
    return tuple(value)
