"""A plug-in's class and settings flow in; what stands for its code in ids, and what cannot be known of it, flow out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from harness.contracts import Recipe
from harness.errors import AddressError
from harness.foreign.company import is_strange
from harness.recipes import house
from harness.recipes.settings import address, parameters
from harness.recipes.surroundings import distributions, is_ours, is_settled, reached, source_file
from harness.recipes.syntax import hashed

_NAMED = re.compile(r"\s*([^\W\d][\w.]*:[^\W\d]\w*)\s*(?:\(|\Z)")  # `module:Class`, perhaps with settings in brackets


@dataclass(frozen=True)
class Code:
    """What stands for the code of one class.

    source: `v<version>`, `src-<digest>` of a stranger's own modules, or "" for ours. house: versions of our modules.
    installed: versions of other distributions. own: a stranger's modules. beside: the files that these name, each as
    `module/name`. unstamped: what cannot be known, a clause each.
    """

    source: str
    house: Mapping[str, int | str]
    installed: Mapping[str, str]
    own: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    unstamped: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """What of it stands in an id; nothing that is empty."""
        known = {"source": self.source, "house": self.house, "installed": self.installed}
        return {name: value for name, value in known.items() if value}


@lru_cache(maxsize=256)  # a class that is loaded does not change, whatever becomes of its file
def code_of(cls: type) -> Code:
    """What stands for a class's code. AddressError when it has neither a file nor a `version`.

    A `version` that the class itself declares stands for all of its own modules; an inherited one, and a setting of
    that name, do not.
    """
    version = vars(cls).get("version")
    declared = isinstance(version, int | str) and "version" not in parameters(cls)
    if not declared and source_file(cls.__module__) is None:
        raise AddressError(f"the source of {address(cls)} is in no file; give the class an attribute `version`")
    modules = [one.__module__ for one in cls.__mro__ if one is cls or not is_settled(one.__module__)]
    found = reached(modules, cls.__module__.partition(".")[0])
    spelled = "".join(f"{name}\0{digest}\n" for name, digest in sorted(found.own.items()))
    source = "" if is_ours(cls.__module__) else f"v{version}" if declared else f"src-{hashed(spelled.encode())}"
    installed = dict(sorted(one for top in found.installed for one in distributions(top).items()))
    own, beside = (tuple(sorted(name for name in found.own if ("/" in name) == file)) for file in (False, True))
    return Code(source, house.versions(found.house), installed, own, beside, tuple(found.unstamped))


def classes_named(settings: object) -> Iterator[str]:
    """The addresses in plain settings, at any depth: a reader within a method, a refiner from elsewhere."""
    if isinstance(settings, Mapping):
        settings = tuple(settings.values())
    if isinstance(settings, tuple | list):
        for one in settings:
            yield from classes_named(one)
    elif isinstance(settings, str) and (found := _NAMED.match(settings)) and not is_settled(found[1].partition(":")[0]):
        yield found[1]


@lru_cache(maxsize=4096)  # asked for every call
def strange(recipe: Recipe) -> bool:
    """Whether a stranger's code takes part: the plug-in's own, or that of one that its settings name."""
    return any(map(is_strange, (recipe.use, *classes_named(recipe.settings))))
