"""The events of a results folder flow in; how far its last sweep is, at what rate, and what became of it, flow out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

BEAT_MISSED = 180.0  # seconds of silence after which a sweep that said no end counts as ended
FITS = {"fit begun": "at work", "fit": "done", "fit failed": "failed"}  # no image is done meanwhile


@dataclass
class WorkerCourse:
    """One worker of a sweep. lost: why it is no more, if it was lost. about: host, pid, node, GPU, card.

    did: what it has done last: `shard`, `batch`, the bytes of memory that it has held at most, and its card. doing:
    what it is at: `shard`, `batch`, and `since` when; empty where it is at nothing, or nobody said so.
    """

    number: int
    about: Mapping[str, Any]
    lost: str = ""
    did: Mapping[str, Any] = field(default_factory=dict)
    doing: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class SweepCourse:
    """How the last sweep of a folder stands.

    started, heard: its first and its last word. by: its process (lock.myself), empty in folders of before. wanted,
    done, failed: image results of all that it planned. ended: whether it said so; exit: its code then. errors: message
    -> batches in which it came. failures: host -> failed image results. fits: artefact -> method, state and error.
    """

    name: str
    started: datetime
    heard: datetime
    by: Mapping[str, Any] = field(default_factory=dict)
    wanted: int = 0
    done: int = 0
    failed: int = 0
    exit: int | None = None
    ended: bool = False
    workers: dict[int, WorkerCourse] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    fits: dict[str, dict[str, str]] = field(default_factory=dict)
    _pace: list[tuple[datetime, int]] = field(default_factory=list)

    def rate(self, now: datetime) -> float | None:
        """Image results a second, without what came before the first of them and without fits; None before it is known.

        `now` counts while it runs, so that a sweep that stands still gets slower.
        """
        if len(self._pace) < 2:
            return None
        since, until = self._pace[0][0], self._pace[-1][0] if self.ended else max(now, self._pace[-1][0])
        count, seconds = sum(rows for _, rows in self._pace[1:]), (until - since).total_seconds()
        return count / seconds if seconds > 0 else None

    def left(self, now: datetime) -> float | None:
        """Seconds until its images are done, at this rate."""
        rate = self.rate(now)
        return (self.wanted - self.done) / rate if rate else None

    def is_silent(self, now: datetime) -> bool:
        """Whether it said no end, and nothing else for so long that it must have died."""
        return not self.ended and (now - self.heard).total_seconds() > BEAT_MISSED

    def take(self, event: Mapping[str, Any], at: datetime) -> None:
        """One event more."""
        self.heard = at
        kind = event.get("event")
        if kind == "batch":
            self._batch(event, at)
        elif kind == "lease":
            self._begun(event)
        elif kind == "worker_ready":
            number = event.get("worker") or 0
            self.workers[number] = WorkerCourse(number, {k: v for k, v in event.items() if k not in _PLAIN})
        elif kind == "worker_lost":
            number = event.get("worker") or 0
            held = self.workers.setdefault(number, WorkerCourse(number, {}))
            held.doing, held.lost = {}, f"{event.get('kind', '')}: {event.get('reason', '')}"
        elif kind in FITS:
            known = self.fits.get(artefact := str(event.get("artefact")), {})
            self.fits[artefact] = {
                **known,
                "method": str(event.get("method", known.get("method", ""))),
                "state": FITS[kind],
            }
            self.fits[artefact]["error"] = str(event.get("error", ""))
            self._pace.clear()
        elif kind == "end":
            code = event.get("exit")
            self.ended, self.exit = True, code if isinstance(code, int) else None
            for worker in self.workers.values():
                worker.doing = {}

    def _begun(self, event: Mapping[str, Any]) -> None:
        """A worker is at a batch since a moment, or at nothing any more."""
        worker = self.workers.get(event.get("worker") or 0)
        if worker is not None and not worker.lost:
            batch = event.get("following")
            at = {"shard": event.get("shard"), "batch": batch, "since": event.get("since")}
            worker.doing = {} if batch is None else at

    def _batch(self, event: Mapping[str, Any], at: datetime) -> None:
        rows = event.get("done", event.get("rows", 0))  # what a learner gathers is no row
        self.done += rows
        failed = event.get("failed", 0)
        self.failed += failed
        self.failures.update({str(event.get("host") or self.by.get("host", "")): failed} if failed else {})
        if (worker := self.workers.get(event.get("worker") or 0)) is not None:
            worker.did = {name: event[name] for name in ("shard", "batch", "memory", "card") if name in event}
            self._begun(event)
        self.errors.update(str(error) for error in event.get("errors", ()))
        if self._pace and self._pace[-1][0] == at:  # told in one breath
            self._pace[-1] = at, self._pace[-1][1] + rows
        else:
            self._pace.append((at, rows))


_PLAIN = ("event", "time", "worker")
_COUNTS = ("done", "failed", "rows", "images")
_NUMBERS = ("worker", "memory")  # or null


def is_sound(event: Mapping[str, Any]) -> bool:
    """Whether an event is of the form in which sweeps tell of themselves; other programs may write there too."""
    counts = [event[name] for name in _COUNTS if name in event]
    counts += [event[name] for name in _NUMBERS if event.get(name) is not None]
    return (
        isinstance(event.get("event"), str)
        and _time(event) is not None
        and all(type(one) is int and one >= 0 for one in counts)
        and isinstance(event.get("errors", []), list)
    )


def course_of(events: Iterable[Mapping[str, Any]]) -> SweepCourse | None:
    """How the last sweep that these events tell of stands; None where there was none. Unsound ones are left out."""
    course: SweepCourse | None = None
    for event in filter(is_sound, events):
        at = _time(event)
        assert at is not None
        if event.get("event") == "sweep":
            if course is None or course.ended or _maker(event) != course.by:
                course = SweepCourse(str(event.get("name", "")), at, at, _maker(event))
            course.wanted = course.done + event.get("images", 0)  # planned again: beside what is done
        if course is not None:
            course.take(event, at)
    return course


def _maker(event: Mapping[str, Any]) -> Mapping[str, Any]:
    by = event.get("by")
    return by if isinstance(by, dict) else {}


def _time(event: Mapping[str, Any]) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(event.get("time")))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
