"""Malformed folders of scenes, streets and food, and tables: a drawn tree, what is done to it, who notices, what it
says."""

from __future__ import annotations

import shutil
from pathlib import Path

import trees
from damages import (
    ADE,
    ADE_KEY,
    BLACK,
    CITY_KEY,
    CITY_MASK,
    PIX,
    PIX_MASK,
    SEG_MASK,
    Case,
    ade,
    city,
    city_train_ids,
    cut,
    doubled_id,
    gone,
    nothing,
    parquet,
    pix,
    repainted,
    seg,
    with_value,
    without,
    without_bytes,
    wrote,
)

SCENES = (
    Case("ade wrong root", ade, gone(ADE / "annotations"), None, "wrong root", "looked for annotations/validation"),
    Case(
        "ade empty",
        ade,
        lambda root: [path.unlink() for path in root.rglob("*.*") if path.is_file()],
        None,
        "broken list",
        "hold no .jpg and .png",
    ),
    Case(
        "ade image without mask",
        ade,
        gone(ADE / f"annotations/validation/{ADE_KEY}.png"),
        ADE_KEY,
        "missing file",
        "the mask of",
    ),
    Case(
        "ade mask without image",
        ade,
        gone(ADE / f"images/validation/{ADE_KEY}.jpg"),
        ADE_KEY,
        "missing file",
        "the image of",
    ),
    Case(
        "ade stray label",
        ade,
        repainted(ADE / f"annotations/validation/{ADE_KEY}.png", with_value(151)),
        ADE_KEY,
        "stray label",
        "ADE20K SceneParse150 are 0 to 150",
    ),
    Case(
        "ade shifted by a converter",
        ade,
        repainted(
            ADE / f"annotations/validation/{ADE_KEY}.png", lambda mask: mask.point(lambda value: (value - 1) % 256)
        ),
        ADE_KEY,
        "stray label",
        "has the label 255",
    ),
    Case("city wrong root", city, gone(Path("leftImg8bit")), None, "wrong root", "looked for leftImg8bit/val"),
    Case(
        "city stray label id",
        city,
        repainted(CITY_MASK, with_value(34)),
        CITY_KEY,
        "stray label",
        "Cityscapes labelIds are 0 to 33",
    ),
    Case(
        "city void in label ids", city, repainted(CITY_MASK, with_value(255)), CITY_KEY, "stray label", "the label 255"
    ),
    Case(
        "city label ids named train ids",
        city,
        lambda root: shutil.copy(root / CITY_MASK, str(root / CITY_MASK).replace("labelIds", "labelTrainIds")),
        CITY_KEY,
        "stray label",
        "Cityscapes labelTrainIds are 0 to 18 and 255",
    ),
    Case("city without mask", city, gone(CITY_MASK), CITY_KEY, "missing file", "_gtFine_labelIds.png does not exist"),
    Case(
        "city without train ids", city_train_ids, nothing, CITY_KEY, "missing file", "labelTrainIds.png does not exist"
    ),
    Case(
        "city empty",
        city,
        lambda root: [path.unlink() for path in root.rglob("*.png")],
        None,
        "broken list",
        "holds no *_leftImg8bit.png",
    ),
    Case("foodpix wrong root", pix, gone(PIX / "test/img"), None, "wrong root", "looked for test/img"),
    Case("foodpix no list", pix, gone(Path("data/test1000.txt")), None, "broken list", "test1000.txt was not found in"),
    Case(
        "foodpix grey mask",
        pix,
        repainted(PIX_MASK, lambda mask: mask.convert("L")),
        "12",
        "wrong mode",
        "masks of this data set have RGB or RGBA",
    ),
    Case(
        "foodpix stray label", pix, repainted(PIX_MASK, with_value(103, channel=0)), "12", "stray label", "are 0 to 102"
    ),
    Case("foodpix void", pix, repainted(PIX_MASK, with_value(255, channel=0)), "12", "stray label", "the label 255"),
    Case(
        "foodpix listed without files",
        pix,
        wrote(Path("data/test1000.txt"), b"12\n77\n"),
        "77",
        "missing file",
        "77.png",
    ),
    Case("foodseg wrong root", seg, gone(Path("FoodSeg103/Images/img_dir")), None, "wrong root", "Images/img_dir/test"),
    Case("foodseg nothing in common", seg, gone(Path("FoodSeg103/Images/ann_dir")), None, "broken list", "in common"),
    Case("foodseg stray label", seg, repainted(SEG_MASK, with_value(104)), "00000000", "stray label", "are 0 to 103"),
    Case(
        "foodseg unexplained size",
        seg,
        lambda root: trees.save_jpeg(root / "FoodSeg103/Images/img_dir/test/00000001.jpg", BLACK, 6),
        "00000001",
        "size mismatch",
        "no EXIF orientation explains it",
    ),
    Case("parquet no files", parquet(), gone(Path("data")), None, "wrong root", "looked for validation-*.parquet"),
    Case(
        "parquet truncated",
        parquet(),
        cut(Path("data/validation-00000-of-00002.parquet"), 0.5),
        None,
        "unreadable file",
        "not a sound parquet file",
    ),
    Case("parquet doubled ids", parquet(doubled_id), nothing, None, "broken list", "more than once"),
    Case("parquet without label", parquet(without("label")), nothing, None, "broken list", "lacks the columns label"),
    Case(
        "parquet path as id",
        parquet(lambda row: {**row, "id": f"../{row['id']}"}),
        nothing,
        None,
        "broken list",
        "is not an image name",
    ),
    Case("parquet without bytes", parquet(without_bytes), nothing, "00000003", "missing file", "holds no bytes"),
)
