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


@cache
def _presets() -> dict[str, Preset]:
    windows = {"resize": "short", "size": 336, "window": 224, "stride": 112}
    sclip: dict[str, Any] = {"vocabulary": "all", "names": "sclip", **windows}
    tcl: dict[str, Any] = {"vocabulary": "all", "resize": "short", "size": 448, "window": 448, "stride": 224}
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
        "sclip": _preset(
            "SCLIP's configs for VOC20, PC59 and ADE (Cityscapes: size 560): its name files, 80 templates, short side "
            "336, windows 224 / 112, label 0 ignored", ensemble="imagenet80", **sclip,
        ),
        "sclip_background": _preset(
            "SCLIP's VOC21 config: 26 context words, softmax of 65 times the scores, below 0.1 background; its "
            "area threshold is left out",
            ensemble="imagenet80", **sclip, background="prompts_constant", context=SCLIP_BACKGROUND, scale="softmax",
            logit_scale=65.0, threshold=0.1,
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
    }  # fmt: skip


def _preset(source: str, ensemble: str | None = None, **settings: Any) -> Preset:
    return Preset(ProtocolSettings(**settings), source, frozenset(settings) | {"vocabulary", "background"}, ensemble)
