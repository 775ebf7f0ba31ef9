"""A JSON file in COCO's form (images, annotations, categories) flows in; pictures and painted truths flow out."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from benchmarks.faults import BrokenList, SizeMismatch, UnreadableFile
from benchmarks.listing import unique_sorted
from benchmarks.patterns import unsafe
from benchmarks.pictures import ANY_FORMAT, decode, read_blob, refuse_huge
from benchmarks.polygons import Mask, fill
from benchmarks.sources import DecodedPicture, file_size
from harness.contracts import BACKGROUND, Truth
from harness.contracts.rle import decode_rle

Paint = Literal["file", "area"]


class DrawnObject(NamedTuple):
    """One object: its category's id, its outline as the file has it, and whether it is a crowd."""

    number: Any
    category: int
    outline: Any
    crowd: bool


class Scene(NamedTuple):
    """One image: its file below the folder of images, (height, width), and its objects in the order of the file."""

    image: str
    height: int
    width: int
    objects: list[DrawnObject]


@dataclass(frozen=True, eq=False)
class CocoJson:
    """The file, read once: category id -> name, and the scenes by image id (the file's name without its ending)."""

    path: Path

    @property
    def categories(self) -> Mapping[int, str]:
        return self._read[0]

    @property
    def scenes(self) -> Mapping[str, Scene]:
        return self._read[1]

    @cached_property
    def _read(self) -> tuple[dict[int, str], dict[str, Scene]]:
        blob = read_blob(self.path, "annotations in COCO's form")
        try:
            content = json.loads(blob.data)
            names = {
                int(row["id"]): str(row["name"]) for row in sorted(content["categories"], key=lambda row: row["id"])
            }
            for kind in ("categories", "images"):
                self._refuse_doubled_ids(kind, [row["id"] for row in content[kind]])
            scenes = {row["id"]: self._scene(row) for row in content["images"]}
            for row in content["annotations"]:
                self._add(row, scenes, names)
        except (ValueError, RecursionError) as error:
            raise UnreadableFile(f"{self.path} is not sound JSON ({error}).") from None
        except (KeyError, TypeError, AttributeError) as error:
            raise BrokenList(f"{self.path} is not in COCO's form: {error} is missing or of another kind.") from None
        if len(set(names.values())) < len(names):
            raise BrokenList(f"{self.path} has several categories of one name among {', '.join(names.values())}.")
        keys = [os.path.splitext(scene.image)[0] for scene in scenes.values()]
        unique_sorted(keys, f"{self.path}, its images,")
        return names, dict(zip(keys, scenes.values(), strict=True))

    def _refuse_doubled_ids(self, kind: str, ids: list[Any]) -> None:
        if doubled := sorted(str(one) for one, count in Counter(ids).items() if count > 1):
            raise BrokenList(f"{self.path} gives {len(doubled)} of its {kind} one id twice: {', '.join(doubled[:5])}.")

    def _scene(self, row: Mapping[str, Any]) -> Scene:
        name, height, width = str(row["file_name"]), int(row["height"]), int(row["width"])
        if unsafe(name):
            raise BrokenList(f"{self.path}: the image {name!r} leads out of its folder; give names below it.")
        if min(height, width) < 1:
            raise BrokenList(f"{self.path} gives the image {name!r} the size {height} x {width}.")
        refuse_huge(height * width, f"{self.path}, image {name!r},")
        return Scene(name, height, width, [])

    def _add(self, row: Mapping[str, Any], scenes: Mapping[Any, Scene], names: Mapping[int, str]) -> None:
        where = f"{self.path}, annotation {row['id']}"
        if row["image_id"] not in scenes:
            raise BrokenList(f"{where}, is of the image {row['image_id']!r}, which is not among the images.")
        if row["category_id"] not in names:
            raise BrokenList(f"{where}, has the category {row['category_id']!r}, which is not among the categories.")
        drawn = DrawnObject(row["id"], row["category_id"], row["segmentation"], bool(row.get("iscrowd", 0)))
        scenes[row["image_id"]].objects.append(drawn)


@dataclass(frozen=True, eq=False)
class PaintedScenes:
    """Objects painted over each other. truths: of every category; crowds: the truth of every crowd, or as the others.

    paint: in the order of the `file`, or by `area`, the largest first. rule: how polygons are filled.
    """

    source: CocoJson
    images: Path
    keys: tuple[str, ...]
    truths: Mapping[int, int]
    crowds: int | None
    paint: Paint
    rule: str
    wide: bool

    def ids(self) -> tuple[str, ...]:
        return self.keys

    def picture(self, image_id: str) -> DecodedPicture:
        blob = read_blob(self.images / self.source.scenes[image_id].image, f"the image of {image_id!r}")
        return DecodedPicture(decode(blob, ANY_FORMAT), blob.where)

    def truth(self, image_id: str) -> Truth:
        scene = self.source.scenes[image_id]
        truth: Truth = np.full((scene.height, scene.width), BACKGROUND, np.uint16 if self.wide else np.uint8)
        painted: Iterable[tuple[DrawnObject, Mask]] = ((drawn, self._inside(drawn, scene)) for drawn in scene.objects)
        if self.paint == "area":
            painted = sorted(painted, key=lambda one: -int(one[1].sum()))
        for drawn, inside in painted:
            mark = self.crowds if drawn.crowd else None
            truth[inside] = self.truths[drawn.category] if mark is None else mark
        return truth

    def files(self, image_id: str) -> tuple[Path, ...]:
        return self.images / self.source.scenes[image_id].image, self.source.path

    def manifest(self) -> Iterator[str]:
        size = file_size(self.source.path)
        for image_id in self.keys:
            image = self.source.scenes[image_id].image
            yield "\t".join((image_id, self.source.path.name, file_size(self.images / image), size))

    def _inside(self, drawn: DrawnObject, scene: Scene) -> Mask:
        where = f"{self.source.path}, annotation {drawn.number} of {scene.image!r}"
        try:
            return outlined(drawn.outline, scene.height, scene.width, self.rule, where)
        except (ValueError, OverflowError, TypeError, KeyError) as error:
            raise UnreadableFile(f"{where}, has a broken outline: {error}.") from None


def outlined(outline: Any, height: int, width: int, rule: str, where: str) -> Mask:
    """The pixels (height, width) of polygons or of run lengths {size, counts}, as text or as numbers."""
    if isinstance(outline, list):
        if not outline:
            raise ValueError("it has no polygon")
        return fill(outline, height, width, rule)
    held = outline if isinstance(outline, dict) else {}
    size, counts = held.get("size", ()), held.get("counts", ())
    if not _whole(size) or len(size) != 2 or not (isinstance(counts, str) or _whole(counts)):
        raise ValueError("it is neither a list of polygons nor run lengths {size: [height, width], counts: ...}")
    size = tuple(size)
    if size != (height, width):
        raise SizeMismatch(
            f"{where}, has run lengths for {' x '.join(map(str, size))} (height x width), not {height} x {width}."
        )
    return decode_rle(counts, height, width)


def _whole(numbers: Any) -> bool:
    """Whether it is a list of whole numbers."""
    return isinstance(numbers, list) and all(type(number) is int for number in numbers)
