"""Small data sets drawn at test time: a folder flows in, real JPEG, PNG, JSON, MAT and parquet files lie there after.

Every writer returns what it drew as {image id: (raw labels, path of the image)}; what raw labels mean is the tests' own
arithmetic, written again from the data sets' descriptions.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Drawn = dict[str, tuple[np.ndarray, Path]]
SIZES = ((37, 52), (61, 40), (48, 75))  # (height, width): never square, never equal
PALETTE = [((index * 37) % 256, (index * 91) % 256, (index * 53) % 256) for index in range(256)]


def draw_labels(rng: np.random.Generator, shape: tuple[int, int], values: Sequence[int]) -> np.ndarray:
    """Blocks of random labels; every value occurs at least once."""
    height, width = shape
    blocks = rng.choice(values, size=(-(-height // 7), -(-width // 9)))
    labels = np.ascontiguousarray(np.kron(blocks, np.ones((7, 9), int))[:height, :width])
    places = rng.choice(height * width, size=len(values), replace=False)
    labels.reshape(-1)[places] = values
    return labels.astype(np.uint16)


def with_void_border(labels: np.ndarray, void: int = 255) -> np.ndarray:
    """A void line wherever a label meets another one on its right or below."""
    bordered = labels.copy()
    bordered[:, :-1][labels[:, :-1] != labels[:, 1:]] = void
    bordered[:-1][labels[:-1] != labels[1:]] = void
    return bordered


def draw_picture(rng: np.random.Generator, shape: tuple[int, int]) -> Image.Image:
    """Smooth random colours, so that JPEG keeps them nearly."""
    coarse = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    return coarse.resize((shape[1], shape[0]), Image.Resampling.BICUBIC)


def save_jpeg(path: Path, picture: Image.Image, orientation: int | None = None) -> Path:
    """A JPEG file, with an EXIF orientation when one is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {}
    if orientation is not None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    picture.save(path, quality=92, **options)
    return path


def save_grey(path: Path, labels: np.ndarray) -> Path:
    """A single-channel PNG: 8 bits, or 16 when the array has 16."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels).save(path)
    return path


def voc_colours() -> list[int]:
    """VOC's palette, flat, by its published rule: bit 3k + c of an index becomes bit 7 - k of colour c."""
    colours = []
    for index in range(256):
        for channel in range(3):
            colours.append(sum(((index >> (3 * level + channel)) & 1) << (7 - level) for level in range(8)))
    return colours


