"""Folders as labs have them, drawn at test time: each writer returns truths, pictures and the settings for them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import trees
from PIL import Image

Settings = dict[str, Any]
SIZES = ((23, 37), (31, 18), (26, 41))  # (height, width)


class Lab(NamedTuple):
    """A folder: the truth of every image, the pictures as they were drawn, and the settings."""

    truths: dict[str, np.ndarray]
    pictures: dict[str, np.ndarray]
    settings: Settings


def write_nested(root: Path, rng: np.random.Generator) -> Lab:
    """Folders in folders, as mmseg has them; 0 is not labelled, 1 to 3 are classes, a file lists them."""
    lab = Lab({}, {}, {
        "images": "img_dir/val", "masks": "ann_dir/val/**/*_lbl.png", "classes": "classes.txt",
        "reduce_zero_label": True,
    })  # fmt: skip
    for key, shape in zip(("north/a_1", "south/a_1", "south/deep.er/b"), SIZES, strict=True):
        raw = trees.draw_labels(rng, shape, range(4)).astype(np.uint8)
        trees.save_grey(root / f"ann_dir/val/{key}_lbl.png", raw)
        lab.pictures[key] = _picture(root / f"img_dir/val/{key}.{'JPG' if key == 'north/a_1' else 'png'}", rng, shape)
        lab.truths[key] = np.where(raw == 0, 255, raw)
    (root / "classes.txt").write_bytes(b"river\r\nroad, paved\r\ncrop field\r\n\r\n")
    return lab


def write_colours(root: Path, rng: np.random.Generator) -> Lab:
    """A folder a sequence; TIFF pictures, masks in colours (RGB, RGBA, palettes), a table as CSV, a list."""
    colours = {"road": (128, 64, 128), "sky": (70, 130, 180), "car": (0, 0, 142), "void": (0, 0, 0)}
    lab = Lab({}, {}, {
        "images": "*/rgb/*.tif", "masks": "*/label/*_L.png", "classes": ("road", "sky", "car"),
        "labels": "class_dict.csv", "ignore": ("#000000",), "split": "lists/val.txt",
    })  # fmt: skip
    palette = np.array([colours[name] for name in ("road", "sky", "car", "void")], np.uint8)
    for number, (key, shape) in enumerate(zip(("seq1/0001", "seq1/0002", "seq2/0001"), SIZES, strict=True)):
        index = trees.draw_labels(rng, shape, range(4)).astype(np.int64)
        sequence, name = key.split("/")
        mask = root / sequence / "label" / f"{name}_L.png"
        mask.parent.mkdir(parents=True, exist_ok=True)
        if number == 2:  # a palette whose order is this file's own
            order = np.array([2, 0, 3, 1])
            picture = Image.fromarray(np.argsort(order)[index].astype(np.uint8))
            picture.putpalette(palette[order].reshape(-1).tolist())
        else:
            opaque = np.full((*shape, 1), 255, np.uint8)
            picture = Image.fromarray(np.concatenate([palette[index], opaque], 2) if number else palette[index])
        picture.save(mask)
        lab.pictures[key] = _picture(root / sequence / "rgb" / f"{name}.tif", rng, shape)
        lab.truths[key] = np.array([1, 2, 3, 255])[index]
    _picture(root / "seq2/rgb/0009.tif", rng, (5, 6))  # not in the list, and without a mask
    rows = ["name,r,g,b", *(",".join(map(str, (name, *colours[name]))) for name in ("road", "sky", "car"))]
    (root / "class_dict.csv").write_text("\n".join(rows))
    lines = ["seq1/rgb/0001.tif", "/seq1/rgb/0002.tif seq1/label/0002_L.png", "", "seq2/0001"]
    trees.write_list(root / "lists/val.txt", lines)
    return lab


def write_wide(root: Path, rng: np.random.Generator) -> Lab:
    """300 classes by numbers of 16 bits; masks NPY, PNG and TIFF of 16 bits; ids are names of folders."""
    raws = [1000 + 7 * place for place in range(300)]
    names = tuple(f"kind {place}" for place in range(300))
    lab = Lab({}, {}, {
        "images": "*/photo.png", "masks": "*/mask", "classes": names, "ignore": (65535,), "background": (0,),
        "labels": {str(raw): name for raw, name in zip(raws, names, strict=True)},
    })  # fmt: skip
    number = {raw: place for place, raw in enumerate(raws, start=1)} | {65535: 65535, 0: 0}
    for key, ending, shape in zip(("scene 1", "scene 2", "scene 3"), ("npy", "png", "tif"), SIZES, strict=True):
        raw = trees.draw_labels(rng, shape, [0, 65535, *raws])
        lab.pictures[key] = _picture(root / key / "photo.png", rng, shape)
        if ending == "npy":
            np.save(root / key / "mask.npy", raw.astype(np.int64))
        else:
            options = {"compression": "tiff_adobe_deflate"} if ending == "tif" else {}
            Image.fromarray(raw).save(root / key / f"mask.{ending}", **options)
        lab.truths[key] = np.vectorize(number.__getitem__)(raw)
    return lab


def write_coco(root: Path, rng: np.random.Generator) -> Lab:
    """COCO's form: polygons of two parts, run lengths as text and as numbers, a crowd, later objects over earlier."""
    lab = Lab({}, {}, {"images": "photos", "annotations": "instances.json"})
    content: dict[str, Any] = {"categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]}
    content["images"], content["annotations"] = [], []
    for number, (key, shape) in enumerate(zip(("b/2", "a"), SIZES, strict=False), start=1):
        height, width = shape
        truth = np.zeros(shape, int)
        lab.pictures[key] = _picture(root / "photos" / f"{key}.png", rng, shape)
        content["images"].append({"id": number, "file_name": f"{key}.png", "height": height, "width": width})
        boxes = [(2, 3, 9, 12), (8, 9, 14, 16)]  # top, left, bottom, right: whole pixels by COCO's rule
        outlines: list[Any] = [[[x0, y0, x1, y0, x1, y1, x0, y1] for y0, x0, y1, x1 in boxes]]
        for y0, x0, y1, x1 in boxes:
            truth[y0:y1, x0:x1] = 2  # dog: categories are sorted by id
        for text, true, category in ((True, 1, 3), (False, 255, 7)):
            inside = rng.random(shape) < 0.2
            runs = trees.runs_down_columns(inside)
            outlines.append({"size": list(shape), "counts": trees.runs_as_text(runs) if text else runs})
            truth[inside] = true
            content["annotations"].append({"category_id": category, "iscrowd": int(not text)})
        content["annotations"].insert(-2, {"category_id": 7, "iscrowd": 0})
        for row, outline in zip(content["annotations"][-3:], outlines, strict=True):
            row |= {"id": len(content["annotations"]), "image_id": number, "segmentation": outline}
        lab.truths[key] = truth
    (root / "instances.json").write_text(json.dumps(content))
    return lab


LABS: dict[str, Callable[[Path, np.random.Generator], Lab]] = {
    "nested": write_nested, "colours": write_colours, "wide": write_wide, "coco": write_coco,
}  # fmt: skip


def written(settings: Settings) -> Settings:
    """Settings as YAML has them, numbers as keys where they are numbers."""
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()}
    if isinstance(plain.get("labels"), dict):
        plain["labels"] = {int(key): name for key, name in plain["labels"].items()}
    return plain


def _picture(path: Path, rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    trees.draw_picture(rng, shape).save(path)
    return np.asarray(Image.open(path).convert("RGB"))
