"""Readers and what each is offered in one round of a batch flow in; the calls of networks flow out, as few as will do.

Passes that look at the image alone are asked once. Of those that encode words, runs share what is offered alike, image
by image: where a run is offered other words than those before it, it asks in a call of its own, with fillers elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from harness.contracts import Parts, Pass, Query, Recipe, Vocabulary
from harness.contracts.spelling import exact_text
from harness.foreign.lending import LentImage
from harness.protocol.offering import encodes_words
from harness.work.passes import joined_requests
from harness.work.rounds import Sight

Source: TypeAlias = tuple[int, Pass]  # the number of a call, and one of its passes
Sources: TypeAlias = Mapping[int, Sequence[Source]]  # by position, one for each of a reader's needs, in their order
Readers: TypeAlias = Sequence[tuple[str, Mapping[Pass, Parts], Mapping[int, Sight]]]  # run id, needs, what is shown


@dataclass(frozen=True)
class NetworkCall:
    """One call of a network. shown: by position, a window of those that ask; worded: whether words are shown too."""

    backbone: Recipe
    worded: bool
    shown: Mapping[int, Sight]
    wanted: dict[Pass, Parts] = field(default_factory=dict)

    def queries(self, places: int, blank: Query) -> list[Query]:
        """As many queries as the batch has places, with fillers where nothing is asked."""
        found = [blank] * places
        for position, one in self.shown.items():
            found[position] = one.query if self.worded else replace(one.query, vocabulary=Vocabulary(()))
        return found

    def lent(self) -> list[LentImage]:
        """The images that it shows."""
        return [image for one in self.shown.values() for image in one.lent]


def calls(readers: Readers) -> tuple[list[NetworkCall], dict[str, Sources]]:
    """The calls, each network's together, and by run where its passes come from."""
    found: dict[object, NetworkCall] = {}
    homes: dict[tuple[str, int, Pass], NetworkCall] = {}
    asked = [
        (number, company, *wanted)
        for number, company in enumerate(_companies(readers))
        for wanted in joined_requests(needs for _, needs, _ in company).items()
    ]
    for number_of_company, company, request, parts in asked:
        worded = encodes_words(request)
        different: list[dict[int, Sight]] = []
        own: dict[tuple[str, int], int] = {}
        for run_id, needs, seen in company:
            for position, one in seen.items() if request in needs else ():
                own[run_id, position] = _first_fitting(different, position, one, worded)
        made = []
        for shown in different:
            words = [shown[position].query.vocabulary if worded else None for position in sorted(shown)]
            key = number_of_company, request.backbone, tuple(sorted(shown)), tuple(words)
            made.append(found.setdefault(key, NetworkCall(request.backbone, worded, shown)))
            made[-1].wanted[request] = parts
        homes |= {(*asker, request): made[number] for asker, number in own.items()}
    ordered = _by_backbone(list(found.values()))
    numbers = {id(call): number for number, call in enumerate(ordered)}
    sources: dict[str, Sources] = {
        run_id: {at: [(numbers[id(homes[run_id, at, one])], one) for one in needs] for at in seen}
        for run_id, needs, seen in readers
    }
    return ordered, sources


def _companies(readers: Readers) -> list[Readers]:
    """The readers, parted so that passes of one part that are equal are the same: Python holds 1 and True for equal,
    and what one reader is given must not depend on which of the two another one asked for."""
    parts: list[tuple[dict[Pass, str], list[Any]]] = []
    for reader in readers:
        own = {request: exact_text(request) for request in reader[1]}
        fitting = [one for one in parts if all(one[0].get(request, text) == text for request, text in own.items())]
        known, members = fitting[0] if fitting else ({}, [])
        parts += [] if fitting else [(known, members)]
        known.update(own)
        members.append(reader)
    return [members for _, members in parts]


def _first_fitting(different: list[dict[int, Sight]], position: int, one: Sight, worded: bool) -> int:
    """The first call that shows this at a position, or in which the position is free."""
    for number, shown in enumerate(different):
        there = shown.setdefault(position, one)
        if not worded or there.query.vocabulary == one.query.vocabulary:
            return number
    different.append({position: one})
    return len(different) - 1


def _by_backbone(found: Sequence[NetworkCall]) -> list[NetworkCall]:
    """A worker keeps a network as long as there is work for it."""
    order = list(dict.fromkeys(call.backbone for call in found))
    return sorted(found, key=lambda call: order.index(call.backbone))
