"""The name of a published protocol flows in; the protocol flows out, as far as the source says, and where it is from.

A preset is a start: a grid writes `protocol: voc20`, or `protocol: {preset: voc20, threshold: 0.4}` to change a field.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from harness.contracts import ProtocolSettings
from harness.errors import GridError, nearest


@dataclass(frozen=True)
class Preset:
    """A protocol with a name.

    source: where it is from, and what of it is our reading. states: the fields that it speaks of. ensemble: a published
    set of templates that belongs to it and is not ours to ship; the grid has to give it as a file.
    """

    settings: ProtocolSettings
    source: str
    states: frozenset[str]
    ensemble: str | None = None


def sentences(text: str) -> tuple[str, ...]:
    """The lines of a text that are not empty."""
    return tuple([line.strip() for line in text.splitlines() if line.strip()])


def how_to_write(ensemble: str) -> str:
    """How a user gets a template set that belongs to somebody else."""
    file = f"{ensemble}.txt"
    return f"write them with `python -m methods.text_templates {ensemble} > {file}` and add `templates: {file}`"


def preset(name: str) -> Preset:
    """The preset of a name; GridError, with the nearest one, when there is none."""
    known = _presets()
    if name not in known:
        raise GridError(f"there is no preset {name!r}{nearest(name, known)} (presets: {', '.join(names())})")
    return known[name]


def names() -> tuple[str, ...]:
    """The presets there are."""
    return tuple(_presets())


SCLIP_BACKGROUND = (  # configs/cls_voc21.txt, first line
    "sky", "wall", "tree", "wood", "grass", "road", "sea", "river", "mountain", "sands", "desk", "bed", "building",
    "cloud", "lamp", "door", "window", "wardrobe", "ceiling", "shelf", "curtain", "stair", "floor", "hill", "rail",
    "fence",
)  # fmt: skip


MMSEG: dict[str, Any] = {"vocabulary": "all", "resize": "short", "longest": 2048, "resampling": "cv2"}
# method, data set, short side (0: the method resizes and cuts itself), window (0: whole), stride, logit scale,
# threshold, area; 0: no such rule
ROWS = (
    ("sclip", "voc21", 336, 224, 112, 65, 0.1, 0.1), ("sclip", "pc60", 336, 224, 112, 50, 0.1, 0),
    ("sclip", "object", 336, 224, 112, 50, 0.1, 0), ("sclip", "voc20", 336, 224, 112, 0, 0, 0),
    ("sclip", "city", 560, 224, 112, 0, 0, 0), ("sclip", "pc59", 336, 224, 112, 0, 0, 0),
    ("sclip", "ade", 336, 224, 112, 0, 0, 0), ("sclip", "stuff", 448, 224, 112, 0, 0, 0),
    ("naclip", "voc21", 336, 0, 0, 40, 0.1, 0), ("naclip", "pc60", 336, 224, 112, 40, 0.1, 0),
    ("naclip", "object", 336, 224, 112, 40, 0.1, 0), ("naclip", "voc20", 336, 0, 0, 0, 0, 0),
    ("naclip", "city", 560, 224, 112, 0, 0, 0), ("naclip", "pc59", 336, 224, 112, 0, 0, 0),
    ("naclip", "ade", 336, 224, 112, 0, 0, 0), ("naclip", "stuff", 336, 224, 112, 0, 0, 0),
    ("clearclip", "voc21", 448, 448, 224, 50, 0.5, 0), ("clearclip", "pc60", 448, 448, 224, 50, 0.15, 0),
    ("clearclip", "object", 448, 448, 224, 50, 0.4, 0), ("clearclip", "voc20", 448, 448, 224, 0, 0, 0),
    ("clearclip", "city", 448, 224, 224, 0, 0, 0), ("clearclip", "pc59", 448, 448, 224, 0, 0, 0),
    ("clearclip", "ade", 448, 448, 224, 0, 0, 0), ("clearclip", "stuff", 448, 448, 224, 0, 0, 0),
    ("scclip", "voc21", 336, 224, 112, 50, 0.15, 0.1), ("scclip", "pc60", 336, 224, 112, 40, 0.15, 0),
    ("scclip", "object", 336, 224, 112, 55, 0.35, 0), ("scclip", "voc20", 336, 224, 112, 0, 0, 0),
    ("scclip", "city", 560, 224, 112, 0, 0, 0), ("scclip", "pc59", 336, 224, 112, 0, 0, 0),
    ("scclip", "ade", 336, 224, 112, 0, 0, 0), ("scclip", "stuff", 336, 224, 112, 0, 0, 0),
    ("sfp", "voc21", 336, 224, 112, 50, 0.15, 0.1), ("sfp", "pc60", 336, 224, 112, 40, 0.15, 0),
    ("sfp", "object", 336, 224, 112, 55, 0.35, 0), ("sfp", "voc20", 336, 224, 112, 0, 0, 0),
    ("sfp", "city", 560, 224, 112, 0, 0, 0), ("sfp", "pc59", 336, 224, 112, 0, 0, 0),
    ("sfp", "ade", 384, 224, 112, 0, 0, 0), ("sfp", "stuff", 336, 224, 112, 0, 0, 0),
    ("resclip", "voc21", 336, 0, 0, 40, 0.1, 0), ("resclip", "pc60", 336, 224, 112, 40, 0.1, 0),
    ("resclip", "object", 336, 224, 112, 40, 0.1, 0), ("resclip", "voc20", 336, 0, 0, 0, 0, 0),
    ("resclip", "city", 560, 224, 112, 0, 0, 0), ("resclip", "pc59", 336, 224, 112, 0, 0, 0),
    ("resclip", "ade", 336, 224, 112, 0, 0, 0), ("resclip", "stuff", 336, 224, 112, 0, 0, 0),
    ("proxyclip", "voc21", 336, 336, 112, 40, 0.2, 0), ("proxyclip", "pc60", 336, 336, 112, 40, 0.15, 0),
    ("proxyclip", "object", 336, 336, 112, 40, 0.25, 0), ("proxyclip", "voc20", 336, 336, 112, 0, 0, 0),
    ("proxyclip", "city", 448, 224, 112, 0, 0, 0), ("proxyclip", "pc59", 336, 336, 112, 0, 0, 0),
    ("proxyclip", "ade", 448, 336, 112, 0, 0, 0), ("proxyclip", "stuff", 336, 336, 112, 0, 0, 0),
    ("trident", "voc21", 0, 0, 0, 40, 0.2, 0), ("trident", "pc60", 0, 0, 0, 40, 0.15, 0),
    ("trident", "object", 0, 0, 0, 40, 0.25, 0), ("trident", "voc20", 0, 0, 0, 0, 0, 0),
    ("trident", "city", 0, 0, 0, 0, 0, 0), ("trident", "pc59", 0, 0, 0, 0, 0, 0),
    ("trident", "ade", 0, 0, 0, 0, 0, 0), ("trident", "stuff", 0, 0, 0, 0, 0, 0),
    ("corrclip", "voc21", 0, 0, 0, 40, 0.2, 0), ("corrclip", "pc60", 0, 0, 0, 40, 0.15, 0),
    ("corrclip", "object", 0, 0, 0, 40, 0.25, 0), ("corrclip", "voc20", 0, 0, 0, 0, 0, 0),
    ("corrclip", "city", 0, 0, 0, 0, 0, 0), ("corrclip", "pc59", 0, 0, 0, 0, 0, 0),
    ("corrclip", "ade", 0, 0, 0, 0, 0, 0), ("corrclip", "stuff", 0, 0, 0, 0, 0, 0),
)  # fmt: skip
NAMES = {  # of the data sets where a method's name files are not SCLIP's
    "clearclip": {"voc21": "clearclip", "voc20": "clearclip", "object": "clearclip"},
    "proxyclip": {"voc21": "clearclip", "voc20": "clearclip", "object": "proxyclip"},
    "trident": {"voc21": "clearclip", "voc20": "clearclip", "object": "proxyclip"},
    "corrclip": {data: "corrclip" for data in ("voc21", "voc20", "pc60", "pc59", "object", "ade", "stuff")}
    | {"city": "sfp"},
    "sfp": {"voc21": "sfp", "voc20": "sfp", "city": "sfp"},
}
INDOORS = ("lamp", "door", "window", "wardrobe", "ceiling", "shelf", "curtain", "stair", "fence")
NOT_AROUND = {  # of SCLIP's words for the background
    ("proxyclip", "object"): INDOORS, ("trident", "object"): INDOORS, ("corrclip", "object"): (*INDOORS, "bed"),
}  # fmt: skip


def _in_words(size: int, window: int, stride: int, threshold: float | None) -> str:
    """What one row says, in less than a line. What its authors do to scores afterwards (PAMR) is a method."""
    cut = f"side {size}" if size else "size as it is"
    windows = f"windows {window} / {stride}" if window else "no windows"
    return f"{cut}, {windows}" + ("" if threshold is None else f", background below {threshold:g}")


def _rows() -> dict[str, Preset]:
    """The published settings of a method on a data set, by `method_dataset`."""
    found = {}
    for method, data, size, window, stride, scale, threshold, area in ROWS:
        cut = {**MMSEG, "size": size} if size else {"vocabulary": "all"}
        cut |= {"window": window, "stride": stride} if window else {}
        words: tuple[str, ...] = ("background",) if data == "pc60" or method == "clearclip" else SCLIP_BACKGROUND
        words = tuple(word for word in words if word not in NOT_AROUND.get((method, data), ()))
        names = NAMES.get(method, {}).get(data, "sclip")
        rule = {"background": "prompts_constant", "context": words, "scale": "softmax", "logit_scale": float(scale),
                "threshold": threshold, "area_thd": float(area)} if scale else {}  # fmt: skip
        found[f"{method}_{data}"] = _preset(
            f"its authors': {_in_words(size, window, stride, threshold if scale else None)}",
            ensemble="imagenet80", names=names, **cut, **rule,
        )  # fmt: skip
    return found


@cache
def _presets() -> dict[str, Preset]:
    return {**_of_sets(), **_of_methods(), **_rows()}


def _of_sets() -> dict[str, Preset]:
    """By data set: which names are offered, and what label 0 is."""
    return {
        "stableseg": _preset(
            "StableSeg's poster as we read it (inferred from its numbers): image-level names, background scored by a "
            "constant 0.5",
            vocabulary="present", background="constant",
        ),
        "voc20": _preset("PAS-20, mmseg's VOC20: all 20 names, label 0 ignored", vocabulary="all"),
        "voc21": _preset(
            "PAS-21: all 20 names, label 0 scored and offered as the 26 words of SCLIP's cls_voc21.txt",
            vocabulary="all", background="prompts", context=SCLIP_BACKGROUND,
        ),
        "pc59": _preset("PC-59: all 59 names, label 0 ignored", vocabulary="all"),
        "pc60": _preset(
            "PC-60: all 59 names, label 0 scored and offered as `background`, as in SCLIP's cls_context60.txt",
            vocabulary="all", background="class",
        ),
    }  # fmt: skip


def _of_methods() -> dict[str, Preset]:
    """By the program that numbers were published with."""
    sclip: dict[str, Any] = {"names": "sclip", **MMSEG, "size": 336, "window": 224, "stride": 112}
    tcl: dict[str, Any] = {**MMSEG, "size": 448, "window": 448, "stride": 224}
    return {
        "sclip": _preset(
            "SCLIP's configs for VOC20, PC59 and ADE (Cityscapes: size 560): its name files, 80 templates, short side "
            "336, windows 224 / 112, label 0 ignored", ensemble="imagenet80", **sclip,
        ),
        "sclip_background": _preset(
            "SCLIP's VOC21 config: 26 context words, softmax of 65 times the scores, below 0.1 background; classes of "
            "at most a tenth of the pixels of classes are left out",
            ensemble="imagenet80", **sclip, background="prompts_constant", context=SCLIP_BACKGROUND, scale="softmax",
            logit_scale=65.0, threshold=0.1, area_thd=0.1,
        ),
        "tcl": _preset(
            "TCL's unified protocol for sets without background: short side 448, windows 448 / 224; its own templates "
            "are left out", **tcl,
        ),
        "tcl_background": _preset(
            "TCL's unified protocol with a constant background of 0.5; minmax scaling is our reading",
            **tcl, background="constant",
        ),
        "food": _preset(
            "FoodPix and FoodSeg as published: all names, label 0 a class; scored by a constant 0.5 is our reading",
            vocabulary="all", background="constant",
        ),
        "food_foreground": _preset("FoodPix and FoodSeg with label 0 ignored: all names", vocabulary="all"),
        "maskclip": _preset(
            "MaskCLIP's configurations for VOC20 and ADE (Cityscapes: size [512, 1024]): whole images in a box, 85 "
            "templates, label 0 ignored", ensemble="imagenet85", names="maskclip", vocabulary="all", resize="box",
            size=(512, 2048), resampling="cv2",
        ),
        "maskclip_pc59": _preset(
            "MaskCLIP's configuration for PC59: a box of 520 pixels", ensemble="imagenet85", names="maskclip",
            vocabulary="all", resize="box", size=(520, 520), resampling="cv2",
        ),
    }  # fmt: skip


def _preset(source: str, ensemble: str | None = None, **settings: Any) -> Preset:
    return Preset(ProtocolSettings(**settings), source, frozenset(settings) | {"vocabulary", "background"}, ensemble)
