"""A lost lease -> what is tried next: the suspect batch by itself, run by run, image by image, at last failed rows.

A death does not name its cause: what was computed when a worker died may be innocent (a neighbour took all memory). So
a suspect is narrowed down step by step, and an image is given up only after several deaths during which it was the
only thing at work anywhere, with a rest in between: whoever kills workers from outside is not at it for that long.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness.contracts import Batch, BatchDone, Recipe, Row, Rows, Run, Shard
from harness.executors.hosts import Failed

BLAMELESS = frozenset({"node", "preempted", "unavailable", "timeout", "aside"})  # losses that say nothing of the work
BLAMELESS_LOSSES = 12  # of one piece; after these a loss counts like any other
TRIES = 3  # losses of one image with nothing else at work until it is given up
REST = 10.0  # seconds between such tries, at least
STOP_AFTER = 3  # images of one run given up, and none more done, until the run is stopped
STOP_ALWAYS = 20  # images of one run given up until the run is stopped, whatever it did
KNOWN_AFTER = 2  # runs that gave an image up until other suspects are tried without it
FATES = {"oom": "used up the memory", "stalled": "stalled", "error": "broke", "ruined": "broke its GPU"}  # others: died


@dataclass(frozen=True)
class Piece:
    """Part of a shard, as it is handed to a worker.

    group: the runs of the shard it was cut from, by which a worker keeps its networks. suspect: its only batch was at
    work when a worker was lost. alone: to be tried with nothing else at work. tries: its losses with nothing else at
    work; losses: those of this very piece that say nothing about it. rests_until: when it may be tried, by the clock.
    failed: where it failed before, for a reason of that machine. lost_on: the cards on which it, or what it was cut
    from, was lost.
    """

    shard: Shard
    group: tuple[str, ...]
    suspect: bool = False
    alone: bool = False
    tries: int = 0
    losses: int = 0
    rests_until: float = float("-inf")
    failed: Failed | None = None
    lost_on: frozenset[tuple[str, str]] = frozenset()

    @property
    def single(self) -> bool:
        """Whether it is a suspect of one run and one image: its loss says something about that image."""
        return self.suspect and len(self.shard.runs) == 1 and len(self.shard.batches[0].image_ids) == 1

    @classmethod
    def whole(cls, shard: Shard) -> Piece:
        """A shard that is under no suspicion."""
        return cls(shard, tuple([run.run_id for run in shard.runs]))

    def with_batches(self, batches: Sequence[Batch]) -> Piece:
        """The same runs on other batches of the shard."""
        return replace(self, shard=replace(self.shard, batches=tuple(batches)))

    def by_run(self) -> list[Piece]:
        """One piece a run."""
        return [replace(self, shard=replace(self.shard, runs=(run,))) for run in self.shard.runs]

    def by_image(self) -> list[Piece]:
        """One piece an image: the batch keeps its shape, all other slots hold fillers, so no float changes."""
        (batch,) = self.shard.batches
        return [self.only({image}) for image in batch.image_ids]

    def only(self, images: set[str]) -> Piece:
        """These images of its batch; the others' places hold fillers."""
        (batch,) = self.shard.batches
        return self.with_batches([replace(batch, slots=tuple([s if s in images else None for s in batch.slots]))])


