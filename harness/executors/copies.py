"""Batches that two workers do flow in with their answers; what nobody has said yet flows on, and differences as words.

A worker with nothing left to do takes a copy of a batch that a slow one is at. The first answer counts; the second is
compared with it and never stored. Which of two that differ is right is not known: both machines are named.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

from harness.contracts import BatchDone, Row, Rows

Key: TypeAlias = tuple[str, int]  # a shard and the index of one of its batches
_SHOWN = 3  # images named in a sentence


class _Answer(NamedTuple):
    """What was said first, by whom, and where that is."""

    worker: int
    place: str
    rows: Rows


class Copies:
    """Which batches are in two hands, and the first answers of those that were."""

    def __init__(self) -> None:
        self._hands: dict[Key, tuple[int, int]] = {}
        self._first: dict[Key, _Answer] = {}

    def __contains__(self, key: Key) -> bool:
        return key in self._hands

    def begin(self) -> None:
        """Other work: no batch of it is in two hands yet."""
        self._hands = {}

    def add(self, key: Key, owner: int, copier: int) -> None:
        """A batch is in two hands."""
        self._hands[key] = owner, copier

    def of(self, worker: int) -> dict[Key, int]:
        """The batches that a worker has in common with another one, and that one."""
        return {
            key: hands[worker == hands[0]] for key, hands in self._hands.items() if worker in hands
        }  # of two hands the other one

    def answered(self, key: Key, worker: int, about: Mapping[str, Any], done: BatchDone) -> int | None:
        """Take note of a first answer; whose hands the batch can be taken out of, if it is in any others."""
        hands = self._hands.pop(key, None)
        if hands is None:
            return None
        self._first[key] = _Answer(worker, _place(about), done.rows)
        return hands[worker == hands[0]]

    def parted(self, key: Key) -> None:
        """One of two workers is lost; the other one does the batch alone."""
        self._hands.pop(key, None)

    def differs(self, key: Key, worker: int, about: Mapping[str, Any], done: BatchDone) -> str:
        """What a second answer has of its own, in a sentence; empty where it is the same, or nobody waits for it."""
        first = self._first.get(key)
        if first is None or first.worker == worker:
            return ""
        del self._first[key]
        wrong = _differing(first.rows, done.rows)
        if not wrong:
            return ""
        (run, image), *more = wrong
        others = "".join(f", {image!r} of run {run}" for run, image in more[: _SHOWN - 1])
        beyond = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        return (
            f"Two machines were given the same images and differ: {first.place} and {_place(about)}, on {image!r} of "
            f"run {run}{others}{beyond}; what the first one said is stored. Look at both (memory, drivers, libraries), "
            "or at whether the method draws at random."
        )


def _differing(one: Rows, other: Rows) -> list[tuple[str, str]]:
    """The runs and images of which two answers do not say the same; how long it took may differ."""
    said = {(row.run_id, row.image_id): _content(row) for row in other}
    return [key for row in one if said.get(key := (row.run_id, row.image_id)) not in (None, _content(row))]


def _content(row: Row) -> tuple[object, ...]:
    counts = (tuple(counts.tolist()) for counts in (row.true, row.predicted, row.pixels))
    return row.status, row.sample, *counts, row.label_map, row.gathered


def _place(about: Mapping[str, Any]) -> str:
    """Where a worker is, in a few words."""
    gpu = f", GPU {about['gpu']}" if about.get("gpu") else ""
    return f"{about.get('host', 'a machine without a name')} (process {about.get('pid', 'unknown')}{gpu})"
