"""Actors in virtual time in place of Ray's: what executors.ray_pool calls flows in, answers and losses flow out.

The driver is the real one; what it does with an answer takes as much virtual time as it is said to take, and while it
waits, the clock jumps to the next thing that happens. So nothing depends on how fast or busy this machine is.
"""

from __future__ import annotations

import heapq
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from types import SimpleNamespace
from typing import Any

from harness.contracts import Batch, Shard


class RayTaskError(Exception):
    """What a call raised."""


class ActorDiedError(Exception):
    """An actor is gone."""

    preempted = False


class NodeDiedError(Exception):
    """The node of an actor is gone."""


@dataclass(eq=False, slots=True)
class VirtualCall:
    """What an actor was asked for. begun, ended: when it is at it; value: makes the answer, and goes with it."""

    actor: VirtualActor
    begun: float
    ended: float
    value: Callable[[], Any] | None
    ready: bool = False
    error: Exception | None = None


@dataclass(frozen=True)
class Pace:
    """How fast workers are. batch: seconds for one under the runs of a shard, given chance and the worker's number.

    start: seconds until a worker is ready. message: seconds that the driver is at a message, Ray's part included. wait,
    front: what Ray takes of its thread whenever it waits, and for every call that it waits for.
    """

    batch: Callable[[Shard, random.Random, int], float]
    start: float = 10.0
    message: float = 0.0
    wait: float = 0.0
    front: float = 0.0


@dataclass(eq=False)
class VirtualActor:
    """One worker: what it was asked for, in order, and the lease that it is at."""

    world: VirtualRay
    number: int
    calls: deque[VirtualCall] = field(default_factory=deque)
    free: float = 0.0
    dead: Exception | None = None
    shard: Shard | None = None
    place: int = 0

    def __post_init__(self) -> None:
        self.ready, self.step, self.end = (
            SimpleNamespace(remote=ask) for ask in (self._ask_ready, self._ask_step, self._ask_end)
        )

    def _ask_ready(self, _recipe: object, _plug_ins: object) -> VirtualCall:
        about = {"host": f"host{self.number}", "pid": self.number}
        return self._call(self.world.pace.start * self.world.chance.uniform(0.9, 1.1), lambda: about, work=False)

    def _ask_step(self, shard: Shard | None) -> VirtualCall:
        if shard is not None:
            self.shard, self.place = shard, 0
        assert self.shard is not None
        batch, whole = self.shard.batches[self.place], self.shard
        self.place += 1
        seconds = self.world.pace.batch(whole, self.world.chance, self.number)
        return self._call(seconds, lambda: self.world.answer(whole, batch, self.number))

    def _ask_end(self) -> VirtualCall:
        return VirtualCall(self, 0.0, 0.0, lambda: None)  # nobody waits for it

    def _call(self, seconds: float, value: Callable[[], Any], work: bool = True) -> VirtualCall:
        began = time.thread_time()
        begun = max(self.free, self.world.monotonic())
        call = VirtualCall(self, begun, begun + seconds, value, error=self.dead, ready=self.dead is not None)
        if self.dead is None:
            self.free = call.ended
            self.calls.append(call)
            self.world.expect(call.ended, call)
            if work:
                self.world.worked.append(call)
        self.world.own_since(began)
        return call

    def die(self, error: Exception, now: float) -> None:
        """The process is gone: what it had said is there, the rest fails."""
        self.dead = error
        for call in self.calls:
            if not call.ready:
                call.error, call.ready = error, True
                call.ended, call.begun = min(call.ended, now), min(call.begun, now)


