"""A run's recipe goes in; the YAML of a grid that holds this one run, and its teachers, comes out."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import yaml

from harness.contracts import ProtocolSettings
from results.folder import artefacts
from results.folder.recipes import RunRecipe
from results.folder.store import Store

_NOTE = "# Where data lies is in no recipe: add `root:` under `with:` where a benchmark has one.\n"


def grid_text(store: Store, recipe: RunRecipe) -> str:
    """Every setting written out. A comment says what no recipe knows: places, and a teacher that was never scored."""
    methods, unknown = _chain(store, recipe)
    benchmark = _item(recipe.benchmark_name, recipe.benchmark)
    if train := _train(store, recipe):
        benchmark["train"] = train
    grid = {
        "name": f"again-{recipe.run_id}",
        "methods": methods,
        "benchmarks": [benchmark],
        "protocol": {**_protocol(recipe.protocol), **_choices(recipe)},
        **({"batch": recipe.batch} if recipe.batch else {}),
    }
    note = f"# The teacher {unknown!r} has no recipe in this folder: add it under `methods:`.\n" if unknown else ""
    return _NOTE + note + yaml.safe_dump(grid, sort_keys=False, allow_unicode=True, width=120)


def beside_plug_ins(store: Store, recipe: RunRecipe) -> str | None:
    """Where the grid of a run has to lie, seen from here, so that its plug-ins in plain files are found: beside these.

    Here, where there are none, or as a sweep into this folder said. None where nobody knows.
    """
    here = os.getcwd()
    told = [one for event in store.events() if isinstance(one := event.get("beside"), str)]
    said = [os.path.normpath(os.path.join(store.folder.absolute(), one)) for one in reversed(told)]
    tops = {use.partition(":")[0].partition(".")[0] for use in _uses(yaml.safe_load(grid_text(store, recipe)))}
    places = dict.fromkeys((here, *said))
    plain = {top for top in tops if (lies := _found(top)) is None or lies in places}
    for place in places:
        if all(_lies(top, place) for top in plain):
            seen = os.path.relpath(place)
            return os.path.join(os.curdir, seen) if seen.startswith("-") else seen
    return None


def _found(module: str) -> str | None:
    """The folder in which Python finds a module; None where it does not."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    inner = [*(spec.submodule_search_locations or ()), *([spec.origin] if spec.origin else [])]
    return os.path.dirname(os.path.abspath(inner[0])) if inner else ""


def _uses(content: Any) -> list[str]:
    """Every address below a key `use` of a grid."""
    inner = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    own = [content["use"]] if isinstance(content, dict) and isinstance(content.get("use"), str) else []
    return own + [use for one in inner for use in _uses(one)]


def _lies(module: str, place: str) -> bool:
    """Whether a module lies in a folder, as a file or as a package."""
    return os.path.isfile(os.path.join(place, f"{module}.py")) or os.path.isdir(os.path.join(place, module))


def _choices(recipe: RunRecipe) -> dict[str, Any]:
    """What of a protocol was chosen, as a grid writes it."""
    chosen = recipe.chosen or {"fields": ()}
    return {
        name: {"choose": chosen["rule"], "of": list(dict.fromkeys(values[n] for values in chosen["of"]))}
        for n, name in enumerate(chosen["fields"])
    }


def _chain(store: Store, recipe: RunRecipe) -> tuple[list[dict[str, Any]], str | None]:
    """The run's method and its teachers as items of a grid, and the name of the teacher that nobody knows."""
    recipes = store.recipes().values() if recipe.artefact else ()
    # Every setting is written out, so that no axis is left to give a variant; a teacher is found by its whole name.
    items = [_item(_full_name(recipe) if recipe.artefact else recipe.method_name, recipe.method)]
    learner: RunRecipe | None = recipe
    while learner is not None and learner.artefact is not None:
        name = str(learner.artefact.get("teacher"))
        items[-1].setdefault("with", {})["teacher"] = name
        same = [r for r in recipes if _full_name(r) == name and r.benchmark_name == recipe.benchmark_name]
        before, learner = learner, same[0] if same and len(items) <= len(recipes) else None
        if learner is None:
            return items, name
        items.append({**_item(name, learner.method), **_own_protocol(store, before, recipe.protocol)})
    return items, None


def _own_protocol(store: Store, learner: RunRecipe, whole: Mapping[str, object]) -> dict[str, Any]:
    """What a learner's teacher says of the protocol itself, where its lessons were of another one than the run."""
    artefact_id = str((learner.artefact or {}).get("id", ""))
    if not artefact_id or not artefacts.has_artefact(store.folder, artefact_id):
        return {}
    own = artefacts.card(store.folder, artefact_id).get("protocol", whole)
    written, other = _protocol(own), _protocol(whole)
    defaults = {one.name: _listed(one.default) for one in fields(ProtocolSettings)}
    differing = {name: own.get(name, defaults[name]) for name in other if name not in written}
    changed = {name: value for name, value in {**differing, **written}.items() if other.get(name) != value}
    if changed.get("resize") == "none":
        changed.pop("size", None)
    if changed.get("window") == 0:
        changed.pop("stride", None)
    return {"protocol": {name: value for name, value in changed.items() if value is not None}} if changed else {}


def _full_name(recipe: RunRecipe) -> str:
    return f"{recipe.method_name} {recipe.variant}".strip()


def _train(store: Store, recipe: RunRecipe) -> dict[str, Any]:
    """The settings of the benchmark that make it the split which was learned from, or on which a value was chosen."""
    if recipe.chosen:
        trial = store.recipes().get(recipe.chosen["runs"][0])
        return _differing(trial.benchmark, recipe.benchmark) if trial else {}
    artefact_id = str((recipe.artefact or {}).get("id", ""))
    if not artefact_id or not artefacts.has_artefact(store.folder, artefact_id):
        return {}
    return _differing(artefacts.card(store.folder, artefact_id).get("benchmark", {}), recipe.benchmark)


def _differing(train: Mapping[str, Any], scored: Mapping[str, Any]) -> dict[str, Any]:
    own = scored.get("settings", {})
    return {key: value for key, value in train.get("settings", {}).items() if own.get(key) != value}


def _protocol(protocol: Mapping[str, object]) -> dict[str, object]:
    """The fields of a protocol that are not at their defaults, as a grid writes them."""
    defaults = {one.name: _listed(one.default) for one in fields(ProtocolSettings)}
    written = {key: value for key, value in protocol.items() if key not in defaults or value != defaults[key]}
    if isinstance(tagger := written.get("tagger"), Mapping) and written.get("vocabulary") == "given":
        file = dict(tagger["settings"])["file"]
        return {**{key: value for key, value in written.items() if key != "tagger"}, "vocabulary": {"file": file}}
    if isinstance(tagger, Mapping):
        written["tagger"] = {"use": tagger["use"], "with": {key: value for key, value in tagger["settings"]}}
    if isinstance(names := written.get("names"), Mapping):
        written["names"] = names["file"]
    return {"vocabulary": protocol.get("vocabulary", "present"), **written}


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _item(name: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    # A list in a grid is an axis; a list that is a value stands in a list.
    settings = {
        key: [value] if isinstance(value, list | tuple) else value for key, value in facts.get("settings", {}).items()
    }
    return {"name": name, "use": facts["use"], **({"with": settings} if settings else {})}
