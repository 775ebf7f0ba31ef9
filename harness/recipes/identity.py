"""From a recipe to the facts that decide its pixels, and from the facts of a run to its id."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from harness.contracts import LabelRule, ProtocolSettings, Recipe, Words
from harness.recipes import loading

ID_DIGITS = 16


def digest(value: Any) -> str:
    """Hex blake2b of a JSON value in canonical form: the same text in, the same id out, in any process."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=ID_DIGITS // 2).hexdigest()


def facts(recipe: Recipe, built: object) -> dict[str, Any]:
    """What decides the output of a recipe: address, settings with defaults filled in, source stamp, files it reads."""
    places = set(getattr(type(built), "places", ()))
    if callable(getattr(built, "fitted", None)):
        places.add("teacher")  # a name; what the teacher says is in the artefact's id
    settings = {name: value for name, value in loading.settings_of(built).items() if name not in places}
    known: dict[str, Any] = {
        "use": recipe.use,
        "settings": settings,
        "source": loading.source_stamp(type(built)),
    }
    fingerprint = getattr(built, "fingerprint", None)
    if callable(fingerprint):
        known["fingerprint"] = fingerprint()
    return known


def benchmark_facts(recipe: Recipe, built: object, image_ids: Sequence[str]) -> dict[str, Any]:
    """The facts of a benchmark, with its images and its classes in order."""
    classes = list(getattr(built, "classes", ()))
    return {**facts(recipe, built), "images": digest(list(image_ids)), "classes": digest(classes)}


def protocol_facts(
    protocol: ProtocolSettings, names: Words, tagger: Mapping[str, Any] | None, rule: LabelRule | None = None
) -> dict[str, Any]:
    """The protocol as it decides pixels: the words themselves, whatever their set is called, and the tagger's facts.

    rule: of a teacher's run, what makes its label maps lessons.
    """
    facts = {**asdict(protocol), "names": names, "tagger": tagger}
    return facts if rule is None else {**facts, "rule": asdict(rule)}


def run_id(
    method: Mapping[str, Any],
    backbones: Sequence[Mapping[str, Any]],
    benchmark: Mapping[str, Any],
    protocol: Mapping[str, Any],
    batch: int,
) -> str:
    """The id of one run, from facts. The batch size counts only where images go through a network together."""
    content: dict[str, Any] = {"method": method, "benchmark": benchmark, "protocol": protocol}
    if backbones:
        content["backbones"] = sorted(backbones, key=digest)
        content["batch"] = batch
    return digest(content)
