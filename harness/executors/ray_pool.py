"""Leases -> calls of Ray's actors; what these answer, and what became of them, flow out as events of a pool.

Every batch of a lease is one call of an actor, a few of them sent ahead: what a call has returned stays readable when
the actor dies during the next one, and a lease can be cut without asking. Ray itself never tries anything again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from harness.contracts import Recipe, Shard
from harness.errors import ClusterError
from harness.executors import carried, cluster_reach
from harness.executors import ray_surroundings as surroundings
from harness.executors.placement import Place
from harness.executors.pool import Event, Finished, Lost, Message, Ready
from harness.executors.ray_errors import classify, imported_ray
from harness.executors.seat import Seat, unpacked
from harness.executors.unanswered import Question

LOOK_SECONDS = 5.0  # between looks at the size of the cluster
GET_SECONDS = 60.0  # for what Ray says is there
# After such an error every later call on this card fails too, in this process; which image it was is not known.
RUINED = (
    "device-side assert", "illegal memory access", "illegal instruction", "misaligned address",
    "invalid program counter", "hardware stack error", "unspecified launch failure", "launch timed out",
    "uncorrectable ECC error",
)  # fmt: skip


@dataclass
class _Desk:
    """What the driver knows of one actor: its open calls in order, and how far its lease has been asked for."""

    actor: Any
    calls: deque[Any] = field(default_factory=deque)
    ready: bool = False
    lease: int = 0
    keep: int = 0
    asked: int = 0
    ahead: int = 1

    def ask(self, shard: Shard | None = None) -> None:
        """Keep some calls ahead of the worker."""
        while self.asked < self.keep and len(self.calls) < self.ahead:
            self.calls.append(self.actor.step.remote(shard))
            shard, self.asked = None, self.asked + 1


class RayPool:
    """Actors as a pool of workers; see scheduler.Pool. limit: the most workers at once (None: as many as fit).

    private: whether the Ray is our own, so that it ends for good with its only node. library, clock: in place of
    Ray and of `time`, where time is virtual. gpu: the kind that workers ask for.
    """

    def __init__(
        self,
        worker: Recipe,
        place: Place,
        limit: int | None,
        private: bool = False,
        library: Any = None,
        clock: Any = time,
        gpu: str | None = None,
    ) -> None:
        self._ray, self._place, self._limit, self._clock = library or imported_ray(), place, limit, clock
        settings = worker.as_dict()
        self._worker = Recipe.of(worker.use, **{"threads": place.threads, **settings})
        variables = surroundings.worker_environment(place.threads, settings.get("folder"), gpus=place.gpus > 0)
        self._options = {
            "num_cpus": place.cpus, "num_gpus": place.gpus, "max_restarts": 0, "max_task_retries": 0,
            "runtime_env": {"env_vars": variables},
        }  # fmt: skip
        self._avoided: list[str] = []
        self._gpu, self._seat = gpu, self._ray.remote(Seat).options(**self._options)
        if gpu is not None:
            self._choose()
        folder = None if private else settings.get("folder")  # on this machine they are there
        self._plug_ins = carried.plug_ins_of(folder)
        self._desks: dict[int, _Desk] = {}
        self._fronts: dict[Any, int] = {}  # the open call that every actor is at, and its number
        self._numbers = count(1)
        self._looked, self._slots = float("-inf"), 0
        self._private = private
        self._nodes = self._alive if private or clock is not time else Question(self._alive).latest

    def capacity(self) -> int:
        if self._private:
            cluster_reach.check_alive(self._ray)
        if self._clock.monotonic() - self._looked > LOOK_SECONDS:
            self._slots, self._looked = self._place.slots(self._nodes()), self._clock.monotonic()
        return self._slots if self._limit is None else min(self._limit, self._slots)

    def _alive(self) -> list[dict[str, float]]:
        return cluster_reach.alive(self._ray, self._avoided, self._gpu)

    def spawn(self) -> int:
        number = next(self._numbers)
        actor = self._seat.remote()
        self._desks[number] = _Desk(actor, deque([actor.ready.remote(self._worker, self._plug_ins)]))
        self._look_at(number)
        return number

    def lease(self, worker: int, lease: int, shard: Shard) -> None:
        desk = self._desks[worker]
        desk.lease, desk.keep, desk.asked = lease, len(shard.batches), 0
        desk.ask(shard)
        self._look_at(worker)

    def cut(self, worker: int, lease: int, keep: int) -> int:
        desk = self._desks[worker]
        if lease == desk.lease:
            desk.keep = min(desk.keep, max(keep, desk.asked))
        return desk.keep

    def ahead(self, worker: int, batches: int) -> None:
        desk = self._desks[worker]
        desk.ahead = batches
        if desk.calls:
            desk.ask()

    def poll(self, timeout: float) -> Sequence[Event]:
        fronts = list(self._fronts)
        if not fronts:
            self._clock.sleep(min(timeout, 0.1))
            return []
        self._ray.wait(fronts, num_returns=1, timeout=timeout)
        done, _ = self._ray.wait(fronts, num_returns=len(fronts), timeout=0)
        return [event for call in done for event in self._events(self._fronts.pop(call), call)]

    def avoid(self, node: str) -> None:
        self._avoided.append(node)
        self._choose()
        self._looked = float("-inf")

    def _choose(self) -> None:
        """From now on workers start on nodes alone that are not avoided, and have the kind of GPU that is asked for."""
        labels = {"ray.io/node-id": f"!in({','.join(self._avoided)})"} if self._avoided else {}
        labels |= {} if self._gpu is None else {cluster_reach.CARD: self._gpu}
        self._seat = self._ray.remote(Seat).options(**self._options, label_selector=labels)

    def kill(self, worker: int) -> None:
        desk = self._desks.pop(worker, None)
        if desk is not None:
            if desk.calls:
                self._fronts.pop(desk.calls[0], None)
            with suppress(Exception):  # it may be gone already, in many ways
                self._ray.kill(desk.actor, no_restart=True)

    def close(self) -> None:
        """End all workers."""
        for number in list(self._desks):
            self.kill(number)

    def _events(self, number: int, call: object) -> list[Event]:
        """What a call tells that has come back."""
        desk = self._desks[number]
        try:
            value = self._ray.get(call, timeout=GET_SECONDS)
        except Exception as error:
            desk.calls.clear()
            return [self._loss(number, desk, error)]
        desk.calls.popleft()
        said = self._said(number, desk, value)
        self._look_at(number)
        return said

    def _look_at(self, number: int) -> None:
        """Wait for what an actor is at."""
        if calls := self._desks[number].calls:
            self._fronts[calls[0]] = number

    def _said(self, number: int, desk: _Desk, value: Any) -> list[Event]:
        if not desk.ready:
            desk.ready = True
            return [Ready(number, value)]
        done = unpacked(value)
        if ruined := [error for error in done.rows.errors.values() if any(words in error for words in RUINED)]:
            return [Lost(number, "ruined", ruined[0])]
        desk.ask()
        message = Message(number, desk.lease, done)
        if desk.calls:
            return [message]
        desk.actor.end.remote()  # nobody waits for it
        return [message, Finished(number, desk.lease)]

    def _loss(self, number: int, desk: _Desk, error: Exception) -> Lost:
        kind, reason = classify(error, self._ray.exceptions)
        if kind == "fatal":
            raise ClusterError(f"Ray cannot go on: {reason}") from error
        return Lost(number, "init" if kind == "error" and not desk.ready else kind, reason)
