"""Evidence goes in; by which settings runs can be chosen comes out: names, values, and what every run has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from results.folder.recipes import RunRecipe
from results.tables.evidence import Evidence
from results.tables.spec import setting_in_words


def choices(evidence: Evidence) -> dict[str, object]:
    """`settings`: name and values, of all to choose by; `runs`: id -> the place of its value in each, or None.

    The names are `method`, the settings in which runs of one method differ, and the protocol's fields in which any do.
    """
    recipes = [evidence.recipes[entry.run_id] for entry in evidence.board.entries]
    facts = {recipe.run_id: _facts(recipe) for recipe in recipes}
    differing = [_differing([recipe.rules for recipe in recipes])]
    for name in dict.fromkeys(recipe.method_name for recipe in recipes):  # what two methods differ in says the method
        differing.append(_differing([one.method.get("settings", {}) for one in recipes if one.method_name == name]))
    names = dict.fromkeys(["method", *(name for found in differing for name in found)])
    values = {name: sorted({one[name] for one in facts.values() if name in one}, key=_order) for name in names}
    shown = {name: found for name, found in values.items() if len(found) > 1}
    places = {name: {value: place for place, value in enumerate(found)} for name, found in shown.items()}
    return {
        "settings": [[name, found] for name, found in shown.items()],
        "runs": {i: [places[name].get(one.get(name, "")) for name in shown] for i, one in facts.items()},
    }


def _facts(recipe: RunRecipe) -> Mapping[str, str]:
    settings = {**recipe.rules, **recipe.method.get("settings", {})}
    return {"method": recipe.method_name, **{name: setting_in_words(value) for name, value in settings.items()}}


def _differing(all_of: Sequence[Mapping[str, object]]) -> list[str]:
    """The settings of which there are several values."""
    names = dict.fromkeys(name for one in all_of for name in one)
    return [n for n in names if len({setting_in_words(one[n]) for one in all_of if n in one}) > 1]


def _order(value: str) -> tuple[bool, float, str]:
    """Numbers by their size, before words."""
    try:
        return False, float(value), value
    except ValueError:
        return True, 0.0, value
