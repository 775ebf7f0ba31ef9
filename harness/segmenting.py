"""A method and one picture flow in; the label map, the scores and a picture of both flow out, decided as in a sweep."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from harness.contracts import (
    DataError,
    Image,
    LabelMap,
    ProtocolSettings,
    Recipe,
    Words,
    expanded,
)
from harness.errors import SettingsError, bounded
from harness.grid.reading import read_protocol
from harness.protocol.rules import TAGGED
from harness.recipes import loading
from harness.recipes.named_files import placed
from harness.recipes.settings import address, check_setting
from harness.work.arithmetic import as_in_a_worker
from harness.work.one_picture import OpenMethod
from results.pictures.overlay import overlay

_PICTURE = "picture"  # the id of an image that comes without one


@dataclass(frozen=True, eq=False)
class Segmented:
    """What a method says of one picture. A notebook shows it as `overlay()`.

    image: uint8 (height, width, 3). names: what was asked for, the usual word of each. label_map: int32 (height,
    width), positions in `names`, -1 for none of them. scores: float32 (names, height, width), as the method gave them,
    enlarged to the picture and averaged where windows overlap; None from a method that gives label maps.
    """

    image: Image
    names: tuple[str, ...]
    label_map: LabelMap
    scores: NDArray[np.float32] | None
    method: str

    def overlay(self) -> Pillow.Image:
        """The picture with the label map laid over it, and below what the colours mean."""
        return overlay(self.image, self.label_map, self.names)

    def shares(self) -> dict[str, float]:
        """Name -> the share of the picture's pixels that it was given, the largest first."""
        counts = np.bincount(self.label_map[self.label_map >= 0], minlength=len(self.names)).tolist()
        order = sorted(range(len(self.names)), key=lambda n: -counts[n])
        return {self.names[n]: counts[n] / self.label_map.size for n in order}

    def __repr__(self) -> str:
        height, width = self.label_map.shape
        return f"<{self.method} on {width} x {height} pixels: {', '.join(self.names)}>"

    def _repr_png_(self) -> bytes:
        stream = io.BytesIO()
        self.overlay().save(stream, "PNG")
        return stream.getvalue()


def segment(
    method: str | type | Recipe,
    image: str | Path | Pillow.Image | NDArray[np.uint8],
    names: Sequence[str | Sequence[str]],
    /,
    *,
    protocol: str | Mapping[str, Any] | None = None,
    artefact: str | Path | None = None,
    image_id: str | None = None,
    **settings: object,
) -> Segmented:
    """Ask a method about one picture, and decide as a sweep does for a batch of one.

    method: an address `module:Class`, the class itself or a Recipe; settings: the method's. image: a file, a PIL image
    or an array (height, width, 3) of uint8. names: what may be there, a word each, or several words for one thing.
    protocol: a preset or fields as in a grid; all names are offered. artefact: of a method that learns, the folder of
    what it has learned. image_id: for methods that draw noise by it, or look it up; by itself a file's name without its
    ending. HarnessError, in one sentence, for whatever does not go together. The last method stays open.
    """
    recipe = _recipe(method, settings)
    pixels, called = _pixels(image)
    words, rules = _words(names), _rules(protocol)
    with as_in_a_worker():
        asked = _opened(recipe, None if artefact is None else str(expanded(str(artefact))), rules)
        label_map, scores = asked.about(pixels, called if image_id is None else image_id, words, rules)
    return Segmented(pixels, tuple([one[0] for one in words]), label_map, scores, recipe.use)


@lru_cache(maxsize=1)
def _opened(recipe: Recipe, artefact: str | None, rules: ProtocolSettings) -> OpenMethod:
    return OpenMethod(recipe, artefact, rules)


def _recipe(method: str | type | Recipe, settings: Mapping[str, object]) -> Recipe:
    """The recipe of a method with these settings; paths start at the folder that one works in."""
    loading.add_folder(".")
    if not isinstance(method, str | type | Recipe):
        shown = bounded(repr(method), 40)
        raise SettingsError(f"the method is {shown}; give an address module:Class, the class itself, or a Recipe")
    given = method if isinstance(method, Recipe) else Recipe.of(address(method) if isinstance(method, type) else method)
    cls = loading.load_class(given.use)
    loading.check_role(cls, "method", given.use)
    fitting = {name: placed(cls, name, check_setting(cls, name, value), ".") for name, value in settings.items()}
    return Recipe.of(given.use, **{**given.as_dict(), **fitting})


def _rules(protocol: str | Mapping[str, Any] | None) -> ProtocolSettings:
    given: Mapping[str, Any] = {"preset": protocol} if isinstance(protocol, str) else protocol or {}
    found = read_protocol({"vocabulary": "all", **given})
    if found.vocabulary != "all":
        why = "a tagger or a file is asked in a sweep" if found.vocabulary in TAGGED else "one picture has no truth"
        raise SettingsError(f"the vocabulary {found.vocabulary!r} is not for here: {why}; name what may be there")
    return found


def _words(names: Sequence[str | Sequence[str]]) -> Words:
    """A tuple of words a name. SettingsError where there is none, or what is none."""
    if isinstance(names, str):
        raise SettingsError(f"names is one text, {bounded(names, 40)!r}; give a list of names, such as ['cat', 'dog']")
    found = tuple([(one,) if isinstance(one, str) else tuple(one) for one in names])
    if not found or not all(one and all(isinstance(word, str) and word.strip() for word in one) for one in found):
        raise SettingsError("names must be a list of one or more names, each a word or a list of words for one thing")
    return found


def _pixels(image: str | Path | Pillow.Image | NDArray[np.uint8]) -> tuple[Image, str]:
    """The picture as an array of our own that nobody can write to, and its id. DataError for what is none."""
    image_id = _PICTURE
    if isinstance(image, str | Path):
        path, image_id = expanded(str(image)), Path(image).stem
        try:
            with Pillow.open(path) as held:
                image = held.convert("RGB")
        except (OSError, ValueError, SyntaxError, Pillow.DecompressionBombError) as error:
            why = getattr(error, "strerror", None) or error
            raise DataError(f"{path} cannot be read as a picture: {why}") from None
    pixels = np.array(image.convert("RGB") if isinstance(image, Pillow.Image) else image)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or 0 in pixels.shape:
        kind = f"{pixels.dtype} {pixels.shape}"
        raise DataError(f"the picture is an array of {kind}; give a file, a PIL image or uint8 of (height, width, 3)")
    pixels.flags.writeable = False
    return pixels, image_id