def save_palette(path: Path, labels: np.ndarray, colours: list[int] | None = None) -> Path:
    """A palette PNG whose indices are the labels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = Image.fromarray(labels.astype(np.uint8))
    mask.putpalette(voc_colours() if colours is None else colours)
    mask.save(path)
    return path


def write_list(path: Path, keys: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{key}\n" for key in keys))


def write_voc(root: Path, rng: np.random.Generator, masks: str = "SegmentationClass") -> Drawn:
    """VOCdevkit/VOC2012 with palette masks and void borders, or grey ones in SegmentationClassAug; val and trainaug."""
    base, drawn = root / "VOCdevkit" / "VOC2012", Drawn()
    for number, shape in enumerate(SIZES):
        key = f"2007_00{number}033"
        labels = with_void_border(draw_labels(rng, shape, range(21)))
        save = save_palette if masks == "SegmentationClass" else save_grey
        save(base / masks / f"{key}.png", labels.astype(np.uint8))
        drawn[key] = labels, save_jpeg(base / "JPEGImages" / f"{key}.jpg", draw_picture(rng, shape))
    for split in ("val", "trainaug"):
        write_list(base / "ImageSets" / "Segmentation" / f"{split}.txt", list(reversed(drawn)))
    return drawn


def write_context_png(root: Path, rng: np.random.Generator, values: Sequence[int], masks: str, ovseg: bool) -> Drawn:
    """VOCdevkit/VOC2010 with grey masks; the list in mmseg's place or, for ovseg, beside the images' folder."""
    base, drawn = root / "VOCdevkit" / "VOC2010", Drawn()
    for number, shape in enumerate(((37, 152), (161, 40))):
        key = f"2008_00{number}021"
        labels = draw_labels(rng, shape, values)
        save_grey(base / masks / f"{key}.png", labels.astype(np.uint8))
        drawn[key] = labels, save_jpeg(base / "JPEGImages" / f"{key}.jpg", draw_picture(rng, shape))
    place = base / "pascalcontext_val.txt" if ovseg else base / "ImageSets" / "SegmentationContext" / "val.txt"
    write_list(place, list(drawn))
    return drawn


def write_context_mat(root: Path, rng: np.random.Generator, values: Sequence[int]) -> Drawn:
    """VOCdevkit/VOC2010 with the official label maps: uint16, numbers of the list of 459."""
    from scipy.io import savemat

    base, drawn = root / "VOCdevkit" / "VOC2010", Drawn()
    (base / "trainval").mkdir(parents=True)
    for number, shape in enumerate(((57, 92), (81, 60))):
        key = f"2008_00{number}021"
        labels = draw_labels(rng, shape, values)
        savemat(base / "trainval" / f"{key}.mat", {"LabelMap": labels.astype(np.uint16)}, do_compression=True)
        drawn[key] = labels, save_jpeg(base / "JPEGImages" / f"{key}.jpg", draw_picture(rng, shape))
    write_list(base / "pascalcontext_val.txt", list(drawn))
    return drawn


def runs_down_columns(inside: np.ndarray) -> list[int]:
    """Run lengths of a mask, column by column, first outside."""
    runs, current, length = [], False, 0
    for value in inside.T.reshape(-1).tolist():
        if value != current:
            runs.append(length)
            current, length = value, 0
        length += 1
    return [*runs, length]


def runs_as_text(runs: Sequence[int]) -> str:
    """Run lengths in COCO's text form, written from its description: signed groups of five bits, lowest first."""
    text = []
    for place, run in enumerate(runs):
        number = run - runs[place - 2] if place > 2 else run
        while True:
            group, number = number & 31, number >> 5
            last = number == (-1 if group & 16 else 0)
            text.append(chr(48 + (group if last else group | 32)))
            if last:
                break
    return "".join(text)


def write_context_json(root: Path, rng: np.random.Generator, values: Sequence[int], text: bool = True) -> Drawn:
    """VOCdevkit/VOC2010 with trainval_merged.json: two val images, one train image, an annotation that is covered."""
    base, drawn, images, annotations = root / "VOCdevkit" / "VOC2010", Drawn(), [], []
    for number, shape in enumerate(((57, 92), (81, 60), (33, 44))):
        key = f"2008_00{number}021"
        labels = draw_labels(rng, shape, values)
        picture = save_jpeg(base / "JPEGImages" / f"{key}.jpg", draw_picture(rng, shape))
        phase = "train" if number == 2 else "val"
        row = {"image_id": 2008000 + number, "file_name": f"{key}.jpg", "height": shape[0], "width": shape[1]}
        images.append({**row, "phase": phase})
        covered = (np.ones(shape, bool), values[-1])  # the whole canvas first; all others come later and cover it
        for inside, category in (covered, *((labels == value, value) for value in values if value)):
            runs = runs_down_columns(inside)
            segment = {"size": list(shape), "counts": runs_as_text(runs) if text else runs}
            annotations.append({"id": len(annotations), "image_id": row["image_id"], "category_id": int(category),
                                "segmentation": segment, "iscrowd": 0, "parts": []})  # fmt: skip
        labels[labels == 0] = values[-1]  # where nothing later lies, the covered annotation shows
        if phase == "val":
            drawn[key] = labels, picture
    content = {"images": images, "annos_segmentation": annotations, "categories": []}
    (base / "trainval_merged.json").write_text(json.dumps(content))
    return drawn


def write_ade(root: Path, rng: np.random.Generator) -> Drawn:
    """ADEChallengeData2016 with grey masks 0 to 150; the second image is grey, as some training images are."""
    base, drawn = root / "ADEChallengeData2016", Drawn()
    for number, shape in enumerate(SIZES, start=1):
        key = f"ADE_val_{number:08d}"
        labels = draw_labels(rng, shape, range(151))
        save_grey(base / "annotations" / "validation" / f"{key}.png", labels.astype(np.uint8))
        picture = draw_picture(rng, shape)
        picture = picture.convert("L") if number == 2 else picture
        drawn[key] = labels, save_jpeg(base / "images" / "validation" / f"{key}.jpg", picture)
    return drawn


