"""Drawn trees and the ways to damage them: what the table of malformed inputs is made of."""

from __future__ import annotations

import json
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import trees
from PIL import Image

from benchmarks.ade20k import ADE20K
from benchmarks.cityscapes import Cityscapes
from benchmarks.foodpix import FoodPix
from benchmarks.foodseg import FoodSeg
from benchmarks.pascal_context import PascalContext
from benchmarks.pascal_voc import PascalVOC

VOC_KEY, VOC = "2007_000033", Path("VOCdevkit/VOC2012")
VOC_MASK, VOC_IMAGE = VOC / f"SegmentationClass/{VOC_KEY}.png", VOC / f"JPEGImages/{VOC_KEY}.jpg"
VOC_LIST = VOC / "ImageSets/Segmentation/val.txt"
PC_KEY, PC = "2008_000021", Path("VOCdevkit/VOC2010")
PC_MASK, PC_MAT = PC / f"SegmentationClassContext/{PC_KEY}.png", PC / f"trainval/{PC_KEY}.mat"
PC_JSON = PC / "trainval_merged.json"
ADE_KEY, ADE = "ADE_val_00000001", Path("ADEChallengeData2016")
CITY_KEY = "lindau_000000_000294"
CITY_MASK = Path(f"gtFine/val/lindau/{CITY_KEY}_gtFine_labelIds.png")
PIX, PIX_MASK = Path("data/UECFoodPIXCOMPLETE"), Path("data/UECFoodPIXCOMPLETE/test/mask/12.png")
SEG_MASK = Path("FoodSeg103/Images/ann_dir/test/00000000.png")
BLACK = Image.new("RGB", (52, 37))
Damage = Callable[[Path], object]


class Case(NamedTuple):
    """A line of the tables of malformed inputs. image_id: None where ids() already says it."""

    name: str
    tree: Callable[[Path, np.random.Generator], Any]
    damage: Damage
    image_id: str | None
    kind: str
    says: str


def voc(root: Path, rng: np.random.Generator) -> PascalVOC:
    trees.write_voc(root, rng)
    return PascalVOC(root=str(root))


def aug(root: Path, rng: np.random.Generator) -> PascalVOC:
    trees.write_voc(root, rng)
    return PascalVOC(root=str(root), masks="SegmentationClassAug")


def context(offset: int, drawn_offset: int) -> Callable[[Path, np.random.Generator], PascalContext]:
    """A tree drawn with one offset and read with another."""

    def write(root: Path, rng: np.random.Generator) -> PascalContext:
        values = range(60) if drawn_offset else [*range(59), 255]
        trees.write_context_png(root, rng, values, "SegmentationClassContext", ovseg=False)
        return PascalContext(root=str(root), layout="png", label_order="alphabetical", label_offset=offset)

    return write


def mat(root: Path, rng: np.random.Generator) -> PascalContext:
    trees.write_context_mat(root, rng, [0, 2, 458, 100])
    return PascalContext(root=str(root), layout="mat")


def merged(root: Path, rng: np.random.Generator) -> PascalContext:
    trees.write_context_json(root, rng, [0, 2, 458, 100])
    return PascalContext(root=str(root), layout="json")


def ade(root: Path, rng: np.random.Generator) -> ADE20K:
    trees.write_ade(root, rng)
    return ADE20K(root=str(root))


def city(root: Path, rng: np.random.Generator) -> Cityscapes:
    trees.write_cityscapes(root, rng, "labelIds", range(34))
    return Cityscapes(root=str(root))


def city_train_ids(root: Path, rng: np.random.Generator) -> Cityscapes:
    trees.write_cityscapes(root, rng, "labelIds", range(34))
    return Cityscapes(root=str(root), labels="labelTrainIds")


def pix(root: Path, rng: np.random.Generator) -> FoodPix:
    trees.write_foodpix(root, rng)
    return FoodPix(root=str(root))


def seg(root: Path, rng: np.random.Generator) -> FoodSeg:
    trees.write_foodseg(root, rng)
    return FoodSeg(root=str(root))


def parquet(change: Callable[[dict[str, Any]], Any] = dict) -> Callable[[Path, np.random.Generator], FoodSeg]:
    def write(root: Path, rng: np.random.Generator) -> FoodSeg:
        trees.write_foodseg_parquet(root, rng, change)
        return FoodSeg(root=str(root), layout="parquet")

    return write


def nothing(root: Path) -> None:
    """The tree is malformed as it was drawn."""


def gone(*paths: Path) -> Damage:
    def act(root: Path) -> None:
        for path in paths:
            shutil.rmtree(root / path) if (root / path).is_dir() else (root / path).unlink()

    return act


def in_place_of_the_root(root: Path) -> None:
    """A file where the folder should be, as when an archive was not unpacked."""
    shutil.rmtree(root)
    root.write_bytes(b"an archive")


def wrote(path: Path, data: bytes) -> Damage:
    return lambda root: (root / path).write_bytes(data)


def cut(path: Path, kept: float) -> Damage:
    def act(root: Path) -> None:
        data = (root / path).read_bytes()
        (root / path).write_bytes(data[: int(len(data) * kept)])

    return act


def repainted(path: Path, change: Callable[[Image.Image], Image.Image], format: str | None = None) -> Damage:
    def act(root: Path) -> None:
        with Image.open(root / path) as picture:
            changed = change(picture.copy())
        changed.save(root / path, format or "PNG")

    return act


def with_value(value: int, channel: int | None = None) -> Callable[[Image.Image], Image.Image]:
    """The mask with one pixel of another value, at row 2, column 3."""

    def change(mask: Image.Image) -> Image.Image:
        labels = np.array(mask)
        labels[(2, 3) if channel is None else (2, 3, channel)] = value
        return Image.fromarray(labels)

    return change


def resized(mask: Image.Image) -> Image.Image:
    return mask.resize((mask.width + 1, mask.height), Image.Resampling.NEAREST)


def grey_png(height: int, width: int, bits: int, data: bytes) -> bytes:
    """A PNG file put together by hand: a sound header, then whatever data."""
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def edited(change: Callable[[dict[str, Any]], object]) -> Damage:
    """trainval_merged.json with one change."""

    def act(root: Path) -> None:
        content = json.loads((root / PC_JSON).read_text())
        change(content)
        (root / PC_JSON).write_text(json.dumps(content))

    return act


def first_segment(key: str, value: object) -> Damage:
    return edited(lambda content: content["annos_segmentation"][0]["segmentation"].update({key: value}))


def saved_mat(**variables: object) -> Damage:
    from scipy.io import savemat

    return lambda root: savemat(root / PC_MAT, variables)


def doubled_id(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "id": 3}


def without(column: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda row: {key: value for key, value in row.items() if key != column}


def without_bytes(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "image": {"bytes": None, "path": "00000003.jpg"}}
