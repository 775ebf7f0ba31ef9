"""Recipes flow in; what stands for their code and files in ids, and what nothing stands for, flows out as sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

from harness.checks.own_reads import Reads
from harness.contracts import Recipe
from harness.errors import AddressError
from harness.recipes import identity, loading
from harness.recipes.code_stamp import classes_named, code_of
from harness.recipes.surroundings import is_ours
from harness.recipes.unnamed import CURE, in_no_id

_SHOWN = 8


def told_of_code(recipes: Iterable[Recipe], benchmark: bool = False) -> Iterator[str]:
    """What every recipe's id rests on, a sentence each; those of what cannot be stamped begin with `not in the id`."""
    for recipe in recipes:
        built = loading.build(recipe)
        known = identity.facts(recipe, built, benchmark=benchmark)
        for use in dict.fromkeys((recipe.use, *classes_named(known["settings"]))):
            with suppress(AddressError):  # a text that only looks like an address
                yield from _of_class(use)
        if known["files"]:
            yield f"{recipe.use}: the content of {_listed(known['files'])} is in the id"
        if not benchmark:
            told = identity.uncounted(recipe.use, built, known)
            yield from (f"not in the id of {recipe.use}: {clause}" for clause in told)


def _of_class(use: str) -> Iterator[str]:
    code = code_of(loading.load_class(use))
    if is_ours(use):
        return
    own = _listed(code.own) or "what it is made of"
    if code.source.startswith("v"):
        yield (
            f"{use}: its version ({code.source[1:]}) stands in the id for its own modules ({own}): "
            "raise it whenever a pixel can change"
        )
    else:
        yield f"{use}: what its own modules say is in the id ({own})"
    if code.installed:
        yield f"{use}: versions are in the id of {_listed(f'{k} {v}' for k, v in code.installed.items())}"
    yield from (f"not in the id of {use}: {clause}" for clause in code.unstamped)


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return ", ".join(every[:_SHOWN]) + more


def told_of_reads(use: str, reads: Reads, known: Iterable[str]) -> Iterator[str]:
    """What a plug-in was seen to read that is in no id, a sentence each. known: files and folders that are in it."""
    if is_ours(use):
        return
    for path in in_no_id(use, sorted(reads.files), known):
        yield f"not in the id of {use}: it opens {path}; {CURE}"
    for name in sorted(reads.variables):
        yield f"not in the id of {use}: it reads the environment variable {name}; make it a setting"