def write_cityscapes(root: Path, rng: np.random.Generator, kind: str, values: Sequence[int]) -> Drawn:
    """leftImg8bit and gtFine of two cities, with masks of one kind (labelIds or labelTrainIds)."""
    drawn = Drawn()
    for city, shape in (("frankfurt", (36, 72)), ("lindau", (44, 88))):
        key = f"{city}_000000_000294"
        labels = draw_labels(rng, shape, values)
        save_grey(root / "gtFine" / "val" / city / f"{key}_gtFine_{kind}.png", labels.astype(np.uint8))
        path = root / "leftImg8bit" / "val" / city / f"{key}_leftImg8bit.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_picture(rng, shape).save(path)
        drawn[key] = labels, path
    return drawn


def write_foodpix(root: Path, rng: np.random.Generator, folders: str = "data/UECFoodPIXCOMPLETE") -> Drawn:
    """UECFoodPix Complete: classes in red, junk in green and blue, the second mask with an opacity channel."""
    base, drawn = root / folders, Drawn()
    for number, shape in zip((10873, 9001, 12), SIZES, strict=True):
        labels = draw_labels(rng, shape, range(103))
        mask = rng.integers(0, 256, (*shape, 4 if number == 9001 else 3), dtype=np.uint8)
        mask[..., 0] = labels
        mask[labels == 0, 1:3] = 0
        save_grey(base / "test" / "mask" / f"{number}.png", mask)
        drawn[str(number)] = labels, save_jpeg(base / "test" / "img" / f"{number}.jpg", draw_picture(rng, shape))
    write_list(base.parent / "test1000.txt", list(drawn))
    rows = ["id\tname", "1\trice", "2\teels on rice"]
    (base.parent / "category.txt").write_text("\n".join(rows))
    return drawn


def write_foodseg(root: Path, rng: np.random.Generator, names: Sequence[str] = ("candy", "egg tart")) -> Drawn:
    """FoodSeg103: CRLF category file without final newline, one listed key without files, one picture to be turned."""
    base, drawn = root / "FoodSeg103", Drawn()
    for number, shape in enumerate(SIZES):
        key = f"{number:08d}"
        labels = draw_labels(rng, shape, range(104))
        save_grey(base / "Images" / "ann_dir" / "test" / f"{key}.png", labels.astype(np.uint8))
        stored = shape[::-1] if number == 1 else shape
        picture = base / "Images" / "img_dir" / "test" / f"{key}.jpg"
        drawn[key] = labels, save_jpeg(picture, draw_picture(rng, stored), 6 if number == 1 else None)
    write_list(base / "ImageSets" / "test.txt", [*drawn, "00009999"])
    rows = ["0\tbackground", *(f"{number}\t{name}" for number, name in enumerate(names, start=1))]
    (base / "category_id.txt").write_bytes("\r\n".join(rows).encode())
    return drawn


def write_foodseg_parquet(
    root: Path, rng: np.random.Generator, change: Callable[[dict[str, Any]], Any] = dict
) -> Drawn:
    """The hub's form: data/validation-*.parquet in two files with small row groups; `change` edits every row."""
    import pyarrow
    from pyarrow import parquet

    drawn, rows = Drawn(), []
    for number, shape in zip((11, 3, 7), SIZES, strict=True):
        labels = draw_labels(rng, shape, range(104))
        picture = save_jpeg(root / "pictures" / f"{number:08d}.jpg", draw_picture(rng, shape))
        mask = io.BytesIO()
        Image.fromarray(labels.astype(np.uint8)).save(mask, "PNG")
        cells = {"image": {"bytes": picture.read_bytes(), "path": None}, "label": {"bytes": mask.getvalue()}}
        row = {**cells, "classes_on_image": [1, 2], "id": number}
        rows.append(change(row))
        drawn[f"{number:08d}"] = labels, picture
    (root / "data").mkdir(parents=True, exist_ok=True)
    for part, some in enumerate((rows[:2], rows[2:])):
        path = root / "data" / f"validation-0000{part}-of-00002.parquet"
        parquet.write_table(pyarrow.Table.from_pylist(some), path, row_group_size=1)
    return drawn


