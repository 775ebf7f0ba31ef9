"""From a recipe to the facts that decide its pixels; from these an id is made (see harness.contracts.facts)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from harness.contracts import ModelError, Recipe, Traits
from harness.contracts.facts import digest
from harness.errors import AddressError
from harness.foreign.company import is_strange
from harness.recipes import house, loading
from harness.recipes.code_stamp import classes_named, code_of
from harness.recipes.named_files import files_named, files_not_counted, spelled

LONGEST_FINGERPRINT = 65_536  # characters as JSON; it stands in the recipe of every run
_SHOWN = 3
_TRAITS = {
    "source": "its own modules",
    "house": "the modules of this project that it uses",
    "harness": "the modules of the harness",
    "installed": "installed versions of what it uses",
    "named": "classes that its settings name",
    "files": "files that it reads",
    "fingerprint": "what its fingerprint stands for",
}
SCHEME = 2  # what ids are made from; rows of another scheme can be read, and are not resumed


def facts(recipe: Recipe, built: object, folder: str = ".", benchmark: bool = False) -> dict[str, Any]:
    """What decides the output of a recipe: address, settings with defaults filled in, code, files it reads.

    folder: the grid's, where the paths in settings start. benchmark: its folders hold data and are in no id (the
    manifest in its fingerprint is). AddressError for code that nothing stands for.
    """
    cls: Any = type(built)
    settings = spelled(_deciding(built), folder)
    counted = {name: value for name, value in settings.items() if not (benchmark and name == "root")}
    fingerprint = getattr(built, "fingerprint", None)
    models = not callable(fingerprint)  # a plug-in with a fingerprint answers for its models itself
    known: dict[str, Any] = {
        "use": recipe.use,
        "settings": settings,
        "code": {**code_of(cls).facts(), **_named(settings)},
        "files": files_named(cls, counted, folder, not benchmark, models),
    }
    if (edition := _edition(built)) > 1:
        known["edition"] = edition
    if callable(fingerprint):
        known["fingerprint"] = loading.ask(built, "fingerprint()", lambda: _plain(fingerprint()))
    return known


def benchmark_facts(recipe: Recipe, built: object, image_ids: Sequence[str], folder: str = ".") -> dict[str, object]:
    """The facts of a benchmark, with its images and its classes in order."""
    classes = list(getattr(built, "classes", ()))
    known = facts(recipe, built, folder, benchmark=True)
    return {**known, "images": digest(list(image_ids)), "classes": digest(classes)}


def traits(known: Mapping[str, Any]) -> Traits:
    """Facts in brief, for a comparison elsewhere: what each is about, and its digest; those of the harness too."""
    parts = {**known, **known["code"], "harness": house.deciding()}
    return tuple((name, digest(content)) for name, content in sorted(parts.items()) if name in _TRAITS)


def check_planned(
    recipe: Recipe, built: object, planned: Mapping[Recipe, Traits], folder: str, benchmark: bool = False
) -> None:
    """ModelError when what a recipe stands for here is not what stood in the ids of runs that were planned with it."""
    if recipe not in planned:
        return
    there, here = dict(planned[recipe]), dict(traits(facts(recipe, built, folder, benchmark)))
    if differ := [said for name, said in _TRAITS.items() if there.get(name) != here.get(name)]:
        raise ModelError(
            f"{recipe.use} is not what was planned: {' and '.join(differ)} differ here. Give every worker the "
            "same files and versions, leave them as they are while a sweep runs, and sweep again."
        )


def unstamped(use: str, settings: object) -> dict[str, tuple[str, ...]]:
    """Of a plug-in's class and those that its settings name: address -> what of its code stands in no id, if any.

    A `version` that a class declares stands for all of its own modules.
    """
    found: dict[str, tuple[str, ...]] = {}
    for one in (use, *classes_named(settings)):
        with suppress(AddressError):  # a text that only looks like an address
            code = code_of(loading.load_class(one))
            found |= {one: code.unstamped} if code.unstamped and not code.source.startswith("v") else {}
    return found


def uncounted(use: str, built: object, known: Mapping[str, Any], folder: str = ".") -> tuple[str, ...]:
    """What settings of a stranger's method or network name, in words, that neither their files nor its fingerprint
    stand for; folders and patterns that are no model's, and files in texts of other forms."""
    if not is_strange(use) or callable(getattr(built, "fingerprint", None)):
        return ()
    found = files_not_counted(type(built), known["settings"], folder, known["files"])
    shown = {name: f"{', '.join(texts[:_SHOWN])}{' ...' * (len(texts) > _SHOWN)}" for name, texts in found.items()}
    return tuple([f"what its setting {name!r} names ({texts})" for name, texts in shown.items()])


def _deciding(built: Any) -> dict[str, object]:
    """The settings that can change a pixel."""
    places = set(getattr(type(built), "places", ()))
    if callable(getattr(built, "fitted", None)):
        # A name, and a share: what the teacher says, and the images left out, are in the artefact's id.
        places |= {"teacher", "teacher_may_fail"}
    if isinstance(getattr(type(built), "idle", None), property):
        places |= loading.ask(built, "idle", lambda: set(built.idle))
    return {name: value for name, value in loading.settings_of(built).items() if name not in places}


def _edition(built: Any) -> int:
    """What changed in a plug-in under these settings alone; a setting of that name is none."""
    declared = isinstance(getattr(type(built), "edition", None), property)
    return loading.ask(built, "edition", lambda: int(built.edition)) if declared else 1


def _plain(value: object) -> object:
    """A fingerprint as ids and recipes keep it. TypeError or ValueError when it is no plain value, or too long."""
    text = json.dumps(value, sort_keys=True, allow_nan=False)
    if len(text) > LONGEST_FINGERPRINT:
        raise ValueError(f"it has {len(text)} characters, and at most {LONGEST_FINGERPRINT} can be kept: give a digest")
    return json.loads(text)


def _named(settings: Mapping[str, object]) -> dict[str, object]:
    """What stands for the classes that settings name, where there are such classes."""
    found = {}
    for use in sorted(set(classes_named(settings))):
        with suppress(AddressError):  # a text that only looks like an address
            found[use] = code_of(loading.load_class(use)).facts()
    return {"named": found} if found else {}
