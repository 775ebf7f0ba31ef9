"""A folder of images flows in; a map of the regions that a SAM finds in each of them flows out, a PNG of 16 bits.

    python -m methods.store_regions IMAGES --out REGIONS [--sam facebook/sam2-hiera-large --sam-version 2]

The map of IMAGES/a/b.jpg is REGIONS/a/b.png: what `regions: REGIONS` of methods.corrclip:CorrCLIP reads. Maps that are
there are left, so a call that was interrupted goes on; another SAM, or another setting, wants another folder.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps

from harness.contracts import Image, MethodError, ModelError, Query, Recipe, Vocabulary, expanded
from methods.sam import Sam, Sam2
from methods.sam.passes import REGIONS, SAM, SAM2, RegionsPass

MADE_BY = ".made_by.json"  # in the folder of the maps; no image is called so
PICTURES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    parser = argparse.ArgumentParser(
        prog="python -m methods.store_regions", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("images", type=expanded, metavar="IMAGES", help="a folder, with folders below it or none")
    parser.add_argument("--out", type=expanded, required=True, metavar="REGIONS", help="the folder of the maps")
    parser.add_argument("--sam", metavar="MODEL", help=f"a folder or a hub id; {SAM}, or {SAM2}")
    parser.add_argument("--sam-version", type=int, choices=(1, 2), default=1, help="2: a Sam2Model")
    parser.add_argument("--sam-revision", metavar="COMMIT", help="of a hub id")
    parser.add_argument("--points", type=int, default=8, help="prompts a side")
    parser.add_argument("--least-iou", type=float, default=0.4, help="of what the model thinks of a mask")
    parser.add_argument("--least-stability", type=float, default=0.4, help="of a mask at other thresholds")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code: 0 all maps are there, 2 that makes no sense or cannot be had, 3 images that
    cannot be read have none."""
    options = parser().parse_args(arguments)
    try:
        return _store(options)
    except (ModelError, MethodError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _store(options: argparse.Namespace) -> int:
    backbone = (Sam, Sam2)[options.sam_version - 1](options.sam or (SAM, SAM2)[options.sam_version - 1],
                                                    options.sam_revision)  # fmt: skip
    own = Recipe.of(f"methods.sam:{type(backbone).__name__}", model=backbone.model, revision=backbone.revision)
    asked = RegionsPass(own, options.points, options.least_iou, options.least_stability)
    found = dict(pictures(options.images, options.out))
    _begin(options.out, backbone, asked)
    absent = {place: path for place, path in found.items() if not place.exists()}
    unreadable = 0
    for number, (place, path) in enumerate(absent.items(), start=1):
        try:
            image = read_picture(path)
        except (OSError, ValueError, Pillow.DecompressionBombError) as error:
            unreadable += 1
            print(f"{path} cannot be read: {' '.join(str(error).split())}", file=sys.stderr)
            continue
        ((_, (regions,)),) = backbone.run([Query(path.stem, image, Vocabulary(()))], {asked: REGIONS})
        write_map(place, np.asarray(regions))
        print(f"\r{number} of {len(absent)}", end="", file=sys.stderr, flush=True)
    print(f"{len(found) - unreadable} maps of regions are in {options.out}: regions: {options.out}")
    return 3 if unreadable else 0


def pictures(images: Path, out: Path) -> Iterator[tuple[Path, Path]]:
    """Where the map of every image goes, and the image. ModelError where there is none, or two have one map."""
    if not images.is_dir():
        raise ModelError(f"There is no folder {images} with images.")
    seen: dict[Path, Path] = {}
    for path in sorted(one for one in images.rglob("*") if one.suffix.lower() in PICTURES and one.is_file()):
        place = (out / path.relative_to(images)).with_suffix(".png")
        if place in seen:
            raise ModelError(f"{seen[place]} and {path} would have one map, {place}: keep the images apart.")
        seen[place] = path
        yield place, path
    if not seen:
        raise ModelError(f"There is no image in {images}: none ends in {', '.join(PICTURES)}.")


def read_picture(path: Path) -> Image:
    """uint8 (height, width, 3), upright as its EXIF says."""
    with Pillow.open(path) as picture:
        return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))


def write_map(place: Path, regions: np.ndarray) -> None:
    """The map as a PNG of 16 bits, there as a whole or not at all."""
    place.parent.mkdir(parents=True, exist_ok=True)
    waiting = place.with_suffix(".new")
    Pillow.fromarray(regions.astype(np.uint16)).save(waiting, format="PNG")
    os.replace(waiting, place)


def _begin(out: Path, backbone: Sam | Sam2, asked: RegionsPass) -> None:
    """Say in the folder what makes its maps. ModelError where other maps are there."""
    mine = {"sam": type(backbone).__name__, "weights": backbone.fingerprint(), "points": asked.points,
            "least_iou": asked.least_iou, "least_stability": asked.least_stability}  # fmt: skip
    path = out / MADE_BY
    if path.is_file() and json.loads(path.read_text("utf-8")) != mine:
        raise ModelError(f"{out} holds regions that were made otherwise ({path}); give another folder.")
    if not path.is_file() and out.is_dir() and any(out.iterdir()):
        raise ModelError(f"{out} holds files that are none of this command's; give another folder.")
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{json.dumps(mine, indent=1)}\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
