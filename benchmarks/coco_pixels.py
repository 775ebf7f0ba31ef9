"""A COCO folder with the PNGs of COCO-Stuff flows in; the files of a split flow out, of the kind that a layout names.

One folder of annotations may hold three PNGs an image: the downloaded one and two that conversions wrote beside it. The
name says which is which, never the values.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks.faults import BrokenList, WrongRoot
from benchmarks.listing import contents, keys_of_files
from benchmarks.masks import LabelTable
from benchmarks.sources import Pair, PairedFiles

ENDINGS: Mapping[str, str] = {
    "downloaded": ".png", "label_train_ids": "_labelTrainIds.png", "instance_train_ids": "_instanceTrainIds.png",
    "detectron2": ".png",
}  # fmt: skip
SPLITS: Mapping[str, tuple[int, ...]] = {"train2017": (118287,), "val2017": (5000,)}
LARGEST_THING, LARGEST_STUFF, UNLABELLED = 90, 181, 255
_INSIDE = ("", "coco", "coco_stuff164k", "coco-stuff")
_MASKS = ("annotations", "stuffthingmaps_trainval2017", "stuffthingmaps")


def open_pixels(root: str, data_set: str, split: str, layout: str, table: LabelTable) -> PairedFiles:
    """The images of a split with the masks of a layout. WrongRoot and BrokenList where there are none."""
    images = _first(root, data_set, (f"images/{split}", split))
    folders = ("annotations_detectron2",) if layout == "detectron2" else _MASKS
    masks = _first(root, data_set, tuple(f"{folder}/{split}" for folder in folders))
    ending = ENDINGS[layout]
    labelled = {key for key in keys_of_files(masks, ending) if key.isdecimal()}
    # the union, so that an image without mask (or the reverse) is an error of that image and does not vanish
    keys = keys_of_files(images, ".jpg") | labelled
    if not labelled:
        raise BrokenList(f"{masks} holds no *{ending} named by numbers, as layout {layout} needs; {contents(masks)}.")
    return PairedFiles({key: Pair(images / f"{key}.jpg", masks / f"{key}{ending}", table) for key in keys})


def _first(root: str, data_set: str, wanted: tuple[str, ...]) -> Path:
    """The first of the folders that is there, in the root or in a folder of a usual name inside it."""
    for inside in _INSIDE:
        for name in wanted:
            if (Path(root) / inside / name).is_dir():
                return Path(root) / inside / name
    raise WrongRoot(
        f"{root!r} is not a folder of {data_set}: looked for {' and '.join(wanted)}; {contents(Path(root))}."
    )
