"""Sorted image ids flow in; the batches in which they go through networks flow out, the same in every sweep."""

from __future__ import annotations

from collections.abc import Sequence

from harness.contracts import Batch


def fixed(image_ids: Sequence[str], batch: int) -> list[Batch]:
    """The fixed partition: slice i of the sorted ids; the last slice is filled up, so that all have one shape."""
    filled = [*image_ids, *[None] * (-len(image_ids) % batch)]
    return [Batch(start // batch, tuple(filled[start : start + batch])) for start in range(0, len(filled), batch)]


def without_stored(piece: Batch, missing: frozenset[str]) -> Batch:
    """Images that no run of a shard misses become fillers: they keep the shape and cost no reading."""
    return Batch(piece.index, tuple(slot if slot in missing else None for slot in piece.slots))
