"""What failed for a reason of its machine flows in; flows out to one that may do it: once more, elsewhere.

Elsewhere is another host where there is one; else, after a card broke, another card; else a process that was started
after the failure. Until then it is no row: what fails a second time is one, and names both machines.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from harness.contracts import BatchDone, Rows
from harness.errors import of_card
from harness.executors.hosts import Failed, Whereabouts
from harness.executors.suspects import Piece

AT_ONCE = 4  # batches that are tried again in one lease


@dataclass(frozen=True)
class _Key:
    """Batches of equal ones are tried again together."""

    runs: tuple[str, ...]
    shard_id: str
    failed: Failed


class SecondTries:
    """Pieces that failed once and wait for another machine. batches: how many."""

    def __init__(self) -> None:
        self._waiting: dict[_Key, list[Piece]] = {}
        self.batches = 0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def put(self, piece: Piece, failed: Failed) -> None:
        """A piece of one batch or several."""
        key = _Key(tuple([run.run_id for run in piece.shard.runs]), piece.shard.shard_id, failed)
        piece = replace(piece, failed=failed, suspect=False, alone=False)
        self._waiting.setdefault(key, []).extend(piece.with_batches([batch]) for batch in piece.shard.batches)
        self.batches += len(piece.shard.batches)

    def take(self, number: int, places: Mapping[int, Whereabouts | None]) -> Piece | None:
        """What a worker may try, of one kind. places: of all workers; None where that is not known yet."""
        for key in self._waiting:
            if _may(number, places, key.failed):
                return self._taken(key)
        return None

    def wait_in_vain(self, places: Mapping[int, Whereabouts | None]) -> bool:
        """Whether there is something that none of the workers may try, wherever they are."""
        starting = None in places.values()
        return not starting and any(not any(_may(n, places, key.failed) for n in places) for key in self._waiting)

    def _taken(self, key: _Key) -> Piece:
        taken, rest = dict[int, Piece](), list[Piece]()
        for piece in self._waiting.pop(key):
            (batch,) = piece.shard.batches
            if batch.index in taken or len(taken) == AT_ONCE:  # parts of one batch are told apart by their lease
                rest.append(piece)
            else:
                taken[batch.index] = piece
        if rest:
            self._waiting[key] = rest
        self.batches -= len(taken)
        first, *_ = taken.values()
        return first.with_batches([batch for piece in taken.values() for batch in piece.shard.batches])


def _may(number: int, places: Mapping[int, Whereabouts | None], failed: Failed) -> bool:
    """Whether a worker is elsewhere."""
    place, known = places[number], [one for one in places.values() if one is not None]
    if any(one.machine != failed.place.machine for one in known):
        return place is not None and place.machine != failed.place.machine
    if failed.card and any(one.card != failed.place.card for one in known):
        return place is not None and place.card != failed.place.card
    return number > failed.newest


def parted(piece: Piece, done: BatchDone) -> tuple[BatchDone, Iterator[Piece]]:
    """A batch without the rows that are to be tried elsewhere, and these as pieces, each for runs that lack the same
    images."""
    lacking: defaultdict[str, set[str]] = defaultdict(set)
    for number in done.rows.elsewhere:
        run, image = done.rows.key(number)
        lacking[run].add(image)
    alike: defaultdict[frozenset[str], list[str]] = defaultdict(list)
    for run, images in lacking.items():
        alike[frozenset(images)].append(run)
    kept = [number for number in range(len(done.rows)) if number not in done.rows.elsewhere]
    rows = Rows.of([done.rows[number] for number in kept])
    one = piece.with_batches([batch for batch in piece.shard.batches if batch.index == done.index])
    again = (_of_runs(one, runs).only(set(images)) for images, runs in alike.items())
    return replace(done, rows=rows), again


def _of_runs(piece: Piece, runs: Collection[str]) -> Piece:
    return replace(piece, shard=replace(piece.shard, runs=tuple([r for r in piece.shard.runs if r.run_id in runs])))


def naming_places(done: BatchDone, place: Whereabouts, worker: int, first: Failed | None) -> BatchDone:
    """What failed for a reason of a machine says on which: on this worker's, and where it had failed before."""
    rows = done.rows
    if not rows.elsewhere:
        return done
    here = f"worker {worker} on {place}"
    where = f"first {first}, then {here}" if first else here
    errors = {**rows.errors, **{number: f"{rows.errors.get(number, '')} ({where})" for number in rows.elsewhere}}
    return replace(done, rows=replace(rows, errors=errors))


def is_of_card(done: BatchDone) -> bool:
    """Whether what failed tells of a card."""
    return any(of_card(done.rows.errors.get(number, "")) for number in done.rows.elsewhere)
