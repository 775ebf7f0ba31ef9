"""The one place that asks networks for passes: each once, for all queries; a network that does otherwise is told."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_world import ToyPass

from harness.contracts import MethodError, Parts, Pass, Query, Recipe, Vocabulary
from harness.work.passes import by_backbone, features_of, joined_requests, served

ONE, OTHER = Recipe.of("toys:One"), Recipe.of("toys:Other")
FIRST, SECOND, THIRD = ToyPass(ONE, 1), ToyPass(ONE, 2), ToyPass(OTHER, 1)
QUERIES = [Query(name, np.zeros((3, 5, 3), np.uint8), Vocabulary((("a",),))) for name in "xyz"]
HOUSE = Path(__file__).parents[2] / "harness"


class Network:
    """Gives what it is told to: (pass, how many features)."""

    def __init__(self, *given: tuple[Pass, int]) -> None:
        self._given, self.asked = given, list[dict[Pass, Parts]]()

    def run(self, queries: Sequence[Query], requests: Mapping[Pass, Parts]) -> Iterator[tuple[Pass, list[str]]]:
        self.asked.append(dict(requests))
        for request, count in self._given:
            yield request, [f"{request.timestep} {query.image_id}" for query in queries][:count]


def test_equal_passes_are_one_request_for_all_parts() -> None:
    needs = [{FIRST: frozenset("a"), THIRD: frozenset()}, {FIRST: frozenset("b"), SECOND: frozenset("a")}]
    assert joined_requests(needs) == {FIRST: frozenset("ab"), THIRD: frozenset(), SECOND: frozenset("a")}
    assert by_backbone(joined_requests(needs)) == {
        ONE: {FIRST: frozenset("ab"), SECOND: frozenset("a")}, OTHER: {THIRD: frozenset()}
    }  # fmt: skip


def test_every_query_gets_the_features_of_every_pass_and_calls_are_looked_after() -> None:
    networks = {ONE: Network((SECOND, 3), (FIRST, 3)), OTHER: Network((THIRD, 3))}
    calls: list[Recipe] = []

    def ask(recipe: Recipe) -> Any:
        return lambda call: (calls.append(recipe), call())[1]

    needs = {FIRST: frozenset("a"), SECOND: frozenset("a"), THIRD: frozenset("b")}
    found = features_of(needs, QUERIES, networks.__getitem__, ask)  # type: ignore[arg-type]
    assert found == [{SECOND: f"2 {name}", FIRST: f"1 {name}", THIRD: f"1 {name}"} for name in "xyz"]
    assert networks[ONE].asked == [{FIRST: frozenset("a"), SECOND: frozenset("a")}], "one network, one call"
    assert calls == [ONE] * 3 + [OTHER] * 2, "each pass, and the end"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (((FIRST, 3),), "left out passes"),
        (((FIRST, 3), (FIRST, 3)), "every pass once"),
        (((FIRST, 3), (THIRD, 3)), "every pass once"),
        (((FIRST, 3), (SECOND, 2)), "one Features a query"),
    ],
)
def test_a_network_that_does_otherwise_is_told(given: tuple[tuple[Pass, int], ...], sentence: str) -> None:
    wanted: dict[Pass, Parts] = {FIRST: frozenset(), SECOND: frozenset()}
    with pytest.raises(MethodError, match=f"backbone toys:One .*{sentence}"):
        list(served(ONE, Network(*given), QUERIES, wanted, lambda call: call()))  # type: ignore[arg-type]


def test_no_other_place_runs_a_network() -> None:
    def runs(text: str) -> bool:
        calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
        return any(
            isinstance(one.func, ast.Attribute) and one.func.attr == "run" and len(one.args) == 2 for one in calls
        )

    rooms = [sorted((HOUSE / room).glob("*.py")) for room in ("work", "learning", "checks")]
    files = [file for room in rooms for file in room if file.name != "__main__.py"]  # whose gates run, too
    assert [file.name for file in files if runs(file.read_text("utf-8"))] == ["passes.py"]
    assert runs("found = self._network(one).run([query], wanted)")
