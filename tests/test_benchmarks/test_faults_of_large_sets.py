"""Damaged trees of COCO-Stuff, COCO-Object, ADE20K full and Pascal Context 459 give one sentence each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trees
from PIL import Image

from benchmarks.ade20k_full import ADE20KFull
from benchmarks.classnames import catalogue
from benchmarks.coco_object import COCOObject
from benchmarks.coco_stuff import COCOStuff
from benchmarks.dataset import DataSet
from benchmarks.pascal_context_full import PascalContextFull
from harness.contracts import DataError

KEY, ADE, CONTEXT = "000000000139", "ADE_val_00000001", "2008_000021"
COCO_MASK = f"annotations/val2017/{KEY}.png"
TIF = f"ADE20K_2021_17_01/annotations_detectron2/validation/{ADE}.tif"
SEG = f"ADE20K_2021_17_01/images/ADE/validation/indoor/bar/{ADE}_seg.png"
PC = "VOCdevkit/VOC2010"
PC_TIF = f"{PC}/annotations_detectron2/pc459_val/{CONTEXT}.tif"
GREY = np.zeros((37, 52), np.uint8)
Write = Callable[[Path], object]


def painted(name: str, values: np.ndarray, **options: Any) -> Write:
    return lambda root: Image.fromarray(values).save(root / name, **options)


def gone(name: str) -> Write:
    return lambda root: (root / name).rename(root / "elsewhere")


def wide(value: int, shape: tuple[int, int] = (34, 47)) -> np.ndarray:
    return np.full(shape, value, np.uint16)


STUFF, OBJECT = (COCOStuff, {}), (COCOObject, {})
RANKS = (COCOStuff, {"layout": "label_train_ids"})
CONVERTED, ORIGINAL = (ADE20KFull, {"layout": "converted"}), (ADE20KFull, {"layout": "original"})
MAT, FULL_TIF = (PascalContextFull, {"layout": "mat"}), (PascalContextFull, {"layout": "converted"})
CASES: list[tuple[tuple[Any, dict[str, Any]], Write, str | None, str, str]] = [
    (STUFF, painted(COCO_MASK, GREY + 11), KEY, "stray label", "has the label 11 in 1924 pixels, first at row 0"),
    (STUFF, painted(COCO_MASK, GREY + 182), KEY, "stray label", "has the label 182"),
    (STUFF, gone("images"), None, "wrong root", "looked for images/val2017 and val2017"),
    (STUFF, gone("annotations"), None, "wrong root", "looked for annotations/val2017"),
    (STUFF, gone(COCO_MASK), KEY, "missing file", f"{KEY}.png does not exist"),
    (STUFF, painted(COCO_MASK, np.zeros((37, 52, 3), np.uint8)), KEY, "wrong mode", "has the mode RGB"),
    (RANKS, lambda root: None, None, "broken list", "no *_labelTrainIds.png named by numbers"),
    (OBJECT, painted(COCO_MASK, GREY + 90), KEY, "stray label", "has the label 90"),
    (OBJECT, painted(COCO_MASK, GREY[:-1]), KEY, "size mismatch", "its mask is 36 x 52"),
    (CONVERTED, painted(TIF, wide(847)), ADE, "stray label", "has the label 847"),
    (CONVERTED, painted(TIF, wide(255).astype(np.float32)), ADE, "wrong mode", "has the mode F"),
    (CONVERTED, gone("ADE20K_2021_17_01/annotations_detectron2"), None, "wrong root", "annotations_detectron2/valid"),
    (CONVERTED, lambda root: (root / TIF).write_bytes(b"II*\0"), ADE, "unreadable file", "is truncated or damaged"),
    (ORIGINAL, painted(SEG, GREY), ADE, "wrong mode", "has the mode L and no colours"),
    (ORIGINAL, gone(SEG), ADE, "missing file", f"{ADE}_seg.png does not exist"),
    (MAT, gone(f"{PC}/trainval/{CONTEXT}.mat"), CONTEXT, "missing file", f"{CONTEXT}.mat does not exist"),
    (MAT, gone(f"{PC}/pascalcontext_val.txt"), None, "broken list", "The split 'val' has no list"),
    (FULL_TIF, painted(PC_TIF, wide(459, (57, 92))), CONTEXT, "stray label", "has the label 459"),
]  # fmt: skip


def draw(root: Path, rng: np.random.Generator, reader: type[DataSet], layout: str | None) -> None:
    if reader is ADE20KFull:
        trees.write_ade_full(root, rng, catalogue("ade20k_full").facts["ade_id_of_index"])
    elif reader is PascalContextFull:
        write = trees.write_context_mat if layout == "mat" else trees.write_context_tif
        write(root, rng, [1, 300])
    else:
        trees.write_coco(root, rng, {"": [0, 5, 91, 181, 255]})


@pytest.mark.parametrize(("made", "damage", "image_id", "kind", "says"), CASES)
def test_each_damage_has_its_sentence(
    tmp_path: Path, rng: np.random.Generator, made: tuple[Any, dict[str, Any]], damage: Write, image_id: str | None,
    kind: str, says: str,
) -> None:  # fmt: skip
    reader, settings = made
    draw(tmp_path, rng, reader, settings.get("layout"))
    damage(tmp_path)
    benchmark = reader(root=str(tmp_path), **settings)
    with pytest.raises(DataError) as raised:
        benchmark.ids() if image_id is None else benchmark.load(image_id)
    message = str(raised.value)
    assert says in message and raised.value.kind == kind and message.endswith("."), message
