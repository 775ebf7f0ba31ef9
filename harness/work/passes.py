"""Passes that readers ask for flow in; the features that networks leave flow out: the one place that asks a network.

A sweep, a learner's lessons and the gate for methods differ in how a call is looked after, and share all else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from harness.contracts import Backbone, Features, MethodError, Parts, Pass, Query, Recipe

Ask: TypeAlias = Callable[[Callable[[], Any]], Any]  # makes a call into a network, and looks after it


def joined_requests(needs: Iterable[Mapping[Pass, Parts]]) -> dict[Pass, Parts]:
    """Equal passes of several readers become one request for all the parts they read."""
    found: dict[Pass, Parts] = {}
    for one in needs:
        for request, parts in one.items():
            found[request] = found.get(request, frozenset()) | parts
    return found


def by_backbone(requests: Mapping[Pass, Parts]) -> dict[Recipe, dict[Pass, Parts]]:
    """The requests that one network serves together."""
    grouped: dict[Recipe, dict[Pass, Parts]] = {}
    for request, parts in requests.items():
        grouped.setdefault(request.backbone, {})[request] = parts
    return grouped


def served(
    recipe: Recipe, network: Backbone, queries: Sequence[Query], wanted: Mapping[Pass, Parts], ask: Ask
) -> Iterator[tuple[Pass, Sequence[Features]]]:
    """Every wanted pass once, with one Features a query, as soon as it is there. MethodError when it is not so."""
    open_still, begun = set(wanted), list[Iterator[Any]]()

    def following() -> Any:
        if not begun:  # with the first pass: to begin is no turn of its own
            begun.append(iter(network.run(queries, wanted)))
        return next(begun[0], None)

    while (found := ask(following)) is not None:
        request, features = found
        if request not in open_still or len(features) != len(queries):
            raise MethodError(f"its backbone {recipe.use} does not give every pass once with one Features a query")
        open_still.remove(request)
        yield request, features
    if open_still:
        raise MethodError(f"its backbone {recipe.use} left out passes that were asked for")


def features_of(
    needs: Mapping[Pass, Parts],
    queries: Sequence[Query],
    network: Callable[[Recipe], Backbone],
    ask: Callable[[Recipe], Ask],
) -> list[dict[Pass, Features]]:
    """The features of all passes that one reader needs, a dictionary a query. ask: how a network's calls are made."""
    left: list[dict[Pass, Features]] = [{} for _ in queries]
    for recipe, wanted in by_backbone(needs).items():
        for request, found in served(recipe, network(recipe), queries, wanted, ask(recipe)):
            for held, one in zip(left, found, strict=True):
                held[request] = one
    return left
