"""A file that another program wrote flows in, PNG, TIFF, NPY, NPZ or JSON; the array in it flows out, as stored."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from harness.contracts import MethodError
from harness.contracts.rle import decode_rle

ENDINGS = (".png", ".tif", ".tiff", ".npy", ".npz", ".json")
UNCOVERED = -1  # the number of pixels that no segment covers
_MOST = 2**31  # numbers in one file: more is damage, found before memory is taken for it
_MODES = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L")
_PNG, _NPY, _ZIP = b"\x89PNG", b"\x93NUMPY", b"PK"
_PNG_BITS_AT, _TIFF_BITS, _TIFF_MEANING, _INVERTED = 24, 258, 262, 0


def read_array(path: Path, name: str = "") -> NDArray[Any]:
    """The array of a file: of a picture its whole numbers (height, width), never colours; nothing in it is run.

    name: of the array within an NPZ file that holds several. MethodError for what is no such file, or is damaged.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_PNG_BITS_AT + 1)
            file.seek(0)
            if start.startswith(_NPY):
                return _numpy(file)
            if path.suffix == ".json":
                return _segments(json.load(file))
            return _member(file, name) if start.startswith(_ZIP) else _picture(file, start)
    except MethodError as error:
        raise MethodError(f"{path} {error}") from None
    except Exception as error:  # decoders raise many kinds on damaged files
        told = " ".join(str(error).split()).rstrip(".")
        raise MethodError(f"{path} cannot be read as PNG, TIFF, NPY, NPZ or JSON ({told})") from None


def _numpy(stream: IO[bytes]) -> NDArray[Any]:
    version = np.lib.format.read_magic(stream)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, kind = header(stream)
    if kind.hasobject:
        raise MethodError("holds Python objects, which are not read; save an array of numbers")
    if (numbers := int(np.prod(shape, dtype=object))) > _MOST:
        raise MethodError(f"claims {numbers} numbers; it is damaged or no prediction of one image")
    stream.seek(0)
    return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))


def _member(file: IO[bytes], name: str) -> NDArray[Any]:
    with zipfile.ZipFile(file) as held:
        names = [one.removesuffix(".npy") for one in held.namelist()]
        if not name and len(names) != 1:
            raise MethodError(f"holds several arrays ({', '.join(names)}); give `array`, the name of one")
        if name and name not in names:
            raise MethodError(f"holds no array {name!r} ({', '.join(names)})")
        with held.open(held.namelist()[names.index(name) if name else 0]) as stream:
            return _numpy(stream)


def _segments(read: Any) -> NDArray[Any]:
    """The map of run lengths in COCO's form, `[{"category_id": 3, "segmentation": {"size": [h, w], "counts": ...}}]`,
    painted in their order."""
    if not isinstance(read, list) or not read:
        raise MethodError("is no list of segments with category_id and segmentation")
    try:
        sizes = {tuple(int(side) for side in one["segmentation"]["size"]) for one in read}
        if len(sizes) != 1:
            raise MethodError(f"has segments of several sizes: {', '.join(f'{h} x {w}' for h, w in sorted(sizes))}")
        ((height, width),) = sizes
        if height * width > _MOST:
            raise MethodError(f"claims {height * width} pixels; it is damaged")
        found = np.full((height, width), UNCOVERED, np.int64)
        for one in read:
            found[decode_rle(one["segmentation"]["counts"], height, width)] = int(one["category_id"])
    except (KeyError, TypeError, ValueError) as error:
        raise MethodError(f"is no list of segments in COCO's form: {str(error).rstrip('.')}") from None
    return found


def _picture(file: IO[bytes], start: bytes) -> NDArray[Any]:
    with Pillow.open(file, formats=("PNG", "TIFF")) as picture:
        bits = start[_PNG_BITS_AT] if start.startswith(_PNG) else _tag(picture, _TIFF_BITS, 8)
        if picture.mode not in _MODES or (picture.mode == "L" and bits != 8):  # decoders stretch fewer bits
            raise MethodError(
                f"has the mode {picture.mode} with {bits} bits; a label map has one channel of numbers, of 8 or 16 bits"
            )
        if _tag(picture, _TIFF_MEANING, 1) == _INVERTED:
            raise MethodError("is a TIFF whose 0 means white, so its numbers are turned round; save it as PNG")
        if getattr(picture, "n_frames", 1) != 1:
            raise MethodError("holds several pictures; a label map is one")
        pixels = np.asarray(picture)
    return pixels.astype(np.uint8) if pixels.dtype.kind == "b" else pixels


def _tag(picture: Pillow.Image, number: int, default: int) -> int:
    """The value of a TIFF's tag, its first; the default where it has none, or is no TIFF."""
    found = getattr(picture, "tag_v2", {}).get(number, default)
    return int(found[0] if isinstance(found, tuple) else found)
