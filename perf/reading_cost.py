"""Nothing flows in; tables flow out: what listing a large data set costs, and reading an image of every kind of file.

Listing: a folder in the form of COCO's train split, 118287 images with their masks (empty files). All times are of
the processor, so that other work on the machine hardly counts; reading is the median.
Run: `python -m perf.reading_cost [--images 118287] [--repeats 9]`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.ade20k_full import ADE20KFull
from benchmarks.coco_stuff import COCOStuff
from benchmarks.dataset import OnDisk
from benchmarks.folder import Folder
from benchmarks.pascal_context_full import PascalContextFull
from benchmarks.table import Table
from perf.benchmark_cost import draw_labels, draw_picture, measure

SHAPE = (480, 640)  # COCO's usual size, (height, width)
KEY = "000000000139"


def draw_tree(root: Path, images: int) -> None:
    """Empty files under COCO's names."""
    for folder, ending in (("images", "jpg"), ("annotations", "png")):
        place = root / folder / "train2017"
        place.mkdir(parents=True)
        for number in range(images):
            (place / f"{number:012d}.{ending}").touch()


def listing(images: int) -> Iterator[str]:
    """Lines of the table: seconds to the ids, and from there to the fingerprint."""
    with tempfile.TemporaryDirectory() as folder:
        draw_tree(Path(folder), images)
        where: dict[str, Any] = {"images": "images/train2017", "masks": "annotations/train2017"}
        readers: dict[str, OnDisk] = {
            "`coco_stuff:COCOStuff`": COCOStuff(root=folder, split="train2017"),
            "`folder:Folder`, folders": Folder(root=folder, classes=("a",), **where),
            "`folder:Folder`, patterns": Folder(
                root=folder, classes=("a",), images="images/train2017/*.jpg", masks="annotations/train2017/*.png"
            ),
        }
        for name, reader in readers.items():
            started = time.process_time()
            found = len(reader.ids())
            listed = time.process_time()
            reader.fingerprint()
            yield f"| {name} | {found} | {listed - started:.1f} | {time.process_time() - listed:.1f} |"


def kinds(root: Path) -> Iterator[tuple[str, OnDisk]]:
    """One image with a mask of every kind, read by its reader."""
    rng = np.random.default_rng(0)
    photo, labels = draw_picture(rng, SHAPE), draw_labels(rng, SHAPE, range(170))
    wide = labels.astype(np.uint16) * 2
    colours = np.stack([labels // 10 * 10, labels, labels * 0], axis=2)
    classes = tuple(f"class {number}" for number in range(400))
    for name in ("grey.png", "wide.png", "wide.tif", "wide.npy", "colours.png"):
        place = root / name
        for folder in ("images", "masks"):
            (place / folder).mkdir(parents=True)
        photo.save(place / f"images/{KEY}.jpg", quality=92)
        path = place / f"masks/{KEY}.{name.split('.')[1]}"
        table: dict[str, str] = {}
        if name == "wide.npy":
            np.save(path, wide)
        else:
            array = {"grey": labels, "wide": wide, "colours": colours}[name.split(".")[0]]
            Image.fromarray(array).save(path, **({"compression": "tiff_lzw"} if path.suffix == ".tif" else {}))
        if name == "colours.png":
            seen = np.unique(colours.reshape(-1, 3), axis=0).tolist()
            table = {" ".join(map(str, rgb)): classes[number] for number, rgb in enumerate(seen)}
        yield f"folder, {name}", Folder(root=str(place), classes=classes, **({"labels": table} if table else {}))
    yield from _annotated(root / "json", photo)
    yield from _known(root / "known", photo, labels)


def _annotated(root: Path, photo: Image.Image) -> Iterator[tuple[str, OnDisk]]:
    """Seven objects an image, as COCO has on average, each a polygon of 40 corners."""
    root.mkdir()
    photo.save(root / f"{KEY}.jpg", quality=92)
    turns = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    middles = [(100 + 60 * number, 120 + 40 * number) for number in range(7)]
    rows: list[dict[str, Any]] = [
        {"id": number, "image_id": 1, "category_id": 1,
         "segmentation": [np.stack([x + 80 * np.cos(turns), y + 60 * np.sin(turns)], 1).reshape(-1).tolist()]}
        for number, (x, y) in enumerate(middles, start=1)
    ]  # fmt: skip
    content = {"images": [{"id": 1, "file_name": f"{KEY}.jpg", "height": SHAPE[0], "width": SHAPE[1]}],
               "categories": [{"id": 1, "name": "a"}], "annotations": rows}  # fmt: skip
    (root / "a.json").write_text(json.dumps(content))
    yield "folder, 7 polygons", Folder(root=str(root), images=".", annotations="a.json")
    for row, (x, y) in zip(rows, middles, strict=True):
        inside = np.hypot((np.arange(SHAPE[1]) - x)[:, None] / 80, (np.arange(SHAPE[0]) - y)[None] / 60) < 1
        edges = np.flatnonzero(np.diff(inside.reshape(-1), prepend=False, append=False))
        runs = np.diff(edges, prepend=0, append=inside.size)
        row["segmentation"] = {"size": SHAPE, "counts": runs.tolist()}
    (root / "rle.json").write_text(json.dumps(content))
    yield "folder, 7 run lengths", Folder(root=str(root), images=".", annotations="rle.json")


def _known(root: Path, photo: Image.Image, labels: np.ndarray) -> Iterator[tuple[str, OnDisk]]:
    import pyarrow
    from pyarrow import parquet
    from scipy.io import savemat

    context = root / "JPEGImages"
    for place in (root / "images_detectron2/validation", root / "annotations_detectron2/validation", root / "trainval",
                  context, root / "data"):  # fmt: skip
        place.mkdir(parents=True)
    photo.save(root / f"images_detectron2/validation/{KEY}.jpg", quality=92)
    photo.save(context / f"{KEY}.jpg", quality=92)
    Image.fromarray(labels.astype(np.uint16)).save(root / f"annotations_detectron2/validation/{KEY}.tif")
    savemat(root / f"trainval/{KEY}.mat", {"LabelMap": labels.astype(np.uint16) + 1}, do_compression=True)
    (root / "pascalcontext_val.txt").write_text(f"{KEY}\n")
    Image.fromarray(labels).save(root / "mask.png")
    row = {"id": KEY, "image": (context / f"{KEY}.jpg").read_bytes(), "mask": (root / "mask.png").read_bytes()}
    parquet.write_table(pyarrow.Table.from_pylist([row]), root / "data/a.parquet")
    yield "ADE20K full, 16-bit TIFF", ADE20KFull(root=str(root), layout="converted")
    yield "Pascal Context 459, MAT", PascalContextFull(root=str(root), layout="mat")
    names = tuple(f"class {number}" for number in range(170))
    yield "table, parquet", Table(root=str(root), id="id", classes=names)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=118287)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    print("| reader | images | seconds to the ids | to the fingerprint |\n|---|---|---|---|")
    for line in listing(options.images):
        print(line, flush=True)
    print(f"\n| kind, {SHAPE[0]} x {SHAPE[1]} | ms an image |\n|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, reader in kinds(Path(folder)):
            image_id = reader.ids()[0]
            taken = measure({name: lambda: reader.load(image_id)}, options.repeats)  # noqa: B023
            print(f"| {name} | {taken[name]:.1f} |", flush=True)


if __name__ == "__main__":
    main()
