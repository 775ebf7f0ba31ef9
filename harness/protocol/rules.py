"""A protocol flows in, as written; the same protocol flows out with every field that has no effect at its default."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from harness.contracts import LabelRule, ProtocolSettings, Recipe

DEFAULT_TAGGER = Recipe.of("methods.clip_tagger:ClipTagger")
TAG_FILE = "methods.tag_file:TagFile"
TAGGED = frozenset({"predicted", "given"})  # vocabularies that a tagger tells, of which one reads a file
WORDED = frozenset({"prompts", "prompts_constant"})  # background rules that offer context words
THRESHOLDED = frozenset({"constant", "hinge_power", "prompts_constant"})
STRETCH = 2  # how scores are scaled to 0..1, in the ids of runs that do: 2 since rounding of constant maps is left out
PLAIN = 2  # how pixels are taught without a threshold, in the ids of such lessons: 2 since scores are as they are given
SCALED = THRESHOLDED | {"power"}  # those under which scores are compared with a background's
NOT_SHOWN = frozenset({  # fields that say what is offered and how it is decided, not how an image is shown
    "vocabulary", "tagger", "names", "templates", "background", "background_names", "context", "threshold", "power",
    "scale", "logit_scale", "area_thd", "void_counts",
})  # fmt: skip


def effective(settings: ProtocolSettings) -> ProtocolSettings:
    """The protocol that decides: equal for two that differ only where it makes no difference.

    A vocabulary that is predicted by nobody is predicted by the built-in tagger.
    """
    useless: dict[str, Any] = {
        one.name: one.default for one in fields(ProtocolSettings) if not _matters(one.name, settings)
    }
    kept: dict[str, Any] = {}
    if settings.vocabulary in TAGGED:
        kept["tagger"] = settings.tagger or DEFAULT_TAGGER
    if settings.resize in ("stretch", "box"):
        sides = (settings.size, settings.size) if isinstance(settings.size, int) else settings.size
        kept["size"] = sides if settings.resize == "stretch" else (min(sides), max(sides))
    return replace(settings, **useless, **kept)


def of_lessons(settings: ProtocolSettings) -> ProtocolSettings:
    """The protocol under which a teacher labels: equal for two that differ in what a label rule stands in place of.

    Whether the background is scored, and which words for it are offered, has a part in lessons; how the scores of
    classes decide against it has none, so all thresholds and scales have one run of the teacher, and one fit.
    """
    default = ProtocolSettings()
    decided = {name: getattr(default, name) for name in ("threshold", "power", "scale", "logit_scale", "area_thd")}
    kept = {"power": "constant", "hinge_power": "constant", "prompts_constant": "prompts"}
    background = kept.get(settings.background, settings.background)
    return effective(replace(settings, background=background, **decided))


def way_of_showing(settings: ProtocolSettings) -> tuple[tuple[str, Any], ...]:
    """How an image is shown: equal for protocols under which networks see the same pixels in the same windows."""
    return tuple((one.name, getattr(settings, one.name)) for one in fields(settings) if one.name not in NOT_SHOWN)


def scale_of(settings: ProtocolSettings) -> str:
    """How scores are made comparable with a background's; `none` where there is no such comparison."""
    return settings.scale if settings.background in SCALED else "none"


def stretches(settings: ProtocolSettings, rule: LabelRule | None) -> bool:
    """Whether scores are scaled to 0..1, for the decision or, of a teacher's run, for its lessons."""
    return scale_of(settings) == "minmax" if rule is None else rule.scales


def _matters(name: str, settings: ProtocolSettings) -> bool:
    rule = settings.background
    conditions = {
        "tagger": settings.vocabulary in TAGGED,
        "threshold": rule in THRESHOLDED,
        "power": rule == "power",
        "background_names": rule == "class",
        "context": rule in WORDED,
        "scale": rule in SCALED,
        "logit_scale": rule in SCALED and settings.scale == "softmax",
        "size": settings.resize != "none",
        "longest": settings.resize == "short",
        "resampling": settings.resize != "none",
        "area_thd": rule != "ignored",
        "stride": settings.window > 0,
    }
    return conditions.get(name, True)
