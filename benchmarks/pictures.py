"""File names flow in; decoded pictures flow out, or one sentence that says what is wrong with the file."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from benchmarks.faults import MissingFile, UnreadableFile, WrongMode
from harness.contracts import Image

MAX_PIXELS = 89_478_485  # Pillow's own line between a large picture and a decompression bomb
ANY_FORMAT = ("JPEG", "PNG", "TIFF", "BMP", "WEBP")
IMAGE_MODES = frozenset({"RGB", "L", "P", "RGBA", "CMYK"})  # what converts to RGB without a choice
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, OverflowError, struct.error, zlib.error)
MAGIC: Mapping[str, bytes | tuple[bytes, ...]] = {  # how files of a format begin
    "JPEG": b"\xff\xd8\xff", "PNG": b"\x89PNG\r\n\x1a\n", "TIFF": (b"II*\0", b"MM\0*"), "BMP": b"BM", "WEBP": b"RIFF",
}  # fmt: skip
_KIND_OF_PAGE, _SMALLER = 254, 1  # a tag of TIFF, and its bit for a smaller copy of another page
_BOMB = (Pillow.DecompressionBombError, Pillow.DecompressionBombWarning)


@dataclass(frozen=True)
class Blob:
    """The bytes of one file (or of one cell of a table) and the name under which messages speak of it."""

    data: bytes
    where: str


def read_blob(path: Path, role: str) -> Blob:
    """The bytes of a file; role says in a message what it should be, for example `the mask of '2007_000033'`."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise MissingFile(f"{path} does not exist; it should be {role}.") from None
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read ({error.strerror or error}); it should be {role}.") from None
    if not data:
        raise UnreadableFile(f"{path} is empty (0 bytes); it should be {role}. Fetch it again.")
    return Blob(data, str(path))


def decode(blob: Blob, formats: tuple[str, ...] = ("JPEG", "PNG")) -> Pillow.Image:
    """The decoded picture in its own mode, EXIF not applied. UnreadableFile when it is damaged or huge."""
    try:
        with Pillow.open(io.BytesIO(blob.data), formats=formats) as picture:
            refuse_huge(picture.width * picture.height, blob.where)
            _refuse_pages(picture, blob.where)
            picture.load()
            return picture
    except UnidentifiedImageError:
        if any(blob.data.startswith(MAGIC[name]) for name in formats):
            text = "cannot be decoded (it ends, or breaks, within its header); it is truncated or damaged."
            raise UnreadableFile(f"{blob.where} {text}") from None
        raise UnreadableFile(f"{blob.where} is not a {' or '.join(formats)} file; fetch it again.") from None
    except _BOMB:
        raise UnreadableFile(f"{blob.where} claims more than {MAX_PIXELS} pixels; it is damaged or foreign.") from None
    except _BROKEN as error:
        raise UnreadableFile(f"{blob.where} cannot be decoded ({error}); it is truncated or damaged.") from None


def _refuse_pages(picture: Pillow.Image, where: str) -> None:
    """WrongMode for a TIFF of several pages; smaller copies of the first one, as maps have them, are none."""
    if picture.format != "TIFF" or getattr(picture, "n_frames", 1) == 1:
        return
    pages = 0
    for number in range(getattr(picture, "n_frames", 1)):
        picture.seek(number)
        pages += not getattr(picture, "tag_v2", {}).get(_KIND_OF_PAGE, 0) & _SMALLER
    picture.seek(0)
    if pages > 1:
        raise WrongMode(f"{where} is a TIFF of {pages} pages, and a picture is one; save the one that is meant alone.")


def refuse_huge(pixels: int, where: str) -> None:
    """UnreadableFile when a header claims more pixels than any data set has, before memory is taken for them."""
    if pixels > MAX_PIXELS:
        raise UnreadableFile(f"{where} claims {pixels} pixels, the limit is {MAX_PIXELS}; it is damaged or foreign.")


def to_rgb(picture: Pillow.Image, where: str) -> Image:
    """The picture as uint8 (height, width, 3); grey, palette and CMYK pictures become RGB."""
    if picture.mode not in IMAGE_MODES:
        raise WrongMode(f"{where} has the image mode {picture.mode}; images are {', '.join(sorted(IMAGE_MODES))}.")
    return np.ascontiguousarray(np.asarray(picture.convert("RGB"), dtype=np.uint8))
