"""What a sweep on Ray does flows in; counts and gauges flow out, which Ray exports in the form of Prometheus.

They stand among Ray's own at the metrics port of the node where the sweep runs. They say how many, and no name of a
host, an image or a method. Counts are gauges that only grow: Ray 2.60 exports twice what is added to a counter, from
the third time on that one process reaches a Ray, and what a gauge is set to stays right.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.contracts import BatchDone, Shard

GAUGES = {  # and what tells their values apart
    "image_results": ("Image results that went well.", None),
    "image_results_failed": ("Image results that failed, by what they failed of.", "kind"),
    "image_results_left": ("Image results still to do, of what workers are given now.", None),
    "batches": ("Batches that were done.", None),
    "batches_lost": ("Batches that were at work when their worker was lost.", None),
    "workers": ("Workers that are there.", None),
    "workers_lost": ("Workers that were lost, by how.", "kind"),
}
_OWN = re.compile(
    r"(?:Not tried: |The worker broke on this batch: )*([A-Za-z]\w{0,40}(?:Error|Exception|Exit|Interrupt))\b"
)


class Meters:
    """The numbers of one sweep."""

    def __init__(self) -> None:
        from ray.util.metrics import Gauge

        self._gauges = {
            name: Gauge(f"stableseg_{name}", says, tag_keys=(tag,) if tag else ())
            for name, (says, tag) in GAUGES.items()
        }
        self._counts: Counter[tuple[str, str]] = Counter()
        self._there = set[object]()

    def begin(self, shards: Sequence[Shard]) -> None:
        """What is to be done from now on."""
        left = sum(len(shard.runs) * len(batch.image_ids) for shard in shards for batch in shard.batches)
        self._set("image_results_left", left)

    def did(self, done: BatchDone) -> None:
        """A batch came, or a part of one."""
        self._add("image_results", int(done.rows.ok.sum()))
        for kind, count in _kinds(done.rows.errors.values()).items():
            self._add("image_results_failed", count, kind)
        self._add("batches", bool(len(done.rows)))
        self._add("image_results_left", -len(done.rows))

    def note(self, event: Mapping[str, Any]) -> None:
        """What happened to a worker."""
        if event.get("event") == "worker_ready":
            self._there.add(event.get("worker"))
        elif event.get("event") == "worker_lost":
            self._there.discard(event.get("worker"))
            self._add("workers_lost", 1, str(event.get("kind")))
            self._add("batches_lost", event.get("batch") is not None)
        else:
            return
        self._set("workers", len(self._there))

    def end(self) -> None:
        """Nobody is there any more."""
        self._there.clear()
        self._set("workers", 0)

    def _add(self, name: str, count: int, kind: str = "") -> None:
        self._set(name, self._counts[name, kind] + count, kind)

    def _set(self, name: str, value: int, kind: str = "") -> None:
        self._counts[name, kind] = value
        self._gauges[name].set(value, tags={"kind": kind} if kind else None)


def _kinds(errors: Iterable[str]) -> Counter[str]:
    """How many failed of what: the class of an exception, or a few words of ours."""
    return Counter(kind_of_failure(error) for error in errors)


def kind_of_failure(error: str) -> str:
    """Of what an image result failed, as one of few words: a message may hold anything."""
    if named := _OWN.match(error):
        return named[1]
    if error.startswith("Not tried"):
        return "not tried"
    return "worker lost" if error.startswith("The worker process") else "other"
