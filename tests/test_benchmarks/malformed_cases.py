"""The table of malformed inputs: a drawn tree, what is done to it, who notices, and the sentence it gives."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import trees
from damages import (
    ADE,
    ADE_KEY,
    CITY_KEY,
    CITY_MASK,
    PC,
    PC_JSON,
    PC_KEY,
    PC_MASK,
    PC_MAT,
    PIX,
    PIX_MASK,
    SEG_MASK,
    VOC,
    VOC_IMAGE,
    VOC_KEY,
    VOC_LIST,
    VOC_MASK,
    Damage,
    ade,
    aug,
    city,
    city_train_ids,
    context,
    cut,
    doubled_id,
    edited,
    first_segment,
    gone,
    grey_png,
    in_place_of_the_root,
    mat,
    merged,
    nothing,
    parquet,
    pix,
    repainted,
    resized,
    saved_mat,
    seg,
    voc,
    with_value,
    without,
    without_bytes,
    wrote,
)
from PIL import Image


class Case(NamedTuple):
    name: str
    tree: Callable[[Path, np.random.Generator], Any]
    damage: Damage
    image_id: str | None  # None: ids() already says it
    kind: str
    says: str


BLACK = Image.new("RGB", (52, 37))
CASES = (
    Case("voc wrong root", voc, gone(VOC / "ImageSets"), None, "wrong root", "looked for ImageSets/Segmentation in it"),
    Case("voc no root", voc, gone(Path("VOCdevkit")), None, "wrong root", "the folder is empty"),
    Case("voc root gone", voc, shutil.rmtree, None, "wrong root", "the folder does not exist"),
    Case("voc root is a file", voc, in_place_of_the_root, None, "wrong root", "it is a file, not a folder"),
    Case("voc no list", voc, gone(VOC_LIST), None, "broken list", "there is no such split"),
    Case("voc empty list", voc, wrote(VOC_LIST, b"\n\n"), None, "broken list", "names no image"),
    Case(
        "voc doubled ids", voc, wrote(VOC_LIST, b"a\nb\na\n"), None, "broken list", "names 1 images more than once: a"
    ),
    Case("voc path in list", voc, wrote(VOC_LIST, b"../../secret\n"), None, "broken list", "is not an image name"),
    Case(
        "voc absolute path in list", voc, wrote(VOC_LIST, b"/etc/passwd\n"), None, "broken list", "is not an image name"
    ),
    Case("voc hidden name in list", voc, wrote(VOC_LIST, b"..\n"), None, "broken list", "is not an image name"),
    Case(
        "voc two columns in list", voc, wrote(VOC_LIST, b"a.jpg a.png\n"), None, "broken list", "is not an image name"
    ),
    Case("voc list of bytes", voc, wrote(VOC_LIST, b"\xff\xfe\x00a"), None, "broken list", "is not a text file"),
    Case("voc missing mask", voc, gone(VOC_MASK), VOC_KEY, "missing file", "should be the mask of '2007_000033'"),
    Case("voc missing image", voc, gone(VOC_IMAGE), VOC_KEY, "missing file", "should be the image of '2007_000033'"),
    Case("voc missing aug folder", aug, nothing, VOC_KEY, "missing file", "SegmentationClassAug"),
    Case("voc unknown id", voc, nothing, "2007_999999", "missing file", "has no image '2007_999999'"),
    Case("voc empty image", voc, wrote(VOC_IMAGE, b""), VOC_KEY, "unreadable file", "is empty (0 bytes)"),
    Case("voc empty mask", voc, wrote(VOC_MASK, b""), VOC_KEY, "unreadable file", "is empty (0 bytes)"),
    Case("voc truncated image", voc, cut(VOC_IMAGE, 0.5), VOC_KEY, "unreadable file", "truncated"),
    Case("voc truncated mask", voc, cut(VOC_MASK, 0.8), VOC_KEY, "unreadable file", "truncated"),
    Case(
        "voc text as image", voc, wrote(VOC_IMAGE, b"<html>404</html>"), VOC_KEY, "unreadable file", "not a JPEG or PNG"
    ),
    Case(
        "voc huge image",
        voc,
        wrote(VOC_IMAGE, grey_png(30000, 29999, 8, b"\0" * 64)),
        VOC_KEY,
        "unreadable file",
        "pixels",
    ),
    Case(
        "voc huge mask",
        voc,
        wrote(VOC_MASK, grey_png(30000, 29999, 8, b"\0" * 64)),
        VOC_KEY,
        "unreadable file",
        "pixels",
    ),
    Case(
        "voc mask is a folder",
        voc,
        lambda root: (gone(VOC_MASK)(root), (root / VOC_MASK).mkdir()),
        VOC_KEY,
        "unreadable file",
        "Is a directory",
    ),
    Case(
        "voc JPEG mask",
        voc,
        repainted(VOC_MASK, lambda mask: mask.convert("L"), "JPEG"),
        VOC_KEY,
        "unreadable file",
        "is not a PNG file",
    ),
    Case(
        "voc GIF image",
        voc,
        repainted(VOC_IMAGE, lambda picture: picture, "GIF"),
        VOC_KEY,
        "unreadable file",
        "not a JPEG or PNG",
    ),
    Case(
        "voc colours as mask",
        voc,
        repainted(VOC_MASK, lambda mask: mask.convert("RGB")),
        VOC_KEY,
        "wrong mode",
        "has the mode RGB",
    ),
    Case("voc 1-bit mask", voc, repainted(VOC_MASK, lambda mask: mask.convert("1")), VOC_KEY, "wrong mode", "mode 1"),
    Case(
        "voc 4-bit grey mask",
        voc,
        wrote(VOC_MASK, grey_png(37, 52, 4, b"\0" * 27 * 37)),
        VOC_KEY,
        "wrong mode",
        "grey PNG of 4 bits",
    ),
    Case(
        "voc float image",
        voc,
        repainted(VOC_IMAGE, lambda _: Image.new("I;16", (52, 37))),
        VOC_KEY,
        "wrong mode",
        "has the image mode I;16",
    ),
    Case(
        "voc luminance as mask",
        voc,
        repainted(VOC_MASK, lambda mask: mask.convert("L")),
        VOC_KEY,
        "stray label",
        "Pascal VOC 2012 are 0 to 20 and 255",
    ),
    Case(
        "voc stray label",
        voc,
        repainted(VOC_MASK, with_value(21)),
        VOC_KEY,
        "stray label",
        "the label 21 in 1 pixels, first at row 2, column 3",
    ),
    Case(
        "voc 16-bit stray label",
        voc,
        repainted(VOC_MASK, lambda mask: Image.fromarray(np.full((37, 52), 700, np.uint16))),
        VOC_KEY,
        "stray label",
        "the label 700 in 1924 pixels",
    ),
    Case("voc resized mask", voc, repainted(VOC_MASK, resized), VOC_KEY, "size mismatch", "37 x 52 (height x width)"),
    Case(
        "voc transposed mask",
        voc,
        repainted(VOC_MASK, lambda mask: mask.transpose(Image.Transpose.ROTATE_90)),
        VOC_KEY,
        "size mismatch",
        "its mask is 52 x 37",
    ),
    Case("context read with the wrong offset 0", context(0, 1), nothing, PC_KEY, "stray label", "has the label 59 in"),
    Case(
        "context read with the wrong offset 1",
        context(1, 1),
        repainted(PC_MASK, with_value(60)),
        PC_KEY,
        "stray label",
        "Pascal Context are 0 to 59 and 255",
    ),
    Case("context no list", context(1, 1), gone(PC / "ImageSets"), None, "broken list", "pascalcontext_val.txt"),
    Case("context wrong root", context(1, 1), gone(PC / "JPEGImages"), None, "wrong root", "looked for JPEGImages"),
    Case("mat missing", mat, gone(PC_MAT), PC_KEY, "missing file", "trainval"),
    Case("mat truncated", mat, cut(PC_MAT, 0.6), PC_KEY, "unreadable file", "is not a sound .mat file"),
    Case("mat of another kind", mat, wrote(PC_MAT, b"not a mat file" * 20), PC_KEY, "unreadable file", ".mat file"),
    Case(
        "mat without LabelMap",
        mat,
        saved_mat(Labels=np.zeros((4, 5), np.uint16)),
        PC_KEY,
        "wrong mode",
        "it has Labels",
    ),
    Case("mat of floats", mat, saved_mat(LabelMap=np.zeros((4, 5))), PC_KEY, "wrong mode", "2 axes of float64"),
    Case(
        "mat with three axes", mat, saved_mat(LabelMap=np.zeros((4, 5, 3), np.uint16)), PC_KEY, "wrong mode", "3 axes"
    ),
    Case(
        "mat stray number",
        mat,
        saved_mat(LabelMap=np.full((57, 92), 460, np.uint16)),
        PC_KEY,
        "stray label",
        "Pascal Context are 0 to 459",
    ),
    Case("json missing", merged, gone(PC_JSON), None, "missing file", "the annotations of Pascal Context"),
    Case("json truncated", merged, cut(PC_JSON, 0.7), None, "unreadable file", "is not sound JSON"),
    Case("json of another kind", merged, wrote(PC_JSON, b'{"images": [{"id": 1}]}'), None, "broken list", "'phase'"),
    Case(
        "json without val", merged, edited(lambda content: content.update(images=[])), None, "broken list", "no image"
    ),
    Case(
        "json path as name",
        merged,
        edited(lambda content: content["images"][0].update(file_name="../x.jpg")),
        None,
        "broken list",
        "is not an image name",
    ),
    Case(
        "json huge image",
        merged,
        edited(lambda content: content["images"][0].update(height=10**6, width=10**6)),
        None,
        "unreadable file",
        "claims 1000000000000 pixels",
    ),
    Case(
        "json short runs", merged, first_segment("counts", [3, 4]), PC_KEY, "unreadable file", "the runs cover 7 pixels"
    ),
    Case("json foreign runs", merged, first_segment("counts", "{}"), PC_KEY, "unreadable file", "is no character"),
    Case("json unfinished runs", merged, first_segment("counts", "P"), PC_KEY, "unreadable file", "unfinished"),
    Case("json negative run", merged, first_segment("counts", [-1, 5245]), PC_KEY, "unreadable file", "negative"),
    Case("json other size", merged, first_segment("size", [9, 8]), PC_KEY, "size mismatch", "an annotation of 9 x 8"),
    Case(
        "json stray category",
        merged,
        edited(lambda content: [row.update(category_id=460) for row in content["annos_segmentation"]]),
        PC_KEY,
        "stray label",
        "the label 460",
    ),
    Case(
        "json endless category",
        merged,
        edited(lambda content: content["annos_segmentation"][0].update(category_id=10**9)),
        None,
        "stray label",
        "the category 1000000000",
    ),
    Case(
        "json endless run",
        merged,
        first_segment("counts", "o" * 40 + "0"),
        PC_KEY,
        "unreadable file",
        "broken annotation",
    ),
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
