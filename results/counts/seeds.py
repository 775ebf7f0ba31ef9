"""Runs and their recipes go in; those that differ in `seed` alone come out together, with the spread over seeds."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from results.folder.recipes import RunRecipe

SEED = "seed"
_IN_VARIANT = re.compile(rf"(?:^|(?<= )){SEED}=\S+ ?")


@dataclass(frozen=True)
class SeedSpread:
    """Runs that differ in their seed alone: their name without it, mean and standard deviation of mIoU, 0..1.

    The deviation is that of a sample (n - 1).
    """

    name: str
    run_ids: tuple[str, ...]
    mean: float
    deviation: float

    @property
    def seeds(self) -> int:
        return len(self.run_ids)


def key(recipe: RunRecipe) -> str:
    """The same for two runs exactly when nothing but the seed tells them apart.

    What a learner learned differs with its seed, so its teacher's label maps stand for it.
    """
    method = {name: fact for name, fact in recipe.method.items() if name != "artefact"}
    method["settings"] = {name: v for name, v in dict(recipe.method.get("settings", {})).items() if name != SEED}
    taught = (recipe.artefact or {}).get("labels")
    content = [recipe.method_name, method, taught, recipe.backbones, recipe.benchmark, recipe.rules, recipe.batch]
    return json.dumps(content, sort_keys=True, default=str)


def without_seed(variant: str) -> str:
    """A variant's words without that of the seed."""
    return _IN_VARIANT.sub("", variant).strip()


def spreads(recipes: Mapping[str, RunRecipe], scores: Mapping[str, float]) -> list[SeedSpread]:
    """The spread of every two or more runs with a score that differ in their seed alone, in order of the recipes."""
    alike: dict[str, list[str]] = {}
    for run_id, recipe in recipes.items():
        if run_id in scores and SEED in dict(recipe.method.get("settings", {})):
            alike.setdefault(key(recipe), []).append(run_id)
    found = []
    for run_ids in alike.values():
        if len(run_ids) > 1:
            one, values = recipes[run_ids[0]], [scores[run_id] for run_id in run_ids]
            name = f"{one.method_name} {without_seed(one.variant)}".strip()
            found.append(SeedSpread(name, tuple(run_ids), statistics.fmean(values), statistics.stdev(values)))
    return found