class VirtualRay:
    """Stands for the module `ray` where executors.ray_pool.RayPool is given it.

    workers: how many fit. answer: the message for a batch under a shard. losses: how many of all workers are lost in an
    hour, as a share.
    """

    def __init__(
        self,
        workers: int,
        pace: Pace,
        answer: Callable[[Shard, Batch, int], bytes],
        seed: int = 0,
        losses: float = 0.0,
    ) -> None:
        self.workers, self.pace, self._answer = workers, pace, answer
        self.chance = random.Random(seed)
        self.exceptions = SimpleNamespace(
            RayTaskError=RayTaskError, ActorDiedError=ActorDiedError, NodeDiedError=NodeDiedError
        )
        self.now = 0.0
        self.worked: list[VirtualCall] = []
        self.deaths = 0
        self.driver_seconds = 0.0
        self.own_seconds = 0.0  # of this machine's processor, which a real Ray and its workers would not take
        self._look = _seconds_of_a_look()
        self._numbers, self._order = count(1), count()
        self._coming: list[tuple[float, int, Any]] = []
        self._actors: dict[int, VirtualActor] = {}
        self._losses = losses * workers / 3600  # a second

        if self._losses:
            self.expect(self._until_loss(), None)

    # -- as Ray is called

    def remote(self, _seat: type) -> Any:
        """A class of actors, whatever resources it asks for."""
        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=self._spawn))

    def nodes(self) -> list[dict[str, Any]]:
        """One large machine."""
        return [{"Alive": True, "Resources": {"CPU": float(self.workers), "GPU": float(self.workers)}}]

    def wait(self, calls: Sequence[VirtualCall], num_returns: int, timeout: float) -> tuple[list[VirtualCall], ...]:
        """Those that are there, and the others; time passes until one is, if only one is wanted."""
        began = time.thread_time()
        self._spend(self.pace.wait + self.pace.front * len(calls))
        self._arrive()
        if num_returns == 1 and timeout > 0:
            until = self.now + timeout
            while not any(call.ready for call in calls):
                if not self._coming or self._coming[0][0] > until:
                    self.now = until
                    break
                self.now = max(self.now, self._coming[0][0])
                self._arrive()
        found = [call for call in calls if call.ready], [call for call in calls if not call.ready]
        self.own_since(began)
        return found

    def get(self, call: VirtualCall, timeout: float) -> Any:
        """The answer of a call."""
        began = time.thread_time()
        self._spend(self.pace.message)
        if call.error is not None:
            raise call.error
        call.actor.calls.remove(call)
        value, call.value = call.value, None
        assert value is not None
        answer = value()
        self.own_since(began)
        return answer

    def kill(self, actor: VirtualActor, no_restart: bool = True) -> None:
        """End an actor."""
        actor.die(ActorDiedError("killed"), self.monotonic())
        self._actors.pop(actor.number, None)

    # -- as the world goes on

    def own_since(self, began: float) -> None:
        """What this thread did since then was not the driver's, nor was it to look at the clock twice."""
        self.own_seconds += time.thread_time() - began + self._look

    def _spend(self, seconds: float) -> None:
        """The driver's thread is at something."""
        self.now += seconds
        self.driver_seconds += seconds

    def monotonic(self) -> float:
        """Seconds since the beginning."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self._arrive()

    def answer(self, shard: Shard, batch: Batch, worker: int) -> bytes:
        """The message of a worker."""
        return self._answer(shard, batch, worker)

    def expect(self, at: float, what: VirtualCall | None) -> None:
        """Something happens at a time: a call ends, or somebody is lost."""
        heapq.heappush(self._coming, (at, next(self._order), what))

    def busy(self, start: float, end: float) -> float:
        """Seconds that all workers together worked between two times."""
        return sum(max(0.0, min(call.ended, end) - max(call.begun, start)) for call in self.worked)

    def _spawn(self) -> VirtualActor:
        actor = VirtualActor(self, next(self._numbers))
        self._actors[actor.number] = actor
        return actor

    def _arrive(self) -> None:
        while self._coming and self._coming[0][0] <= self.now:
            at, _, call = heapq.heappop(self._coming)
            if call is None:
                self._lose(at)
            else:
                call.ready = True

    def _lose(self, at: float) -> None:
        """A node takes one worker with it."""
        living = [actor for actor in self._actors.values() if actor.dead is None]
        if living:
            self.chance.choice(living).die(NodeDiedError("the node is gone"), at)
            self.deaths += 1
        self.expect(at + self._until_loss(), None)

    def _until_loss(self) -> float:
        return self.chance.expovariate(self._losses)


def _seconds_of_a_look() -> float:
    """What it takes to ask how long this thread has worked: a call of the system, several for every batch."""
    taken = []
    for _ in range(20):
        began = time.thread_time()
        for _ in range(100):
            time.thread_time()
        taken.append((time.thread_time() - began) / 100)
    return min(taken)