class Suspects:
    """The waiting pieces, and the rule of what a loss does to them. clock: seconds, monotonic."""

    def __init__(self, shards: Iterable[Shard], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting: dict[tuple[str, ...], deque[tuple[int, Piece]]] = {}  # by group, with their place in the queue
        self._suspected: deque[Piece] = deque()  # of those that wait, in front of all others
        self._alone: deque[Piece] = deque()
        self._front = self._back = 0
        self.batches = 0  # that wait
        for piece in map(Piece.whole, shards):
            self._back += 1
            self._waiting.setdefault(piece.group, deque()).append((self._back, piece))
            self.batches += len(piece.shard.batches)
        self._done: dict[tuple[str, ...], NDArray[np.int64]] = {}  # rows by run, of all runs that came together
        self._given_up: Counter[str] = Counter()  # images by run
        self._victims: defaultdict[tuple[Recipe, str], set[str]] = defaultdict(set)  # runs by benchmark and image
        self.stopped: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._waiting or self._suspected or self._alone)

    @property
    def rests(self) -> bool:
        """Whether all that waits is not to be tried yet."""
        now = self._clock()
        return not (self._waiting or self._suspected) and all(piece.rests_until > now for piece in self._alone)

    @property
    def lone(self) -> Piece | None:
        """The piece that comes next, if it is to be tried with nothing else at work and has rested."""
        return self._rested()

    def take(self, group: tuple[str, ...], others_at_work: bool) -> Piece | None:
        """The next piece for a worker whose last piece was of `group`; None while a lone piece rests or waits.

        A rested lone piece comes first, unless other images of its run and batch are suspects: a run's healthy images
        are done before it is judged by its bad ones.
        """
        while self:
            lone = self._rested()
            if lone is not None and others_at_work:
                return None
            if lone is not None:
                self._alone.remove(lone)
            piece = lone or self._next(group)
            if piece is None:
                return None
            self.batches -= len(piece.shard.batches)
            known = self._known(piece) if piece.suspect and not piece.alone else set()
            if not known:
                return piece
            self._part(piece, known)
        return None

    def _next(self, group: tuple[str, ...]) -> Piece | None:
        """The first suspect that waits; else the first piece of a group; else the first of all."""
        if self._suspected:
            return self._suspected.popleft()
        if not self._waiting:
            return None
        if group not in self._waiting:
            group = min(self._waiting, key=lambda one: self._waiting[one][0][0])
        _, piece = self._waiting[group].popleft()
        if not self._waiting[group]:
            del self._waiting[group]
        return piece

    def _add(self, piece: Piece) -> None:
        """Put a piece in front."""
        self.batches += len(piece.shard.batches)
        if piece.alone:
            self._alone.appendleft(piece)
        elif piece.suspect:
            self._suspected.appendleft(piece)
        else:
            self._front -= 1
            self._waiting.setdefault(piece.group, deque()).appendleft((self._front, piece))

    def put(self, pieces: Sequence[Piece]) -> Iterator[BatchDone]:
        """Put pieces in front, in their order; what belongs to stopped runs comes back as failed rows instead."""
        reason = f"Not tried: this run was stopped after {STOP_AFTER} or more of its images had ended worker processes."
        for piece in reversed(pieces):
            runs = piece.shard.runs
            kept = tuple([run for run in runs if run.run_id not in self.stopped])
            if kept and piece.shard.batches:
                self._add(replace(piece, shard=replace(piece.shard, runs=kept)))
            if len(kept) < len(runs):
                yield from failed_rows(piece.shard, [run for run in runs if run not in kept], reason)

    def did(self, done: BatchDone) -> None:
        """Take note of rows that came."""
        runs = done.rows.runs
        counts = np.bincount(done.rows.run, minlength=len(runs))
        self._done[runs] = counts + self._done[runs] if runs in self._done else counts

    def _rows_of(self, run_id: str) -> int:
        """How many came of a run."""
        return sum(int(counts[runs.index(run_id)]) for runs, counts in self._done.items() if run_id in runs)

    def lost(
        self, piece: Piece, pending: Sequence[Batch], kind: str, nothing_else: bool, card: tuple[str, str] = ("", "")
    ) -> Iterator[BatchDone]:
        """A worker was lost with these batches of `piece` undone; yields the rows of what is given up for it."""
        if not pending:
            return
        piece = piece.with_batches(pending)
        if kind in BLAMELESS and piece.losses < BLAMELESS_LOSSES:
            yield from self.put([replace(piece, losses=piece.losses + 1)])
            return
        (first, *rest), lost_on = pending, piece.lost_on | {card}
        if not piece.suspect:
            suspect = replace(piece.with_batches([first]), suspect=True, lost_on=lost_on)
            yield from self.put([suspect, piece.with_batches(rest)])
            return
        piece = replace(piece, lost_on=lost_on)
        if len(piece.shard.runs) > 1:
            yield from self.put(piece.by_run())
        elif len(first.image_ids) > 1:
            yield from self.put(piece.by_image())
        elif (tries := piece.tries + nothing_else) < TRIES:
            yield from self.put([replace(piece, tries=tries, alone=True, rests_until=self._clock() + REST)])
        else:
            yield from self._give_up(piece, kind)

    def _give_up(self, piece: Piece, kind: str) -> Iterator[BatchDone]:
        fate, (run,), (image,) = FATES.get(kind, "died"), piece.shard.runs, piece.shard.batches[0].image_ids
        victims = self._victims[run.benchmark, image]
        known = len(victims) >= KNOWN_AFTER
        how = "on this image, as it did for other runs" if known else f"{TRIES} times on this image"
        yield from failed_rows(piece.shard, [run], f"The worker process {fate} {how}.")
        victims.add(run.run_id)
        self._given_up[run.run_id] += 1
        images = self._given_up[run.run_id]
        if images >= STOP_ALWAYS or (images >= STOP_AFTER and images > self._rows_of(run.run_id)):
            self.stopped.add(run.run_id)
            waiting = sorted((pair for pieces in self._waiting.values() for pair in pieces), key=lambda pair: pair[0])
            everything = [*self._alone, *self._suspected, *(piece for _, piece in waiting)]
            self._alone.clear()
            self._suspected.clear()
            self._waiting, self.batches = {}, 0
            yield from self.put(everything)

    def _rested(self) -> Piece | None:
        """The first lone piece that may be tried now."""
        now = self._clock()
        rested = (piece for piece in self._alone if piece.rests_until <= now and not self._has_siblings(piece))
        return next(rested, None)

    def _has_siblings(self, lone: Piece) -> bool:
        """Whether other images of the same run and batch wait."""
        (run,), batch = lone.shard.runs, (lone.shard.shard_id, lone.shard.batches[0].index)
        suspects = (piece.shard for piece in self._suspected if run in piece.shard.runs)
        return any((shard.shard_id, shard.batches[0].index) == batch for shard in suspects)

    def _known(self, suspect: Piece) -> set[str]:
        """Those of its images that other runs died of."""
        benchmark, images = suspect.shard.runs[0].benchmark, suspect.shard.batches[0].image_ids
        return {image for image in images if len(self._victims[benchmark, image]) >= KNOWN_AFTER}

    def _part(self, suspect: Piece, known: set[str]) -> None:
        """Known images are tried once, alone, one run at a time; the others together, as before."""
        for piece in suspect.only(known).by_image():
            for one in piece.by_run():
                self._alone.append(replace(one, alone=True, tries=TRIES - 1))
                self.batches += 1
        others = set(suspect.shard.batches[0].image_ids) - known
        if others:
            self._add(suspect.only(others))


def failed_rows(shard: Shard, runs: Sequence[Run], reason: str, elsewhere: bool = False) -> Iterator[BatchDone]:
    """Failed rows of these runs for all wanted images, batch by batch. elsewhere: see contracts.Row."""
    for batch in shard.batches:
        images = batch.image_ids
        rows = (Row(run.run_id, image, "failed", 0.0, reason, elsewhere=elsewhere) for run in runs for image in images)
        yield BatchDone(shard.shard_id, batch.index, Rows.of(rows))
