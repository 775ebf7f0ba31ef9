"""Pascal Context's own label files (trainval_merged.json, LabelMap .mat) flow in; labels in 459 numbers flow out."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.faults import BrokenList, SizeMismatch, StrayLabel, UnreadableFile, WrongMode
from benchmarks.listing import check_key, contents, unique_sorted
from benchmarks.masks import LabelTable, RawLabels
from benchmarks.pictures import Blob, decode, read_blob, refuse_huge
from benchmarks.sources import DecodedPicture, file_size
from harness.contracts import Truth
from harness.contracts.rle import decode_rle

NUMBERS = 459  # categories of the full list; 0 is no category


def list_of_split(base: Path, split: str) -> Path:
    """The list of a split in VOC2010: mmseg's, or the one that goes with the .mat files."""
    lists = base / "ImageSets" / "SegmentationContext" / f"{split}.txt", base / f"pascalcontext_{split}.txt"
    for path in lists:
        if path.is_file():
            return path
    raise BrokenList(f"The split {split!r} has no list: looked for {lists[0]} and {lists[1].name}; {contents(base)}.")


class Canvas(NamedTuple):
    """One image of the JSON file: its file, (height, width), and (category, run lengths) in the order of the file."""

    image: Path
    height: int
    width: int
    layers: list[tuple[int, Mapping[str, Any]]]


@dataclass(frozen=True, eq=False)
class MergedJson:
    """The images of one phase of `trainval_merged.json`; later annotations cover earlier ones."""

    path: Path
    canvases: Mapping[str, Canvas]
    table: LabelTable

    def ids(self) -> tuple[str, ...]:
        return tuple(sorted(self.canvases))

    def picture(self, image_id: str) -> DecodedPicture:
        blob = read_blob(self.canvases[image_id].image, f"the image of {image_id!r}")
        return DecodedPicture(decode(blob), blob.where)

    def truth(self, image_id: str) -> Truth:
        where = f"{self.path}, image {image_id}"
        return self.table.apply(render(self.canvases[image_id], where), where)

    def files(self, image_id: str) -> tuple[Path, ...]:
        return self.canvases[image_id].image, self.path

    def manifest(self) -> Iterator[str]:
        labels = file_size(self.path)
        for image_id in self.ids():
            yield "\t".join((image_id, self.path.name, file_size(self.canvases[image_id].image), labels))


def render(canvas: Canvas, where: str) -> RawLabels:
    """The labels uint16 (height, width): every annotation sets the pixels of its runs to its category number."""
    labels = np.zeros((canvas.height, canvas.width), np.uint16)
    for category, segment in canvas.layers:
        if tuple(segment["size"]) != labels.shape:
            size = " x ".join(str(side) for side in segment["size"])
            raise SizeMismatch(f"{where} is {canvas.height} x {canvas.width} and has an annotation of {size}.")
        try:
            inside = decode_rle(segment["counts"], canvas.height, canvas.width)
        except (ValueError, OverflowError, TypeError) as error:
            raise UnreadableFile(f"{where} has a broken annotation of category {category}: {error}.") from None
        labels[inside] = category
    return labels


def open_merged_json(path: Path, phase: str, images: Path, table: LabelTable) -> MergedJson:
    """Reads the whole file once and keeps the runs of one phase (train or val)."""
    blob = read_blob(path, "the annotations of Pascal Context")
    try:
        content = json.loads(blob.data)
        rows = [row for row in content["images"] if row["phase"] == phase]
        canvases = {row["image_id"]: _canvas(row, images, path) for row in rows}
        for row in content["annos_segmentation"]:
            if row["image_id"] in canvases:
                canvases[row["image_id"]].layers.append(_layer(row, path))
    except (ValueError, RecursionError) as error:
        raise UnreadableFile(f"{path} is not sound JSON ({error}); fetch it again.") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise BrokenList(
            f"{path} is not PASCAL in Detail's trainval_merged.json: {error} is missing or of another kind."
        ) from None
    unique_sorted((canvas.image.stem for canvas in canvases.values()), f"{path}, phase {phase},")
    return MergedJson(path, {canvas.image.stem: canvas for canvas in canvases.values()}, table)


def _canvas(row: Mapping[str, Any], images: Path, path: Path) -> Canvas:
    name = check_key(row["file_name"], str(path))
    height, width = int(row["height"]), int(row["width"])
    if min(height, width) < 1:
        raise BrokenList(f"{path} gives the image {name} the size {height} x {width}; fetch it again.")
    refuse_huge(height * width, f"{path}, image {name},")
    return Canvas(images / name, height, width, [])


def _layer(row: Mapping[str, Any], path: Path) -> tuple[int, Mapping[str, Any]]:
    category, segment = int(row["category_id"]), row["segmentation"]
    if not 0 <= category < 1 << 16:
        raise StrayLabel(f"{path} has the category {category}; categories of Pascal Context are 0 to {NUMBERS}.")
    return category, {"size": [int(side) for side in segment["size"]], "counts": segment["counts"]}


def read_label_map(blob: Blob) -> RawLabels:
    """The labels (height, width) of a .mat file with the variable LabelMap."""
    from scipy.io import loadmat, whosmat

    try:
        shapes = {name: shape for name, shape, _ in whosmat(io.BytesIO(blob.data))}
        if "LabelMap" not in shapes:
            raise WrongMode(f"{blob.where} has no variable LabelMap; it has {', '.join(shapes) or 'none'}.")
        refuse_huge(int(np.prod(shapes["LabelMap"], dtype=object)), blob.where)
        labels = np.asarray(loadmat(io.BytesIO(blob.data), variable_names=["LabelMap"])["LabelMap"])
    except (WrongMode, UnreadableFile):
        raise
    except Exception as error:  # scipy raises many kinds on damaged files
        raise UnreadableFile(f"{blob.where} is not a sound .mat file of version 5 to 7 ({error}).") from None
    if labels.ndim != 2 or labels.dtype not in (np.uint8, np.uint16):
        raise WrongMode(
            f"{blob.where}: LabelMap has {labels.ndim} axes of {labels.dtype}; it should be a uint16 (height, width)."
        )
    return labels
