"""Label maps and images kept for people go into a results folder and are found again, by run, benchmark and image.

`label_maps/<run id>/<key>.png` holds predicted maps, `pictures/<benchmark key>/<key>.jpg` and `.png` images and truths.
Keys are hashes of ids: an id from a data set never becomes part of a path. Every file ends in its digest. A map has 8
bits where no class in it is above 254, else 16; the largest number is what is not scored, or no class.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from harness.contracts import Picture, Row, Rows, WideTruth, widened
from harness.errors import StoreError
from results.folder.before import may_be_of_before
from results.folder.durable import read_whole, write_whole
from results.folder.proof import CURE, bytes_digest, read_stamped, stamped, without_stamp
from results.folder.recipes import benchmark_key, file_name_of, recipe_path


def label_map_path(folder: Path, run_id: str, image_id: str) -> Path:
    """Where the label map of an image of a run lies, or would lie."""
    return recipe_path(folder / "label_maps", run_id).with_suffix("") / f"{file_name_of(image_id)}.png"


def picture_paths(folder: Path, benchmark: Mapping[str, object], image_id: str) -> tuple[Path, Path]:
    """Where an image of a benchmark and its truth lie, or would lie."""
    place = folder / "pictures" / benchmark_key(benchmark)
    return place / f"{file_name_of(image_id)}.jpg", place / f"{file_name_of(image_id)}.png"


def keep_label_maps(folder: Path, rows: Iterable[Row]) -> None:
    """Write the label maps that rows bring; the last one written stands."""
    columns = Rows.of(rows)
    for number, label_map in columns.label_maps.items():
        _write(label_map_path(folder, *columns.key(number)), label_map)


def keep_pictures(folder: Path, benchmark: Mapping[str, object], pictures: Iterable[Picture]) -> None:
    """Write images and truths that are not there yet."""
    for picture in pictures:
        paths = picture_paths(folder, benchmark, picture.image_id)
        for path, content in zip(paths, (picture.image, picture.truth), strict=True):
            if not path.exists():
                _write(path, content)


def kept_label_maps(folder: Path, images: Mapping[str, Iterable[str]]) -> dict[str, dict[str, Path]]:
    """Run id -> image id -> file, of those images (by run) whose label maps are kept."""
    found: dict[str, dict[str, Path]] = {}
    for run_id, image_ids in images.items():
        if not label_map_path(folder, run_id, "").parent.is_dir():
            continue
        paths = {image_id: label_map_path(folder, run_id, image_id) for image_id in image_ids}
        if there := {image_id: path for image_id, path in paths.items() if path.exists()}:
            found[run_id] = there
    return found


def forget(folder: Path, run_id: str, benchmark: Mapping[str, object], image_ids: Iterable[str]) -> None:
    """Take away the label maps of a run, and the pictures of the benchmark, that show images as they are no more."""
    for image_id in image_ids:
        for path in (label_map_path(folder, run_id, image_id), *picture_paths(folder, benchmark, image_id)):
            path.unlink(missing_ok=True)


def has_label_map(folder: Path, run_id: str, image_id: str) -> bool:
    """Whether the label map of an image of a run is kept."""
    return label_map_path(folder, run_id, image_id).exists()


def read_kept(path: Path) -> bytes:
    """A stored file's bytes. StoreError when they are not those that were written."""
    return _read(path)


@dataclass(frozen=True)
class KeptFiles(Mapping[str, bytes]):
    """Image id -> the bytes of a stored file, read when they are asked for, and when this goes to another process.

    So a plan of ten thousand images holds their paths, and the files of those alone that are under way.
    """

    paths: Mapping[str, Path]

    def __getitem__(self, image_id: str) -> bytes:
        return read_kept(self.paths[image_id])

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)

    def __reduce__(self) -> tuple[type[dict[str, bytes]], tuple[dict[str, bytes]]]:
        return dict, (dict(self),)


def read_map(path: Path) -> WideTruth:
    """A stored map (height, width) of 8 or 16 bits, numbered as a truth. StoreError when the file is damaged."""
    try:
        content = _read(path)
        with Pillow.open(io.BytesIO(content)) as picture:
            picture.verify()  # the sums that a PNG holds, which decoding alone does not compare
        with Pillow.open(io.BytesIO(content)) as picture:
            labels = np.asarray(picture)
    except (OSError, ValueError, SyntaxError) as error:
        raise StoreError(f"{path} cannot be read ({error}); {CURE}") from None
    if labels.ndim != 2 or labels.dtype not in (np.uint8, np.uint16):
        raise StoreError(f"{path} is no label map: it has another form; {CURE}")
    return widened(labels)


def read_image(path: Path) -> Pillow.Image:
    """A stored image as RGB. StoreError when the file is damaged."""
    try:
        with Pillow.open(io.BytesIO(_read(path))) as picture:
            return picture.convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        raise StoreError(f"{path} cannot be read ({error}); {CURE}") from None


def looked_at(path: Path) -> str:
    """The digest of a stored file that is as it was written. StoreError, in a sentence, for one that cannot be used."""
    content = read_whole(path, CURE)
    without_stamp(content, path, _may_be_of_before)
    return bytes_digest(content)


def _read(path: Path) -> bytes:
    return read_stamped(path, _may_be_of_before)


def _may_be_of_before(path: Path) -> bool:
    """Whether what lies there may lack a digest: `label_maps/<run>/`, `pictures/<benchmark>/` say whose it is."""
    path = path.absolute()
    if path.parent.name == "gathered":  # of an artefact that has no card yet
        return may_be_of_before(path.parents[4])
    return may_be_of_before(path.parents[2], path.parent.name)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda file: file.write(stamped(content, path)))
