"""Bytes of a mask, PNG, TIFF, BMP or NPY, flow in; whole numbers or colours flow out, as they are stored."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from benchmarks.faults import StrayLabel, UnreadableFile, WrongMode
from benchmarks.masks import BIT_DEPTH_AT, RawLabels
from benchmarks.pictures import MAGIC, Blob, decode, refuse_huge

Channel = Literal["none", "red", "green", "blue", "same"]
Colours = NDArray[np.uint32]  # (height, width), red * 65536 + green * 256 + blue
FORMATS = ("PNG", "TIFF", "BMP")
_NPY = b"\x93NUMPY"
_GREY = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L")
_BITS, _MEANING, _INVERTED = 258, 262, 0  # tags of TIFF, and the meaning that decoders turn into its opposite


def read_values(channel: Channel) -> Callable[[Blob], RawLabels]:
    """What reads the values (height, width) of a mask of one channel, or, with a channel, of one in colours."""

    def read(blob: Blob) -> RawLabels:
        pixels = _array(blob) if blob.data.startswith(_NPY) else _grey(_picture(blob), channel, blob.where)
        if pixels.ndim != 2 or pixels.dtype.kind not in "uib":
            raise WrongMode(
                f"{blob.where} holds {pixels.dtype} of shape {pixels.shape}; masks hold whole numbers (height, width)."
            )
        if pixels.dtype.kind == "i" and pixels.size and int(pixels.min()) < 0:
            raise StrayLabel(f"{blob.where} has the label {int(pixels.min())}; labels are 0 and above.")
        return pixels.astype(np.uint8) if pixels.dtype.kind == "b" else pixels

    return read


def read_colours(blob: Blob) -> Colours:
    """The colours (height, width) of a mask in RGB, or of a palette as the file itself has it."""
    pixels = _array(blob) if blob.data.startswith(_NPY) else _rgb(_picture(blob), blob.where)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise WrongMode(
            f"{blob.where} holds {pixels.dtype} of shape {pixels.shape}; colours are uint8 (height, width, 3)."
        )
    red, green, blue = (pixels[..., place].astype(np.uint32) for place in range(3))
    return ((red << 16) | (green << 8) | blue).astype(np.uint32)


def _picture(blob: Blob) -> Pillow.Image:
    if blob.data.startswith(MAGIC["JPEG"]):
        raise WrongMode(f"{blob.where} is a JPEG, which changes labels; masks are PNG, TIFF, BMP or NPY.")
    picture = decode(blob, FORMATS)
    bits = blob.data[BIT_DEPTH_AT] if blob.data.startswith(MAGIC["PNG"]) else _tag(picture, _BITS, 8)
    if (picture.mode == "L" and bits != 8) or (picture.mode in ("RGB", "RGBA") and bits != 8):  # decoders stretch these
        raise WrongMode(f"{blob.where} has {bits} bits a channel in the mode {picture.mode}; save it with 8.")
    if _tag(picture, _MEANING, 1) == _INVERTED:
        raise WrongMode(f"{blob.where} is a TIFF whose 0 means white, so its values are turned round; save it as PNG.")
    return picture


def _tag(picture: Pillow.Image, number: int, default: int) -> int:
    """The value of a TIFF's tag, its first; the default where it has none, or is no TIFF."""
    found = getattr(picture, "tag_v2", {}).get(number, default)
    return int(found[0] if isinstance(found, tuple) else found)


def _grey(picture: Pillow.Image, channel: Channel, where: str) -> NDArray[Any]:
    pixels = np.asarray(picture)
    if picture.mode in _GREY and channel in ("none", "same"):
        return pixels.astype(np.uint16) if picture.mode.startswith("I;") else pixels
    if picture.mode not in ("RGB", "RGBA") or channel == "none":
        cure = (
            " Give `labels` by colour, or `channel:` red, green, blue or same."
            if picture.mode in ("RGB", "RGBA")
            else ""
        )
        wanted = "one channel of whole numbers" if channel in ("none", "same") else f"colours with {channel}"
        raise WrongMode(f"{where} has the mode {picture.mode}; its masks should have {wanted}.{cure}")
    if channel == "same" and not (pixels[..., :1] == pixels[..., :3]).all():
        raise WrongMode(f"{where} is a mask in colours, and its three channels are not the same everywhere.")
    chosen: NDArray[Any] = np.ascontiguousarray(pixels[..., {"green": 1, "blue": 2}.get(channel, 0)])
    return chosen


def _rgb(picture: Pillow.Image, where: str) -> NDArray[Any]:
    if picture.mode == "RGBA" and int(np.asarray(picture)[..., 3].min(initial=255)) < 255:
        raise WrongMode(f"{where} is see-through in places, so its colours are not certain; save it without opacity.")
    if picture.mode not in ("RGB", "RGBA", "P"):
        raise WrongMode(f"{where} has the mode {picture.mode} and no colours; give `labels` by value.")
    return np.asarray(picture.convert("RGB"))


def _array(blob: Blob) -> NDArray[Any]:
    """The array of an NPY file; nothing in it is run, and no memory is taken for more than a picture has."""
    stream = io.BytesIO(blob.data)
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, kind = read(stream)
        if kind.hasobject:
            raise WrongMode(f"{blob.where} holds Python objects, which are not read; save an array of whole numbers.")
        refuse_huge(int(np.prod(shape, dtype=object)), blob.where)
        stream.seek(0)
        return np.asarray(np.load(stream, allow_pickle=False))
    except (WrongMode, UnreadableFile):
        raise
    except Exception as error:  # numpy raises many kinds on damaged headers
        raise UnreadableFile(f"{blob.where} is not a sound NPY file ({' '.join(str(error).split())}).") from None
