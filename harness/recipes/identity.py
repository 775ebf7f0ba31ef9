"""From a recipe to the facts that decide its pixels, and from the facts of a run to its id."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from harness.contracts import LabelRule, ProtocolSettings, Recipe, Words
from harness.contracts.facts import essence
from harness.errors import AddressError
from harness.recipes import house, loading
from harness.recipes.code_stamp import classes_named, code_of
from harness.recipes.named_files import files_named

ID_DIGITS = 16
SCHEME = 2  # what ids are made from; rows of another scheme can be read, and are not resumed


def digest(value: Any) -> str:
    """Hex blake2b of a JSON value in canonical form: the same text in, the same id out, in any process."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=ID_DIGITS // 2).hexdigest()


def facts(recipe: Recipe, built: object, folder: str = ".", benchmark: bool = False) -> dict[str, Any]:
    """What decides the output of a recipe: address, settings with defaults filled in, code, files it reads.

    folder: the grid's, where the paths in settings start. benchmark: its folders hold data and are in no id (the
    manifest in its fingerprint is). AddressError for code that nothing stands for.
    """
    cls: Any = type(built)
    settings = _deciding(built)
    counted = {name: value for name, value in settings.items() if not (benchmark and name == "root")}
    fingerprint = getattr(built, "fingerprint", None)
    models = not callable(fingerprint)  # a plug-in with a fingerprint answers for its models itself
    known: dict[str, Any] = {
        "use": recipe.use,
        "settings": settings,
        "code": {**code_of(cls).facts(), **_named(settings)},
        "files": files_named(cls, counted, folder, not benchmark, models),
    }
    if callable(fingerprint):
        known["fingerprint"] = fingerprint()
    return known


def benchmark_facts(recipe: Recipe, built: object, image_ids: Sequence[str], folder: str = ".") -> dict[str, Any]:
    """The facts of a benchmark, with its images and its classes in order."""
    classes = list(getattr(built, "classes", ()))
    known = facts(recipe, built, folder, benchmark=True)
    return {**known, "images": digest(list(image_ids)), "classes": digest(classes)}


def _deciding(built: object) -> dict[str, Any]:
    """The settings that can change a pixel."""
    places = set(getattr(type(built), "places", ()))
    if callable(getattr(built, "fitted", None)):
        places.add("teacher")  # a name; what the teacher says is in the artefact's id
    return {name: value for name, value in loading.settings_of(built).items() if name not in places}


def _named(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What stands for the classes that settings name, where there are such classes."""
    found = {}
    for use in sorted(set(classes_named(settings))):
        with suppress(AddressError):  # a text that only looks like an address
            found[use] = code_of(loading.load_class(use)).facts()
    return {"named": found} if found else {}


def protocol_facts(
    protocol: ProtocolSettings, names: Words, tagger: Mapping[str, Any] | None, rule: LabelRule | None = None
) -> dict[str, Any]:
    """The protocol as it decides pixels: the words themselves, whatever their set is called, and the tagger's facts.

    rule: of a teacher's run, what makes its label maps lessons.
    """
    facts = {**asdict(protocol), "names": names, "tagger": None if tagger is None else essence(tagger)}
    return facts if rule is None else {**facts, "rule": asdict(rule)}


def run_id(
    method: Mapping[str, Any],
    backbones: Sequence[Mapping[str, Any]],
    benchmark: Mapping[str, Any],
    protocol: Mapping[str, Any],
    batch: int,
) -> str:
    """The id of one run, from facts. The batch size counts only where images go through a network together."""
    content: dict[str, Any] = {
        "identity": SCHEME, "harness": house.deciding(), "method": essence(method), "benchmark": essence(benchmark),
        "protocol": protocol,
    }  # fmt: skip
    if backbones:
        content["backbones"] = sorted(map(essence, backbones), key=digest)
        content["batch"] = batch
    return digest(content)
