"""Recipes of several folders flow in; what is to be said of runs with two names, and of names with two runs, flows
out: a sentence each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from results.folder.recipes import RunRecipe

_SHOWN = 5
Recipes = Mapping[str, RunRecipe]


def told_of_names(folders: Mapping[str, Recipes], joined: Recipes) -> list[str]:
    """A sentence each. folders: by their names. joined: what stands when they are brought together."""
    said = [*_two_names(folders, joined), *_two_runs(joined)]
    return said if len(said) <= _SHOWN else [*said[:_SHOWN], f"and {len(said) - _SHOWN} more runs with such names"]


def _two_names(folders: Mapping[str, Recipes], joined: Recipes) -> Iterator[str]:
    for run_id, recipe in joined.items():
        names: dict[str, str] = {}
        for folder, own in folders.items():
            if run_id in own:
                names.setdefault(own[run_id].method_name, folder)
        if len(names) > 1:
            every = " and ".join(f"{name} in {folder}" for name, folder in names.items())
            yield f"Run {run_id} is called {every}; it stands as {recipe.method_name}."


def _two_runs(joined: Recipes) -> Iterator[str]:
    called: dict[tuple[str, ...], list[RunRecipe]] = {}
    for one in joined.values():
        key = (one.method_name, one.variant, one.benchmark_name, one.protocol_text)
        called.setdefault(key, []).append(one)
    for (method, variant, benchmark, _), runs in called.items():
        if len(runs) > 1:
            each = " and ".join(f"{one.run_id} ({words})" for one, words in zip(runs, _apart(runs), strict=True))
            yield f"{len(runs)} runs are called {f'{method} {variant}'.strip()} on {benchmark}: {each}."


def _apart(runs: Sequence[RunRecipe]) -> list[str]:
    """What each has for itself: address and settings that differ, the data set's too, else what they learned from, else
    that something behind them differs."""
    held = [
        {**one.benchmark.get("settings", {}), "use": one.method.get("use"), **one.method.get("settings", {})}
        for one in runs
    ]
    names = dict.fromkeys(name for one in held for name in one)
    differing = [name for name in names if len({repr(one.get(name)) for one in held}) > 1]
    words = [" ".join(f"{name}={one.get(name)}" for name in differing) for one in held]
    rests = {one.run_id: one.supervision or "all train images" for one in runs}
    behind = rests if len({*rests.values()}) > 1 else dict.fromkeys(rests, "code, files or data differ")
    return [told or behind[one.run_id] for told, one in zip(words, runs, strict=True)]