def write_coco(root: Path, rng: np.random.Generator, values: Mapping[str, Sequence[int]]) -> dict[str, Drawn]:
    """images/val2017 and annotations/val2017: PNGs of several kinds an image, each with its own labels, by ending.

    The first image has a palette, as the originals may have; `detectron2` goes into its own folder.
    """
    drawn: dict[str, Drawn] = {ending: Drawn() for ending in values}
    for number, shape in enumerate(SIZES):
        key = f"{139 + 7 * number:012d}"
        picture = save_jpeg(root / "images/val2017" / f"{key}.jpg", draw_picture(rng, shape))
        for ending, some in values.items():
            labels = draw_labels(rng, shape, some)
            folder = "annotations_detectron2" if ending == "detectron2" else "annotations"
            name = f"{key}{'' if ending in ('', 'detectron2') else ending}.png"
            save = save_palette if number == 0 else save_grey
            save(root / folder / "val2017" / name, labels.astype(np.uint8))
            drawn[ending][key] = labels, picture
    return drawn


def write_ade_full(root: Path, rng: np.random.Generator, numbers: Sequence[int]) -> dict[str, Drawn]:
    """Both forms of the full ADE20K with the same ids: colours in folders of scenes, and 16-bit TIFF."""
    base, drawn = root / "ADE20K_2021_17_01", {"original": Drawn(), "converted": Drawn()}
    for number, (scene, shape) in enumerate(zip(("indoor/bar", "indoor/bar", "street"), SIZES, strict=True), start=1):
        key, place = f"ADE_val_{number:08d}", base / "images/ADE/validation" / scene
        ids = draw_labels(rng, shape, [0, 3, 3156, 2000, *rng.choice(numbers, 20, replace=False)]).astype(np.int64)
        instance = rng.integers(0, 256, shape)
        colours = np.stack([ids // 256 * 10 + rng.integers(0, 5), ids % 256, instance], axis=2)
        save_grey(place / f"{key}_seg.png", colours.astype(np.uint8))
        save_grey(place / f"{key}_parts_1.png", colours.astype(np.uint8))
        save_grey(place / key / f"instance_000_{key}.png", (instance > 9).astype(np.uint8))
        drawn["original"][key] = ids, save_jpeg(place / f"{key}.jpg", draw_picture(rng, shape))
        smaller = (shape[0] - 3, shape[1] - 5)
        labels = draw_labels(rng, smaller, [0, 255, 300, 846, 65535])
        mask = base / "annotations_detectron2/validation" / f"{key}.tif"
        mask.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(labels).save(mask, compression="tiff_lzw" if number == 2 else None)
        picture = save_jpeg(base / "images_detectron2/validation" / f"{key}.jpg", draw_picture(rng, smaller))
        drawn["converted"][key] = labels, picture
    return drawn


def write_context_tif(root: Path, rng: np.random.Generator, values: Sequence[int]) -> Drawn:
    """VOCdevkit/VOC2010 with CAT-Seg's 16-bit TIFF of all classes."""
    base, drawn = root / "VOCdevkit" / "VOC2010", Drawn()
    folder = base / "annotations_detectron2" / "pc459_val"
    folder.mkdir(parents=True)
    for number, shape in enumerate(((57, 92), (81, 60))):
        key = f"2008_00{number}021"
        labels = draw_labels(rng, shape, values)
        Image.fromarray(labels).save(folder / f"{key}.tif")
        drawn[key] = labels, save_jpeg(base / "JPEGImages" / f"{key}.jpg", draw_picture(rng, shape))
    write_list(base / "pascalcontext_val.txt", list(drawn))
    return drawn


def translated(raw: np.ndarray, meaning: Mapping[int, int]) -> np.ndarray:
    """Raw labels through a plain mapping, value by value."""
    truth = np.full(raw.shape, -1)
    for value, true in meaning.items():
        truth[raw == value] = true
    assert (truth >= 0).all(), "the tree drew a value that the test does not know"
    return truth.astype(np.uint8 if truth.max() < 256 else np.uint16)
